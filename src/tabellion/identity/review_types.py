"""Words and values of the review queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from tabellion.consent.types import Basis, Decision, Method, Scheme
from tabellion.core.errors import Conflict, NotFound
from tabellion.recipients.types import KindName, NewRecipient


class ReviewKind(StrEnum):
    """What is in conflict."""

    IDENTITY_CONFLICT = "identity_conflict"
    """A row says of two recipients that they are one, or gives one a second external_id."""
    CONSENT_CONFLICT = "consent_conflict"
    """A source grants what the person restricted."""
    UNCLEAR_REPLY = "unclear_reply"
    """A person refused without saying STOP: marketing to the number stopped, and the rest goes on."""


class ReviewState(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    """The people changed before anybody decided."""


class Candidate(msgspec.Struct, frozen=True):
    """One of those in conflict, as they were when it was seen last."""

    id: str | None
    """None: nobody has this external_id yet."""
    external_id: str | None
    identifiers: Sequence[str]
    """The kinds of all they have."""
    claimed: Sequence[str]
    """The kinds of those, of what was brought, that are theirs."""
    address_only: bool
    created_at: datetime | None
    sources: Sequence[str]
    """Where their identifiers came from."""


class Identities(msgspec.Struct, frozen=True, tag="identity_conflict"):
    """The evidence of an identity conflict."""

    detail: str
    candidates: Sequence[Candidate]
    brought: NewRecipient


class Grant(msgspec.Struct, frozen=True, tag="consent_conflict"):
    """The evidence of a consent conflict: the grant as it was refused, with all that recording it again takes."""

    entry_id: UUID
    log_index: int
    refused_because: str
    recipient_id: UUID
    kind: KindName
    value: str
    channel: str
    purpose: str
    decision: Decision
    basis: Basis | None
    method: Method
    source: str
    notice: tuple[str, str | int] | None
    evidence: Mapping[str, Any] | None
    scheme: Scheme | None
    jurisdiction: str | None
    expires_at: datetime | None
    occurred_at: datetime | None
    log: str | None = None
    """The log that the entry stands in, where that is not the first."""


class Reply(msgspec.Struct, frozen=True, tag="unclear_reply"):
    """The evidence of an unclear reply: what the person wrote, and what was recorded of it."""

    entry_id: UUID
    log_index: int
    recipient_id: UUID
    address: str
    channel: str
    text: str
    source: str
    sender: str | None
    account: str
    log: str | None = None
    """As of a grant."""


Evidence: TypeAlias = Identities | Grant | Reply


@dataclass(frozen=True, slots=True)
class NewReview:
    """Something for people to decide. `conflict` is what it is about, for finding it again; it need not be readable."""

    kind: ReviewKind
    conflict: Sequence[bytes]
    recipients: Sequence[UUID]
    source: str
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Review:
    """An item of the queue, as it is stored."""

    id: UUID
    kind: ReviewKind
    state: ReviewState
    dedupe: bytes
    recipients: Sequence[UUID]
    source: str
    sealed: bytes | None
    seen: int
    created_at: datetime
    last_seen_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    reason: bytes | None


@dataclass(frozen=True, slots=True)
class Told:
    """An item with what can be read of it; nothing once one of the persons was erased."""

    review: Review
    evidence: Evidence | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Decided:
    """An item that was accepted, and what that led to."""

    review: Review
    recipient_id: UUID
    """The one person it is about now."""
    merges: Sequence[UUID] = ()
    entry_id: UUID | None = None
    """Of a consent conflict that was accepted: the entry, what it says, and whether it is in force."""
    decision: Decision | None = None
    applied: bool | None = None
    because: str | None = None


class UnknownReview(NotFound):
    def __init__(self, shown: str) -> None:
        super().__init__("review_not_found", f"there is no review {shown} here; GET /v1/reviews lists them")


class ReviewDecided(Conflict):
    def __init__(self, shown: str, state: ReviewState) -> None:
        super().__init__("review_decided", f"{shown} is {state} already; GET it to see by whom")


class ReviewStale(Conflict):
    """It cannot be accepted any more; the item says so from then on."""

    def __init__(self, why: str) -> None:
        super().__init__("review_stale", f"{why}; the review is superseded, and opens anew should it come again")
