"""What the files of an export hold: rows as the API shows them, with what it leaves out for being personal.

Keyed hashes never leave: where a plan or an attempt names an address by one, the address itself stands.
"""

import base64
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec.structs import asdict

from tabellion import __version__
from tabellion.access.answers import show_time
from tabellion.access.types import Mode
from tabellion.consent.notices import views as notices
from tabellion.consent.notices.types import Served, ServedTo
from tabellion.consent.types import KeptEntry
from tabellion.core import ids
from tabellion.core.crypto import b64
from tabellion.core.ids import WorkspaceId
from tabellion.events.types import Recorded
from tabellion.identity import history_routes, merge_routes, views
from tabellion.identity.types import Explained
from tabellion.ledger import ordinals
from tabellion.messages.types import Attempt, Content, Message, Step
from tabellion.messages.views import attempt as shown_attempt
from tabellion.messages.views import explain, planned, view
from tabellion.recipients.changes import FieldChange
from tabellion.recipients.history import Entry
from tabellion.recipients.types import Identifier, Recipient
from tabellion.webhooks.types import Callback, Raw

FORMAT: Final = "tabellion-export/1"

Row: TypeAlias = dict[str, Any]
Named: TypeAlias = tuple[str, str]
"""Kind and value of an identifier."""
Known: TypeAlias = Mapping[bytes, Identifier]
"""The person's identifiers by their keyed hashes."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom an export is about, as of when it began."""

    workspace_id: WorkspaceId
    workspace: UUID
    mode: Mode
    at: datetime
    ids: tuple[UUID, ...]
    """The merge root first, then everybody who became part of it."""
    undone: frozenset[tuple[UUID, str, datetime]]
    """Versions (recipient, source, time) by which somebody came and went who was another person after all."""

    @property
    def root(self) -> UUID:
        return self.ids[0]


@dataclass(frozen=True, slots=True)
class Page:
    rows: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """One file. Its pages are read as they are asked for, once."""

    name: str
    at: datetime
    """When the export began."""
    pages: AsyncIterator[Page]


class Written(msgspec.Struct, frozen=True):
    """What a file came to."""

    name: str
    sha256: str
    bytes: int
    rows: int


def manifest(person: Person, written: Sequence[Written]) -> Row:
    return {
        "format": FORMAT,
        "generated_at": person.at,
        "hub_version": __version__,
        "workspace": ids.show("wsp", person.workspace),
        "mode": person.mode,
        "recipient": ids.show("rcp", person.root),
        "recipients": [ids.show("rcp", one) for one in person.ids],
        "files": list(written),
    }


# Who the person is


def recipient(own: Sequence[Recipient], blocks: Mapping[bytes, frozenset[str]], state: Mapping[str, object]) -> Row:
    """The canonical record, with what follows from consent; what those keep that became part of it; and who may not
    send where, by the vendors.
    """
    blocked = [
        {"kind": one.kind, "value": one.value, "senders": sorted(blocks[one.hash])}
        for person in own
        for one in person.identifiers
        if one.hash in blocks
    ]
    record = {name: value for name, value in asdict(views.shown(own[0])).items() if value is not msgspec.UNSET}
    record["traits"] = {**record["traits"], **state}
    return record | {"merged": [views.shown(one) for one in own[1:]], "vendor_blocks": blocked}


def identity(explained: Explained) -> object:
    return merge_routes.shown(explained)


def undone(explained: Explained) -> frozenset[tuple[UUID, str, datetime]]:
    """The versions of merges that were taken back: what they brought and took is the other's."""
    merges = [one.merge for one in explained.merges]
    came = [(one.into_id, "merge", _shown_at(one.merged_at)) for one in merges if one.undone_at]
    went = [(one.into_id, "split", _shown_at(one.undone_at)) for one in merges if one.undone_at]
    return frozenset(came + went)


def version(recipient_id: UUID, entry: Entry, person: Person, others: frozenset[Named]) -> Row:
    """A version as `history` shows it, without what is another person's."""
    shown = history_routes.shown(entry)
    foreign = (recipient_id, entry.source, _shown_at(entry.changed_at)) in person.undone
    told = [_change(one, withheld=foreign or not others.isdisjoint(_named(one))) for one in entry.changes]
    moved = [msgspec.to_builtins(one) for one in shown.changes[len(told) :]]
    return {"recipient_id": ids.show("rcp", recipient_id)} | asdict(shown) | {"changes": told + moved}


