"""What a decision must say to be taken, and the record of it that the ledger commits to. Pure.

The record is RFC 8785 JSON over strings, integers and booleans, so that anybody can recompute its commitment.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from tabellion.consent.rules import FUTURE_TOLERANCE, is_group, purposes_under
from tabellion.consent.schemes import BASIS_EVIDENCE
from tabellion.consent.types import (
    ANY,
    GRANTS,
    MARKETING,
    OLDEST,
    Decision,
    Method,
    NewDecision,
    Outcome,
    Placed,
    Purposes,
)
from tabellion.core import ids
from tabellion.core.crypto import canonical
from tabellion.core.errors import FieldError, Invalid
from tabellion.recipients.types import Ref

RECORD_SIZE: Final = 8192
DEPTH: Final = 4
KEY_LENGTH: Final = 64
LARGEST: Final = 2**53 - 1

REFUSED_DECISIONS: Final = frozenset({Decision.PENDING, Decision.EXPIRED})
REFUSED_METHODS: Final = frozenset(
    {
        Method.MERGE,
        Method.SPLIT,
        Method.ERASURE,
        Method.IDENTIFIER_RELEASED,
        Method.KEYWORD,
        Method.ONE_CLICK,
        Method.COMPLAINT,
    }
)
"""What only the hub itself may state."""


# what may be said


def refuse_claims(decision: Decision, method: Method) -> None:
    """Raise `Invalid` for what only the hub itself may state: callers over HTTP cannot."""
    if decision in REFUSED_DECISIONS:
        detail = f"'{decision}' is stated by the hub itself; send granted, denied, withdrawn, objected or asserted"
        raise Invalid("decision_not_accepted", detail, FieldError("/decision", detail))
    if method in REFUSED_METHODS:
        detail = f"'{method}' is stated by the hub itself; send the method you used, or api"
        raise Invalid("method_not_accepted", detail, FieldError("/method", detail))


def refusal(new: NewDecision, purposes: Purposes, now: datetime) -> Invalid | None:
    """Why this decision cannot be recorded, every wrong place named; None when it can."""
    wrong = list(_wrong(new, purposes, now))
    if not wrong:
        return None
    return Invalid(wrong[0][0], wrong[0][2], *(FieldError(pointer, detail) for _, pointer, detail in wrong))


def unknown_purpose(purposes: Purposes) -> Invalid:
    detail = f"no such purpose; there are {', '.join(sorted(purposes))}"
    return Invalid("purpose_unknown", detail, FieldError("/purpose", detail))


def mismatch(channel: str, identifier: Ref) -> Invalid:
    detail = f"channel {channel} does not reach an identifier of kind {identifier.kind}"
    return Invalid("identifier_mismatch", detail, FieldError("/identifier/kind", detail))


def _wrong(new: NewDecision, purposes: Purposes, now: datetime) -> Iterator[tuple[str, str, str]]:
    if new.purpose not in purposes and not _names_many(new, purposes):
        yield "purpose_unknown", "/purpose", f"no such purpose; there are {', '.join(sorted(purposes))}"
    if new.decision in GRANTS:
        yield from _wrong_grant(new, now)
    elif new.expires_at is not None:
        yield "expiry_not_accepted", "/expires_at", "only a grant expires; a restriction stands until it is lifted"
    yield from _wrong_values(new)


def _names_many(new: NewDecision, purposes: Purposes) -> bool:
    """Whether it is about all purposes, or those of a class or a brand that there are."""
    if new.purpose == ANY or not is_group(new.purpose):
        return new.purpose == ANY
    return new.purpose == MARKETING or new.method in REFUSED_METHODS or bool(purposes_under(purposes, new.purpose))


def _wrong_grant(new: NewDecision, now: datetime) -> Iterator[tuple[str, str, str]]:
    if new.channel == ANY:
        yield "channel_required", "/channel", "a grant is for one channel; only a restriction may say *"
    if new.purpose == ANY or is_group(new.purpose):
        yield "purpose_required", "/purpose", "a grant is for one purpose; only a restriction may say *"
    if new.method is Method.TRAIT:
        yield "method_not_accepted", "/method", "a trait never grants; send how the person consented"
    if new.occurred_at is not None and new.occurred_at > now + FUTURE_TOLERANCE:
        yield "occurred_in_future", "/occurred_at", "more than 5 minutes ahead of our clock; check yours"
    if new.expires_at is not None and new.expires_at <= now:
        yield "expired_already", "/expires_at", "lies in the past; such a grant would never count"
    yield from _wrong_basis(new)


def _wrong_basis(new: NewDecision) -> Iterator[tuple[str, str, str]]:
    if new.basis is None:
        yield "basis_required", "/basis", "a grant rests on something; name its basis"
    needed = BASIS_EVIDENCE.get(new.basis) if new.basis else None
    if needed is None:
        return
    if new.decision is Decision.GRANTED:
        yield "basis_not_grantable", "/basis", f"{new.basis} is the sender's own claim; send decision asserted"
    if missing := sorted(key for key in needed if not (new.evidence or {}).get(key)):
        yield "evidence_required", "/evidence", f"{new.basis} needs {', '.join(missing)}"


# canonical values


def _wrong_values(new: NewDecision) -> Iterator[tuple[str, str, str]]:
    values: dict[str, Any] = {"/evidence": new.evidence, "/source": new.source, "/jurisdiction": new.jurisdiction}
    if new.notice is not None:
        values |= {"/notice/id": new.notice.id, "/notice/version": new.notice.version}
    for pointer, value in values.items():
        if value is not None and (found := _not_canonical(value, 0)):
            yield "not_canonical", pointer + found[0], found[1]


def require_canonical(value: dict[str, Any], pointer: str, most: int) -> None:
    """Return if RFC 8785 over strings, integers and booleans can say this, in at most so many bytes."""
    found = _not_canonical(value, 0)
    if found is None and len(canonical(value)) > most:
        found = "", f"it has at most {most} bytes"
    if found is not None:
        raise Invalid("not_canonical", found[1], FieldError(pointer + found[0], found[1]))


def _not_canonical(value: Any, depth: int) -> tuple[str, str] | None:
    """The first place in value that RFC 8785 over strings, integers and booleans cannot say, and why."""
    match value:
        case bool():
            return None
        case int():
            return None if -LARGEST <= value <= LARGEST else ("", "an integer lies within ±(2^53−1)")
        case str():
            return None if _is_text(value) else ("", "not valid Unicode")
        case dict() | list():
            return _not_canonical_inside(value, depth + 1)
        case _:
            return "", "only objects, arrays, strings, integers and booleans; write other numbers as strings"


def _not_canonical_inside(value: dict[str, Any] | list[Any], depth: int) -> tuple[str, str] | None:
    if depth > DEPTH:
        return "", f"at most {DEPTH} levels"
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        if isinstance(key, str) and not (key.isascii() and len(key) <= KEY_LENGTH):
            return "", f"keys are ASCII, at most {KEY_LENGTH} characters"
        if found := _not_canonical(inner, depth):
            return f"/{str(key)[:KEY_LENGTH].replace('~', '~0').replace('/', '~1')}{found[0]}", found[1]
    return None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


# the record


def committed(
    entry_id: UUID,
    log: str,
    placed: Placed,
    new: NewDecision,
    outcome: Outcome,
    effective_at: datetime,
    now: datetime,
    notice: Mapping[str, Any] | None = None,
) -> bytes:
    """The canonical record of a decision. Raises `Invalid` (`not_canonical`) when it is larger than 8 KB.

    `notice` is what the notice that it names turned out to be.
    """
    identifier = placed.identifier
    fields: dict[str, Any] = {
        "v": 1,
        "id": ids.show("cns", entry_id),
        "log": log,
        "recipient": ids.show("rcp", placed.scope.recipient_id),
        "identifier": {"kind": str(identifier.kind), "value": identifier.value} if identifier else None,
        "channel": new.channel,
        "purpose": new.purpose,
        "decision": str(outcome.decision),
        "basis": new.basis,
        "method": new.method,
        "source": new.source,
        "rank": f"P{outcome.rank.value}",
        "actor": new.actor,
        "notice": notice,
        "evidence": new.evidence,
        "scheme": new.scheme,
        "jurisdiction": new.jurisdiction,
        "expires_at": _moment(new.expires_at),
        "occurred_at": _moment(new.occurred_at),
        "recorded_at": _moment(now),
        "effective_at": _moment(effective_at),
        "applied": outcome.applied,
        "reason": outcome.reason,
    }
    record = canonical({name: value for name, value in fields.items() if value is not None})
    if len(record) > RECORD_SIZE:
        detail = f"the record of this decision would take {len(record)} bytes; at most {RECORD_SIZE} are kept"
        raise Invalid("not_canonical", detail, FieldError("/evidence", detail))
    return record


def context(workspace_id: UUID, entry_id: UUID) -> str:
    """What the record of an entry is sealed with."""
    return f"consent:{workspace_id}:{entry_id}"


def _moment(at: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds; nothing for an unknown time."""
    if at is None or at == OLDEST:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
