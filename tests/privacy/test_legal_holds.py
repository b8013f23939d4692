"""Legal holds beside an erasure: whichever comes first, nothing under a hold is destroyed, and all goes on."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from tabellion.access.service import create_key
from tabellion.access.types import Caller, Role
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.privacy import regulation_store as store
from tabellion.privacy.orders import Regulation, State, Step
from tabellion.recipients.types import Ref

from .conftest import ANN, HOUR, MINUTE, Client, World

DAY = timedelta(days=1)
ERASE = {"type": "erase", "recipient": {"email": ANN}, "verified_by": "ticket 4711"}
HOLD = {"recipient": {"email": ANN}, "reason": "case 12"}
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


async def ordered(world: World, api: Client, **more: Any) -> tuple[UUID, UUID]:
    """Ann, and the order to erase her."""
    person = await world.person(ANN)
    made = (await (await api(Role.COMPLIANCE)).post("/v1/regulations", json={**ERASE, **more})).json()
    return person, ids.parse("reg", made["id"])


async def held(api: Client, **more: Any) -> str:
    made = await (await api(Role.COMPLIANCE)).post("/v1/legal-holds", json={**HOLD, **more})
    assert made.status_code == 201, made.text
    shown: str = made.json()["id"]
    return shown


async def state(world: World, regulation_id: UUID) -> State:
    return (await world.db.run(lambda tx: world.hub.regulations.read(tx, world.side, regulation_id))).state


async def go_on(world: World, tx: Tx, regulation_id: UUID) -> Regulation:
    order = await store.lock(tx, world.side, regulation_id)
    assert order is not None
    return (await world.hub.regulations.erasure.go_on(tx, order))[0]


async def blocked(world: World, task: "asyncio.Task[Any]") -> None:
    while not await world.db.run(lambda tx: tx.value(WAITING)):
        assert not task.done(), "it did not wait"


async def test_an_order_goes_on_by_itself_when_the_time_of_the_hold_is_over(world: World, api: Client) -> None:
    _, order = await ordered(world, api)
    until = world.clock.now() + 3 * DAY
    await held(api, until=until.isoformat())
    await held(api, until=(until + DAY).isoformat())
    await world.pass_time(2 * DAY)
    assert await state(world, order) is State.BLOCKED
    await world.pass_time(DAY + HOUR)
    await world.hub.regulations.resume(world.db)
    await world.pass_time(2 * MINUTE)
    assert await state(world, order) is State.BLOCKED, "the other hold stands"
    await world.pass_time(DAY)
    await world.hub.regulations.resume(world.db)
    await world.pass_time(2 * MINUTE)
    assert await state(world, order) is State.DONE


async def test_a_hold_waits_for_an_erasure_under_way_and_is_not_answered_for_nobody(world: World, api: Client) -> None:
    """It was answered as set while the erasure, which had looked for holds before, destroyed everything."""
    _, order = await ordered(world, api)
    client = await api(Role.COMPLIANCE)
    world.clock.advance(2 * DAY)
    await world.db.run(lambda tx: go_on(world, tx, order))
    async with world.db.transaction() as tx:
        assert (await go_on(world, tx, order)).progress.step is Step.MESSAGES
        setting = asyncio.create_task(client.post("/v1/legal-holds", json=HOLD))
        await blocked(world, setting)
    assert (await setting).json()["code"] == "recipient_not_found"
    assert (await client.get("/v1/legal-holds")).json()["data"] == []


async def test_the_end_of_a_hold_does_not_bring_back_an_order_that_is_being_taken_back(
    world: World, api: Client
) -> None:
    person, order = await ordered(world, api)
    hold = await held(api)
    await world.pass_time(2 * DAY)
    assert await state(world, order) is State.BLOCKED
    client = await api(Role.COMPLIANCE)
    key, _ = await world.db.run(lambda tx: create_key(tx, world.workspace, "test", Role.COMPLIANCE))
    caller = Caller(world.side, world.workspace, key.id, Role.COMPLIANCE, "test", frozenset())
    async with world.db.transaction() as tx:
        await world.hub.regulations.cancel(tx, caller, order)
        ending = asyncio.create_task(client.delete(f"/v1/legal-holds/{hold}"))
        await blocked(world, ending)
    assert (await ending).status_code == 204
    await world.pass_time(5 * MINUTE)
    assert await state(world, order) is State.CANCELLED
    found = await world.db.run(lambda tx: world.hub.recipients.resolve(tx, world.side, [Ref(id=person)], create=False))
    assert not isinstance(found[0], Exception)


async def test_an_order_that_waited_searches_the_callbacks_anew(world: World, api: Client) -> None:
    """While it waits, callbacks about several people come in, and name this one."""
    _, order = await ordered(world, api)
    world.clock.advance(2 * DAY)
    assert (await world.db.run(lambda tx: go_on(world, tx, order))).progress.step is Step.ERASE
    hold = await held(api)
    assert (await world.db.run(lambda tx: go_on(world, tx, order))).state is State.BLOCKED
    account = await world.account()
    events = [
        {"id": ids.show("evt", ids.new()), "type": "status", "message_id": f"m-{one}", "state": "delivered", "to": one}
        for one in (ANN, "other.olga@example.org")
    ]
    assert await world.fake_report(account, *events) == 204
    assert (await (await api(Role.COMPLIANCE)).delete(f"/v1/legal-holds/{hold}")).status_code == 204
    await world.pass_time(5 * MINUTE)
    assert await state(world, order) is State.DONE
    sizes = [row["size"] for row in await world.rows("select octet_length(raw) as size from callbacks")]
    assert sizes == [0]