def named_in_history(entry: Entry) -> Iterator[Named]:
    return (named for change in entry.changes for named in _named(change))


def _named(change: FieldChange) -> Iterator[Named]:
    for said in (change.before, change.after):
        if change.field == "/external_id" and said is not None:
            yield "external_id", said
        if change.field == "/identifiers" and said is not None:
            yield said["kind"], said["value"]


def _change(change: FieldChange, *, withheld: bool) -> Row:
    if not withheld:
        return {"field": change.field, "from": change.before, "to": change.after}
    return {"field": change.field, "from": None, "to": None, "withheld": True}


def _shown_at(moment: datetime) -> datetime:
    """To the millisecond, as versions are kept."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


# What the person decided


def consent(entry: KeptEntry, record: Row | None, others: frozenset[Named]) -> Row:
    """An entry, with what the ledger committed to: the record. None where it does not open any more."""
    return {
        "id": ids.show("cns", entry.id),
        **ordinals.told(entry.ordinal),
        "leaf_hash": b64(entry.leaf_hash),
        "recipient_id": ids.show("rcp", entry.recipient_id) if entry.recipient_id else None,
        "recorded_about": ids.show("rcp", entry.subject_id) if entry.subject_id else None,
        "channel": entry.channel,
        "purpose": entry.purpose,
        "decision": entry.decision,
        "basis": entry.basis,
        "method": entry.method,
        "source": entry.source,
        "recorded_at": entry.recorded_at,
        "effective_at": entry.effective_at,
        "expires_at": entry.expires_at,
        "applied": entry.applied,
        "standing": entry.standing,
        "reason": entry.reason,
        "record": record if others.isdisjoint(named_in_record(record)) else _without_value(record),
    }


def named_in_record(record: Row | None) -> Iterator[Named]:
    if record and (identifier := record.get("identifier")):
        yield identifier["kind"], identifier["value"]


def _without_value(record: Row | None) -> Row:
    record = record or {}
    return record | {"identifier": {"kind": record["identifier"]["kind"], "value": None, "withheld": True}}


# What was sent


def message(one: Message, attempts: Sequence[Attempt], content: Content | None, known: Known) -> Row:
    """A message as the API shows and explains it, with what it said and to which address."""
    shown, why = view(one, attempts), explain(one, attempts)
    steps = [_step(number, step, attempts, known) for number, step in enumerate(one.plan.steps)]
    return asdict(shown) | {
        "steps": steps,
        "content": content,
        "rule": why.rule,
        "candidates": why.candidates,
        "decisions": [_decision(decision) for decision in one.decisions],
    }


def _step(number: int, step: Step, attempts: Sequence[Attempt], known: Known) -> Row:
    meant = known.get(bytes.fromhex(step.identifier)) if step.identifier else None
    made = [_attempt(one, known) for one in attempts if one.step == number]
    return asdict(planned(step)) | {"to": _address(meant), "attempts": made}


def _attempt(one: Attempt, known: Known) -> Row:
    to = _address(known.get(one.identifier))
    return asdict(shown_attempt(one)) | {"to": to, "detail": one.detail, "decision": one.decision}


def _address(one: Identifier | None) -> Row | None:
    return {"kind": one.kind, "value": one.value} if one else None


def _decision(decision: Mapping[str, Any]) -> Row:
    return dict(decision) | {"at": show_time(datetime.fromisoformat(decision["at"]))}


# What vendors reported, and what happened


def callback(one: Callback, raw: Raw) -> Row:
    """What a vendor sent, as it came. Where to, and the other headers, is how vendor and hub know each other."""
    return {
        "id": ids.show("cbk", one.id),
        "recipient_id": ids.show("rcp", one.recipient_id) if one.recipient_id else None,
        "provider": one.provider,
        "account_id": ids.show("acc", one.account_id),
        "received_at": one.received_at,
        "content_type": raw.headers.get("content-type"),
        "body": base64.b64encode(raw.body).decode(),
        "text": _text(raw.body),
    }


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def served(one: Served, opened: ServedTo | None) -> Row:
    return asdict(notices.served(one, opened))


def event(one: Recorded) -> Row:
    return {
        "id": ids.show("evt", one.id),
        "type": one.type,
        "occurred_at": one.occurred_at,
        "recorded_at": one.recorded_at,
        "recipient_id": ids.show("rcp", one.recipient_id) if one.recipient_id else None,
        "message_id": ids.show("msg", one.message_id) if one.message_id else None,
        "data": one.data,
    }
