"""A real worker process, to be killed: `python process.py URL`. SIGTERM stops it the graceful way."""

import asyncio
import random
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tabellion.core.clock import SystemClock
from tabellion.core.db import Tx, connect
from tabellion.core.log import stderr_log
from tabellion.jobs.engine import Options
from tabellion.jobs.types import Begun, Claimed, Done, Perform, Result, Ruling
from tabellion.jobs.worker import Worker


class Note:
    """Leaves a row at each stage; performing takes a moment."""

    name = "crash.note"
    max_tries = 20

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        await self._note(tx, "begun", jobs)
        return [Perform(random.uniform(0, 0.2)) for _ in jobs]

    async def perform(self, work: Any) -> Any:
        await asyncio.sleep(work)

    async def finish(self, tx: Tx, results: Sequence[Result]) -> Sequence[Ruling]:
        await self._note(tx, "finished", [job for job, _, owned in results if owned])
        return [Done()] * len(results)

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        await self._note(tx, "lost", jobs)

    async def died(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        raise AssertionError("no job is given up here")

    async def _note(self, tx: Tx, table: str, jobs: Sequence[Claimed]) -> None:
        numbers = [job.payload["n"] for job in jobs]
        await tx.execute(f"insert into {table} select unnest($1::integer[])", numbers)


async def main(url: str) -> None:
    clock = SystemClock()
    db = await connect(url, clock)
    options = Options(slots=64, lease=timedelta(seconds=1))
    worker = Worker(db, [Note()], clock, stderr_log(clock), options=options)
    running = asyncio.create_task(worker.run())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await worker.stop()
    await running
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
