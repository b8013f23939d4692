"""Words and values of suppressions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final
from uuid import UUID

from tabellion.consent.types import KeptEntry, Rank, Strength
from tabellion.recipients.types import Identifier

REASONS: Final = ("stop", "complaint", "erased", "objected", "withdrawn", "denied")
"""How a suppression came about, where that says more than what it is; else what the person decided."""


class Became(Enum):
    """What became of a row of a list; each is what a report calls it."""

    APPLIED = "applied"
    ALREADY = "already"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Standing:
    """A restriction that is in force."""

    entry: KeptEntry
    identifier_kind: str | None
    identifier_hash: bytes | None = field(repr=False)
    whole_person: bool
    rank: Rank
    strength: Strength
    reason: str
    """One of `REASONS`."""

    @property
    def plain(self) -> bool:
        """Whether it may be lifted by somebody else than the person."""
        return self.strength is Strength.PLAIN and self.rank <= Rank.SECRET_KEY


@dataclass(frozen=True, slots=True)
class Listed:
    """A suppression with what is shown beside it."""

    standing: Standing
    address: tuple[str, str] | None
    """Kind and value, as they were recorded; None where that does not open any more, or the person is meant."""
    senders: Collection[str] = ()
    """Of ours, those that a vendor refuses for this number."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which suppressions to list; None is no condition."""

    hash: bytes | None = field(default=None, repr=False)
    """Those that cover this address: its own, and those of its person."""
    people: Sequence[UUID] = ()
    channel: str | None = None
    purpose: str | None = None
    reason: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A suppression of one address, as a list has it."""

    kind: str
    value: str
    channel: str
    purpose: str
    reason: str
    occurred_at: datetime | None
    source: str


Owned = Mapping[UUID, Sequence[Identifier]]
"""The identifiers of people."""
