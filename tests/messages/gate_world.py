"""Several processes on one database, whose transactions are timed from outside and sometimes cut short."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from math import inf
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from tabellion.access.service import create_workspace
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.core import ids
from tabellion.core.db import Tx, connect
from tabellion.core.errors import Unavailable
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import open_log
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import KeyFolder, open_vault
from tabellion.core.wake import Bell
from tabellion.events.service import open_log as open_event_log
from tabellion.jobs.slots import Unit
from tabellion.jobs.steps import Steps
from tabellion.jobs.types import Claimed
from tabellion.messages.gate import Gate
from tabellion.messages.jobs import Deliver

from .gate_judge import Said, Span, Started

T = TypeVar("T")
BEGAN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
NOWHERE = SimulatorAddress("http://127.0.0.1:9", "127.0.0.1", 9)
"""Nothing is sent: what a worker would perform is given a result at once."""


@dataclass
class Ticks:
    """The time of all processes: a millisecond passes with each look at it."""

    count: int = 0


@dataclass
class Skewed:
    """One process's clock, `skew` off the others'."""

    ticks: Ticks
    skew: timedelta

    def now(self) -> datetime:
        self.ticks.count += 1
        return BEGAN + timedelta(milliseconds=self.ticks.count) + self.skew

    def monotonic(self) -> float:
        return self.ticks.count / 1000


@dataclass(frozen=True)
class Form:
    """How begin locks and reads: the product's gate in READ COMMITTED, or something put in its place."""

    name: str = "ours"
    gate: Callable[[Gate], Gate] = lambda gate: gate
    isolation: str = "read committed"


class Fate(Enum):
    """What befalls a transaction and its client."""

    LIVES = auto()
    RAISES = auto()
    """An exception before COMMIT: rolled back."""
    KILLED = auto()
    """The backend is terminated before COMMIT is issued."""
    KILLED_AT_COMMIT = auto()
    """The backend is terminated while COMMIT is on its way: it may do either."""
    HANGS_UP = auto()
    """The client is gone as soon as COMMIT is on the wire: it mostly commits, and nobody hears."""


class Crash(Exception):
    """Injected."""


