"""The job engine end to end against the least code that does the same work without its guarantees.

Both sides enqueue, claim, do nothing and delete the same jobs (500 bytes, batches of 256, every commit on disk), one
producer and one consumer in this process, on the same database, in turns. Both encode and decode each payload. The
engine has besides: lanes, lease tokens and fences, retries, dead letters, slots. The loop: `unnest`, `SKIP LOCKED`, a
watermark, a lease.

    python -m benchmarks.jobs [URL]        without a URL on a bundled PostgreSQL of its own
"""

import asyncio
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from operator import truediv
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import uvloop

from tabellion.core import ids
from tabellion.core.clock import SystemClock
from tabellion.core.db import Database, Tx, connect
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import open_log
from tabellion.core.postgres import Postgres
from tabellion.core.telemetry import Metrics
from tabellion.core.wake import Bell
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Begun, Claimed, Done, NewJob, Perform, Result, Ruling
from tabellion.jobs.worker import Worker
from tabellion.migrations import migrate

JOBS = 20_000
BATCH = 256
ROUNDS = 5
PAYLOAD = {"message_id": "msg_" + "0" * 26, "step": 1, "text": "x" * 420}


class Nothing:
    """The kind that does nothing; counts what it finished."""

    name = "benchmark.nothing"
    max_tries = 3

    def __init__(self) -> None:
        self.left = 0
        self.all_done = asyncio.Event()

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        return [Perform()] * len(jobs)

    async def perform(self, work: Any) -> Any:
        return None

    async def finish(self, tx: Tx, results: Sequence[Result]) -> Sequence[Ruling]:
        tx.after_commit(lambda: self._count(len(results)))
        return [Done()] * len(results)

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        raise AssertionError("nothing is lost here")

    async def died(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        raise AssertionError("nothing dies here")

    def _count(self, finished: int) -> None:
        self.left -= finished
        if self.left <= 0:
            self.all_done.set()


async def engine(db: Database) -> float:
    """Jobs a second through the engine."""
    clock, bell, kind = SystemClock(), Bell(), Nothing()
    worker = Worker(db, [kind], clock, open_log(io.StringIO(), clock), bell=bell, metrics=Metrics(process=False))
    running = asyncio.create_task(worker.run())
    workspace_id = WorkspaceId(ids.new())
    kind.left = JOBS
    begun = time.perf_counter()
    for start in range(0, JOBS, BATCH):
        jobs = [NewJob(workspace_id, kind.name, PAYLOAD) for _ in range(min(BATCH, JOBS - start))]
        await db.run(lambda tx, jobs=jobs: enqueue(tx, jobs, bell))  # type: ignore[misc]
    await kind.all_done.wait()
    seconds = time.perf_counter() - begun
    await worker.stop()
    await running
    return JOBS / seconds


async def loop(url: str) -> float:
    """Jobs a second through the hand-written loop."""
    producer, consumer = await asyncpg.connect(url), await asyncpg.connect(url)
    begun = time.perf_counter()
    producing = asyncio.create_task(_produce(producer))
    await _consume(consumer)
    seconds = time.perf_counter() - begun
    await producing
    await producer.close()
    await consumer.close()
    return JOBS / seconds


async def _table(url: str) -> None:
    """The loop's queue, made once: as the engine's, it has the dead rows of earlier rounds and is vacuumed like it."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        """
        drop table if exists benchmark_queue;
        create table benchmark_queue (
            id bigserial primary key, payload jsonb not null, lease_until timestamptz
        ) with (
            fillfactor = 60, vacuum_truncate = false, autovacuum_vacuum_cost_delay = 0,
            autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000
        );
        """
    )
    await connection.close()


async def _produce(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    encode = msgspec.json.encode
    for start in range(0, JOBS, BATCH):
        payloads = [encode(PAYLOAD).decode() for _ in range(min(BATCH, JOBS - start))]
        await connection.execute("insert into benchmark_queue (payload) select unnest($1::jsonb[])", payloads)


async def _consume(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    decode = msgspec.json.decode
    done = last = 0
    while done < JOBS:
        rows = await connection.fetch(
            """
            update benchmark_queue set lease_until = now() + interval '30s'
             where id = any(array(select id from benchmark_queue
                                   where id > $1 and (lease_until is null or lease_until < now())
                                   order by id limit 256 for update skip locked))
            returning id, payload
            """,
            last,
        )
        if rows:
            last = rows[0]["id"] - 1
            for row in rows:
                decode(row["payload"])
            await connection.execute(
                "delete from benchmark_queue where id = any($1::bigint[])", [row[0] for row in rows]
            )
            done += len(rows)


async def run(url: str | None = None) -> dict[str, float]:
    """Medians of interleaved rounds, and the ratio of the engine to the loop."""
    if url is None:
        return await _bundled(run)
    await migrate(url)
    await _table(url)
    db = await connect(url, SystemClock())
    rates: dict[str, list[float]] = {"engine": [], "loop": []}
    for _ in range(ROUNDS):
        rates["loop"].append(await loop(url))
        rates["engine"].append(await engine(db))
    await db.close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "engine_jobs_per_second": round(medians["engine"]),
        "loop_jobs_per_second": round(medians["loop"]),
        "ratio": round(statistics.median(map(truediv, rates["engine"], rates["loop"])), 2),
        "ratio_goal": 0.6,
    }


async def _bundled(work: Callable[[str], Awaitable[dict[str, float]]]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as folder:
        postgres = Postgres(Path(folder) / "data", clock=SystemClock())
        try:
            return await work(await postgres.start())
        finally:
            await postgres.stop()


def main() -> None:
    for name, value in uvloop.run(run(*sys.argv[1:2])).items():
        print(f"{name:28} {value:>12,}")


if __name__ == "__main__":
    main()
