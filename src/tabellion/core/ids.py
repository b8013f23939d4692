"""Ids: UUIDv7 inside, TypeID outside (`rcp_01h…`).

TypeID 0.3 (https://github.com/jetify-com/typeid, read 2026-11-21): prefix, `_`, and the 128 bits in 26 characters of
Crockford's base32, lower case, first character at most `7`.
"""

import os
import time
from datetime import datetime
from typing import NewType
from uuid import UUID

from tabellion.core.errors import NotFound

WorkspaceId = NewType("WorkspaceId", UUID)
"""One *side* (live or test) of a workspace. Every query takes it."""
RecipientId = NewType("RecipientId", UUID)
MessageId = NewType("MessageId", UUID)
AttemptId = NewType("AttemptId", UUID)
AccountId = NewType("AccountId", UUID)
EventId = NewType("EventId", UUID)
EntryId = NewType("EntryId", UUID)

FIRST = UUID(int=0)
LAST = UUID(int=(1 << 128) - 1)
"""No id sorts before, or after. A page that begins, or ends, at one has a bound that an index is read by."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_THIRTY_BITS = (1 << 30) - 1
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}


def new() -> UUID:
    """A new UUIDv7 (RFC 9562): 48 bits of milliseconds, 12 of a fraction of one (method 3 of its 6.2), 62 random bits.

    Sorts by creation time, to a quarter of a microsecond.
    """
    random = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    stamp, rest = divmod(time.time_ns(), 1_000_000)
    return UUID(int=stamp << 80 | 0x7 << 76 | (rest << 12) // 1_000_000 << 64 | 0b10 << 62 | random)


def floor(moment: datetime) -> UUID:
    """The lowest id that can be made at moment: what was made before sorts below it."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def show(prefix: str, value: UUID) -> str:
    """The TypeID of value: what people and the API see."""
    # In parts that a machine word holds, and spelled out: a loop over all 128 bits takes twice as long.
    number = value.int
    a, b, c, d = number >> 90, number >> 60 & _THIRTY_BITS, number >> 30 & _THIRTY_BITS, number & _THIRTY_BITS
    return (
        f"{prefix}_{_PAIRS[a >> 30]}{_PAIRS[a >> 20 & 1023]}{_PAIRS[a >> 10 & 1023]}{_PAIRS[a & 1023]}"
        f"{_PAIRS[b >> 20]}{_PAIRS[b >> 10 & 1023]}{_PAIRS[b & 1023]}"
        f"{_PAIRS[c >> 20]}{_PAIRS[c >> 10 & 1023]}{_PAIRS[c & 1023]}"
        f"{_PAIRS[d >> 20]}{_PAIRS[d >> 10 & 1023]}{_PAIRS[d & 1023]}"
    )


def parse(prefix: str, text: str) -> UUID:
    """The UUID behind a TypeID of this prefix. Anything else does not exist: NotFound."""
    head, _, tail = text.rpartition("_")
    try:
        if head != prefix or len(tail) != 26 or tail[0] > "7":
            raise KeyError(text)
        number = 0
        for letter in tail:
            number = number << 5 | _VALUES[letter]
        return UUID(int=number)
    except KeyError:
        raise NotFound("not_found", f"'{text[:64]}' is not an id of the form {prefix}_…; check the id") from None
