"""Which addresses outbound calls may reach."""

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core.addresses import METADATA, AddressPolicy, checked
from tabellion.core.http import NotSent, Refused

PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]
PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fc00::1",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::a00:1",
    "2002:0a00:0001::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached_over_tls_only(address: str) -> None:
    AddressPolicy().check(address, 443, encrypted=True)
    with pytest.raises(Refused, match="without TLS"):
        AddressPolicy().check(address, 80, encrypted=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public_are_refused_even_over_tls(address: str) -> None:
    with pytest.raises(Refused, match="TABELLION_ALLOW_PRIVATE_NETWORKS"):
        AddressPolicy().check(address, 443, encrypted=True)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203"])
def test_an_allowed_network_is_reached_with_and_without_tls(address: str) -> None:
    policy = AddressPolicy.of(["10.0.0.0/8"])
    policy.check(address, 443, encrypted=True)
    policy.check(address, 80, encrypted=False)
    with pytest.raises(Refused):
        policy.check("192.168.0.1", 80, encrypted=False)


def test_a_single_endpoint_opens_neither_its_neighbour_nor_another_port() -> None:
    policy = AddressPolicy.of(endpoints=[("127.0.0.1", 8099)])
    policy.check("127.0.0.1", 8099, encrypted=False)
    for address, port in (("127.0.0.1", 8098), ("127.0.0.2", 8099)):
        with pytest.raises(Refused):
            policy.check(address, port, encrypted=False)


@pytest.mark.parametrize(
    ("host", "opened"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("192.168.0.1", False),
        ("93.184.216.34", False),
        ("127.0.0.1", False),
        ("localhost", False),
        ("mail.localhost", False),
        ("mailpit", True),
        ("relay.corp.internal", True),
        ("printer.local", True),
        ("mail.example.org", False),
        ("internal.example.org", False),
    ],
)
def test_a_host_is_opened_by_its_network_and_a_name_only_where_it_cannot_be_public(host: str, opened: bool) -> None:
    assert AddressPolicy.of(["10.0.0.0/8"]).opens(host, 25) is opened
    assert not AddressPolicy().opens(host, 25), "where nothing was opened, nothing is open"


def test_loopback_is_opened_by_either_of_its_names_and_an_endpoint_by_its_port() -> None:
    assert all(AddressPolicy.of(["127.0.0.0/8"]).opens(host, 1025) for host in ("localhost", "127.0.0.1"))
    endpoint = AddressPolicy.of(endpoints=[("127.0.0.1", 8099)])
    assert (endpoint.opens("127.0.0.1", 8099), endpoint.opens("127.0.0.1", 8098)) == (True, False)


@pytest.mark.parametrize("address", sorted(map(str, METADATA)))
def test_no_network_opens_the_metadata_services(address: str) -> None:
    everything = AddressPolicy.of(["0.0.0.0/0", "::/0"], [(address, 80)])
    with pytest.raises(Refused, match="metadata"):
        everything.check(address, 80, encrypted=False)


def test_a_mapped_metadata_address_is_one_too() -> None:
    with pytest.raises(Refused, match="metadata"):
        AddressPolicy.of(["::/0", "0.0.0.0/0"]).check("::ffff:169.254.169.254", 80, encrypted=False)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_is_judged_the_same_in_every_ipv6_dress(address: IPv4Address) -> None:
    number = int(address)
    dresses = [IPv6Address(0xFFFF << 32 | number), IPv6Address(0x64FF9B << 96 | number)]

    def verdict(text: str) -> bool:
        try:
            AddressPolicy().check(text, 443, encrypted=True)
        except Refused:
            return False
        return True

    assert {verdict(str(dress)) for dress in dresses} == {verdict(str(address))}


async def test_only_allowed_addresses_of_a_name_are_given() -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.1", "93.184.216.34", "169.254.169.254"]

    policy = AddressPolicy()
    assert await checked(policy, resolver, "a.example", 443, encrypted=True, within=1) == ["93.184.216.34"]
    with pytest.raises(Refused):
        await checked(policy, resolver, "a.example", 443, encrypted=False, within=1)


async def test_a_name_that_does_not_resolve_was_not_sent_to() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async def empty(host: str, port: int) -> Sequence[str]:
        return []

    for resolver in (nowhere, never, empty):
        with pytest.raises(NotSent) as caught:
            await checked(AddressPolicy(), resolver, "a.example", 443, encrypted=True, within=0.05)
        assert not isinstance(caught.value, Refused)
