"""Words and values of the event log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from tabellion.core import ids
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId


class Cursor(NamedTuple):
    """A place in the log. Cursors sort as the events do."""

    era: int
    txid: int
    position: int

    def shown(self) -> str:
        """Opaque text that sorts in log order."""
        return f"{self.era:04x}{self.txid:016x}{self.position:016x}"

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """The cursor that was shown as text. Raises 400 `invalid_cursor` for what is not one of ours."""
        try:
            if len(text) != 36 or not text.isalnum():
                raise ValueError(text)
            cursor = cls(int(text[:4], 16), int(text[4:20], 16), int(text[20:], 16))
            if max(cursor.txid, cursor.position) >= 1 << 63:
                raise ValueError(text)
        except ValueError:
            raise HubError("invalid_cursor", "pass a position as it was given, or leave it out", 400) from None
        return cursor


START = Cursor(0, 0, 0)
END = Cursor(0x7FFF_FFFF, (1 << 63) - 1, (1 << 63) - 1)


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened, to be appended. `data` holds ids and states, never an address or content."""

    workspace_id: WorkspaceId
    type: str
    """`noun.past_verb`."""
    data: Mapping[str, Any]
    recipient_id: UUID | None = None
    message_id: UUID | None = None
    occurred_at: datetime | None = None
    """When it happened elsewhere; the transaction's time where it happened here."""
    id: UUID = msgspec.field(default_factory=ids.new)


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An event as the log holds it."""

    cursor: Cursor
    workspace_id: WorkspaceId
    id: UUID
    type: str
    occurred_at: datetime
    recorded_at: datetime
    recipient_id: UUID | None
    message_id: UUID | None
    data: Mapping[str, Any]

    @property
    def day(self) -> date:
        return self.recorded_at.date()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of a workspace's events to list; None is no condition. A type may end in `.*`."""

    type: str | None = None
    recipients: Sequence[UUID] | None = None
    """The ids of one person, who may have several after a merge. Empty: nobody, and no events."""
    message_id: UUID | None = None


EVERYTHING = Wanted()


@dataclass(frozen=True, slots=True)
class Page:
    """Events in log order, and where to go on from: behind the last, or behind all that was looked through."""

    events: Sequence[Recorded]
    after: Cursor
    more: bool = False
    """Whether the page ended before the log did: it was full, or had looked through as much as it may."""


@dataclass(frozen=True, slots=True)
class Old:
    """Whom and what an old event is about."""

    cursor: Cursor
    recipient_id: UUID | None
    message_id: UUID | None


@dataclass(frozen=True, slots=True)
class Place:
    """How far a follower has read. Nothing after it was recorded over a day before `day`; None: no bound known."""

    cursor: Cursor
    day: date | None


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a follower is behind: the age of the first event it has not read, and about how many there are."""

    name: str
    seconds: float
    events: int


@dataclass(frozen=True, slots=True)
class Blocker:
    """An open writing transaction, in whichever database of the cluster: a process, or a prepared one without."""

    pid: int | None
    database: str
    application: str
    state: str
    prepared: str | None

    def __str__(self) -> str:
        if self.prepared is not None:
            return f"prepared transaction '{self.prepared}' in database {self.database}"
        return f"process {self.pid} ({self.application or 'unnamed'}, {self.state}) in database {self.database}"


@dataclass(frozen=True, slots=True)
class Horizon:
    """The oldest open writing transaction, which no follower reads past: how long it has been open, and whose it is."""

    seconds: float
    blocker: Blocker | None
