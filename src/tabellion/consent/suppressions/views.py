"""What the routes of suppressions take and give."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from tabellion.consent.routes import ChannelWord, Line, Moment, PurposeKey, said_time
from tabellion.consent.state_routes import Address
from tabellion.consent.suppressions.rows import CHANNELS, REASONS
from tabellion.consent.suppressions.types import Listed
from tabellion.consent.types import ANY, OLDEST, Decision, Method, NewDecision, Rank
from tabellion.core import ids
from tabellion.core.errors import FieldError, Invalid
from tabellion.ledger import ordinals
from tabellion.ledger.ordinals import InLog
from tabellion.recipients.types import IdentifierRef, ItemRef, RecipientRef, Ref

MOST: Final = 1_000
WORDS: Final = tuple(word for word, decision in REASONS.items() if decision is not None)
Reason = Annotated[str, Meta(pattern=f"^({'|'.join(WORDS)})$", examples=["unsubscribed"])]


class SuppressionBody(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom not to write to, where and what for."""

    recipient: RecipientRef
    channel: Annotated[
        ChannelWord | None,
        Meta(description="Left out: that of the address that is named (of a number sms, mms, rcs); of a person `*`."),
    ] = None
    purpose: Annotated[PurposeKey, Meta(description="`*`: all but class security.")] = "marketing"
    reason: Reason = "unsubscribed"
    source: Annotated[Line, Meta(description="Where that was said.")] = "suppressions"
    identifier: IdentifierRef | None = None
    occurred_at: Moment | None = None


class SuppressionItem(SuppressionBody, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    recipient: ItemRef
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255, pattern="^[ -~]+$")] | None = None


class SuppressionItems(Struct, frozen=True, forbid_unknown_fields=True):
    items: Annotated[list[SuppressionItem], Meta(min_length=1, max_length=MOST)]


class SuppressionView(Struct, frozen=True):
    """A restriction."""

    id: Annotated[str, Meta(examples=["cns_01kajgaw9dfk0vyj60ec19jtws"])]
    log_index: int
    channel: str
    purpose: str
    reason: Annotated[str, Meta(description="`stop`, `complaint`, `erased`, or else the decision.")]
    decision: str
    method: str
    source: str
    rank: str
    recipient_id: str | None
    identifier: Annotated[Address | None, Meta(description="null: it is about the person.")]
    whole_person: Annotated[bool, Meta(description="It covers the person, whatever the address.")]
    since: datetime | None
    recorded_at: datetime
    standing: bool
    removable: Annotated[bool, Meta(description="Whether DELETE ends it: it is plain, and not the person's own.")]
    vendor_blocks: Annotated[list[str], Meta(description="Senders of ours that a vendor refuses for this number.")]
    log: InLog = None


class SuppressionPage(Struct, frozen=True):
    data: list[SuppressionView]
    next_cursor: str | None


class Ended(Struct, frozen=True):
    """The entry that says that a restriction ended."""

    id: str
    suppression: str


class Reject(Struct, frozen=True):
    line: int
    code: str
    pointer: str
    detail: str


class ImportReport(Struct, frozen=True):
    """What became of the rows of a list."""

    rows: int
    applied: Annotated[int, Meta(description="In force since.")]
    already: Annotated[int, Meta(description="The ledger had it.")]
    kept: Annotated[int, Meta(description="Older than a consent that stands: recorded, not in force.")]
    rejected: int
    rejects: Annotated[Sequence[Reject], Meta(description="The first 1,000 of them.")]


def shown(one: Listed, *, values: bool) -> SuppressionView:
    standing, entry = one.standing, one.standing.entry
    return SuppressionView(
        id=ids.show("cns", entry.id),
        log_index=ordinals.index(entry.ordinal),
        log=ordinals.log(entry.ordinal),
        channel=entry.channel,
        purpose=entry.purpose,
        reason=standing.reason,
        decision=entry.decision,
        method=entry.method,
        source=entry.source,
        rank=f"P{standing.rank.value}",
        recipient_id=ids.show("rcp", entry.recipient_id) if entry.recipient_id else None,
        identifier=_address(one, values),
        whole_person=standing.whole_person,
        since=None if entry.effective_at == OLDEST else entry.effective_at,
        recorded_at=entry.recorded_at,
        standing=entry.standing,
        removable=standing.plain and entry.standing and entry.recipient_id is not None,
        vendor_blocks=sorted(one.senders),
    )


def _address(one: Listed, values: bool) -> Address | None:
    if one.standing.identifier_kind is None:
        return None
    return Address(one.standing.identifier_kind, one.address[1] if values and one.address else None)


def decision(body: SuppressionBody, ref: Ref, identifier: Ref | None, actor: str) -> NewDecision:
    """The decision that a suppression is, as a secret key states it."""
    meant = REASONS[body.reason]
    if meant is None:  # the pattern of the body keeps these out
        detail = f"no such reason; there are {', '.join(WORDS)}"
        raise Invalid("reason_unknown", detail, FieldError("/reason", detail))
    named = identifier or ref
    said: dict[str, Any] = {"reason": body.reason}
    return NewDecision(
        recipient=ref,
        channel=body.channel or (CHANNELS.get(named.kind, ANY) if named.kind else ANY),
        purpose=body.purpose,
        decision=Decision(meant),
        basis=None,
        method=Method.API,
        source=body.source,
        rank=Rank.SECRET_KEY,
        actor=actor,
        identifier=identifier,
        evidence=said,
        occurred_at=said_time(body.occurred_at, "/occurred_at"),
    )
