"""What a witness can come to, and what is kept of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from tabellion.ledger.note import Cosignature
from tabellion.ledger.types import LogId
from tabellion.ledger.witness.policy import Member


@dataclass(frozen=True, slots=True)
class Due:
    """A log's signed head, for witnesses to cosign."""

    log: LogId
    origin: str
    size: int
    checkpoint: str
    """The signed note."""


@dataclass(frozen=True, slots=True)
class Cosigned:
    """It cosigned what it was sent; verified."""

    cosignature: Cosignature


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """It stands at another size than the one named (409)."""

    size: int


@dataclass(frozen=True, slots=True)
class Inconsistent:
    """It holds a checkpoint that this one does not go on from (422)."""


@dataclass(frozen=True, slots=True)
class Unhelpful:
    """No cosignature, and nothing learnt. In words for the operator."""

    trouble: str
    of_log: bool = False
    """It is this log that it has trouble with; otherwise any log would fare the same."""
    retry_after: float | None = None
    """Seconds that it asked to be left alone."""


Outcome: TypeAlias = Cosigned | Elsewhere | Inconsistent | Unhelpful


@dataclass(frozen=True, slots=True)
class Standing:
    """What one round learnt of a witness and a log."""

    member: Member
    size: int
    """Of the checkpoint that it cosigned last."""
    cosignature: Cosignature | None = None
    """Of the head it was asked about."""
    unhelpful: Unhelpful | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """A witness that does not do its part for a log."""

    witness: str
    """Its verifier key."""
    origin: str
    trouble: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """A log whose published head is behind."""

    origin: str
    size: int
    published: int | None
    """The size that others see; None: nothing was published yet under this policy."""
