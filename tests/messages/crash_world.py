"""A hub that breaks at the very step a test names, and is started again on what is left."""

import asyncio
import contextlib
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from tabellion.access import idempotency
from tabellion.access.service import create_workspace
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import WRITE_LIMIT, Database, Row, Tx, connect
from tabellion.core.errors import Unavailable
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import open_log
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import KeyFolder, open_vault
from tabellion.core.wake import Bell
from tabellion.events.service import open_log as open_event_log
from tabellion.jobs.engine import Engine, Options
from tabellion.jobs.types import Lane
from tabellion.messages.jobs import Deliver
from tabellion.providers.base import Accepted, Outbound, Result

T = TypeVar("T")
NOWHERE = SimulatorAddress("http://127.0.0.1:9", "127.0.0.1", 9)
FEWEST_STEPS, MOST_STEPS = 7, 200
MOST_TURNS = 200


class Fault(Enum):
    RAISES = "an exception"
    """Of our own making, between two statements. The process lives on."""
    CUT = "a lost connection"
    """The process lives on, and gets another."""
    DIES = "a killed process"
    """Nothing of it runs any more, what it had open is rolled back, what it held waits for its lease."""


class Injected(Exception):
    """An exception that no code of ours expects."""


class Died(BaseException):
    """Passes through everything that catches errors: there is nobody left to catch it."""


@dataclass
class Fuse:
    """Blows once, at the `left`-th step from now. Steps: each statement, each COMMIT, each return from a COMMIT."""

    left: int
    fault: Fault
    blown: bool = False
    committed: bool = False
    """It blew when the transaction had committed and nobody had heard of it yet."""

    def burn(self, connection: Any) -> None:
        """One step is about to be done on the connection; None: one was committed."""
        self.left -= 1
        if self.left != 0:
            return
        self.blown, self.committed = True, connection is None
        match self.fault:
            case Fault.RAISES:
                raise Injected
            case Fault.DIES:
                raise Died
            case Fault.CUT if connection is None:
                raise Unavailable("database_away", "the database does not answer; try again")
            case Fault.CUT:
                connection.terminate()


