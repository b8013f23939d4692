"""The slots: as many at once as there are, and no task for a unit that need not wait."""

import asyncio
from typing import Any
from uuid import UUID

from tests.jobs.conftest import Scripted, until

from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.ids import WorkspaceId
from tabellion.jobs.slots import Raised, Slots, Unit
from tabellion.jobs.types import Claimed, Lane


class Room:
    def __init__(self, size: int) -> None:
        self.kind = Scripted()
        self.results: list[Any] = []
        self.slots = Slots(size, lambda job, result, seconds: self.results.append(result), FakeClock().monotonic)

    def add(self, count: int, perform: str | None = None) -> None:
        self.slots.add([self._unit(n, perform) for n in range(count)])

    def _unit(self, n: int, perform: str | None) -> Unit:
        side = WorkspaceId(UUID(int=1))
        job = Claimed(n, Lane.NORMAL, side, self.kind.name, {}, 0, ids.new(), FakeClock().now())
        return job, self.kind, {"n": n, "perform": perform}


async def test_units_that_need_not_wait_share_one_task() -> None:
    room = Room(64)
    for _ in range(5):
        room.add(40)
        await until(lambda: room.slots.free == 64)
    assert len(room.results) == 5 * 40
    assert len(room.slots._tasks) == 1


async def test_units_that_wait_are_all_in_work_at_once() -> None:
    room = Room(64)
    room.add(64, "wait")
    await until(lambda: len(room.kind.performed) == 64)
    assert room.slots.free == 0
    room.kind.gate.set()
    await until(lambda: len(room.results) == 64)
    room.add(64)
    await until(lambda: len(room.results) == 128)
    assert len(room.slots._tasks) <= 64


async def test_a_unit_that_raises_frees_its_slot() -> None:
    room = Room(32)
    room.add(32, "raise")
    await until(lambda: room.slots.free == 32)
    assert all(isinstance(result, Raised) and isinstance(result.error, ZeroDivisionError) for result in room.results)


async def test_work_that_cancels_itself_is_an_error_of_the_work() -> None:
    room = Room(32)

    async def perform(work: Any) -> Any:
        task = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    room.kind.perform = perform  # type: ignore[method-assign]
    room.add(2)
    await until(lambda: room.slots.free == 32)
    assert all(isinstance(result, Raised) for result in room.results)
    room.kind = Scripted()
    room.add(32)
    await until(lambda: len(room.results) == 34)


async def test_closing_keeps_what_returns_in_spite_of_it() -> None:
    room = Room(32)

    async def perform(work: Any) -> Any:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if work["n"]:
                raise
            return "aborted"

    room.kind.perform = perform  # type: ignore[method-assign]
    room.add(3)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await room.slots.close()
    assert room.results == ["aborted"]


async def test_a_long_run_lets_others_in_between() -> None:
    room = Room(512)
    order: list[str] = []
    asyncio.get_running_loop().call_later(0, order.append, "other")
    room.slots._performed = lambda job, result, seconds: order.append("unit")
    room.add(512)
    await until(lambda: room.slots.free == 512)
    assert "other" in order[:-1]
