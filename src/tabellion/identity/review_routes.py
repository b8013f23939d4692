"""`/v1/reviews`: list, read, accept, reject."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter, QueryParameter
from msgspec import Meta, Struct, to_builtins

from tabellion.access.answers import Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.problems import problem
from tabellion.access.types import Caller
from tabellion.consent.types import Basis, Decision, Method
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.identity.queue import Queue
from tabellion.identity.review_types import (
    Candidate,
    Decided,
    Grant,
    Identities,
    Reply,
    Review,
    ReviewKind,
    ReviewStale,
    ReviewState,
    Told,
)
from tabellion.identity.reviews import Reviews, would
from tabellion.ledger.ordinals import InLog
from tabellion.recipients.types import KindName, NewRecipient

Name = Annotated[str, Parameter(max_length=512)]
InState = Annotated[
    str | None,
    QueryParameter(name="state", pattern=f"^({'|'.join(ReviewState)})$", schema_extra={"enum": list(ReviewState)}),
]
OfKind = Annotated[
    str | None, Parameter(pattern=f"^({'|'.join(ReviewKind)})$", schema_extra={"enum": list(ReviewKind)})
]


class DecideBody(Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(min_length=1, max_length=500)] | None = None


class ReviewView(Struct, frozen=True, kw_only=True):
    """Something that no rule may decide."""

    id: str
    kind: ReviewKind
    state: ReviewState
    recipients: list[str]
    """Whom it concerns, less those who were erased."""
    source: str
    seen: int
    """How often it came."""
    created_at: datetime
    last_seen_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    """The key that decided; `hub` where the people changed before anybody did."""


class ReviewPage(Struct, frozen=True):
    data: list[ReviewView]
    next_cursor: str | None


class BroughtIdentifier(Struct, frozen=True):
    """As the source named it."""

    kind: KindName
    value: str
    verified: bool


class BroughtView(Struct, frozen=True):
    """What the source says of one person."""

    identifiers: list[BroughtIdentifier]
    profile: dict[str, Any]
    """`locale`, `time_zone` and `traits`, as far as it says something of them."""


class IdentityConflictView(Struct, frozen=True):
    detail: str
    candidates: list[Candidate]
    brought: BroughtView


class ConsentConflictView(Struct, frozen=True):
    """A grant that a source brought, and that a standing restriction refused."""

    entry_id: str
    """Of the refused grant in the ledger."""
    log_index: int
    refused_because: str
    recipient_id: str
    identifier: BroughtIdentifier
    channel: str
    purpose: str
    decision: Decision
    basis: Basis | None
    method: Method
    source: str
    notice: dict[str, Any] | None
    evidence: dict[str, Any] | None
    occurred_at: datetime | None
    log: InLog = None


class UnclearReplyView(Struct, frozen=True):
    """What a person wrote that refused without saying STOP, and the restriction of marketing that was recorded."""

    entry_id: str
    log_index: int
    recipient_id: str
    address: str
    channel: str
    text: str
    log: InLog = None


class ReviewDetail(ReviewView, frozen=True, kw_only=True):
    """An item with its evidence, which is null once somebody it concerns was erased."""

    reason: str | None
    identity: IdentityConflictView | None
    consent: ConsentConflictView | None
    reply: UnclearReplyView | None
    accepting: str | None
    """What accepting it does, while it is open."""


class MergedOutcome(Struct, frozen=True):
    recipient_id: str
    merges: list[str]
    """Split takes each back."""


class RecordedOutcome(Struct, frozen=True):
    """What the rules made of the grant."""

    entry_id: str | None
    decision: Decision
    applied: bool
    reason: str | None


class AcceptedView(ReviewView, frozen=True, kw_only=True):
    merged: MergedOutcome | None
    recorded: RecordedOutcome | None


def routes(edge: Edge, queue: Queue, reviews: Reviews) -> list[HTTPRouteHandler]:
    """The routes of the review queue."""

    @get("/v1/reviews", opt={"scope": "reviews:read"}, tags=["Reviews"], summary="List what is to be decided")
    async def list_reviews(
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
        in_state: InState = None,
        kind: OfKind = None,
    ) -> ReviewPage:
        """Items, newest first; read one for its evidence. Imports open them, and what they open twice is one item."""
        before = read_cursor(cursor)
        wanted = ReviewState(in_state) if in_state else None, ReviewKind(kind) if kind else None
        async with edge.db.transaction() as tx:
            found = await queue.page(tx, caller.workspace_id, *wanted, before, limit)
        return ReviewPage([ReviewView(**_fields(one)) for one in found], next_cursor([one.id for one in found], limit))

    @get("/v1/reviews/{review_id:str}", opt={"scope": "reviews:read"}, tags=["Reviews"], summary="Read a review")
    async def read_review(caller: Caller, review_id: Name) -> ReviewDetail:
        """Who and what is in conflict, where it came from, and what accepting it does."""
        wanted = ids.parse("rev", review_id)
        async with edge.db.transaction() as tx:
            return _detail(await queue.read(tx, caller.workspace_id, wanted))

    @post(
        "/v1/reviews/{review_id:str}/accept", status_code=200, tags=["Reviews"], summary="Accept a review",
        opt={"scope": "reviews:write", "example": {"reason": "same customer number on paper"}},
    )  # fmt: skip
    async def accept_review(
        request: Request[Any, Any, Any], caller: Caller, review_id: Name, data: DecideBody
    ) -> Response[AcceptedView]:
        """Of an identity conflict: the recipients become one, and what was brought is applied.

        Of a consent conflict: the grant is recorded as one of your key, with its own notice, evidence and time. It
        lifts a plain restriction that is older if notice and evidence are complete; otherwise it is `pending`. An
        objection, a complaint or a STOP it never lifts. Once the people changed meanwhile: 409 `review_stale`.
        """
        wanted = ids.parse("rev", review_id)

        # Said, not raised, when it is too late: that the item is superseded stays.
        async def work(tx: Tx) -> tuple[int, Any]:
            done = await reviews.accept(tx, caller.workspace_id, wanted, caller.actor, data.reason)
            return (409, problem(done)) if isinstance(done, ReviewStale) else (200, _accepted(done))

        return await edge.mutate(request, caller, "reviews:write", work)

    @post(
        "/v1/reviews/{review_id:str}/reject", status_code=200, tags=["Reviews"], summary="Reject a review",
        opt={"scope": "reviews:write", "example": {"reason": "father and son"}},
    )  # fmt: skip
    async def reject_review(
        request: Request[Any, Any, Any], caller: Caller, review_id: Name, data: DecideBody
    ) -> Response[ReviewView]:
        """Nothing changes, and the same conflict opens no item any more."""
        wanted = ids.parse("rev", review_id)

        async def work(tx: Tx) -> tuple[int, ReviewView]:
            review = await reviews.reject(tx, caller.workspace_id, wanted, caller.actor, data.reason)
            return 200, ReviewView(**_fields(review))

        return await edge.mutate(request, caller, "reviews:write", work)

    return [list_reviews, read_review, accept_review, reject_review]


def _fields(review: Review) -> dict[str, Any]:
    return {
        "id": ids.show("rev", review.id),
        "kind": review.kind,
        "state": review.state,
        "recipients": [ids.show("rcp", one) for one in review.recipients],
        "source": review.source,
        "seen": review.seen,
        "created_at": review.created_at,
        "last_seen_at": review.last_seen_at,
        "decided_at": review.decided_at,
        "decided_by": review.decided_by,
    }


def _detail(told: Told) -> ReviewDetail:
    review, evidence = told.review, told.evidence
    opened = evidence is not None and review.state is ReviewState.OPEN
    return ReviewDetail(
        **_fields(review),
        reason=told.reason,
        identity=_identities(evidence) if isinstance(evidence, Identities) else None,
        consent=_grant(evidence) if isinstance(evidence, Grant) else None,
        reply=_reply(evidence) if isinstance(evidence, Reply) else None,
        accepting=would(review, evidence) if opened and evidence is not None else None,
    )


def _identities(evidence: Identities) -> IdentityConflictView:
    return IdentityConflictView(evidence.detail, list(evidence.candidates), _brought(evidence.brought))


def _brought(unit: NewRecipient) -> BroughtView:
    identifiers = [BroughtIdentifier(one.kind, one.value, one.verified) for one in unit.identifiers]
    return BroughtView(identifiers, to_builtins(unit.profile))


def _grant(grant: Grant) -> ConsentConflictView:
    return ConsentConflictView(
        entry_id=ids.show("cns", grant.entry_id),
        log_index=grant.log_index,
        log=grant.log,
        refused_because=grant.refused_because,
        recipient_id=ids.show("rcp", grant.recipient_id),
        identifier=BroughtIdentifier(grant.kind, grant.value, False),
        channel=grant.channel,
        purpose=grant.purpose,
        decision=grant.decision,
        basis=grant.basis,
        method=grant.method,
        source=grant.source,
        notice={"id": grant.notice[0], "version": grant.notice[1]} if grant.notice else None,
        evidence=dict(grant.evidence) if grant.evidence is not None else None,
        occurred_at=grant.occurred_at,
    )


def _reply(reply: Reply) -> UnclearReplyView:
    return UnclearReplyView(
        entry_id=ids.show("cns", reply.entry_id),
        log_index=reply.log_index,
        log=reply.log,
        recipient_id=ids.show("rcp", reply.recipient_id),
        address=reply.address,
        channel=reply.channel,
        text=reply.text,
    )


def _accepted(done: Decided) -> AcceptedView:
    return AcceptedView(**_fields(done.review), merged=_merged(done), recorded=_recorded(done))


def _merged(done: Decided) -> MergedOutcome | None:
    if done.decision is not None:
        return None
    return MergedOutcome(ids.show("rcp", done.recipient_id), [ids.show("mrg", one) for one in done.merges])


def _recorded(done: Decided) -> RecordedOutcome | None:
    if done.decision is None:
        return None
    entry = ids.show("cns", done.entry_id) if done.entry_id else None
    return RecordedOutcome(entry, done.decision, bool(done.applied), done.because)