class Watched(Tx):
    """A transaction in which each statement is a step."""

    def __init__(self, inner: Tx, burn: Callable[[Any], None]) -> None:
        super().__init__(inner._connection, inner.now)
        self._committed, self._closing = inner._committed, inner._closing
        self._provided, self._held = inner._provided, inner._held
        self._burn = burn

    async def rows(self, sql: str, *args: Any) -> list[Row]:
        self._burn(self._connection)
        return await super().rows(sql, *args)

    async def row(self, sql: str, *args: Any) -> Row | None:
        self._burn(self._connection)
        return await super().row(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        self._burn(self._connection)
        return await super().value(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        self._burn(self._connection)
        return await super().execute(sql, *args)


class Breaking(Database):
    """A database with a fuse in it."""

    fuse: Fuse | None = None

    @contextlib.asynccontextmanager
    async def transaction(self, limit: float = WRITE_LIMIT) -> AsyncIterator[Tx]:
        async with super().transaction(limit) as tx:
            watched = Watched(tx, self._burn)
            yield watched
            await watched._close()
            self._burn(tx._connection)
        self._burn(None)

    def _burn(self, connection: Any) -> None:
        if self.fuse is not None and not self.fuse.blown:
            self.fuse.burn(connection)


def accepted(outbound: Outbound) -> Result:
    return Accepted(f"v-{outbound.attempt_id}")


@dataclass
class Vendor:
    """Keeps count of what arrived, by message. `holds` makes a hand-off wait for ever: before it arrives, or after."""

    answer: Callable[[Outbound], Result] = accepted
    got: Counter[str] = field(default_factory=Counter)
    holds: str | None = None
    arrivals: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)

    async def send(self, provider: Any, outbound: Outbound, settings: Any, not_after: float) -> Result:
        self.arrivals.put_nowait(outbound.message_id)
        if self.holds == "before":
            await asyncio.Event().wait()
        self.got[outbound.message_id] += 1
        if self.holds == "after":
            await asyncio.Event().wait()
        return self.answer(outbound)

    def times(self, message: UUID) -> int:
        return self.got[ids.show("msg", message)]


@dataclass
class Process:
    db: Breaking
    hub: Hub
    engine: Engine
    done: asyncio.Event
    """Set with each result."""

    async def turn(self) -> None:
        """Do what is due: move, claim, begin, perform, finish."""
        while (await self.engine.tick())[0]:
            pass
        await self.engine.claim(list(Lane), rescan=True)
        await self.performed()
        while self.engine.results:
            await self.engine.finish()

    async def performed(self) -> None:
        """Return when all that was begun has its result."""
        while self.engine.slots.held:
            self.done.clear()
            await self.done.wait()

    async def due(self) -> datetime | None:
        """When something is due next, at the latest now; None when there is nothing left to do."""
        found: datetime | None = await self.db.run(lambda tx: tx.value(NEXT_DUE))
        return found

    async def kill(self) -> None:
        """Stop at once: what it had not written yet is never written, also outside the database."""
        self.hub.checkpoints._pending.clear()
        await self.engine.slots.close()
        self.db._pool.terminate()


NEXT_DUE = """
select min(at)
  from (select run_at as at from delayed
         union all
        select coalesce(lease_until + interval '1 millisecond', enqueued_at) from jobs) as due
"""


BACKENDS = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'tabellion'"


@dataclass
class Machine:
    """What outlives a process: the database, the keys, the time, and the world outside."""

    url: str
    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    vendor: Vendor = field(default_factory=Vendor)
    install_id: UUID = field(default_factory=ids.new)
    dead: list[Process] = field(default_factory=list)
    process: Process = field(init=False)
    side: WorkspaceId = field(init=False)

    async def start(self) -> None:
        """Start a process on what is there."""
        db = await connect(self.url, self.clock, size=4)
        broken, keys, bell = Breaking(db._pool, self.clock), KeyFolder(self.folder / "keys"), Bell()
        around = Surroundings(
            db=broken,
            clock=self.clock,
            log=open_log(io.StringIO(), self.clock),
            metrics=Metrics(process=False),
            bell=bell,
            vault=await open_vault(keys, self.clock, create=True),
            keys=keys,
            events=await open_event_log(broken, bell),
            install_id=self.install_id,
            simulator=NOWHERE,
            local_url="http://127.0.0.1:1",
            public_url=None,
        )
        hub = wire(around)
        kinds = [replace(one, send=self.vendor.send) if isinstance(one, Deliver) else one for one in hub.kinds]
        done = asyncio.Event()
        engine = Engine(broken, kinds, around.log, bell, Options(slots=32), Random(1), performed=done.set)
        self.process = Process(broken, hub, engine, done)

    async def move(self) -> None:
        """Go on in a fresh workspace, where nothing was made yet: no key, no account, no ledger."""
        self.side = (await self.db.run(lambda tx: create_workspace(tx, f"crash {ids.new()}"))).test

    async def restart(self) -> None:
        await self.process.kill()
        self.dead.append(self.process)
        await self.start()

    async def stop(self) -> None:
        for one in (*self.dead, self.process):
            await one.hub.close()
        await self.process.engine.slots.close()
        await self.process.db.close()

    @property
    def db(self) -> Breaking:
        return self.process.db

    @property
    def hub(self) -> Hub:
        return self.process.hub

    async def strike(self, fuse: Fuse, work: Callable[[], Awaitable[T]]) -> T | None:
        """What work returned with the fuse in; None where it did not. A process that died is started again."""
        self.db.fuse = fuse
        try:
            return await work()
        except (Injected, Unavailable, Died):
            return None
        finally:
            self.db.fuse = None
            if fuse.blown and fuse.fault is Fault.DIES:
                await self.restart()
            await self._gone()

    async def _gone(self) -> None:
        """Return when the server has noticed who is gone: until then their locks are held, and others find them so."""
        while await self.value(BACKENDS) > self.db._pool.get_size():
            pass

    async def once(self, key: str, work: Callable[[Tx], Awaitable[bytes]]) -> bytes:
        """The answer to a request with this idempotency key, as the HTTP edge makes it."""

        async def answer(tx: Tx) -> bytes:
            seal = await self.hub.around.vault.workspace(tx, self.side, "answers")
            mark = idempotency.identify("POST", "/v1", key, key.encode())
            [outcome] = await idempotency.claim(tx, self.side, [mark], seal)
            if isinstance(outcome, idempotency.Replay):
                return outcome.body
            assert isinstance(outcome, idempotency.Fresh)
            body = await work(tx)
            await idempotency.store(tx, self.side, [(mark, 202, body)], seal)
            return body

        return await self.db.run(answer)

    async def drain(self) -> None:
        """Work until there is nothing left to do, going on to whatever is due next."""
        for _ in range(MOST_TURNS):
            await self.process.turn()
            due = await self.process.due()
            if due is None:
                return
            self.clock.advance(max(due - self.clock.now(), timedelta()))
        raise AssertionError("it never comes to an end")

    async def rows(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.db.run(lambda tx: tx.rows(sql, *args))]

    async def value(self, sql: str, *args: Any) -> Any:
        return await self.db.run(lambda tx: tx.value(sql, *args))


@contextlib.asynccontextmanager
async def machine(url: str, folder: Path) -> AsyncIterator[Machine]:
    made = Machine(url, folder)
    await made.start()
    await made.move()
    try:
        yield made
    finally:
        await made.stop()


async def at_every_step(fault: Fault, trial: Callable[[Fuse, int], Awaitable[None]]) -> None:
    """Try with the fault at the first step, the second, … until it gets through whole."""
    for step in range(1, MOST_STEPS):
        fuse = Fuse(step, fault)
        await trial(fuse, step)
        if not fuse.blown:
            assert step > FEWEST_STEPS, "the fault met nothing"
            return
    raise AssertionError("it never got through")
