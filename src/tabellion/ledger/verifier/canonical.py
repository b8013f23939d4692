"""Canonical JSON (RFC 8785) over objects, arrays, strings, integers, booleans and null, read strictly.

Keys are ASCII and integers lie within ±(2^53−1): there, Python's sorted compact form is the canonical one.
"""

import base64
import binascii
import json
from typing import Any, Final

_LARGEST: Final = 2**53 - 1
_DEPTH: Final = 16


def read(said: bytes | str) -> Any:
    """The value. Raises `ValueError` for what canonical JSON cannot say, and for keys that occur twice."""
    try:
        value = json.loads(said, object_pairs_hook=_once, parse_float=_refuse, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(value, 0)
    return value


def write(value: Any) -> bytes:
    """The canonical form of what `read` gave."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def unpadded(text: str) -> bytes:
    """The bytes of unpadded base64url. Raises `ValueError` for any other text."""
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not unpadded base64url") from None
    if base64.urlsafe_b64encode(value).rstrip(b"=").decode() != text:
        raise ValueError("not unpadded base64url")
    return value


def padded(text: str) -> bytes:
    """The bytes of standard base64. Raises `ValueError` for any other text."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not standard base64") from None
    if not value or base64.b64encode(value).decode() != text:
        raise ValueError("not standard base64")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs) or not all(key.isascii() for key in found):
        raise ValueError("a key occurs twice, or is not ASCII")
    return found


def _refuse(number: str) -> Any:
    raise ValueError(f"{number[:20]} is no integer")


def _check(value: Any, depth: int) -> None:
    if depth > _DEPTH:
        raise ValueError("nested too deeply")
    match value:
        case bool() | str() | None:
            return
        case int():
            if not -_LARGEST <= value <= _LARGEST:
                raise ValueError("an integer beyond 2^53")
        case dict():
            for inner in value.values():
                _check(inner, depth + 1)
        case list():
            for inner in value:
                _check(inner, depth + 1)
        case _:
            raise ValueError("neither object, array, string, integer, boolean nor null")
