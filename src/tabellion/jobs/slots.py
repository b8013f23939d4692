"""The slots: how many units are performed at once.

They are long-lived tasks, because a task per unit costs more than a unit that need not wait. One is woken per batch
and goes on until a unit makes it wait; then the next ones are, in doubling numbers.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tabellion.jobs.types import Claimed, Kind

Unit: TypeAlias = tuple[Claimed, Kind, Any]
"""A job whose `begin` said Perform, its kind, and the work."""

BREATH = 64
"""Units one slot performs before it lets others run, should none of them have made it wait."""
SAMPLE = 16
"""One in so many of a slot's units in a row is timed, the first always: a clock costs more than a quick unit."""


@dataclass(frozen=True, slots=True)
class Raised:
    """What stands for the result when `perform` raised."""

    error: Exception


class Slots:
    """`performed(job, result, seconds)` is called as each unit ends; seconds are given for a sample only."""

    def __init__(
        self, size: int, performed: Callable[[Claimed, Any, float | None], None], monotonic: Callable[[], float]
    ) -> None:
        self.size = size
        self.held = 0
        self._monotonic = monotonic
        self._performed = performed
        self._queue: deque[Unit] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def free(self) -> int:
        return self.size - self.held

    def add(self, units: list[Unit]) -> None:
        """Perform units, at once: the caller took no more than are free."""
        self.held += len(units)
        self._queue.extend(units)
        self._wake(1)

    async def close(self) -> None:
        """Cancel what is still being performed. What returns a result even so is passed on like any other."""
        self._closed = True
        self._queue.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.held = 0

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._queue))):
            if self._idle:
                self._idle.pop().set_result(None)
            elif len(self._tasks) < self.size:
                self._tasks.add(asyncio.create_task(self._run()))
            else:
                return
        if self._queue:
            asyncio.get_running_loop().call_soon(self._wake, 2 * count)

    async def _run(self) -> None:
        while not self._closed:
            turn = 0
            while self._queue:
                await self._perform(self._queue.popleft(), turn % SAMPLE == 0)
                turn += 1
                if turn % BREATH == 0:
                    await asyncio.sleep(0)
            if not self._closed:
                await self._rest()

    async def _perform(self, unit: Unit, timed: bool) -> None:
        job, kind, work = unit
        begun = self._monotonic() if timed else 0.0
        try:
            result = await kind.perform(work)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            result = Raised(RuntimeError("the work was cancelled from inside"))
        except Exception as error:  # noqa: BLE001 - the job edge: whatever a kind raises is its job's error
            result = Raised(error)
        self.held -= 1
        self._performed(job, result, self._monotonic() - begun if timed else None)

    async def _rest(self) -> None:
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        await idle
