"""Key texts, scopes, addresses: pure rules."""

import os
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.access.keyring import NAME
from tabellion.access.rules import (
    ADDRESS_LIMIT,
    ALL,
    SCOPES,
    base62,
    from_allowed,
    key_hash,
    key_text,
    origin,
    public_of,
    read_key,
    require_not_above,
    scopes_of,
)
from tabellion.access.types import KeyOptions, Public, Role
from tabellion.core import ids
from tabellion.core.errors import Forbidden, Invalid

SECRETS = st.binary(min_size=32, max_size=32)
KINDS = st.sampled_from(["live", "test", "pub"])
UUIDS = st.uuids()


@given(KINDS, UUIDS, SECRETS)
def test_a_key_says_its_kind_and_id(kind, key_id, secret):
    said = read_key(key_text(kind, key_id, secret))
    assert said is not None
    assert (said.kind, said.key_id) == (kind, key_id)


@given(KINDS, UUIDS, SECRETS)
def test_the_id_stands_where_the_key_ring_looks_for_it(kind, key_id, secret):
    assert "key_" + key_text(kind, key_id, secret)[NAME] == ids.show("key", key_id)


@given(UUIDS, SECRETS, st.data())
def test_any_changed_character_is_noticed(key_id, secret, data):
    text = key_text("live", key_id, secret)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda one: one != text[place]))
    assert read_key(text[:place] + other + text[place + 1 :]) is None


@given(st.text(max_size=200))
def test_other_text_is_no_key(text):
    assert read_key(text) is None


@pytest.mark.parametrize("extra", ["\n", " ", "\0", "x"])
def test_a_key_with_something_behind_it_is_no_key(extra):
    assert read_key(key_text("live", ids.new(), os.urandom(32)) + extra) is None


@given(SECRETS, SECRETS)
def test_different_secrets_have_different_texts_and_hashes(one, other):
    key_id = ids.new()
    texts = {key_text("live", key_id, one), key_text("live", key_id, other)}
    assert len(texts) == len({key_hash(text) for text in texts}) == len({one, other})


@given(st.integers(0, 2**256 - 1))
def test_base62_keeps_every_value(value):
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    assert sum(alphabet.index(digit) * 62**place for place, digit in enumerate(reversed(base62(value, 43)))) == value


def test_base62_refuses_what_does_not_fit():
    with pytest.raises(ValueError):
        base62(62**3, 3)


def test_every_role_has_scopes_and_only_known_ones():
    assert set(SCOPES) == set(Role)
    assert all(SCOPES[role] and SCOPES[role] <= ALL for role in Role)


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.OWNER, Role.ADMIN)])
def test_only_owner_and_admin_handle_keys(role):
    assert not {"keys:read", "keys:write", "workspace:write"} & SCOPES[role]


@pytest.mark.parametrize(
    ("role", "scope"),
    [
        (Role.COMPLIANCE, "messages:write"),
        (Role.INGEST, "messages:write"),
        (Role.INGEST, "recipients:read"),
        (Role.OPERATOR, "consents:write"),
        (Role.DEVELOPER, "accounts:write"),
        (Role.DEVELOPER, "audit:read"),
    ],
)
def test_a_role_lacks_what_it_does_not_need(role, scope):
    assert scope not in SCOPES[role]


def test_readonly_writes_nothing():
    assert not [scope for scope in SCOPES[Role.READONLY] if scope.endswith(":write")]


def test_scopes_are_the_roles_or_some_of_them():
    assert scopes_of(Role.DEVELOPER, None) == SCOPES[Role.DEVELOPER]
    assert scopes_of(Role.DEVELOPER, ["messages:write"]) == {"messages:write"}


@pytest.mark.parametrize("asked", [["messages:write", "keys:write"], ["nonsense"], []])
def test_a_key_cannot_have_scopes_its_role_lacks(asked):
    with pytest.raises(Invalid) as refused:
        scopes_of(Role.DEVELOPER, asked)
    assert [one.pointer for one in refused.value.errors] == [
        f"/scopes/{index}" for index, scope in enumerate(asked) if scope != "messages:write"
    ]


def test_an_admin_cannot_make_an_owner():
    require_not_above(SCOPES[Role.OWNER], SCOPES[Role.ADMIN])
    with pytest.raises(Forbidden):
        require_not_above(SCOPES[Role.ADMIN], SCOPES[Role.OWNER])


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("203.0.113.7", True), ("203.0.114.7", False), ("::ffff:203.0.113.7", True), ("2001:db8::1", True),
     ("2001:db9::1", False), (None, False), ("", False), ("not an address", False)],
)  # fmt: skip
def test_a_bound_key_is_used_from_its_networks_only(address, allowed):
    assert from_allowed(address, (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32"))) is allowed


def test_an_unbound_key_is_used_from_anywhere():
    assert from_allowed(None, ())


# public keys


@pytest.mark.parametrize(
    ("text", "normal"),
    [("https://shop.example", "https://shop.example"), ("HTTPS://Shop.Example:443", "https://shop.example"),
     ("https://shop.example:8443", "https://shop.example:8443"), ("http://localhost:3000", "http://localhost:3000"),
     ("http://127.0.0.1:80", "http://127.0.0.1"), ("https://[2001:db8::1]:444", "https://[2001:db8::1]:444")],
)  # fmt: skip
def test_an_origin_is_kept_as_browsers_write_it(text, normal):
    assert origin(text, "/origins/0") == normal


@pytest.mark.parametrize(
    "text",
    ["", "*", "null", "shop.example", "https://", "https://*.shop.example", "https://shop.example/", "http://shop.example",
     "https://shop.example/path", "https://a@shop.example", "https://shop.example:0", "https://shop.example:65536",
     "https://shop.example:x", "https://shop.example https://b.example", "https://shöp.example", "ftp://shop.example",
     "https://shop.example\n", "https://-shop.example", "https://" + "a" * 300],
)  # fmt: skip
def test_what_is_no_exact_origin_is_pointed_at(text):
    with pytest.raises(Invalid) as refused:
        origin(text, "/origins/3")
    assert (refused.value.code, refused.value.errors[0].pointer) == ("invalid_origin", "/origins/3")


def test_a_public_key_has_its_bounds_and_no_other_has():
    bounds = public_of(Role.PUBLIC, KeyOptions(source=" shop ", origins=("https://a.example", "https://a.example:443")))
    assert bounds == Public("shop", ("https://a.example",), ADDRESS_LIMIT)
    assert public_of(Role.OWNER, KeyOptions()) is None
    for role, options, place in (
        (Role.PUBLIC, KeyOptions(), "/source"),
        (Role.PUBLIC, KeyOptions(source="x" * 65), "/source"),
        (Role.PUBLIC, KeyOptions(source="a\nb"), "/source"),
        (Role.INGEST, KeyOptions(source="x"), "/source"),
        (Role.INGEST, KeyOptions(origins=("https://a.example",)), "/origins"),
        (Role.INGEST, KeyOptions(address_limit=3), "/address_limit"),
    ):
        with pytest.raises(Invalid) as refused:
            public_of(role, options)
        assert [one.pointer for one in refused.value.errors] == [place]


def test_a_public_key_may_only_write():
    assert not {scope for scope in SCOPES[Role.PUBLIC] if not scope.endswith(":write")}
