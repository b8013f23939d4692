"""Whole workers: several at once, stopped, and killed."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.jobs.conftest import Bench, Scripted, until

from tabellion.core.clock import SystemClock
from tabellion.core.db import Database, connect
from tabellion.core.ids import WorkspaceId
from tabellion.core.wake import Bell
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Lane, NewJob
from tabellion.jobs.worker import Worker

PROCESS = Path(__file__).with_name("process.py")


@asynccontextmanager
async def working(bench: Bench, *kinds: Scripted, bell: Bell | None = None) -> AsyncIterator[Worker]:
    worker = Worker(bench.db, kinds, bench.db.clock, bench.log, bell=bell)
    running = asyncio.create_task(worker.run())
    yield worker
    await worker.stop()
    await running


async def test_a_worker_does_what_is_enqueued_and_what_that_enqueues(bench: Bench, scripted: Scripted) -> None:
    bell, follow_up = Bell(), Scripted("test.follow_up")

    async def finish(tx, results):  # type: ignore[no-untyped-def]
        jobs = [NewJob(bench.workspace_id, "test.follow_up", job.payload, Lane.CRITICAL) for job, _, _ in results]
        await enqueue(tx, jobs, bell)
        return await Scripted.finish(scripted, tx, results)

    scripted.finish = finish  # type: ignore[method-assign]
    async with working(bench, scripted, follow_up, bell=bell):
        jobs = [NewJob(bench.workspace_id, scripted.name, {"n": n}) for n in range(700)]
        await bench.db.run(lambda tx: enqueue(tx, jobs, bell))
        await until(lambda: len(follow_up.finished) == 700)
    assert sorted(n for n, _, _ in follow_up.finished) == list(range(700))
    assert await bench.rows("jobs") == []


async def test_a_job_without_a_bell_is_found_by_the_poll(bench: Bench, scripted: Scripted) -> None:
    async with working(bench, scripted):
        await bench.put({"n": 1})
        await until(lambda: scripted.finished == [(1, 10, True)])


async def test_two_workers_do_each_job_once(bench: Bench) -> None:
    one, other = Scripted(), Scripted()
    async with working(bench, one), working(bench, other):
        for start in range(0, 2000, 200):
            await bench.put(*({"n": n} for n in range(start, start + 200)))
        await until(lambda: len(one.finished) + len(other.finished) == 2000)
    assert sorted(n for n, _, _ in one.finished + other.finished) == list(range(2000))
    assert one.lost_ == other.lost_ == []


async def test_stopping_waits_for_what_is_under_way(bench: Bench, scripted: Scripted) -> None:
    await bench.put({"n": 1, "perform": "wait"})
    async with working(bench, scripted) as worker:
        await until(lambda: scripted.performed == [1])
        stopping = asyncio.create_task(worker.stop())
        await asyncio.sleep(0)
        await bench.put({"n": 2})
        scripted.gate.set()
        await stopping
    assert scripted.finished == [(1, 10, True)]
    assert scripted.begun == [1], "it claims no more"


async def test_stopping_gives_back_what_does_not_end(bench: Bench, scripted: Scripted) -> None:
    await bench.put({"n": 1, "perform": "wait"}, {"n": 2})
    async with working(bench, scripted) as worker:
        await until(lambda: len(scripted.performed) == 2)
        await worker.stop(within=0)
    other = Scripted()
    await bench.engine(other).claim(list(Lane), rescan=True)
    assert other.lost_ == other.begun == [1]
    (job,) = await bench.rows("jobs")
    assert job["tries"] == 0


CUT = """
    select pg_terminate_backend(pid)
      from pg_stat_activity
     where pid <> pg_backend_pid() and datname = current_database()
"""


async def test_a_worker_outlives_a_database_that_goes_away(bench: Bench, scripted: Scripted, db: Database) -> None:
    async with working(bench, scripted):
        for n in range(5):
            await db.run(lambda tx: tx.execute(CUT))
            await bench.put({"n": n})
        await until(lambda: {n for n, _, _ in scripted.finished} == set(range(5)))


# kill -9


class Crash:
    """Real worker processes on one database; begin, lost and finish each leave a row."""

    def __init__(self, db: Database, url: str) -> None:
        self.db, self.url = db, url

    async def start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(sys.executable, str(PROCESS), self.url)

    async def count(self, table: str) -> int:
        count: int = await self.db.run(lambda tx: tx.value(f"select count(*) from {table}"))
        return count

    async def reach(self, finished: int) -> None:
        async with asyncio.timeout(120):
            while await self.count("finished") < finished:  # noqa: ASYNC110 - another process makes it so
                await asyncio.sleep(0.02)

    async def seen(self, table: str) -> dict[int, int]:
        rows = await self.db.run(lambda tx: tx.rows(f"select n, count(*) from {table} group by n"))
        return {row[0]: row[1] for row in rows}


async def test_killing_workers_loses_no_job_and_repeats_only_what_had_begun(
    database_url: str, workspace_id: WorkspaceId
) -> None:
    """kill -9 of real processes with jobs in every stage. Every hand-off but a job's first follows a `lost`."""
    total = 600
    db = await connect(database_url, SystemClock())
    crash = Crash(db, database_url)
    for table in ("begun", "lost", "finished"):
        await db.run(lambda tx, table=table: tx.execute(f"create table {table} (n integer not null)"))
    jobs = [NewJob(workspace_id, "crash.note", {"n": n}) for n in range(total)]
    await db.run(lambda tx: enqueue(tx, jobs))

    for finished in (60, 200, 350):
        process = await crash.start()
        await crash.reach(finished)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    left = await crash.count("jobs")
    last, beside = await crash.start(), await crash.start()
    await crash.reach(total)
    for process in (last, beside):
        process.terminate()
        assert await process.wait() == 0

    begun, lost, done = await crash.seen("begun"), await crash.seen("lost"), await crash.seen("finished")
    assert left > 0
    assert lost, "the kills hit jobs under way, or this test shows nothing"
    assert done == dict.fromkeys(range(total), 1), "none lost, none finished twice"
    assert begun.keys() == set(range(total))
    # What a claim caught beside lost jobs begins in a transaction of its own: killed before that, it is lost unbegun.
    assert all(times <= 1 + lost.get(n, 0) for n, times in begun.items())
    assert [await crash.count(table) for table in ("jobs", "delayed", "dead_letters")] == [0, 0, 0]
    await db.close()
