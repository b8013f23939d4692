"""The property of the gate through merge and split: an acknowledged restriction holds, whoever the person is by now."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tabellion.core.db import Tx
from tabellion.recipients.types import Ref

from .conftest import ANN, SECOND, World, mail

ANNA = "anna@example.org"
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


async def two(world: World, first: str = ANN, second: str = ANNA) -> tuple[UUID, UUID]:
    """Two persons who both want marketing; the first has an address more."""
    people = await world.person(first, f"more.{first}"), await world.person(second)
    for address in (first, second):
        await world.decide(address, "granted", "email")
    world.clock.advance(SECOND)
    return people


async def merge(world: World, tx: Tx, one: UUID, other: UUID) -> UUID:
    pair = Ref(id=one), Ref(id=other)
    return (await world.hub.identity.merge(tx, world.side, pair, "same person", "key_1")).id


async def split(world: World, tx: Tx, person: UUID, merge_id: UUID) -> None:
    await world.hub.identity.split(tx, world.side, person, merge_id, "key_1")


@asynccontextmanager
async def under_way(world: World, work: Any) -> AsyncIterator[None]:
    """Inside, work is done and not committed."""
    async with world.db.transaction() as tx:
        await work(tx)
        yield


async def blocked(world: World, task: "asyncio.Task[Any]") -> None:
    while not await world.db.run(lambda tx: tx.value(WAITING)):
        assert not task.done(), "it did not wait"


async def test_a_withdrawal_of_one_stops_what_was_queued_for_the_other(world: World) -> None:
    ann, anna = await two(world)
    queued = [await world.send(to, mail(), purpose="marketing") for to in (ann, anna)]
    await world.decide(anna, "withdrawn", "email")
    await world.db.run(lambda tx: merge(world, tx, ann, anna))
    await world.run()
    assert [await world.status(one) for one in queued] == [("suppressed", True, "withdrawn")] * 2


async def test_without_one_both_are_reached_through_the_merge(world: World) -> None:
    ann, anna = await two(world)
    queued = [await world.send(to, mail(), purpose="marketing") for to in (ANN, ANNA)]
    await world.db.run(lambda tx: merge(world, tx, ann, anna))
    await world.run()
    assert [len(await world.attempts(one)) for one in queued] == [1, 1]


async def test_a_begin_skips_who_is_being_merged_and_sees_it_later(world: World) -> None:
    ann, anna = await two(world)
    await world.decide(anna, "withdrawn", "email")
    queued = await world.send(ANN, mail(), purpose="marketing")
    async with under_way(world, lambda tx: merge(world, tx, ann, anna)):
        await world.worker.claim()
        await world.worker.finish()
        assert await world.attempts(queued) == []
        assert not (await world.message(queued)).final
    await world.pass_time(SECOND)
    assert await world.status(queued) == ("suppressed", True, "withdrawn")


async def test_a_withdrawal_that_waits_for_a_merge_is_of_the_merged_person(world: World) -> None:
    ann, anna = await two(world)
    queued = [await world.send(to, mail(), purpose="marketing") for to in (ann, anna)]
    async with under_way(world, lambda tx: merge(world, tx, ann, anna)):
        said = asyncio.create_task(world.decide(anna, "withdrawn", "email"))
        await blocked(world, said)
    assert (await said).recipient_id == ann
    await world.run()
    assert [(await world.status(one))[0] for one in queued] == ["suppressed"] * 2


async def test_a_withdrawal_that_waits_for_a_split_is_of_who_has_the_address_then(world: World) -> None:
    """It was placed with whom the address belonged to before; its new owner stayed reachable at other addresses."""
    ann, anna = await two(world)
    merged = await world.db.run(lambda tx: merge(world, tx, ann, anna))
    queued = [await world.send(to, mail(), purpose="marketing") for to in (ANN, ANNA)]
    async with under_way(world, lambda tx: split(world, tx, ann, merged)):
        said = asyncio.create_task(world.decide(ANNA, "withdrawn", "email"))
        await blocked(world, said)
    assert (await said).recipient_id == anna
    await world.run()
    assert [len(await world.attempts(one)) for one in queued] == [1, 0]


async def test_a_withdrawal_in_between_holds_for_both_after_the_split(world: World) -> None:
    ann, anna = await two(world)
    merged = await world.db.run(lambda tx: merge(world, tx, ann, anna))
    await world.decide(ann, "withdrawn", "email")
    await world.db.run(lambda tx: split(world, tx, ann, merged))
    queued = [await world.send(to, mail(), purpose="marketing") for to in (ann, anna)]
    await world.run()
    assert [await world.attempts(one) for one in queued] == [[], []]


STARTED = "select id from attempts where workspace_id = $1 and identifier = $2"
MERGED = "select count(*) as made, count(undone_at) as undone from merges where workspace_id = $1"


@dataclass
class Crowd:
    """Pairs that are merged, split, withdrawn and written to, all at once."""

    world: World
    chance: random.Random
    pairs: list[tuple[str, str]]
    people: list[tuple[UUID, UUID]] = field(default_factory=list)
    answered: dict[str, set[UUID]] = field(default_factory=dict)
    """By address: the attempts to it that there were when its withdrawal was answered."""

    async def populate(self) -> None:
        self.people = [await two(self.world, *pair) for pair in self.pairs]
        for address in (one for pair in self.pairs * 6 for one in pair):
            await self.world.send(address, mail(), purpose="marketing")

    async def started(self, address: str) -> set[UUID]:
        ref = self.world.ref(address)
        hashed = await self.world.db.run(lambda tx: self.world.hub.recipients.hashed(tx, self.world.side, ref))
        return {row["id"] for row in await self.world.rows(STARTED, self.world.side, hashed)}

    async def join_and_part(self, number: int) -> None:
        one, other = self.people[number]
        for _ in range(3):
            merged = await self.world.db.run(lambda tx: merge(self.world, tx, one, other))
            await self.world.db.run(lambda tx, merged=merged: split(self.world, tx, one, merged))  # type: ignore[misc]

    async def withdraw(self, number: int) -> None:
        """By the person or by an address, after a while."""
        for _ in range(self.chance.randrange(30)):
            await self.world.rows("select 1")
        which = self.chance.randrange(2)
        address = self.pairs[number][which]
        to = self.chance.choice([address, self.people[number][which]])
        await self.world.decide(to, "withdrawn", "email")
        self.answered[address] = await self.started(address)

    async def begin(self) -> None:
        worker = self.world.another_worker()
        for _ in range(12):
            await worker.claim()
            await worker.finish()
            self.world.clock.advance(timedelta(milliseconds=60))
            await worker.engine.tick()


@pytest.mark.parametrize("seed", range(3))
async def test_once_a_withdrawal_is_answered_nothing_it_covers_starts(world: World, seed: int) -> None:
    crowd = Crowd(world, random.Random(seed), [(f"a{n}@example.org", f"b{n}@example.org") for n in range(5)])
    await crowd.populate()
    numbers = range(len(crowd.pairs))
    await asyncio.gather(
        *map(crowd.join_and_part, numbers), *map(crowd.withdraw, numbers), crowd.begin(), crowd.begin()
    )
    await world.pass_time(5 * SECOND)
    for address, before in crowd.answered.items():
        assert await crowd.started(address) == before, f"{address} was written to after its withdrawal"
    assert any([await crowd.started(one) for pair in crowd.pairs for one in pair]), "nothing was written at all"
    assert [tuple(row) for row in await world.rows(MERGED, world.side)] == [(15, 15)]
