"""Words and values of privacy."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

LONGEST: Final = 36_500
Days = Annotated[int, Meta(ge=1, le=LONGEST)]
ProofDays = Annotated[int, Meta(ge=0, le=LONGEST)]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many days a workspace side keeps what; None is for ever."""

    callbacks: Days | None = 90
    """What vendors sent, as it arrived. What became of messages by it stays."""
    content: Days | None = 365
    """What messages said, from the day they were accepted; of one that is not final, until it is."""
    proofs: ProofDays = 1095
    """Of an erased person: proof of a consent, from the last message that relied on it. 0: none is kept."""
    proofs_by_purpose: dict[str, ProofDays] = {}
    """The same for single purposes."""

    def proof_days(self, purpose: str) -> int:
        """For how many days consents to a purpose stay provable after the last message that relied on them."""
        return self.proofs_by_purpose.get(purpose, self.proofs)


class Applied(msgspec.Struct, frozen=True):
    """What one round ended on one side."""

    callbacks: int = 0
    contents: int = 0


class Standing(msgspec.Struct, frozen=True):
    """A side's policy, and when it was set; None where it is the default."""

    policy: Policy
    updated_at: datetime | None = None
