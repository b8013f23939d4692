"""`/v1/consents`: record a decision, check whether one may send."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from tabellion.access.answers import Answer
from tabellion.access.calls import Call
from tabellion.access.edge import Edge, hot
from tabellion.access.grouped import Grouped
from tabellion.access.public import Accepted, accepted
from tabellion.access.types import Caller
from tabellion.consent.public import PublicDecisions
from tabellion.consent.questions import Ask, Verdict
from tabellion.consent.record import refuse_claims
from tabellion.consent.service import Consent
from tabellion.consent.types import Basis, Decision, Method, NewDecision, Notice, Rank, Recorded, Scheme
from tabellion.core import ids
from tabellion.core.batching import Batcher
from tabellion.core.crypto import b64
from tabellion.core.db import Database, Tx
from tabellion.core.errors import FieldError, HubError, Invalid, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.ledger.ordinals import InLog
from tabellion.providers.base import Channel
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import IdentifierRef, RecipientRef, Ref, RefObject

ChannelWord = Literal[
    "*", "email", "sms", "mms", "rcs", "whatsapp", "push", "webpush", "chat", "inapp", "voice", "file"
]
PurposeKey = Annotated[str, Meta(min_length=1, max_length=64, examples=["marketing"])]
Line = Annotated[str, Meta(min_length=1, max_length=255)]
Moment = Annotated[datetime, Meta(tz=True)]

DECISION: Final = {
    "recipient": {"email": "ann@example.org"},
    "channel": "email",
    "purpose": "marketing",
    "decision": "granted",
    "basis": "consent",
    "method": "form",
    "source": "signup-page",
    "notice": {"id": "newsletter", "version": "3"},
    "evidence": {"url": "https://example.org/signup"},
}
QUESTION: Final = {"recipient": {"phone": "+436601234567"}, "channel": "sms", "purpose": "transactional"}
WARNINGS: Final[Mapping[str, str]] = {
    "notice_unknown": "there is no published version of this notice by that name; publish it before you show it",
    "notice_of_other_purposes": "the notice is not about this purpose; show one that is",
    "notice_retired": "the notice is retired; show people another one",
    "notice_published_later": "the notice was published here after the decision; that it was shown rests on your word",
    "served_unknown": "nothing was said to have been shown under this id, or another text, or to somebody else",
    "evidence_missing": "the scheme asks for more evidence; GET /v1/consent-schemes says which",
    "scheme_of_other_jurisdiction": "the scheme is not one of this jurisdiction",
    "scheme_of_other_channel": "the scheme is not about this channel",
    "scheme_of_other_basis": "the scheme does not go with this basis",
}
BLOCKED: Final = "the vendor blocks this number until its owner texts START to the sender"


class NoticeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The text the person saw."""

    id: Line
    version: Line | Annotated[int, Meta(ge=0)]
    served: Annotated[
        str | None,
        Meta(description="The showing of it that they decided on, as `POST /v1/notices/{id}/served` named it."),
    ] = None


class DecisionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a person decided, how they did, and what shows it."""

    recipient: RecipientRef
    channel: Annotated[ChannelWord, Meta(description="`*`, every channel, only for restrictions.")]
    purpose: Annotated[PurposeKey, Meta(description="`*`, all but class security, only for restrictions.")]
    decision: Annotated[Decision, Meta(description="`pending` and `expired` are stated by the hub itself.")]
    method: Annotated[Method, Meta(description="How the person decided. What only the hub can state is refused.")]
    source: Annotated[Line, Meta(description="Where: a page, a shop, a system of yours.")]
    basis: Annotated[Basis | None, Meta(description="Required unless the decision restricts.")] = None
    identifier: Annotated[
        IdentifierRef | None,
        Meta(description="Which address, where the recipient has several and `recipient` names none of the channel."),
    ] = None
    notice: NoticeBody | None = None
    evidence: Annotated[
        dict[str, Any] | None,
        Meta(description="Objects, arrays, strings, integers, booleans; ASCII keys; at most 4 levels."),
    ] = None
    scheme: Scheme | None = None
    jurisdiction: Annotated[str, Meta(pattern="^[A-Z]{2}(-[A-Z0-9]{1,3})?$", examples=["US-CA"])] | None = None
    expires_at: Annotated[Moment | None, Meta(description="When a grant ends by itself.")] = None
    occurred_at: Annotated[Moment | None, Meta(description="When the person decided. Left out: now.")] = None
    confirm: Annotated[bool, Meta(description="Ask the person to confirm before a grant counts.")] = False


class Warned(msgspec.Struct, frozen=True):
    """Something about a decision that somebody should look at."""

    code: str
    detail: str


class DecisionAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The decision, durable and in a signed tree."""

    id: Annotated[str, Meta(examples=["cns_01kajgaw9dfk0vyj60ec19jtws"])]
    log_index: int
    leaf_hash: Annotated[str, Meta(description="Base64.")]
    tree_size: Annotated[int, Meta(description="Of the signed tree that holds it.")]
    decision: Annotated[Decision, Meta(description="As recorded: a grant may be `pending` or `asserted`.")]
    applied: Annotated[bool, Meta(description="Whether it counts. What does not is kept all the same, with a reason.")]
    in_flight: Annotated[list[str], Meta(description="Covered attempts that had started before a restriction.")]
    recipient_id: str
    log: InLog = None
    reason: str | None = None
    deliverable: Annotated[bool | None, Meta(description="`false`: granted, but something else stops it.")] = None
    fix: Annotated[str | None, Meta(description="What makes it deliverable.")] = None
    warnings: Annotated[
        list[Warned],
        Meta(description="What keeps notice and evidence from being complete, or does not fit. It is recorded anyway."),
    ] = []


class CheckBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """May it be sent?"""

    recipient: RecipientRef
    channel: Channel
    purpose: PurposeKey
    identifier: IdentifierRef | None = None


class CheckAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the gate would say now, and why."""

    verdict: Literal["allowed", "denied", "unknown"]
    sendable: bool
    reason: str
    rule: str
    inputs: Annotated[
        dict[str, Any],
        Meta(description="What was looked at. Entries by index; one of a later log as `{log, log_index}`."),
    ]
    log_index: Annotated[int | None, Meta(description="The ledger entry it rests on.")] = None
    log: InLog = None
    entry_id: str | None = None


# what the batches do


def recording(
    consent: Consent,
) -> Callable[[Tx, WorkspaceId, list[NewDecision]], Awaitable[Sequence[Answer | HubError]]]:
    """The work of one batch of `POST /v1/consents`, for `Grouped`."""

    async def record(tx: Tx, workspace_id: WorkspaceId, decisions: list[NewDecision]) -> Sequence[Answer | HubError]:
        recorded = await consent.record(tx, workspace_id, decisions)
        return [one if isinstance(one, HubError) else _answer(one) for one in recorded]

    return record


def _answer(one: Recorded) -> Answer:
    return Answer.json(201, shown(one)) if one.id else Answer.json(202, Accepted())


def checking(
    db: Database, consent: Consent
) -> Callable[[Hashable, list[Ask]], Awaitable[Sequence[CheckAnswer | HubError]]]:
    """The work of one batch of `POST /v1/consents/check`, for `Batcher`."""

    async def check(workspace_id: Hashable, asks: list[Ask]) -> Sequence[CheckAnswer | HubError]:
        side: WorkspaceId = workspace_id  # type: ignore[assignment]
        verdicts = await db.run(lambda tx: consent.check(tx, side, asks))
        return [one if isinstance(one, HubError) else checked(one) for one in verdicts]

    return check


def routes(
    edge: Edge,
    recipients: Recipients,
    record: Grouped[NewDecision],
    check: Batcher[Ask, CheckAnswer],
    public: PublicDecisions,
) -> list[HTTPRouteHandler]:
    async def record_consent(call: Call[DecisionBody]) -> Answer:
        new = decided(call.body, call.caller, recipients)
        if call.caller.public is None:
            return await record.answer(call, new)
        return await accepted(call, record.answer(call, await public.stated(call, call.caller.public, new)))

    async def check_consent(call: Call[CheckBody]) -> Answer:
        side = call.caller.workspace_id
        return Answer.json(200, await check.submit(side, asked(call.body, side, recipients)))

    return [
        hot(
            edge, "POST", "/v1/consents", "consents:write", DecisionBody, record_consent, status=201,
            answer_type=DecisionAnswer, example=DECISION, tags=("Consent",), summary="Record a decision",
            public_key=True,
            description="The entry is durable and in a signed tree when the answer comes. Once a restriction is"
            " answered as applied, no new hand-off that it covers starts; `in_flight` names those that had.\n\nA public"
            " key restricts; what it grants is ignored. It names people by an address or an id, not by an `external_id`"
            " or a wallet (403 `user_token_required`). With a user token the decision is the user's own (P3), about"
            " whom and what the token vouches for alone. It hears 202 in any case; `source` is the key's, whatever the"
            " body says; the body has at most 3,072 bytes.",
        ),
        hot(
            edge, "POST", "/v1/consents/check", "consents:read", CheckBody, check_consent,
            answer_type=CheckAnswer, example=QUESTION, tags=("Consent",), summary="Check whether one may send",
            description="Where the recipient has several addresses of the channel, the answer is about the one a send"
            " would choose.",
        ),
    ]  # fmt: skip


# between the wire and the service


def decided(body: DecisionBody, caller: Caller, recipients: Recipients) -> NewDecision:
    """The decision as a key states it. Raises `Invalid` with the pointer of what is wrong."""
    refuse_claims(body.decision, body.method)
    side = caller.workspace_id
    return NewDecision(
        recipient=recipients.ref(side, body.recipient, "/recipient"),
        channel=body.channel,
        purpose=body.purpose,
        decision=body.decision,
        basis=body.basis,
        method=body.method,
        source=body.source,
        rank=Rank.SECRET_KEY,
        actor=caller.actor,
        identifier=_identifier(recipients, side, body.identifier),
        notice=_notice(body.notice) if body.notice else None,
        evidence=body.evidence,
        scheme=body.scheme,
        jurisdiction=body.jurisdiction,
        expires_at=said_time(body.expires_at, "/expires_at"),
        occurred_at=said_time(body.occurred_at, "/occurred_at"),
        confirm=body.confirm,
    )


def asked(body: CheckBody, side: WorkspaceId, recipients: Recipients) -> Ask:
    """The question as a key puts it. Raises `Invalid` with the pointer of what is wrong."""
    identifier = _identifier(recipients, side, body.identifier)
    return Ask(recipients.ref(side, body.recipient, "/recipient"), body.channel, body.purpose, identifier)


def _identifier(recipients: Recipients, side: WorkspaceId, named: IdentifierRef | None) -> Ref | None:
    return recipients.ref(side, RefObject(identifier=named), "") if named else None


def _notice(named: NoticeBody) -> Notice:
    if named.served is None:
        return Notice(named.id, named.version)
    try:
        return Notice(named.id, named.version, ids.parse("srv", named.served))
    except NotFound as unknown:
        raise Invalid("served_unknown", unknown.detail, FieldError("/notice/served", unknown.detail)) from None


def said_time(at: datetime | None, pointer: str) -> datetime | None:
    """The moment in UTC. Far outside anything meant, it could not be shown in another zone."""
    if at is None or 1900 <= at.year <= 9000:
        return at and at.astimezone(UTC)
    detail = "a time between the years 1900 and 9000"
    raise Invalid("invalid_time", f"write {detail}", FieldError(pointer, detail))


def shown(recorded: Recorded) -> DecisionAnswer:
    assert recorded.id is not None, "a secret key's decision is never ignored"
    return DecisionAnswer(
        id=ids.show("cns", recorded.id),
        log_index=recorded.log_index or 0,
        leaf_hash=b64(recorded.leaf_hash),
        tree_size=recorded.tree_size or 0,
        decision=recorded.decision,
        applied=recorded.applied,
        in_flight=[ids.show("att", attempt) for attempt in recorded.in_flight],
        recipient_id=ids.show("rcp", recorded.recipient_id),
        log=recorded.log,
        reason=recorded.reason,
        deliverable=recorded.deliverable,
        fix=BLOCKED if recorded.deliverable is False else None,
        warnings=[Warned(code, WARNINGS[code]) for code in recorded.warnings],
    )


def checked(verdict: Verdict) -> CheckAnswer:
    return CheckAnswer(
        verdict=verdict.verdict,  # type: ignore[arg-type]
        sendable=verdict.sendable,
        reason=verdict.reason,
        rule=verdict.rule,
        inputs=verdict.told,
        log_index=verdict.log_index,
        log=verdict.log,
        entry_id=ids.show("cns", verdict.entry_id) if verdict.entry_id else None,
    )
