"""Those who follow the log: each with a name, a place and a lag. Any number of processes share the work.

What a follower does with a batch and the move of its place are one transaction, so it sees every event exactly once,
in order. A follower belongs to whoever has its row locked, for one batch.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from tabellion.core.db import Database, Tx
from tabellion.core.errors import Unavailable
from tabellion.core.log import Log
from tabellion.core.telemetry import Metrics
from tabellion.core.wake import Bell, waken
from tabellion.events import service, store
from tabellion.events.service import APPENDED
from tabellion.events.types import Place, Recorded

POLL = 0.5
"""Seconds until a follower looks again, should a wake-up have been lost."""
SOON = 0.01
"""Seconds until it looks again for events that a transaction still open holds back."""
TAKEN = 0.1
"""Seconds until it looks again when another process has the follower."""
SHORTEST, LONGEST = 1.0, 30.0
"""The first and the longest pause, in seconds, of a follower that cannot take the next event."""
MEASURE = 5.0
"""Seconds between two measurements of lags and horizon."""
OVERDUE = 10.0
"""Seconds a writing transaction may be open before the log names it."""


@dataclass(frozen=True, slots=True)
class Follower:
    """What to do with the events, in order, in the transaction that moves the place.

    `handle` may be called again with the same events when its transaction was rolled back. One that is new starts with
    the log's first event, or `from_start` False, behind its last.
    """

    name: str
    handle: Callable[[Tx, Sequence[Recorded]], Awaitable[None]]
    batch: int = 500
    from_start: bool = True


class Turn(Enum):
    """What came of one look at the log."""

    READ = auto()
    NOTHING = auto()
    HELD = auto()
    """There are events, but a transaction still open may yet put some before them."""
    TAKEN = auto()


def counting() -> Follower:
    """Counts the events of each type, for the metrics."""

    async def handle(tx: Tx, events: Sequence[Recorded]) -> None:
        await store.count(tx, Counter(event.type for event in events))

    return Follower("counts", handle)


async def follow(db: Database, follower: Follower, most: int) -> Turn:
    """Have the follower handle up to `most` events. Raises what it raises, and then nothing has moved."""
    turn = await db.run(lambda tx: _look(tx, follower))
    if turn is not Turn.READ:
        return turn

    async def work(tx: Tx) -> Turn:
        place = await store.own(tx, follower.name)
        return await _read(tx, follower, place, most) if place else Turn.TAKEN

    return await db.run(work)


async def _look(tx: Tx, follower: Follower) -> Turn:
    """Whether there is something to read. Takes no lock: looking in vain must write nothing."""
    place = await store.place(tx, follower.name)
    if place is None:
        await store.register(tx, follower.name, from_start=follower.from_start)
        return Turn.READ
    found = await store.next_after(tx, place)
    if found is None:
        return Turn.NOTHING
    return Turn.READ if found[1] else Turn.HELD


async def _read(tx: Tx, follower: Follower, place: Place, most: int) -> Turn:
    events = await store.read(tx, place, most)
    if not events:
        return Turn.NOTHING
    await follower.handle(tx, events)
    await store.advance(tx, follower.name, events[-1])
    return Turn.READ


class Followers:
    """The followers of one process. `run` works until `stop`."""

    def __init__(
        self,
        db: Database,
        followers: Sequence[Follower],
        log: Log,
        *,
        bell: Bell | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._db = db
        self._followers = followers
        self._log = log
        self._bell = bell or Bell()
        self._metrics = metrics
        self._wakes = [self._bell.listen(APPENDED) for _ in followers]
        self._stopping, self._stopped = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Follow until stopped; each follower ends after the batch it is at."""
        try:
            async with asyncio.TaskGroup() as group:
                for follower, wake in zip(self._followers, self._wakes, strict=True):
                    group.create_task(self._follow(follower, wake))
                group.create_task(self._watch())
        finally:
            for wake in self._wakes:
                self._bell.forget(wake)
            self._stopped.set()

    async def stop(self) -> None:
        self._stopping.set()
        for wake in self._wakes:
            wake.set()
        await self._stopped.wait()

    async def _follow(self, follower: Follower, wake: asyncio.Event) -> None:
        most, pause = follower.batch, SHORTEST
        while not self._stopping.is_set():
            try:
                turn = await follow(self._db, follower, most)
                most, pause = min(follower.batch, most * 2), SHORTEST
                await self._wait(turn, wake)
            except Unavailable as error:
                self._log.warning("follower_waits", follower=follower.name, error=error)
                await self._rest(SHORTEST)
            except Exception as error:  # noqa: BLE001 - an edge: a follower that fails stays where it is
                if most > 1:
                    # Smaller batches bring it right up to the event it cannot take. It must not pass that one.
                    most //= 2
                else:
                    self._log.error("follower_failed", follower=follower.name, again_in=pause, error=error)
                    await self._rest(pause)
                    pause = min(LONGEST, pause * 2)

    async def _wait(self, turn: Turn, wake: asyncio.Event) -> None:
        match turn:
            case Turn.READ:
                wake.clear()
            case Turn.NOTHING:
                await waken(wake, POLL)
            case Turn.HELD:
                await self._rest(SOON)
            case Turn.TAKEN:
                await self._rest(TAKEN)

    async def _rest(self, seconds: float) -> None:
        """Wait; less when we are to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _watch(self) -> None:
        """Measure how far behind the followers are, and name who keeps them there."""
        while not self._stopping.is_set():
            try:
                await self._db.run(self._measure)
            except Unavailable as error:
                self._log.warning("followers_wait", error=error)
            except Exception as error:  # noqa: BLE001 - to measure is no reason to stop following
                self._log.error("followers_unmeasured", error=error)
            await self._rest(MEASURE)

    async def _measure(self, tx: Tx) -> None:
        horizon = await service.horizon(tx)
        if horizon.seconds > OVERDUE:
            self._log.warning("followers_held_back", by=str(horizon.blocker), seconds=round(horizon.seconds, 1))
        if self._metrics:
            self._metrics.horizon.set(horizon.seconds)
            for lag in await service.lags(tx):
                self._metrics.lag.labels(lag.name).set(lag.seconds)
            for name, number in (await service.counts(tx)).items():
                self._metrics.events.labels(name).set(number)
