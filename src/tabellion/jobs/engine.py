"""What a worker holds, and each thing it does once: claim, finish, renew, tick, release.

A claim and the begin of what it caught are one transaction; so are the finish of a batch and the deletion of its jobs.
What a claim caught of further kinds begins in transactions of their own: locks of one kind never wait behind another's.
Nothing is open while a unit is performed. What a worker holds when it dies is found by its expired lease.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from msgspec import structs

from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.errors import Unavailable
from tabellion.core.log import Log
from tabellion.core.telemetry import Metrics
from tabellion.core.wake import Bell
from tabellion.jobs import service, store
from tabellion.jobs.rules import group, halves, parts, shares, watermark
from tabellion.jobs.slots import Raised, Slots, Unit
from tabellion.jobs.steps import Performed, Steps, alike, by_lane
from tabellion.jobs.store import Lease
from tabellion.jobs.types import Claimed, Kind, Lane

NOBODYS = UUID(int=0)
"""The token of a claim that was rolled back."""
BATCH = 256
"""Jobs claimed, finished or moved in one transaction."""


@dataclass(frozen=True, slots=True)
class Options:
    slots: int = 256
    lease: timedelta = timedelta(seconds=30)
    """How long a dead worker's jobs wait. Renewed at a third of it."""


@dataclass(slots=True)
class Haul:
    """What one claim caught: jobs, the lanes that may have more, and where the next claim may start to look."""

    jobs: list[Claimed] = field(default_factory=list)
    further: list[Sequence[Claimed]] = field(default_factory=list)
    """Those of the jobs that this transaction does not begin, in batches."""
    full: set[Lane] = field(default_factory=set)
    marks: dict[Lane, int] = field(default_factory=dict)

    def clear(self) -> None:
        self.jobs.clear()
        self.further.clear()
        self.full.clear()
        self.marks.clear()


