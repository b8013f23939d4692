"""Words and values of messages."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from tabellion.jobs.types import Lane
from tabellion.providers.base import Channel, Reason, State


class Status(StrEnum):
    QUEUED = "queued"
    HELD = "held"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    PARTIALLY_DELIVERED = "partially_delivered"
    SUPPRESSED = "suppressed"
    UNROUTABLE = "unroutable"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELED = "canceled"
    SIMULATED = "simulated"


class Success(StrEnum):
    """What a step must reach to end the plan."""

    SUBMITTED = "submitted"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"


class Trigger(StrEnum):
    """Why a step may hand over to the next."""

    ERROR = "error"
    REJECTED = "rejected"
    UNDELIVERED = "undelivered"
    TIMEOUT = "timeout"
    WINDOW_CLOSED = "window_closed"
    NO_TEMPLATE = "no_template"
    NO_ADDRESS = "no_address"
    SUPPRESSED = "suppressed"
    UNHEALTHY = "unhealthy"


class Guarantee(StrEnum):
    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


PRIORITIES: Mapping[str, Lane] = {
    "critical": Lane.CRITICAL,
    "high": Lane.HIGH,
    "normal": Lane.NORMAL,
    "bulk": Lane.BULK,
}


class Step(msgspec.Struct, frozen=True, gc=False):
    """One ordered way to deliver a message."""

    channel: Channel
    accounts: tuple[UUID, ...] = ()
    """The pool; empty: any account of the channel."""
    success: Success = Success.SUBMITTED
    within: timedelta | None = None
    on: frozenset[Trigger] = frozenset(Trigger) - {Trigger.TIMEOUT}
    identifier: str | None = None
    """Hex of the keyed hash of the address meant; None: the person has none of this channel."""
    sender: str | None = None
    """The one of our numbers it must come from; None: whatever the account sends from."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A channel the plan considered: chosen, or not and why."""

    channel: Channel
    chosen: bool
    reason: str
    verdict: Mapping[str, Any] | None = None


class Plan(msgspec.Struct, frozen=True, gc=False):
    steps: tuple[Step, ...]
    candidates: tuple[Candidate, ...] = ()
    rule: str = "route"
    """`route`: the steps of the call. `address`: the address in `to`. `auto`: the workspace's channel order.

    `answer`: back to whoever wrote to us."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A stored message without its content."""

    workspace_id: UUID
    id: UUID
    recipient_id: UUID
    purpose: str
    status: Status
    final: bool
    reason: str | None
    step: int
    lane: Lane
    guarantee: Guarantee
    send_at: datetime
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    plan: Plan
    decisions: Sequence[Mapping[str, Any]]
    """Why steps ended of which no attempt tells: `{at, step, stage, reason, …verdict}`."""
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    content: bytes = b""
    """Sealed; empty unless it was asked for."""


class Attempt(msgspec.Struct, frozen=True, gc=False):
    workspace_id: UUID
    id: UUID
    message_id: UUID
    recipient_id: UUID
    step: int
    purpose: str
    channel: Channel
    identifier: bytes
    account_id: UUID
    provider: str
    state: State
    started_at: datetime
    reason: Reason | None = None
    permanent: bool = False
    provider_message_id: str | None = None
    provider_code: str | None = None
    detail: str | None = None
    decision: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """The verdict at hand-off: the second decision, the one that counts."""
    ended_at: datetime | None = None


class Place(NamedTuple):
    """Which attempt, of what, to whom: enough to put evidence on it."""

    workspace_id: UUID
    message_id: UUID
    id: UUID
    recipient_id: UUID
    identifier: bytes
    """The hash of the address it went to."""


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """A fact about an attempt, from an answer, a callback or a lost lease."""

    attempt_id: UUID
    state: State
    reason: Reason | None = None
    permanent: bool = False
    provider_message_id: str | None = None
    provider_code: str | None = None
    detail: str | None = None
    occurred_at: datetime | None = None
    """The vendor's time, where it says one."""
    received_at: datetime | None = None
    """When a callback arrived; None: it is recorded as it arrives."""
    raw_ref: UUID | None = None
    """The callback that said so."""
    normaliser: str | None = None
    """The adapter that read it, and its version: `twilio/1`."""


class Happening(msgspec.Struct, frozen=True, gc=False):
    """Something that happened to a message, on its way to the event log."""

    type: str
    attempt: Attempt | None = None
    evidence: Evidence | None = None
    """What it is known from."""
    data: Mapping[str, Any] = msgspec.field(default_factory=dict)


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to say, as stored (sealed)."""

    text: str
    subject: str | None = None
    html: str | None = None
    reply_to: str | None = None
    headers: dict[str, str] = {}
    by_channel: dict[str, dict[str, str]] = {}

    def on(self, channel: Channel) -> "Content":
        """The content for one channel: its own variant over the common one."""
        own = self.by_channel.get(channel.value)
        return msgspec.structs.replace(self, **own) if own else self
