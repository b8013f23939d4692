"""The worker's loops: when to claim, finish, renew and tick. Any number of workers work on one database."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence

from tabellion.core.clock import Clock
from tabellion.core.db import Database
from tabellion.core.errors import Unavailable
from tabellion.core.log import Log
from tabellion.core.telemetry import Metrics
from tabellion.core.wake import Bell, waken
from tabellion.jobs.engine import BATCH, Engine, Options
from tabellion.jobs.service import DELAYED, topic
from tabellion.jobs.types import Kind, Lane

GATHER = 0.005
"""Seconds a claim waits for more free slots, and a finish for more results."""
POLL = 0.1
"""Seconds until a quiet lane is asked again, should a wake-up have been lost."""
RESCAN = 1.5
"""Seconds between two looks below the watermark, for expired leases and late commits."""
LONGEST_TICK = 0.5
"""Seconds the ticker sleeps at most: another process may have put off a job without a bell."""
RESCAN_PART = 10
"""The least ratio of that time to what the look takes: long behind a snapshot that keeps dead entries in the index."""
PAUSE = 0.5
"""Seconds to wait after the database was away, or something failed that is no job's fault."""


class Worker:
    """`run` works until `stop`. With a shared `bell`, what this process enqueues is claimed at once."""

    def __init__(
        self,
        db: Database,
        kinds: Sequence[Kind],
        clock: Clock,
        log: Log,
        *,
        bell: Bell | None = None,
        metrics: Metrics | None = None,
        options: Options | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._log = log
        self._options = options or Options()
        self._bell = bell or Bell()
        self._enough = max(32, self._options.slots // 4)
        chance = chance or random.Random()  # noqa: S311 - jitter, not a secret
        self._engine = Engine(db, kinds, log, self._bell, self._options, chance, metrics, self._performed)
        self._ask_at = dict.fromkeys(Lane, 0.0)
        self._rescan_at = 0.0
        self._news = self._bell.listen(*map(topic, Lane))
        self._rung = {lane: self._bell.listen(topic(lane)) for lane in Lane}
        self._put_off = self._bell.listen(DELAYED)
        self._room, self._ready, self._full, self._settled, self._nap = (asyncio.Event() for _ in range(5))
        self._stopping, self._over, self._stopped = (asyncio.Event() for _ in range(3))
        self._within = 0.0

    async def run(self) -> None:
        """Work until `stop` is called and what was begun is finished or given back."""
        try:
            async with asyncio.TaskGroup() as group:
                for turn in (self._finish, self._tick, self._renew):
                    group.create_task(self._loop(turn, self._over))
                await self._loop(self._claim, self._stopping)
                await self._wind_up()
                # Each loop ends after its turn: cancelled, it would leave a transaction to be rolled back.
                self._over.set()
                for event in (self._ready, self._put_off, self._nap):
                    event.set()
        finally:
            await self._engine.slots.close()
            for event in (self._news, self._put_off, *self._rung.values()):
                self._bell.forget(event)
            self._stopped.set()

    async def stop(self, within: float = 15.0) -> None:
        """Claim no more, wait up to `within` seconds for what is under way, and give back the rest."""
        self._within = within
        self._stopping.set()
        self._room.set()
        self._bell.wake(*map(topic, Lane))
        await self._stopped.wait()

    async def _loop(self, turn: Callable[[], Awaitable[None]], until: asyncio.Event) -> None:
        while not until.is_set():
            try:
                await turn()
            except Unavailable as error:
                self._log.warning("worker_waits", turn=turn.__name__, error=error)
                await asyncio.sleep(PAUSE)
            except Exception as error:  # noqa: BLE001 - the job edge: one bad turn must not end the worker
                self._log.error("worker_failed", turn=turn.__name__, error=error)
                await asyncio.sleep(PAUSE)

    async def _claim(self) -> None:
        lanes = self._worth_asking()
        if not lanes:
            await waken(self._news, POLL)
        elif await self._have_room(lanes):
            await self._ask(lanes)

    def _worth_asking(self) -> list[Lane]:
        """The lanes that may have jobs: quiet ones whose time has come or bell was rung, then those known to."""
        now = asyncio.get_running_loop().time()
        rescan = now >= self._rescan_at
        worth = [lane for lane in Lane if rescan or self._ask_at[lane] <= now or self._rung[lane].is_set()]
        return sorted(worth, key=lambda lane: self._ask_at[lane] == 0.0)

    async def _have_room(self, lanes: list[Lane]) -> bool:
        """Wait a little for enough free slots; then a few will do."""
        self._room.clear()
        if self._engine.slots.free < self._enough or len(self._engine.results) > 2 * BATCH:
            await waken(self._room, GATHER)
        if len(self._engine.results) <= 2 * BATCH and self._engine.may_claim(lanes):
            return True
        await waken(self._room, GATHER)
        return False

    async def _ask(self, lanes: list[Lane]) -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()
        rescan = begun >= self._rescan_at
        for lane in lanes:
            self._rung[lane].clear()
        full = await self._engine.claim(lanes, rescan=rescan)
        if rescan:
            self._rescan_at = clock() + max(RESCAN, RESCAN_PART * (clock() - begun))
        for lane in lanes:
            self._ask_at[lane] = 0.0 if lane in full else begun + POLL

    def _performed(self) -> None:
        engine = self._engine
        self._ready.set()
        if len(engine.results) >= BATCH or not engine.slots.held:
            self._full.set()
        if engine.slots.free >= self._enough:
            self._room.set()

    async def _finish(self) -> None:
        await self._ready.wait()
        self._full.clear()
        if len(self._engine.results) < BATCH and self._engine.slots.held:
            await waken(self._full, GATHER)
        self._ready.clear()
        if self._engine.results and not await self._engine.finish():
            await asyncio.sleep(PAUSE)
        if self._engine.results:
            self._ready.set()
        self._settled.set()

    async def _tick(self) -> None:
        more, due = await self._engine.tick()
        if not more:
            wait = (due - self._clock.now()).total_seconds() if due else LONGEST_TICK
            await waken(self._put_off, min(max(wait, GATHER), LONGEST_TICK))

    async def _renew(self) -> None:
        await self._engine.renew()
        await waken(self._nap, self._options.lease.total_seconds() / 3)

    async def _wind_up(self) -> None:
        await self._until_settled(self._within)
        await self._engine.slots.close()
        await self._until_settled(PAUSE)
        try:
            await self._engine.release()
        except Unavailable as error:
            self._log.warning("worker_left_leases", error=error)

    async def _until_settled(self, within: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not self._engine.settled:
                    self._settled.clear()
                    await self._settled.wait()
