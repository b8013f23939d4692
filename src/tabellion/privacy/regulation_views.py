"""What the routes of regulations take and give."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from tabellion.core import ids
from tabellion.privacy.orders import Options, PrivacySettings, Regulation, State, SystemState, Type
from tabellion.recipients.types import RecipientRef

Said = Annotated[str, Meta(min_length=1, max_length=200)]


class RegulationBody(Struct, frozen=True, forbid_unknown_fields=True):
    """An order on a person's data, and how you know that it is theirs to give."""

    type: Type
    recipient: RecipientRef
    verified_by: Said
    """How the person's identity was verified, as `support ticket 4711`; no personal data, it stands in the audit."""
    due_at: datetime | None = None
    """Until when it must be done; 30 days where it is left out."""
    immediate: bool = False
    """Of an erasure: without 24 hours to take it back. Needs a compliance key."""
    keep_opt_outs: bool = True
    """Of an erasure: keyed hashes of the addresses stay, with what was refused, so that no import brings them back."""
    purposes: Annotated[list[Said], Meta(max_length=50)] = []
    """Of an objection: to what; marketing where it is left out."""
    reason: Annotated[str, Meta(max_length=500)] = ""
    """Of an export that is to be evidence: what for, as `case 12/2026`. It stands in `custody.json`."""

    def options(self) -> Options:
        return Options(self.immediate, self.keep_opt_outs, tuple(self.purposes), self.reason)


class ReportBody(Struct, frozen=True, forbid_unknown_fields=True):
    note: Annotated[str, Meta(min_length=1, max_length=500)]
    """What was done, as `erasure request 17 at the vendor, confirmed`."""


class SystemView(Struct, frozen=True):
    state: SystemState
    """`manual`: somebody has to see to it; say so with POST …/systems/{system}."""
    detail: Mapping[str, Any]
    at: datetime | None


class RegulationView(Struct, frozen=True):
    id: str
    type: Type
    state: State
    recipient_id: str
    requested_by: str
    verified_by: str
    created_at: datetime
    execute_at: datetime
    """From then on it cannot be taken back."""
    due_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    cancelled_by: str | None
    cancelled_at: datetime | None
    erased_at: datetime | None
    """When the person's keys were destroyed: from then on nothing sealed for them can be read."""
    done_at: datetime | None
    backups_expire_at: datetime | None
    """When no backup can be read either."""
    systems: dict[str, SystemView]
    reason: str
    """Of an export: what it is evidence for; else empty."""
    in_flight: list[str]
    """In the answer to an order that stops what is sent: the attempts that had started before. Else empty."""


class RegulationPage(Struct, frozen=True):
    data: list[RegulationView]
    next_cursor: str | None


class KeySetView(Struct, frozen=True):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, str]]


class PrivacySettingsView(Struct, frozen=True):
    settings: PrivacySettings
    updated_at: datetime | None


def shown(one: Regulation) -> RegulationView:
    return RegulationView(
        id=one.shown,
        type=one.type,
        state=one.state,
        recipient_id=ids.show("rcp", one.recipient_id),
        requested_by=one.requested_by,
        verified_by=one.verified_by,
        created_at=one.created_at,
        execute_at=one.execute_at,
        due_at=one.due_at,
        approved_by=one.approved_by,
        approved_at=one.approved_at,
        cancelled_by=one.cancelled_by,
        cancelled_at=one.cancelled_at,
        erased_at=one.erased_at,
        done_at=one.done_at,
        backups_expire_at=one.backups_expire_at,
        systems={name: SystemView(system.state, system.detail, system.at) for name, system in one.systems.items()},
        reason=one.options.reason,
        in_flight=[ids.show("att", attempt) for attempt in one.in_flight],
    )
