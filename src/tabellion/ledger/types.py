"""What goes into a ledger and what comes out, and its refusals."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from tabellion.core.errors import HubError, Unavailable
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import ordinals
from tabellion.ledger.merkle import Frontier

EntryType = Literal["consent", "audit", "proof_destroyed", "successor"]


class Forked(Unavailable):
    """The database no longer holds what was already published. Nothing may be appended until an operator has acted."""

    def __init__(self, detail: str) -> None:
        super().__init__("ledger_forked", detail)


class NotYetPublished(HubError):
    """Beyond the head that the log shows. Comes by itself, a moment later: 409, or 404 for a file of the log."""

    def __init__(self, size: int, status: int = 409) -> None:
        detail = f"the log shows its first {size} entries, and this is beyond them; ask again in a moment"
        super().__init__("not_yet_published", detail, status, headers={"Retry-After": "1"})


class Leaf(msgspec.Struct, frozen=True, gc=False):
    """One entry as the public sees it: a commitment made by the caller, its type, and the day."""

    entry_id: UUID
    """The caller's id of the entry. Stays in the database; no part of the leaf."""
    type: EntryType
    commitment: bytes
    day: date


class Appended(msgspec.Struct, frozen=True, gc=False):
    index: int
    leaf_hash: bytes
    generation: int
    """Of the log that it went to."""

    @property
    def ordinal(self) -> int:
        """Where it stands among all generations of the log."""
        return ordinals.ordinal(self.generation, self.index)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it stands in the database."""

    index: int
    entry_id: UUID
    """The id that it was appended with."""
    leaf: bytes


class LogId(NamedTuple):
    """Which log: the first columns of every row of it. A successor has the next generation."""

    workspace_id: WorkspaceId
    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Head:
    """The newest state of a log: one row, locked by whoever appends."""

    log: LogId
    origin: str
    frontier: Frontier
    checkpoint: str
    """The signed note over the frontier's size and root."""
    public_key: bytes
    """Of the key that signs now."""
    server_started: datetime
    """When the database server that gave this answer was started: another value is another server."""

    @property
    def size(self) -> int:
        return self.frontier.size


@dataclass(frozen=True, slots=True)
class Published:
    """The head that a log shows: the integrated one, or the last that its witnesses cosigned."""

    size: int
    checkpoint: str
    """The signed note, with the cosignatures there are."""
    witnessed: bool
    """Whether it carries the cosignatures that the policy asks for; False without a policy."""


class Closed(NamedTuple):
    """A log that has a successor."""

    shown: Published
    head: Head


@dataclass(frozen=True, slots=True)
class Shown:
    """A log as others see it: nothing behind `size`."""

    log: LogId
    size: int
    checkpoint: str
    """The signed note, with the cosignatures there are."""
    witnessed: bool
    """Whether these are what the policy asks for; False without a policy."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where an entry stands."""

    log: LogId
    index: int
    leaf: bytes
    """The entry as it is hashed and served."""

    @property
    def ordinal(self) -> int:
        """Where it stands among all generations of the log."""
        return ordinals.ordinal(self.log.generation, self.index)


@dataclass(frozen=True, slots=True)
class Publication:
    """A log that anybody may read."""

    workspace_id: WorkspaceId
    name: str
    published_at: datetime


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A key that signs or signed for a log, and the tree sizes it signed: elsewhere its signature is worthless."""

    origin: str
    public_key: bytes
    from_size: int
    to_size: int | None
    """The last; None for the key that signs now."""
    created_at: datetime
    retired_at: datetime | None

    def covers(self, size: int) -> bool:
        return self.from_size <= size and (self.to_size is None or size <= self.to_size)


@dataclass(frozen=True, slots=True)
class SigningKey:
    public_key: bytes
    sealed: bytes
    from_size: int
    """The first tree size that it signs."""


class Span(NamedTuple):
    """Neighbouring nodes on a tile level: leaves on level 0, roots of full tiles of the level below on the others."""

    level: int
    first: int
    past: int


@dataclass(frozen=True, slots=True)
class Tile:
    """256 neighbouring nodes (C2SP tlog-tiles) and the root over them."""

    level: int
    index: int
    hashes: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a log, for the operator."""

    origin: str
    code: str
    detail: str