class Engine:
    """`performed` is called after each unit, with results then in `results`; `slots` and `running` say what is free."""

    def __init__(
        self,
        db: Database,
        kinds: Sequence[Kind],
        log: Log,
        bell: Bell,
        options: Options,
        chance: random.Random,
        metrics: Metrics | None = None,
        performed: Callable[[], None] = lambda: None,
    ) -> None:
        if options.slots < 32:
            raise ValueError("a worker needs at least 32 slots, or the lanes cannot have their shares")
        self.results: list[Performed] = []
        self.slots = Slots(options.slots, self._collect, db.clock.monotonic)
        self._db = db
        self._log = log
        self._bell = bell
        self._lease = options.lease
        self._steps = Steps(kinds, chance, bell, metrics)
        self._metrics = metrics
        self._seconds = {kind.name: metrics.job_seconds.labels(kind.name) for kind in kinds} if metrics else {}
        self._performed = performed
        self._reserved = options.slots // 16
        self._running = dict.fromkeys(Lane, 0)
        self._marks = dict.fromkeys(Lane, 0)
        self._held: dict[int, Claimed] = {}
        self._finishing = False

    @property
    def settled(self) -> bool:
        """Whether everything claimed has been performed and written."""
        return not (self.slots.held or self.results or self._finishing)

    def may_claim(self, lanes: Sequence[Lane]) -> bool:
        """Whether any of the lanes would get a slot."""
        return any(shares(self.slots.free, self._running, lanes, self._reserved).values())

    async def claim(self, lanes: Sequence[Lane], *, rescan: bool = False) -> set[Lane]:
        """Claim into the free slots, begin, start performing; returns the lanes that had all that was asked of them.

        Name quiet lanes first: what they do not use goes to those after them. `rescan` looks below the watermark too.
        """
        haul = Haul()

        async def work(tx: Tx) -> list[Unit]:
            haul.clear()
            await self._take(tx, lanes, rescan, haul)
            batches = group(haul.jobs, alike)
            haul.further += batches[1:]
            return await self._steps.begin(tx, batches[0]) if batches else []

        try:
            units = await self._db.run(work)
        except Exception as error:
            if not haul.jobs or _away(error):
                raise
            # Should the commit have gone through after all, their begin has written: only its lease may undo that.
            await self._isolate([structs.replace(job, token=NOBODYS) for job in haul.jobs], error)
        else:
            self._start(units)
            for batch in haul.further:
                await self._begin_part(batch)
        self._marks.update(haul.marks)
        self._observe(haul.jobs)
        return haul.full

    async def finish(self) -> bool:
        """Write what has been performed, up to a batch. False when the database was away before all was written."""
        batch, self.results = self.results[:BATCH], self.results[BATCH:]
        self._finishing = True
        try:
            left = [one for part in group(batch, lambda done: done[0].kind) for one in await self._settle(part)]
        finally:
            self._finishing = False
        self.results[:0] = left
        return not left

    async def renew(self) -> None:
        """Lengthen the leases of everything held."""
        held = by_lane(self._held.values())

        async def work(tx: Tx) -> None:
            for lane, tokens in held.items():
                await store.renew(tx, lane, tokens, tx.now + self._lease)

        if held:
            await self._db.run(work)

    async def tick(self) -> tuple[bool, datetime | None]:
        """Move a batch of due jobs into their lanes. Says whether there may be more, and when the next is due."""
        return await self._db.run(lambda tx: service.tick(tx, BATCH, self._bell))

    async def release(self) -> None:
        """Give back everything held, so that another worker need not wait for the leases to expire."""
        held = by_lane(self._held.values())

        async def work(tx: Tx) -> None:
            for lane, tokens in held.items():
                await store.release(tx, lane, tokens)

        if held:
            await self._db.run(work)
            self._held.clear()

    async def _take(self, tx: Tx, lanes: Sequence[Lane], rescan: bool, haul: Haul) -> None:
        lease = Lease(ids.new(), tx.now + self._lease)
        free = min(self.slots.free, BATCH)
        running = dict(self._running)
        last = await store.last_id(tx) if rescan else 0
        async with store.in_order(tx):
            for turn, lane in enumerate(lanes):
                share = shares(free, running, lanes[turn:], self._reserved)[lane]
                mark = self._marks[lane]
                jobs = await store.claim(tx, lane, 0 if rescan else mark, share, lease) if share else []
                free -= len(jobs)
                running[lane] += len(jobs)
                haul.jobs += jobs
                if len(jobs) == share:
                    haul.full.add(lane)
                seen = [last] if len(jobs) < share else [job.id for job in jobs]
                haul.marks[lane] = watermark(mark, seen)

    def _observe(self, jobs: Sequence[Claimed]) -> None:
        """Record the longest wait of each lane: one figure a claim, not one a job."""
        if self._metrics and jobs:
            now = self._db.clock.now()
            for lane in {job.lane for job in jobs}:
                oldest = min(job.enqueued_at for job in jobs if job.lane == lane)
                self._metrics.job_wait.labels(lane.name.lower()).observe((now - oldest).total_seconds())

    def _start(self, units: list[Unit]) -> None:
        for job, _, _ in units:
            self._held[job.id] = job
            self._running[job.lane] += 1
        self.slots.add(units)

    def _collect(self, job: Claimed, result: Any, seconds: float | None) -> None:
        self._running[job.lane] -= 1
        self.results.append((job, result))
        if isinstance(result, Raised):
            self._log.error("job_failed", kind=job.kind, job=job.id, workspace_id=job.workspace_id, error=result.error)
        if seconds is not None and job.kind in self._seconds:
            self._seconds[job.kind].observe(seconds)
        self._performed()

    async def _isolate(self, jobs: Sequence[Claimed], error: Exception) -> None:
        """Begin a batch that raised in smaller parts, until the culprit stands alone."""
        if len(jobs) == 1:
            await self._charge(jobs[0], error, again=True)
            return
        for part in parts(jobs, alike):
            await self._begin_part(part)

    async def _begin_part(self, part: Sequence[Claimed]) -> None:
        async def work(tx: Tx) -> list[Unit]:
            taken = await self._again(tx, part)
            # A lease that ran out meanwhile makes a lost job of what was none: such jobs begin behind the others.
            return [unit for batch in group(taken, alike) for unit in await self._steps.begin(tx, batch)]

        try:
            units = await self._db.run(work)
        except Exception as error:
            if _away(error):
                raise
            await self._isolate(part, error)
        else:
            self._start(units)

    async def _again(self, tx: Tx, jobs: Sequence[Claimed]) -> list[Claimed]:
        """Claim jobs anew, those under their token as well as those that are nobody's."""
        lease = Lease(ids.new(), tx.now + self._lease)
        return [
            job for lane, tokens in by_lane(jobs).items() for job in await store.claim_these(tx, lane, tokens, lease)
        ]

    async def _settle(self, batch: Sequence[Performed]) -> Sequence[Performed]:
        """Finish the batch, in smaller parts if it raises. Returns what is left because the database is away."""
        try:
            await self._db.run(lambda tx: self._steps.finish(tx, batch))
        except Exception as error:  # noqa: BLE001 - the job edge
            if _away(error):
                return batch
            if len(batch) > 1:
                return [left for part in halves(batch) for left in await self._settle(part)]
            if not await self._charge(batch[0][0], error, again=False):
                return batch
        for job, _ in batch:
            self._let_go(job)
        return []

    def _let_go(self, job: Claimed) -> None:
        if self._held.get(job.id) is job:
            del self._held[job.id]

    async def _charge(self, job: Claimed, error: Exception, *, again: bool) -> bool:
        """Count a try against the culprit, claiming it `again` if begin raised. False when the database is away."""
        self._log.error("job_failed", kind=job.kind, job=job.id, workspace_id=job.workspace_id, error=error)

        async def work(tx: Tx, *, tell: bool) -> None:
            for mine in await self._again(tx, [job]) if again else [job]:
                await self._steps.charge(tx, mine, error, lost=mine.lost or not again, tell=tell)

        # Its kind's `lost` may raise as well; and if even that is not it, the lease runs out and the job comes back.
        for tell in (True, False):
            try:
                await self._db.run(partial(work, tell=tell))
                break
            except Exception as second:  # noqa: BLE001 - the job edge
                if _away(second):
                    return False
                self._log.error("job_charge_failed", kind=job.kind, job=job.id, error=second)
        return True


def _away(error: Exception) -> bool:
    """Whether the database is away, which is no job's fault. A transaction that took too long is its batch's fault."""
    if not isinstance(error, Unavailable):
        return False
    return error.code == "database_away" and not isinstance(error.__cause__, TimeoutError)
