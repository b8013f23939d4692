"""Secrets that do not print, sealing, keyed hashes, canonical JSON. All primitives are `cryptography`'s or the
standard library's.
"""

import base64
import hashlib
import hmac
import json
import os
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tabellion.core.errors import HubError

_VERSION: Final = b"\x01"
_NONCE: Final = 12


class Secret:
    """A string that shows itself only through `reveal()`: logs, errors and reprs print dots."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret('••••')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __bool__(self) -> bool:
        return bool(self._value)


class Key:
    """A 256-bit key that seals (AES-256-GCM, fresh nonce, context as associated data), hashes and derives."""

    __slots__ = ("_aead", "_raw")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != 32:
            raise ValueError("a key has 32 bytes")
        self._raw = raw
        self._aead: AESGCM | None = None

    @classmethod
    def new(cls) -> "Key":
        return cls(os.urandom(32))

    def raw(self) -> bytes:
        return self._raw

    def seal(self, plain: bytes, context: str) -> bytes:
        """The sealed value. It opens only with the same key and the same context."""
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._cipher().encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The value sealed under this key and context. Raises `unreadable` when key, context or bytes differ."""
        if sealed[:1] != _VERSION or len(sealed) <= 1 + _NONCE:
            raise HubError("unreadable", f"a sealed value ({context.split(':')[0]}) has an unknown form", 500)
        try:
            return self._cipher().decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], context.encode())
        except InvalidTag:
            kind = context.split(":")[0]
            raise HubError("unreadable", f"a sealed value ({kind}) does not open with its key", 500) from None

    def hash(self, value: bytes) -> bytes:
        """HMAC-SHA256 under this key."""
        return hmac.digest(self._raw, value, "sha256")

    def derive(self, info: str) -> "Key":
        """An independent key for one use (HKDF-SHA256, RFC 5869)."""
        # One block, as 32 bytes are: no salt in the extract, and the counter behind the info in the expand.
        extracted = hmac.digest(bytes(32), self._raw, "sha256")
        return Key(hmac.digest(extracted, info.encode() + b"\x01", "sha256"))

    def _cipher(self) -> AESGCM:
        if self._aead is None:
            self._aead = AESGCM(self._raw)
        return self._aead

    def __repr__(self) -> str:
        return "Key(••••)"


def sha256(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def canonical(value: Any) -> bytes:
    """RFC 8785 JSON of objects, arrays, strings, booleans and integers within ±(2^53−1). Keys must be ASCII.

    Within those limits msgspec's sorted form is the canonical form, to the last escape.
    """
    said = msgspec.json.encode(value, order="sorted")
    if b"null" in said:  # which is also what msgspec writes for what is no number
        json.dumps(value, allow_nan=False)
    return said


def b64(value: bytes) -> str:
    """Standard base64, padded."""
    return base64.b64encode(value).decode()


def b64url(value: bytes) -> str:
    """URL-safe base64, unpadded."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
