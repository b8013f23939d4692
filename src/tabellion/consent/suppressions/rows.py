"""Rows of a suppression list as decisions: which column says what, and what a row means."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from tabellion.access.service import COMMAND_LINE
from tabellion.consent.rules import is_group
from tabellion.consent.suppressions.rules import plain
from tabellion.consent.types import ANY, KINDS, PHONE_MESSAGING, Decision, Method, NewDecision, Rank
from tabellion.core.errors import FieldError, Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.core.rows.types import Source
from tabellion.providers.base import Channel
from tabellion.recipients.columns import Field
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import DELIVERABLE, Kind, Ref

FIELDS: Final = ("address", "email", "phone", "kind", "value", "channel", "purpose", "occurred_at", "reason", "source")
OBVIOUS: Final[Mapping[str, str]] = {
    **{name.replace("_", ""): name for name in FIELDS},
    "emailaddress": "email",
    "mail": "email",
    "phonenumber": "phone",
    "mobile": "phone",
    "mobilenumber": "phone",
    "date": "occurred_at",
    "unsubscribedat": "occurred_at",
    "unsubtime": "occurred_at",
    "optoutdate": "occurred_at",
    "suppressedat": "occurred_at",
}
"""Names of columns that can mean one thing only, without case, space, hyphen and underscore."""
_PUNCTUATION: Final = re.compile(r"[\s_-]+")

REASONS: Final[Mapping[str, Decision | None]] = {
    **dict.fromkeys(("unsubscribed", "unsubscribe", "unsub", "opt_out", "opted_out", "withdrawn"), Decision.WITHDRAWN),
    **dict.fromkeys(("complaint", "complained", "spam", "spam_report", "abuse", "objected", "stop"), Decision.OBJECTED),
    **dict.fromkeys(("manual", "denied"), Decision.DENIED),
    **dict.fromkeys(("hard_bounce", "bounce", "bounced", "invalid"), None),
}
"""What the reason of a suppression is. None: no decision; the address does not work."""
CHANNELS: Final[Mapping[Kind, str]] = {
    Kind.EMAIL: Channel.EMAIL,
    Kind.PHONE: PHONE_MESSAGING,
    Kind.WHATSAPP: Channel.WHATSAPP,
    Kind.DEVICE: Channel.PUSH,
    Kind.WEBPUSH: Channel.WEBPUSH,
}
"""The channel where a row names none. Of a number it is what STOP restricts: sms, mms and rcs."""
SOURCE_LENGTH: Final = 255
_SECONDS: Final = 100_000_000_000
"""A number of seconds since 1970 lies below, one of milliseconds above."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """What a row says of an address. Without a decision: that it does not work."""

    address: Ref
    decision: NewDecision | None
    occurred_at: datetime | None


def choose(told: Sequence[str], source: Source) -> tuple[Field, ...]:
    """The fields a list is read by: those told as COLUMN=FIELD and no others, or the obvious ones. Raises `Invalid`."""
    fields = tuple(_told(one, source) for one in told) or tuple(_obvious(source.columns))
    names = [field.name for field in fields]
    if not {"address", "email", "phone", "value"} & set(names):
        has = ", ".join(source.columns) or "none"
        raise _wrong(f"no column is an address; say which with --map COLUMN=address (the file's columns: {has})")
    if ("kind" in names) is not ("value" in names):
        raise _wrong("kind and value belong together: map both, or an address, email or phone")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _wrong(f"two columns are {twice[0]}; say which one with --map COLUMN={twice[0]}")
    return fields


def _told(text: str, source: Source) -> Field:
    column, is_, name = text.rpartition("=")
    if not is_ or not column:
        raise _wrong(f"--map {text}: write COLUMN=FIELD")
    if source.closed and column not in source.columns:
        raise _wrong(f"--map {text}: the file has no column {column!r}; it has {', '.join(source.columns)}")
    if name not in FIELDS:
        raise _wrong(f"--map {text}: no such field; there are {', '.join(FIELDS)}")
    return Field(column, name)


def _obvious(columns: Sequence[str]) -> Iterator[Field]:
    for column in columns:
        if name := OBVIOUS.get(_PUNCTUATION.sub("", column.lower())):
            yield Field(column, name)


@dataclass(frozen=True)
class Reader:
    """Makes a row a suppression. `purpose`, `reason` and `source` count where the row names none."""

    recipients: Recipients
    workspace_id: WorkspaceId
    fields: Sequence[Field]
    source: str
    purpose: str
    reason: str
    purposes: Collection[str]
    actor: str = COMMAND_LINE

    def unit(self, values: Mapping[str, Any]) -> Suppression:
        """What a row says. Raises `Invalid` with a pointer into the row."""
        address = self._address(values)
        word, at = self._cell(values, "reason")
        name = re.sub(r"[\s-]+", "_", (word or self.reason).strip().lower())
        if name not in REASONS:
            raise _at(at, "reason_unknown", f"no such reason; there are {', '.join(REASONS)}")
        occurred_at = self._moment(values)
        decision = REASONS[name]
        new = self._decision(values, address, decision, name, occurred_at) if decision else None
        return Suppression(address, new, occurred_at)

    def _address(self, values: Mapping[str, Any]) -> Ref:
        given = []
        for name in ("address", "email", "phone", "value"):
            text, at = self._cell(values, name)
            if text:
                given.append((self._kind(values, name, text), text, at))
        if len(given) != 1:
            detail = "a row names one address" if given else "the row names no address"
            raise _at(given[1][2] if given else "", "address_required", detail)
        [(kind, text, at)] = given
        return Ref(kind=kind, value=self.recipients.normalise(self.workspace_id, kind, text, at), pointer=at)

    def _kind(self, values: Mapping[str, Any], name: str, text: str) -> Kind:
        if name == "address":
            return Kind.EMAIL if "@" in text else Kind.PHONE
        if name != "value":
            return Kind(name)
        word, at = self._cell(values, "kind")
        kind = next((one for one in sorted(DELIVERABLE) if one == word), None)
        if kind is None:
            raise _at(at, "kind_unknown", f"one of {', '.join(sorted(DELIVERABLE))}")
        return kind

    def _decision(
        self,
        values: Mapping[str, Any],
        address: Ref,
        decision: Decision,
        reason: str,
        occurred_at: datetime | None,
    ) -> NewDecision:
        source, _ = self._cell(values, "source")
        return NewDecision(
            recipient=address,
            channel=self._channel(values, address),
            purpose=self._purpose(values),
            decision=decision,
            basis=None,
            method=Method.IMPORT,
            source=(source or self.source)[:SOURCE_LENGTH],
            rank=Rank.IMPORT,
            actor=self.actor,
            evidence={"list": self.source, "reason": reason},
            occurred_at=occurred_at,
        )

    def _channel(self, values: Mapping[str, Any], address: Ref) -> str:
        word, at = self._cell(values, "channel")
        kind = address.kind or Kind.EMAIL
        if not word:
            return CHANNELS[kind]
        if word != ANY and not (word == PHONE_MESSAGING and kind is Kind.PHONE) and kind not in _reached_by(word):
            raise _at(at, "identifier_mismatch", f"no channel {word} reaches an address of kind {kind}")
        return word

    def _purpose(self, values: Mapping[str, Any]) -> str:
        word, at = self._cell(values, "purpose")
        if word and word != ANY and word not in self.purposes and not is_group(word):
            raise _at(at, "purpose_unknown", f"no such purpose; there are {', '.join(sorted(self.purposes))}")
        return word or self.purpose

    def _moment(self, values: Mapping[str, Any]) -> datetime | None:
        field = self._field("occurred_at")
        value = values.get(field.column) if field else None
        if field is None or value is None or value == "":
            return None
        try:
            return moment(value)
        except (ValueError, OverflowError, OSError):
            detail = "no time; write it as 2026-11-21, 2026-11-21T09:00:00Z or in seconds since 1970"
            raise _at(field.pointer, "invalid_time", detail) from None

    def _cell(self, values: Mapping[str, Any], name: str) -> tuple[str, str]:
        """The text of a field, '' where there is none, and the pointer to it."""
        field = self._field(name)
        value = values.get(field.column) if field else None
        if field is None or value is None:
            return "", ""
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value), field.pointer
        if not isinstance(value, str):
            raise _at(field.pointer, "wrong_type", "it must be text")
        return plain(value.strip()), field.pointer

    def _field(self, name: str) -> Field | None:
        return next((one for one in self.fields if one.name == name), None)


def moment(value: Any) -> datetime:
    """The time a cell says, in UTC, which it is where it names no zone. Raises `ValueError`."""
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if text.isdecimal() and len(text) > 8 else datetime.fromisoformat(text)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = datetime.fromtimestamp(value / 1000 if value >= _SECONDS else value, UTC)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime) or not 1900 <= value.year <= 9000:
        raise ValueError(value)
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _reached_by(word: str) -> Sequence[Kind]:
    return next((kinds for channel, kinds in KINDS.items() if channel == word), ())


def _at(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid(code, detail, FieldError(pointer, detail))


def _wrong(detail: str) -> Invalid:
    return Invalid("mapping_wrong", detail)
