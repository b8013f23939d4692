import asyncio
from collections.abc import Hashable

import pytest

from tabellion.core.batching import ENOUGH, Batcher
from tabellion.core.errors import Conflict, HubError, Overloaded, Unavailable


class Store:
    """Commits batches of integers; remembers them; fails on the poison."""

    def __init__(self, poison: int | None = None) -> None:
        self.batches: list[tuple[Hashable, list[int]]] = []
        self.poison = poison
        self.called = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, key: Hashable, units: list[int]) -> list[int | HubError]:
        self.called += 1
        await self.gate.wait()
        if self.poison in units:
            raise ValueError("poison")
        self.batches.append((key, units))
        return [Conflict("odd", "odd") if unit == 13 else unit * 10 for unit in units]


async def test_concurrent_units_share_few_commits_and_each_gets_its_own_answer() -> None:
    store = Store()
    batcher: Batcher[int, int] = Batcher(store.commit)
    assert await asyncio.gather(*(batcher.submit("w", n) for n in range(100) if n != 13)) == [
        n * 10 for n in range(100) if n != 13
    ]
    assert len(store.batches) <= 4


async def test_batches_never_mix_workspaces_nor_grow_beyond_the_limit() -> None:
    store = Store()
    batcher: Batcher[int, int] = Batcher(store.commit, most_units=8)
    await asyncio.gather(*(batcher.submit(n % 2, n) for n in range(100) if n != 13))
    assert all(unit % 2 == key for key, units in store.batches for unit in units)
    assert max(len(units) for _, units in store.batches) == 8
    assert sorted(unit for _, units in store.batches for unit in units) == [n for n in range(100) if n != 13]


async def let_run() -> None:
    """Give every task and every timer that is due its turn."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_second_batch_starts_while_the_first_is_with_the_database_once_enough_wait() -> None:
    store = Store()
    store.gate.clear()
    batcher: Batcher[int, int] = Batcher(store.commit)
    first = asyncio.create_task(batcher.submit("w", 0))
    await let_run()
    few = [asyncio.create_task(batcher.submit("w", n)) for n in range(1, ENOUGH)]
    await let_run()
    assert store.called == 1, "they wait for company"
    last = asyncio.create_task(batcher.submit("w", 99))
    await let_run()
    assert store.called == 2
    store.gate.set()
    await asyncio.gather(first, *few, last, return_exceptions=True)
    assert [len(units) for _, units in store.batches] == [1, ENOUGH]


async def test_a_refusal_reaches_only_its_caller() -> None:
    batcher: Batcher[int, int] = Batcher(Store().commit)
    answers = await asyncio.gather(*(batcher.submit("w", n) for n in (12, 13, 14)), return_exceptions=True)
    assert answers[0] == 120
    assert isinstance(answers[1], Conflict)
    assert answers[2] == 140


async def test_a_raise_halves_the_batch_until_the_culprit_stands_alone() -> None:
    store = Store(poison=37)
    batcher: Batcher[int, int] = Batcher(store.commit)
    numbers = [n for n in range(64) if n != 13]
    answers = await asyncio.gather(*(batcher.submit("w", n) for n in numbers), return_exceptions=True)
    assert [a for a in answers if isinstance(a, Exception)] == [a for a in answers if isinstance(a, ValueError)]
    assert len([a for a in answers if isinstance(a, ValueError)]) == 1
    assert sorted(unit for _, units in store.batches for unit in units) == [n for n in numbers if n != 37]


async def test_a_raised_refusal_is_one_units_own_unless_nobody_can_be_served() -> None:
    """One unreadable row took the 255 requests beside it along."""
    calls: list[int] = []

    async def commit(key: Hashable, units: list[int]) -> list[int]:
        calls.append(len(units))
        if 7 in units:
            raise HubError("unreadable", "does not open", 500)
        if 99 in units:
            raise Unavailable("database_away", "away")
        return units

    batcher: Batcher[int, int] = Batcher(commit)
    answers = await asyncio.gather(*(batcher.submit("w", n) for n in range(16)), return_exceptions=True)
    assert [a for a in answers if not isinstance(a, HubError)] == [n for n in range(16) if n != 7]
    calls.clear()
    answers = await asyncio.gather(*(batcher.submit("w", n) for n in (98, 99)), return_exceptions=True)
    assert all(isinstance(a, Unavailable) for a in answers)
    assert calls == [2]


async def test_one_workspaces_storm_does_not_shed_another() -> None:
    store = Store()
    store.gate.clear()
    batcher: Batcher[int, int] = Batcher(store.commit, most_waiting=2)
    storm = [asyncio.create_task(batcher.submit("loud", n)) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await batcher.submit("loud", 3)
    quiet = asyncio.create_task(batcher.submit("quiet", 4))
    store.gate.set()
    assert await quiet == 40
    await asyncio.gather(*storm)


async def test_units_with_an_equal_fold_key_are_committed_once() -> None:
    store = Store()
    batcher: Batcher[int, int] = Batcher(store.commit, fold=lambda unit: unit if unit == 7 else None)
    answers = await asyncio.gather(*(batcher.submit("w", n) for n in (7, 8, 7, 8, 7)))
    assert answers == [70, 80, 70, 80, 70]
    assert all(units.count(7) <= 1 for _, units in store.batches)
    assert len([unit for _, units in store.batches for unit in units]) < 5


async def test_too_many_waiting_is_overload_not_memory() -> None:
    store = Store()
    store.gate.clear()
    batcher: Batcher[int, int] = Batcher(store.commit, most_waiting=10)
    tasks = [asyncio.create_task(batcher.submit("w", n)) for n in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refusal:
        await batcher.submit("w", 99)
    assert refusal.value.headers["Retry-After"] == "1"
    store.gate.set()
    assert await asyncio.gather(*tasks) == [n * 10 for n in range(10)]


async def test_a_caller_that_gives_up_does_not_disturb_its_neighbours() -> None:
    store = Store()
    store.gate.clear()
    batcher: Batcher[int, int] = Batcher(store.commit)
    gone, kept = (asyncio.create_task(batcher.submit("w", n)) for n in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    store.gate.set()
    assert await kept == 20
    await batcher.drain()
