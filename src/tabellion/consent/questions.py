"""What the gate and others ask of consent, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from tabellion.consent import inputs
from tabellion.consent.types import Purpose, Standing
from tabellion.ledger import ordinals
from tabellion.providers.base import Channel
from tabellion.recipients.types import Health, Ref


@dataclass(frozen=True, slots=True)
class Inputs:
    """What else may refuse a send. Holds and legal windows stay open until their domains exist."""

    processing_restricted: bool = False
    hold: str | None = None
    vendor_block: bool = False
    identifier_health: str | None = None
    under_age: bool = False
    age_unknown: bool = False
    """Of a purpose with a minimum age."""
    window_closed: bool = False


OPEN: Final = Inputs()


class Question(msgspec.Struct, frozen=True, gc=False):
    """May purpose P go out on channel C to recipient R at identifier I?"""

    workspace_id: UUID
    recipient_id: UUID | None
    """The merge root; None for an address nobody has."""
    identifier_hash: bytes | None
    """None: the person has no address on the channel."""
    kind: str | None
    channel: Channel
    purpose: str
    sender: str | None = None
    """Our number or address, where known; without one a vendor block of any of our senders counts."""
    health: Health = Health.OK
    """Of the identifier."""


class Looked(msgspec.Struct, frozen=True, gc=False):
    """What a verdict looked at."""

    purpose: Purpose
    grant: Standing | None
    restrictions: Sequence[Standing]
    inputs: Inputs

    def said(self) -> dict[str, Any]:
        """The inputs of an answer, for the explanation."""
        grant, inputs = self.grant, self.inputs
        return {
            "purpose": self.purpose.key,
            "unknown": "allowed" if self.purpose.unknown_allowed else "denied",
            "grant": grant.ordinal if grant else None,
            "lifts": sorted(grant.lifts) if grant else [],
            "restrictions": [entry.ordinal for entry in self.restrictions],
            "vendor_block": inputs.vendor_block,
            "hold": inputs.hold,
            "identifier_health": inputs.identifier_health,
            "processing_restricted": inputs.processing_restricted,
            "under_age": inputs.under_age,
            "age_unknown": inputs.age_unknown,
            "legal_window": "closed" if inputs.window_closed else "open",
        }


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The answer to a question: the rule that gave it, the entry it rests on, what was looked at; all by ordinals."""

    verdict: str
    """`allowed`, `denied` or `unknown`."""
    sendable: bool
    reason: str
    rule: str
    ordinal: int | None = None
    entry_id: UUID | None = None
    looked: Looked | None = None

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What was looked at, in words. Said only where it is asked for: most verdicts are acted on, not explained."""
        return self.looked.said() if self.looked else {}

    @property
    def log_index(self) -> int | None:
        return None if self.ordinal is None else ordinals.index(self.ordinal)

    @property
    def log(self) -> str | None:
        return None if self.ordinal is None else ordinals.log(self.ordinal)

    @property
    def told(self) -> dict[str, Any]:
        """The inputs as answers say them."""
        return inputs.told(self.inputs)


@dataclass(frozen=True, slots=True)
class Ask:
    """May it be sent to this person? `recipient` and `identifier` as a request names them."""

    recipient: Ref
    channel: Channel
    purpose: str
    identifier: Ref | None = None
