"""Laws of tokens, nonces and codes, by values alone."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.consent.links import rules
from tabellion.consent.links.types import Confirm, Left, LinkUnknown, Named, Page, Preferences, Unsubscribe
from tabellion.core.crypto import Key
from tabellion.providers.base import Channel
from tabellion.recipients.types import DELIVERABLE, Kind

KEY, OTHER = Key(bytes(32)), Key(bytes([1]) * 32)
ID = b"8 bytes!"
NOW = datetime(2026, 11, 28, 9, 0, tzinfo=UTC)

uuids = st.uuids(version=4)
hashes = st.binary(min_size=32, max_size=32).filter(any)
moments = st.integers(1_600_000_000, 3_800_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
purposes = st.from_regex(r"[a-z][a-z0-9_.-]{0,63}", fullmatch=True)
unsubscribes = st.builds(
    Unsubscribe, hashes, st.sampled_from(sorted(DELIVERABLE)), st.sampled_from(Channel), purposes, st.none() | uuids
)
lefts = st.builds(Left, hashes, st.sampled_from(Channel), purposes)
preferences = st.builds(Preferences, uuids, moments, st.none() | lefts)
confirms = st.builds(Confirm, uuids, moments)
named = unsubscribes | preferences | confirms


@given(named)
def test_a_token_says_what_it_names_and_nothing_else_opens(one: Named) -> None:
    page = rules.page_of(one)
    token = rules.write(ID, KEY, one)
    assert len(token) == rules.LENGTH[page]
    assert rules.key_id(page, token) == ID
    assert rules.read(page, token, KEY) == one
    with pytest.raises(LinkUnknown):
        rules.read(page, token, OTHER)


@given(named, st.data())
def test_whatever_is_changed_opens_nothing(one: Named, data: Any) -> None:
    page, token = rules.page_of(one), rules.write(ID, KEY, one)
    place = data.draw(st.integers(11, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_=/+ \n")).replace(token[place], "Q" if token[place] != "Q" else "R")
    changed = token[:place] + letter + token[place + 1 :]
    with pytest.raises(LinkUnknown):
        rules.key_id(page, changed)
        rules.read(page, changed, KEY)


@given(st.sampled_from(Page), st.text(max_size=400) | st.from_regex(r"[A-Za-z0-9_-]{60,220}", fullmatch=True))
def test_garbage_is_always_the_same_refusal(page: Page, text: str) -> None:
    with pytest.raises(LinkUnknown) as refusal:
        rules.key_id(page, text)
        rules.read(page, text, KEY)
    assert str(refusal.value) == str(LinkUnknown())


@given(named)
def test_a_token_of_one_page_opens_no_other(one: Named) -> None:
    token = rules.write(ID, KEY, one)
    for page in Page:
        if page is not rules.page_of(one):
            with pytest.raises(LinkUnknown):
                rules.key_id(page, token)
                rules.read(page, token, KEY)


def test_a_page_is_bound_into_what_is_sealed_and_not_only_told_by_the_length() -> None:
    sealed = KEY.seal(bytes(24), "link:p")
    token = rules.b64url(ID + sealed)
    assert len(token) == rules.LENGTH[Page.CONFIRM]
    with pytest.raises(LinkUnknown):
        rules.read(Page.CONFIRM, token, KEY)


@given(unsubscribes, unsubscribes)
def test_tokens_tell_nothing_by_their_looks(one: Unsubscribe, other: Unsubscribe) -> None:
    tokens = [rules.write(ID, KEY, each) for each in (one, one, other)]
    assert len({len(token) for token in tokens}) == 1
    assert len({token[11:] for token in tokens}) == 3, "the same twice looks different"


def test_a_purpose_that_does_not_fit_is_refused_and_not_cut() -> None:
    with pytest.raises(ValueError, match="too long"):
        rules.write(ID, KEY, Unsubscribe(bytes(32), Kind.EMAIL, Channel.EMAIL, "p" * 65))


@given(st.text(max_size=100), st.integers(0, 3600))
def test_a_nonce_counts_for_an_hour_for_its_token(token: str, age: int) -> None:
    nonce = rules.nonce(KEY, token, NOW)
    later = NOW + timedelta(seconds=age)
    assert rules.fresh(KEY, token, nonce, later)
    assert not rules.fresh(KEY, token + "x", nonce, later)
    assert not rules.fresh(OTHER, token, nonce, later)
    assert not rules.fresh(KEY, token, nonce, NOW + timedelta(seconds=3601 + age))
    assert not rules.fresh(KEY, token, nonce, NOW - timedelta(minutes=6))


@given(st.text(max_size=64))
def test_nothing_else_is_a_nonce(text: str) -> None:
    assert not rules.fresh(KEY, "t", text, NOW)


@given(st.binary(min_size=16, max_size=16))
def test_a_code_is_six_digits_that_only_the_key_gives(salt: bytes) -> None:
    code = rules.code(KEY, salt)
    assert len(code) == 6
    assert code.isdigit()
    assert rules.same_code(f" {code[:3]}-{code[3:]} ", code)
    assert not rules.same_code(code[:5], code)
    assert not rules.same_code("", code)


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (Kind.EMAIL, "ann.lee@mail.example.org", "a•••@m•••.org"),
        (Kind.EMAIL, "x@y", "x•••@•••y"),
        (Kind.PHONE, "+436601234567", "+43 ••• 67"),
        (Kind.DEVICE, "token-of-a-device", "•••"),
    ],
)
def test_an_address_is_masked(kind: Kind, value: str, shown: str) -> None:
    assert rules.masked(kind, value) == shown


def test_the_ids_of_nobody_are_none() -> None:
    one = Unsubscribe(bytes([7]) * 32, Kind.PHONE, Channel.SMS, "marketing", UUID(int=5))
    read = rules.read(Page.UNSUBSCRIBE, rules.write(ID, KEY, one), KEY)
    assert isinstance(read, Unsubscribe)
    assert read.message_id == UUID(int=5)
