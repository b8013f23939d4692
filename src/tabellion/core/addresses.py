"""Which network addresses outbound calls may reach, and how a host name becomes addresses that were checked.

A name is resolved once, its addresses are checked, and the connection goes to a checked address: a second look-up by
the client could answer something else (DNS rebinding).
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol, TypeAlias

from tabellion.core.http import NotSent, Refused

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack, DigitalOcean
        "169.254.170.2",  # AWS container credentials
        "169.254.170.23",  # AWS EKS pod identity
        "100.100.100.200",  # Alibaba
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",  # Google, IPv6 only
    )
)
"""Cloud metadata services: whoever reaches them reads the machine's own credentials. No allow-list opens them."""
_NAT64: Final = ip_network("64:ff9b::/96")
_LOOPBACK: Final = ip_address("127.0.0.1")
_LOCAL_NAMES: Final = (".internal", ".local", ".home.arpa")
"""Endings that no public name has (RFC 6762, RFC 8375; `internal` is reserved by ICANN since 2024-07-29)."""


class Resolver(Protocol):
    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of host, preferred first. Raises `OSError` when there are none."""
        ...


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """What the operating system answers, in its order of preference."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses over TLS; `networks` and single `endpoints` (address, port) also if private or in clear text."""

    networks: tuple[Network, ...] = ()
    endpoints: frozenset[tuple[Address, int]] = frozenset()

    @classmethod
    def of(cls, networks: Iterable[str] = (), endpoints: Iterable[tuple[str, int]] = ()) -> "AddressPolicy":
        """The policy for CIDRs and (address, port) pairs. Raises `ValueError` when one is malformed."""
        return cls(
            tuple(ip_network(text.strip(), strict=False) for text in networks),
            frozenset((ip_address(address), port) for address, port in endpoints),
        )

    def check(self, text: str, port: int, *, encrypted: bool) -> None:
        """Return if a connection to this address is allowed; raise `Refused` with what to do otherwise."""
        address = _unwrapped(ip_address(text.partition("%")[0]))
        if address in METADATA:
            raise Refused(f"{address} is a cloud metadata service and never reachable")
        if (address, port) in self.endpoints or any(address in network for network in self.networks):
            return
        if not _public(address):
            raise Refused(f"{address} is not a public address; add its network to TABELLION_ALLOW_PRIVATE_NETWORKS")
        if not encrypted:
            raise Refused(f"{address} would be reached without TLS; use https or TLS, or allow its network")

    def opens(self, host: str, port: int) -> bool:
        """Whether the operator opened the way to host: an address by its network or endpoint.

        A name that cannot be a public one counts where any network is open: `check` sees the address behind it at
        every connection. Any other name counts as public.
        """
        address = _named_address(host)
        if address is None:
            return bool(self.networks) and _cannot_be_public(host)
        return (address, port) in self.endpoints or any(address in network for network in self.networks)


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 form (mapped, 6to4, Teredo, NAT64) leads to, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


def _named_address(host: str) -> Address | None:
    """The address that host is; None where it is a name to be resolved."""
    if host == "localhost" or host.endswith(".localhost"):
        return _LOOPBACK
    return _unwrapped(ip_address(host.partition("%")[0])) if _literal(host) else None


def _cannot_be_public(name: str) -> bool:
    return "." not in name or name.endswith(_LOCAL_NAMES)


def _public(address: Address) -> bool:
    local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (local or address.is_multicast or address.is_reserved or address.is_unspecified)


async def checked(
    policy: AddressPolicy, resolver: Resolver, host: str, port: int, *, encrypted: bool, within: float
) -> list[str]:
    """The addresses of host that the policy allows, preferred first.

    Raises `Refused` when it allows none, `NotSent` when the name has none or does not resolve `within` seconds.
    """
    try:
        async with asyncio.timeout(within):
            addresses = [host] if _literal(host) else await resolver(host, port)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise NotSent(f"{host} does not resolve: {error or 'no answer in time'}") from error
    refusals, allowed = [], []
    for address in addresses:
        try:
            policy.check(address, port, encrypted=encrypted)
            allowed.append(address)
        except Refused as refusal:
            refusals.append(refusal)
    if not allowed and refusals:
        raise refusals[0]
    if not allowed:
        raise NotSent(f"{host} has no address")
    return allowed


def _literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
