"""What a job is, what a kind of job must be able to do, and what may become of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import msgspec

from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId


class Lane(IntEnum):
    """Priority. Each lane has a guaranteed share of the slots; critical has some of its own as well."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    BULK = 3


class NewJob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Work to enqueue. With `run_at` in the future it waits in `delayed` until then.

    Encoded as an array, in the order of its fields: `store` reads them by number.
    """

    workspace_id: WorkspaceId
    kind: str
    payload: Mapping[str, Any]
    lane: Lane = Lane.NORMAL
    run_at: datetime | None = None


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """A job this worker holds under a lease.

    `id` names this turn of it: a retried job comes back under a new one. `tries` counts the turns that failed before.
    `enqueued_at` is when it could first run, so a job scheduled for next week is not a week old when it starts.
    """

    id: int
    lane: Lane
    workspace_id: WorkspaceId
    kind: str
    payload: dict[str, Any]
    tries: int
    token: UUID
    enqueued_at: datetime
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """Finished: the job is deleted."""


@dataclass(frozen=True, slots=True)
class Later:
    """Again at `run_at`. A counted one uses up a try; `reason` is kept on the row for people to read."""

    run_at: datetime
    counted: bool = True
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Dead:
    """Never again by itself: becomes a dead letter with this error."""

    error: str


@dataclass(frozen=True, slots=True)
class Perform:
    """Hand `work` to `perform`, once this transaction has committed."""

    work: Any = field(default=None)


Ruling: TypeAlias = Done | Later | Dead
Begun: TypeAlias = Perform | Done | Later | Dead

Result: TypeAlias = tuple[Claimed, Any, bool]
"""A job, what `perform` returned, and whether the lease was still ours when the result came to be written."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Work that stopped trying, with the error of its last try."""

    id: UUID
    workspace_id: WorkspaceId
    lane: Lane
    kind: str
    payload: Mapping[str, Any]
    tries: int
    error: str
    enqueued_at: datetime
    died_at: datetime


class Kind(Protocol):
    """One kind of job, as four functions; the engine calls them with as large a batch as it has.

    A batch is of one kind and has a transaction of its own, so a kind's locks are taken in its order alone.
    Any function may raise. The batch is then rolled back and halved until the culprit stands alone; it is tried again,
    counted, and ends as a dead letter after `max_tries`.
    """

    @property
    def name(self) -> str:
        """As `message.deliver`: noun and verb."""
        ...

    @property
    def max_tries(self) -> int:
        """Counted turns before a dead letter."""
        ...

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        """One answer a job, in order. Runs in the transaction of the claim."""
        ...

    async def perform(self, work: Any) -> Any:
        """The result of one unit of work. No transaction is open; as many run at once as there are slots.

        Called again only after `lost` or another `begin`. When a worker stops it is cancelled; what it returns even so
        is finished like any result.
        """
        ...

    async def finish(self, tx: Tx, results: Sequence[Result]) -> Sequence[Ruling]:
        """One ruling a result, in order.

        Where the lease was lost (`owned` False), another worker has the job: record the result as late evidence only;
        the ruling is ignored.
        """
        ...

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        """These were handed to `perform` before, and no result was ever recorded.

        Runs before `begin`, in the same transaction, or before the job is buried.
        """
        ...

    async def died(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        """These become dead letters in this transaction: end what would wait for them for ever."""
        ...
