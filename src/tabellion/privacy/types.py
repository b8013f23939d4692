"""Words and values of privacy."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from msgspec.structs import astuple

LONGEST: Final = 36_500
Days = Annotated[int, Meta(ge=1, le=LONGEST)]
IdleDays = Annotated[int, Meta(ge=30, le=LONGEST)]
"""Less than a month would erase those who are merely between two letters."""
ProofDays = Annotated[int, Meta(ge=0, le=LONGEST)]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many days a workspace side keeps what; None is for ever."""

    callbacks: Days | None = 90
    """What vendors sent, as it arrived. What became of messages by it stays."""
    content: Days | None = 365
    """What messages said, from the day they were accepted; of one that is not final, until it is."""
    events: Days | None = 400
    """What the log says happened; of a message that is not final, until it is. Never what a follower has not read."""
    recipients: IdleDays | None = None
    """Whom nobody named, wrote to or recorded a decision of, since then: they are erased, as by an order."""
    proofs: ProofDays = 1095
    """Of an erased person: proof of a consent, from the last message that relied on it. 0: none is kept."""
    proofs_by_purpose: dict[str, ProofDays] = {}
    """The same for single purposes."""

    def proof_days(self, purpose: str) -> int:
        """For how many days consents to a purpose stay provable after the last message that relied on them."""
        return self.proofs_by_purpose.get(purpose, self.proofs)


class Applied(msgspec.Struct, frozen=True):
    """What one round ended on one side, or on all."""

    callbacks: int = 0
    contents: int = 0
    events: int = 0
    recipients: int = 0
    """Whose erasure was ordered."""
    proofs: int = 0

    def __add__(self, other: "Applied") -> "Applied":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Applied(*(one + another for one, another in pairs))


class Round(msgspec.Struct, frozen=True):
    """The last round on a side: when, and what it ended."""

    at: datetime
    ended: Applied


class Standing(msgspec.Struct, frozen=True):
    """A side's policy, and when it was set, None where it is the default; and the last round, None before the first."""

    policy: Policy
    updated_at: datetime | None = None
    last_round: Round | None = None
