"""Group commit: concurrent requests of one workspace share one transaction, each gets its own answer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tabellion.core.errors import HubError, Misconfigured, Overloaded, Unavailable

Unit = TypeVar("Unit")
Answer = TypeVar("Answer")

NOBODYS = (Unavailable, Overloaded, Misconfigured)
"""No unit's fault: halving would only ask again, and again."""
MOST_UNITS = 256
MOST_WAIT = 0.003
MOST_WAITING = 8192
AT_ONCE = 2
ENOUGH = 16
"""Units worth a second batch while the first is with the database: it would leave us idle. Fewer wait for company."""


@dataclass
class _Lane(Generic[Unit, Answer]):
    """What waits under one key, and how many batches of it are under way."""

    waiting: list[tuple[Unit, "asyncio.Future[Answer]"]] = field(default_factory=list)
    running: int = 0
    last: int = 1
    count: int = 0
    """Units without an answer yet."""
    timer: asyncio.TimerHandle | None = None


class Batcher(Generic[Unit, Answer]):
    """Collects units under a key and commits them together.

    `commit(key, units)` does the work in one transaction and returns one answer a unit, in order; a `HubError` among
    the answers is raised to that caller alone. When commit raises, nothing of the batch is done: the batch is halved
    and tried again until the culprit stands alone. Units with an equal `fold` key share one answer. No more than
    `most_waiting` units of one key wait at once (None: no bound), so that one workspace's storm is its own.
    """

    def __init__(
        self,
        commit: Callable[[Hashable, list[Unit]], Awaitable[Sequence[Answer | HubError]]],
        fold: Callable[[Unit], Hashable | None] = lambda unit: None,
        *,
        most_units: int = MOST_UNITS,
        most_wait: float = MOST_WAIT,
        most_waiting: int | None = MOST_WAITING,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._commit = commit
        self._fold = fold
        self._most_units = most_units
        self._most_wait = most_wait
        self._most_waiting = most_waiting
        self._observe = observe
        self._lanes: dict[Hashable, _Lane[Unit, Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, key: Hashable, unit: Unit) -> Answer:
        """The unit's answer, once it is durable. Raises `Overloaded` when too many wait already."""
        lane = self._lanes.setdefault(key, _Lane())
        if self._most_waiting is not None and lane.count >= self._most_waiting:
            raise Overloaded("too many requests wait to be stored; slow down and repeat")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        lane.waiting.append((unit, future))
        lane.count += 1
        self._schedule(key, lane)
        try:
            return await future
        finally:
            lane.count -= 1

    async def drain(self) -> None:
        """Return when everything submitted has its answer."""
        while self._tasks or any(lane.waiting for lane in self._lanes.values()):
            for key, lane in list(self._lanes.items()):
                self._start(key, lane)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _schedule(self, key: Hashable, lane: _Lane[Unit, Answer]) -> None:
        """Start at once when as many came as last time; else soon, so that neighbours can join."""
        if lane.running >= AT_ONCE or (lane.running and len(lane.waiting) < min(ENOUGH, self._most_units)):
            return
        if len(lane.waiting) >= min(max(lane.last, 2), self._most_units):
            self._start(key, lane)
        elif lane.timer is None:
            wait = self._most_wait if lane.last > 1 else 0.0
            lane.timer = asyncio.get_running_loop().call_later(wait, self._start, key, lane)

    def _start(self, key: Hashable, lane: _Lane[Unit, Answer]) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        if not lane.waiting or lane.running >= AT_ONCE:
            return
        batch, lane.waiting = lane.waiting[: self._most_units], lane.waiting[self._most_units :]
        lane.running += 1
        lane.last = len(batch)
        task = asyncio.create_task(self._run(key, lane, batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(
        self, key: Hashable, lane: _Lane[Unit, Answer], batch: list[tuple[Unit, "asyncio.Future[Answer]"]]
    ) -> None:
        self._observe(len(batch))
        try:
            await self._settle(key, batch)
        finally:
            lane.running -= 1
            if lane.waiting:
                self._schedule(key, lane)
            elif not lane.running:
                self._lanes.pop(key, None)

    async def _settle(self, key: Hashable, batch: list[tuple[Unit, "asyncio.Future[Answer]"]]) -> None:
        units, places = self._folded([unit for unit, _ in batch])
        try:
            answers = await self._commit(key, units)
        except Exception as error:  # noqa: BLE001 - the edge of the batch: whatever it is goes to the caller it belongs to
            await self._halve(key, batch, error)
            return
        for (_, future), place in zip(batch, places, strict=True):
            _resolve(future, answers[place])

    async def _halve(self, key: Hashable, batch: list[tuple[Unit, "asyncio.Future[Answer]"]], error: Exception) -> None:
        if len(batch) == 1 or isinstance(error, NOBODYS):
            for _, future in batch:
                _fail(future, error)
            return
        middle = len(batch) // 2
        await self._settle(key, batch[:middle])
        await self._settle(key, batch[middle:])

    def _folded(self, units: list[Unit]) -> tuple[list[Unit], list[int]]:
        """The units without repeats, and for each given unit its place among them."""
        kept: list[Unit] = []
        places: list[int] = []
        seen: dict[Hashable, int] = {}
        for unit in units:
            mark = self._fold(unit)
            if mark is not None and mark in seen:
                places.append(seen[mark])
                continue
            if mark is not None:
                seen[mark] = len(kept)
            places.append(len(kept))
            kept.append(unit)
        return kept, places


def _resolve(future: "asyncio.Future[Answer]", answer: Answer | HubError) -> None:
    if future.done():
        return
    if isinstance(answer, HubError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _fail(future: "asyncio.Future[Answer]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