_CUT_SHORT = (Crash, Unavailable, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


@dataclass
class Process:
    """One process: a pool, a vault, caches and a clock of its own, and the steps of its jobs."""

    hub: Hub
    steps: Steps


@dataclass
class World:
    side: WorkspaceId
    processes: list[Process]
    admin: "asyncpg.Connection[Any]"
    form: Form
    said: list[Said] = field(default_factory=list)
    begun: list[tuple[Span, frozenset[UUID], frozenset[UUID]]] = field(default_factory=list)
    """Each begin: when, the persons of its jobs, the attempts it wrote."""
    finished: list[tuple[Span, frozenset[UUID]]] = field(default_factory=list)
    """Each finish: when, and of which attempts."""
    lost: list[tuple[Span, frozenset[UUID]]] = field(default_factory=list)
    """Each begin that found jobs of a worker that died: when, and of which messages."""
    unanswered: int = 0
    """Transactions whose client never heard whether they committed."""
    _kills: "list[asyncio.Task[None]]" = field(default_factory=list)
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def transact(
        self,
        process: Process,
        span: Span,
        work: Callable[[Tx], Awaitable[T]],
        *,
        level: str = "read committed",
        fate: Fate = Fate.LIVES,
        chance: Random | None = None,
    ) -> T | None:
        """What work returned, also where the transaction then did not commit; None where work was cut short.

        The span is filled in as it goes: `issued` by the last thing done before COMMIT is written to the socket.
        """
        result = None
        with contextlib.suppress(*_CUT_SHORT):
            async with process.hub.around.db.transaction() as tx:
                await tx.execute(f"set transaction isolation level {level}")
                result = await work(tx)
                await self._strike(fate, chance, tx)
                span.issued = monotonic()
            span.answered = monotonic()
        span.closed = monotonic()
        self.unanswered += span.issued < span.answered == inf
        return result

    async def _strike(self, fate: Fate, chance: Random | None, tx: Tx) -> None:
        match fate:
            case Fate.RAISES:
                raise Crash
            case Fate.KILLED:
                await self._kill(await tx.value(OWN_PID))
            case Fate.KILLED_AT_COMMIT:
                self._kills.append(asyncio.create_task(self._kill(await tx.value(OWN_PID))))
                for _ in range(chance.randrange(4) if chance else 1):
                    await asyncio.sleep(0)
            case Fate.HANGS_UP:
                asyncio.get_running_loop().call_soon(tx._connection.terminate)

    async def _kill(self, pid: int) -> None:
        async with self._alone:
            await self.admin.execute("select pg_terminate_backend($1)", pid)

    def note_begin(self, span: Span, claimed: Sequence[Claimed], units: Sequence[Unit]) -> None:
        """Keep what a begin was about, for the observer."""
        people = frozenset(UUID(job.payload["recipient"]) for job in claimed)
        self.begun.append((span, people, frozenset(work.attempt.id for _, _, work in units)))
        self.lost.append((span, frozenset(UUID(job.payload["message"]) for job in claimed if job.lost)))

    def meetings(self) -> int:
        """Pairs of a decision's and a begin's transaction that overlapped in time and were about one person."""
        return sum(
            one.span.overlaps(span) and not one.people.isdisjoint(people)
            for one in self.said
            for span, people, _ in self.begun
        )

    async def settle(self) -> list[Started]:
        """The attempts, once everything is over, with the decisions' places in the ledger filled in.

        What was acknowledged must be there, what was rolled back must not.
        """
        await self._gone()
        entries = {row["id"]: row["log_index"] for row in await self.admin.fetch(ENTRIES, self.side)}
        for one in self.said:
            one.index = entries.get(one.entry) if one.entry else None
            if one.entry:
                _require(one.span, one.entry in entries, f"decision {one.entry}")
        rows = {row["id"]: row for row in await self.admin.fetch(ATTEMPTS, self.side)}
        spans = {one: span for span, _, attempts in self.begun for one in attempts}
        for attempt, span in spans.items():
            _require(span, attempt in rows, f"attempt {attempt}")
        return [self._started(*row, spans[row["id"]]) for row in rows.values()]

    def _started(self, id_: UUID, message: UUID, person: UUID, *rest: Any) -> Started:
        finished = [span for span, attempts in self.finished if id_ in attempts]
        lost = [span for span, messages in self.lost if message in messages]
        return Started(id_, message, person, *rest, finished=finished, lost=lost)

    async def _gone(self) -> None:
        """Return when no connection whose client went away is still at work."""
        await asyncio.gather(*self._kills)
        mine = sum(process.hub.around.db._pool.get_size() for process in self.processes)
        while await self.admin.fetchval(BACKENDS) > mine:
            pass

    async def ledger_problems(self) -> list[object]:
        """What an operator would be told is wrong with the ledger, and whether it holds just the entries."""
        for process in self.processes:
            await process.hub.checkpoints.flush()
        hub = self.processes[0].hub
        counts = await self.admin.fetchrow(COUNTS, self.side)
        assert counts is not None
        odd = [] if len(set(counts)) == 1 else [f"entries, leaves, size: {tuple(counts)}"]
        return [*odd, *await hub.around.db.run(hub.ledger.verify_heads)]

    async def close(self) -> None:
        for process in self.processes:
            await process.hub.close()
            await process.hub.around.db.close()
        await self.admin.close()


OWN_PID = "select pg_backend_pid()"
BACKENDS = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'tabellion'"
ATTEMPTS = "select id, message_id, recipient_id, identifier, channel, purpose from attempts where workspace_id = $1"
ENTRIES = "select id, log_index from consent_entries where workspace_id = $1"
COUNTS = """
select (select count(*) from consent_entries where workspace_id = $1),
       (select count(*) from ledger_leaves where workspace_id = $1 and log = 'consent'),
       (select sum(size)::bigint from ledger_heads where workspace_id = $1 and log = 'consent')
"""


def _require(span: Span, there: bool, what: str) -> None:
    assert there or span.answered == inf, f"{what} was acknowledged and is gone"
    assert not there or span.issued < inf, f"{what} was rolled back and is there"


@contextlib.asynccontextmanager
async def world(url: str, folder: Path, *, processes: int = 3, form: Form | None = None) -> AsyncIterator[World]:
    """So many processes on the database at url, each with a clock a little ahead of the one before."""
    ticks, install_id, form = Ticks(), ids.new(), form or Form()
    made = [
        await _process(url, folder, Skewed(ticks, timedelta(milliseconds=7 * number)), install_id, form)
        for number in range(processes)
    ]
    workspace = await made[0].hub.around.db.run(lambda tx: create_workspace(tx, f"gate {install_id}"))
    opened = World(workspace.test, made, await asyncpg.connect(url), form)
    try:
        yield opened
    finally:
        await opened.close()


async def _process(url: str, folder: Path, clock: Skewed, install_id: UUID, form: Form) -> Process:
    db, keys, bell = await connect(url, clock, size=8), KeyFolder(folder / "keys"), Bell()
    around = Surroundings(
        db=db,
        clock=clock,
        log=open_log(io.StringIO(), clock),
        metrics=Metrics(process=False),
        bell=bell,
        vault=await open_vault(keys, clock, create=True),
        keys=keys,
        events=await open_event_log(db, bell),
        install_id=install_id,
        simulator=NOWHERE,
        local_url="http://127.0.0.1:1",
        public_url=None,
    )
    hub = wire(around)
    [deliver] = [one for one in hub.kinds if isinstance(one, Deliver)]
    gated = replace(deliver, gate=form.gate(deliver.gate))
    return Process(hub, Steps([gated, *(one for one in hub.kinds if one is not deliver)], Random(0), bell))
