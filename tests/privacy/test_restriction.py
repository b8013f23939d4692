"""Once an order is answered that restricts a person, nothing more starts for them, also at the same time."""

import asyncio
import random
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tabellion.access.types import Role
from tabellion.core import ids
from tabellion.core.errors import Conflict
from tabellion.recipients.types import Ref

from .conftest import ANN, SECOND, Client, World, mail

OLGA = "other.olga@example.org"
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
STARTED = "select id from attempts where workspace_id = $1 and recipient_id = $2"


async def order(client: httpx.AsyncClient, type: str, address: str = ANN, **more: Any) -> Any:
    body = {"type": type, "recipient": {"email": address}, "verified_by": "ticket", **more}
    answer = await client.post("/v1/regulations", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def sendable(client: httpx.AsyncClient, address: str) -> bool:
    asked = {"recipient": {"email": address}, "channel": "email", "purpose": "transactional"}
    said: bool = (await client.post("/v1/consents/check", json=asked)).json()["sendable"]
    return said


async def merged(world: World, into: UUID, from_: UUID) -> UUID:
    pair = Ref(id=into), Ref(id=from_)
    return (await world.db.run(lambda tx: world.hub.identity.merge(tx, world.side, pair, "one", "key_1"))).id


async def split(world: World, person: UUID, merge: UUID) -> None:
    await world.db.run(lambda tx: world.hub.identity.split(tx, world.side, person, merge, "key_1"))


@pytest.mark.parametrize("type", ["restrict", "erase"])
async def test_an_order_waits_for_a_begin_under_way_and_names_what_it_started(
    world: World, api: Client, type: str
) -> None:
    client, person = await api(Role.COMPLIANCE), await world.person(ANN)
    await world.send(ANN, mail())
    await world.worker.claim()
    [attempt] = await world.rows(STARTED, world.side, person)
    made = await order(client, type)
    assert made["in_flight"] == [ids.show("att", attempt["id"])]
    await world.worker.finish()
    read = (await client.get(f"/v1/regulations/{made['id']}")).json()
    assert read["in_flight"] == [], "it says what is under way when it is answered"


@pytest.mark.parametrize("type", ["restrict", "erase"])
async def test_a_begin_skips_who_is_being_restricted_and_sees_it_later(world: World, api: Client, type: str) -> None:
    client, person = await api(Role.COMPLIANCE), await world.person(ANN)
    queued = await world.send(ANN, mail())
    async with world.db.transaction() as tx:
        await world.hub.recipients.lock(tx, [(world.side, person)], skip_locked=False)
        ordering = asyncio.create_task(order(client, type))
        while not await world.db.run(lambda tx: tx.value(WAITING)):
            assert not ordering.done(), "it did not wait for the lock"
    await ordering
    await world.pass_time(SECOND)
    assert await world.attempts(queued) == []
    assert (await world.message(queued)).final


@pytest.mark.parametrize("seed", range(3))
async def test_once_an_order_is_answered_nothing_starts_for_the_person(world: World, api: Client, seed: int) -> None:
    client, chance = await api(Role.COMPLIANCE), random.Random(seed)
    addresses = [f"p{n}@example.org" for n in range(8)]
    people = {one: await world.person(one) for one in addresses}
    for address in addresses * 5:
        await world.send(address, mail())
    answered: dict[str, set[UUID]] = {}
    begun = asyncio.Event()

    async def started(address: str) -> set[UUID]:
        return {row["id"] for row in await world.rows(STARTED, world.side, people[address])}

    async def restrict(address: str) -> None:
        """Half of them race with the first begin, too; the others leave it something to write, however slow it is."""
        if addresses.index(address) % 2:
            await begun.wait()
        for _ in range(chance.randrange(40)):
            await world.rows("select 1")
        await order(client, chance.choice(["restrict", "erase"]), address)
        answered[address] = await started(address)

    async def begin() -> None:
        worker = world.another_worker()
        for _ in range(12):
            await worker.claim()
            begun.set()
            await worker.finish()
            world.clock.advance(timedelta(milliseconds=60))
            await worker.engine.tick()

    await asyncio.gather(*map(restrict, addresses), begin(), begin())
    await world.pass_time(5 * SECOND)
    for address, before in answered.items():
        assert await started(address) == before, f"{address} was written to after the order was answered"
    assert any([await started(one) for one in addresses]), "nothing was written at all"


async def test_both_are_free_again_when_the_order_about_the_person_they_were_is_taken_back(
    world: World, api: Client
) -> None:
    client = await api(Role.COMPLIANCE)
    rich, ann = await world.person(OLGA, "+12025550133"), await world.person(ANN)
    merge = await merged(world, rich, ann)
    made = await order(client, "restrict")
    await split(world, rich, merge)
    assert [await sendable(client, one) for one in (ANN, OLGA)] == [False, False]
    assert (await client.delete(f"/v1/regulations/{made['id']}")).status_code == 200
    assert [await sendable(client, one) for one in (ANN, OLGA)] == [True, True]


async def test_who_was_restricted_only_by_a_merge_is_free_again_too(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    rich, ann = await world.person(OLGA, "+12025550133"), await world.person(ANN)
    made = await order(client, "restrict")
    await split(world, rich, await merged(world, rich, ann))
    assert [await sendable(client, one) for one in (ANN, OLGA)] == [False, False]
    assert (await client.delete(f"/v1/regulations/{made['id']}")).status_code == 200
    assert [await sendable(client, one) for one in (ANN, OLGA)] == [True, True]


async def test_nobody_is_split_off_while_an_erasure_is_open(world: World, api: Client) -> None:
    """The two would end differently: one erased, the other restricted until somebody notices."""
    client = await api(Role.COMPLIANCE)
    rich, ann = await world.person(OLGA, "+12025550133"), await world.person(ANN)
    merge = await merged(world, rich, ann)
    made = await order(client, "erase")
    with pytest.raises(Conflict) as refused:
        await split(world, rich, merge)
    assert refused.value.code == "erasure_open"
    assert (await client.delete(f"/v1/regulations/{made['id']}")).status_code == 200
    await split(world, rich, merge)
