"""A kind of job that does what its payload says, and an engine driven step by step."""

import asyncio
import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from tabellion.core.db import Database, Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import Log, open_log
from tabellion.core.telemetry import Metrics
from tabellion.core.wake import Bell
from tabellion.jobs.engine import Engine, Options
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Begun, Claimed, Dead, Done, Lane, Later, NewJob, Perform, Result, Ruling


@dataclass
class Scripted:
    """`{"n": 7, "begin": "raise"}` raises in begin; likewise perform, finish, lost. Keeps what committed, by `n`."""

    name: str = "test.scripted"
    max_tries: int = 3
    begun: list[Any] = field(default_factory=list)
    performed: list[Any] = field(default_factory=list)
    finished: list[tuple[Any, Any, bool]] = field(default_factory=list)
    lost_: list[Any] = field(default_factory=list)
    died_: list[Any] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        _raise(jobs, "begin")
        tx.after_commit(lambda: self.begun.extend(job.payload["n"] for job in jobs))
        return [_answer(tx, job.payload.get("begin")) or Perform(job.payload) for job in jobs]

    async def perform(self, work: Any) -> Any:
        self.performed.append(work["n"])
        if work.get("perform") == "raise":
            raise ZeroDivisionError
        if work.get("perform") == "wait":
            await self.gate.wait()
        return work["n"] * 10

    async def finish(self, tx: Tx, results: Sequence[Result]) -> Sequence[Ruling]:
        _raise([job for job, _, _ in results], "finish")
        tx.after_commit(lambda: self.finished.extend((job.payload["n"], result, own) for job, result, own in results))
        return [_answer(tx, job.payload.get("finish")) or Done() for job, _, _ in results]

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        _raise(jobs, "lost")
        tx.after_commit(lambda: self.lost_.extend(job.payload["n"] for job in jobs))

    async def died(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        _raise(jobs, "died")
        tx.after_commit(lambda: self.died_.extend(job.payload["n"] for job in jobs))


def _raise(jobs: Sequence[Claimed], where: str) -> None:
    if any(job.payload.get(where) == "raise" for job in jobs):
        raise ZeroDivisionError


def _answer(tx: Tx, said: str | None) -> Done | Later | Dead | None:
    match said:
        case "done":
            return Done()
        case "later":
            return Later(tx.now + timedelta(seconds=60), reason="asked to wait")
        case "skip":
            return Later(tx.now + timedelta(milliseconds=50), counted=False, reason="busy")
        case "dead":
            return Dead("no use")
        case _:
            return None


@dataclass
class Bench:
    """One database, any number of engines on it."""

    db: Database
    workspace_id: WorkspaceId
    log: Log

    def engine(self, *kinds: Scripted, slots: int = 64, metrics: Metrics | None = None) -> Engine:
        return Engine(self.db, kinds, self.log, Bell(), Options(slots=slots), random.Random(7), metrics)

    async def put(self, *payloads: dict[str, Any], kind: str = "test.scripted", **named: Any) -> None:
        jobs = [NewJob(self.workspace_id, kind, payload, **named) for payload in payloads]
        await self.db.run(lambda tx: enqueue(tx, jobs))

    async def rows(self, table: str) -> list[dict[str, Any]]:
        rows = await self.db.run(lambda tx: tx.rows(f"select * from {table} order by payload ->> 'n'"))
        return [dict(row) for row in rows]

    async def work(self, engine: Engine, turns: int = 1) -> None:
        """Claim, perform and finish what there is."""
        for _ in range(turns):
            await engine.claim(list(Lane), rescan=True)
            await until(lambda: not engine.slots.held)
            while engine.results:
                assert await engine.finish()


async def until(true: Callable[[], bool]) -> None:
    """Let the others run until it is so."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - any state may be waited for
            await asyncio.sleep(0)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
async def bench(db: Database, workspace_id: WorkspaceId) -> Bench:
    return Bench(db, workspace_id, open_log(io.StringIO(), db.clock))
