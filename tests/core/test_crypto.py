"""Sealing, keyed hashes, canonical JSON, and secrets that do not print."""

import hmac
import json
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core.crypto import Key, Secret, b64, b64url, canonical, sha256
from tabellion.core.errors import HubError

ASCII_KEYS = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=64)
LEAVES = st.one_of(st.text(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1))
RECORDS: st.SearchStrategy[Any] = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ASCII_KEYS, inner, max_size=4), max_leaves=12
)


@given(RECORDS)
def test_canonical_json_is_that_of_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(RECORDS)
def test_canonical_json_says_the_same(value: Any) -> None:
    assert json.loads(canonical(value)) == value


def test_canonical_json_has_no_word_for_what_is_no_number() -> None:
    with pytest.raises(ValueError):
        canonical({"a": float("nan")})


@given(st.binary(max_size=200), st.text(max_size=40))
def test_what_is_sealed_opens_under_its_context(plain: bytes, context: str) -> None:
    key = Key.new()
    assert key.open(key.seal(plain, context), context) == plain


def test_a_sealed_value_says_nothing_and_never_the_same_twice() -> None:
    key = Key.new()
    sealed = [key.seal(b"ann@example.org", "subject:1:traits") for _ in range(50)]
    assert len({one[1:13] for one in sealed}) == 50
    assert not any(b"ann" in one for one in sealed)


@pytest.mark.parametrize("at", [0, 1, 12, 13, 20, -1])
def test_a_changed_byte_is_noticed(at: int) -> None:
    key = Key.new()
    sealed = bytearray(key.seal(b"ann@example.org", "subject:1:traits"))
    sealed[at] ^= 1
    with pytest.raises(HubError) as refused:
        key.open(bytes(sealed), "subject:1:traits")
    assert refused.value.code == "unreadable"


def test_another_context_or_key_does_not_open_it_and_names_no_one() -> None:
    key = Key.new()
    sealed = key.seal(b"token", "account:tenant-one:https://api.example.org:443")
    for other, context in ((key, "account:tenant-two:https://api.example.org:443"), (Key.new(), "account:tenant-one")):
        with pytest.raises(HubError) as refused:
            other.open(sealed, context)
        assert "tenant" not in str(refused.value)


@pytest.mark.parametrize("cut", [b"", b"\x01", b"\x01" + bytes(12), b"\x02" + bytes(40)])
def test_what_was_never_sealed_is_unreadable(cut: bytes) -> None:
    with pytest.raises(HubError, match="unreadable"):
        Key.new().open(cut, "subject:1")


def test_the_keyed_hash_is_hmac_sha256() -> None:
    # RFC 4231 test case 2 has a shorter key; this one has the 32 bytes ours have.
    assert Key(bytes(32)).hash(b"x") == hmac.new(bytes(32), b"x", "sha256").digest()
    assert Key(bytes(32)).hash(b"x") != Key(b"\1" * 32).hash(b"x")


def test_derived_keys_are_repeatable_and_independent() -> None:
    key = Key(bytes(32))
    assert key.derive("lookup").raw() == key.derive("lookup").raw()
    assert len({key.raw(), key.derive("lookup").raw(), key.derive("answers").raw()}) == 3


@given(st.binary(min_size=32, max_size=32), st.text(max_size=40))
def test_a_derived_key_is_the_one_of_rfc_5869(raw: bytes, info: str) -> None:
    assert Key(raw).derive(info).raw() == HKDF(SHA256(), 32, None, info.encode()).derive(raw)


def test_a_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Key(bytes(31))


def test_secrets_and_keys_do_not_print() -> None:
    secret, key = Secret("hunter2"), Key(b"k" * 32)
    shown = f"{secret} {secret!r} {key} {key!r} {[secret, key]}"
    assert "hunter2" not in shown
    assert "kkk" not in shown
    assert secret.reveal() == "hunter2"


def test_secrets_compare_by_value_and_only_with_secrets() -> None:
    assert Secret("pässword") == Secret("pässword")
    assert Secret("one") != Secret("two")
    assert Secret("one") != "one"
    assert len({Secret("one"), Secret("one")}) == 1
    assert not Secret("")


def test_hash_and_base64_are_the_published_ones() -> None:
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert b64(b"\xff\xfe\xfd\xfc") == "//79/A=="
    assert b64url(b"\xff\xfe\xfd\xfc") == "__79_A"
