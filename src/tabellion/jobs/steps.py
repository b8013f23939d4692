"""The two transactions of a job's turn: begin (lost, begin) and finish (complete, finish, return or bury)."""

import random
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias, assert_never

from tabellion.core.db import Tx
from tabellion.core.errors import HubError, Unavailable
from tabellion.core.telemetry import Metrics
from tabellion.core.wake import Bell
from tabellion.jobs import store
from tabellion.jobs.rules import SCHEDULE, Schedule, retry_at, settle
from tabellion.jobs.service import DELAYED
from tabellion.jobs.slots import Raised, Unit
from tabellion.jobs.store import Buried, Returned
from tabellion.jobs.types import Claimed, Dead, Done, Kind, Lane, Later, Perform, Result, Ruling

Performed: TypeAlias = tuple[Claimed, Any]
"""A job and what came of performing it: a result, or Raised."""

Ended: TypeAlias = tuple[Claimed, Ruling, bool]
"""A job, its ruling, and whether `lost` must run should it come back."""

STRANGE = timedelta(seconds=30)
"""How long a job waits whose kind this worker does not know: a newer version may run beside it."""


class Steps:
    def __init__(
        self,
        kinds: Sequence[Kind],
        chance: random.Random,
        bell: Bell,
        metrics: Metrics | None = None,
        schedule: Schedule = SCHEDULE,
    ) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._chance = chance
        self._bell = bell
        self._metrics = metrics
        self._schedule = schedule

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> list[Unit]:
        """What is to be performed of the claimed jobs; the others are done, delayed or dead when tx commits.

        The jobs are alike, and at least one.
        """
        units: list[Unit] = []
        ended: list[Ended] = []
        name = jobs[0].kind
        if kind := self._kinds.get(name):
            await self._begin(tx, kind, jobs, units, ended)
        else:
            later = Later(tx.now + STRANGE, counted=False, reason=f"this worker has no kind {name}")
            ended += [(job, later, job.lost) for job in jobs]
        if ended:
            await self.complete(tx, [job for job, _, _ in ended])
            await self._end(tx, ended)
        return units

    async def _begin(self, tx: Tx, kind: Kind, jobs: Sequence[Claimed], units: list[Unit], ended: list[Ended]) -> None:
        if jobs[0].lost:
            await kind.lost(tx, jobs)
        live = [job for job in jobs if job.tries < kind.max_tries]
        if len(live) < len(jobs):
            over = [job for job in jobs if job.tries >= kind.max_tries]
            ended += [(job, Dead(f"gave up after {job.tries} tries: the worker was lost"), False) for job in over]
        begun = await kind.begin(tx, live) if live else []
        for job, answer in zip(live, begun, strict=True):
            if isinstance(answer, Perform):
                units.append((job, kind, answer.work))
            else:
                ended.append((job, answer, False))

    async def finish(self, tx: Tx, performed: Sequence[Performed]) -> None:
        """Complete the jobs, of one kind, that are still ours, and have their kind record all results."""
        owned = await self.complete(tx, [job for job, _ in performed])
        results = [(job, result, owned.get(job.id) is job.token) for job, result in performed]
        known = [result for result in results if not isinstance(result[1], Raised)]
        kind = self._kinds[performed[0][0].kind]
        rulings = await kind.finish(tx, known) if known else []
        ended: list[Ended] = [(job, ruling, False) for (job, _, own), ruling in zip(known, rulings, strict=True) if own]
        if len(known) < len(results):
            ended += self._raised(tx, results)
        await self._end(tx, ended)

    def _raised(self, tx: Tx, results: Sequence[Result]) -> list[Ended]:
        """Nobody knows what became of these: `lost` will run."""
        return [
            (job, self.retry(tx, result.error, job), True)
            for job, result, own in results
            if own and isinstance(result, Raised)
        ]

    async def charge(self, tx: Tx, job: Claimed, error: Exception, *, lost: bool, tell: bool = True) -> None:
        """Count a try against the job that alone made begin or finish raise, if it is still ours."""
        if await self.complete(tx, [job]):
            await self._end(tx, [(job, self.retry(tx, error, job), lost)], tell=tell)

    def retry(self, tx: Tx, error: Exception, job: Claimed) -> Ruling:
        """Another turn for a job that raised; counted, unless something it needs is away."""
        run_at = retry_at(tx.now, job.tries, self._chance, schedule=self._schedule)
        return Later(run_at, counted=not isinstance(error, Unavailable), reason=told(error))

    async def complete(self, tx: Tx, jobs: Iterable[Claimed]) -> Mapping[int, Any]:
        """Delete those of the jobs that are still ours: their ids, each with the token it was ours under."""
        owned = {}
        for lane, tokens in by_lane(jobs).items():
            for id_ in await store.delete(tx, lane, tokens):
                owned[id_] = tokens[id_]
        return owned

    async def _end(self, tx: Tx, ended: Sequence[Ended], *, tell: bool = True) -> None:
        returned: list[Returned] = []
        buried: list[Buried] = []
        tally: Counter[tuple[str, str]] = Counter()
        for job, asked, lost in ended:
            if type(asked) is Done:  # nearly all of them
                tally[job.kind, "done"] += 1
                continue
            match self._settle(job, asked):
                case Done():
                    pass
                case Later(run_at, counted, reason):
                    tally[job.kind, "retried" if counted else "put_off"] += 1
                    returned.append(Returned(job, run_at, job.tries + counted, lost, reason))
                case Dead(error):
                    tally[job.kind, "dead"] += 1
                    buried.append(Buried(job, job.tries, lost, error))
                case never:
                    assert_never(never)
        if returned:
            await store.delay(tx, returned)
            tx.after_commit(lambda: self._bell.ring(DELAYED))
        if buried:
            await self._bury(tx, buried, tell=tell)
        tx.after_commit(lambda: self._count(tally))

    def _settle(self, job: Claimed, ruling: Ruling) -> Ruling:
        kind = self._kinds.get(job.kind)
        return settle(job, ruling, kind.max_tries, self._schedule) if kind else ruling

    def _count(self, tally: Mapping[tuple[str, str], int]) -> None:
        if self._metrics:
            for (kind, outcome), count in tally.items():
                self._metrics.jobs.labels(kind, outcome).inc(count)

    async def _bury(self, tx: Tx, buried: Sequence[Buried], *, tell: bool) -> None:
        """Make dead letters, and tell their kind; first of the hand-offs among them whose result nobody has."""
        kind = self._kinds.get(buried[0].job.kind)
        if kind and tell:
            if lost := [one.job for one in buried if one.lost]:
                await kind.lost(tx, lost)
            await kind.died(tx, [one.job for one in buried])
        await store.bury(tx, buried)


def alike(job: Claimed) -> tuple[str, bool]:
    """What the jobs of one begin have in common: their kind, and whether `lost` comes first."""
    return job.kind, job.lost


def by_lane(jobs: Iterable[Claimed]) -> dict[Lane, dict[int, Any]]:
    """Ids and tokens by lane. Of two claims on one job the later counts: the earlier has lost its lease."""
    lanes: dict[Lane, dict[int, Any]] = {}
    for job in jobs:
        lanes.setdefault(job.lane, {})[job.id] = job.token
    return lanes


def told(error: Exception) -> str:
    """What is kept of an error: its kind and where it was raised. Its words may quote a person's data; ours do not."""
    if isinstance(error, HubError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).stem}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__}{f' ({state})' if state else ''}{place}"
