"""Push tokens in the hand-off: what a vendor says of them, and one that becomes another person's meanwhile."""

import asyncio
from uuid import UUID

import pytest

from tabellion.messages.types import Step, Success
from tabellion.providers.base import Channel, State
from tabellion.recipients.types import (
    Device,
    Health,
    Identifier,
    Kind,
    Named,
    NewRecipient,
    Platform,
    PushProvider,
    Upserted,
)

from .conftest import SECOND, World

TOKEN = "token-of-the-phone"
APP = Device(Platform.ANDROID, PushProvider.FCM, "com.example.shop")


def push(account: UUID) -> Step:
    return Step(Channel.PUSH, accounts=(account,), success=Success.SUBMITTED)


def unit(name: str, *, verified: bool = False) -> NewRecipient:
    return NewRecipient((Named(Kind.EXTERNAL_ID, name), Named(Kind.DEVICE, TOKEN, verified, device=APP)))


async def upsert(world: World, new: NewRecipient) -> UUID:
    absorbed = world.hub.identity.absorbed
    [made] = await world.db.run(lambda tx: world.hub.recipients.upsert(tx, world.side, [new], absorbed=absorbed))
    assert isinstance(made, Upserted)
    return made.recipient_id


async def token_of(world: World, person: UUID) -> Identifier:
    found = await world.db.run(lambda tx: world.hub.recipients.read(tx, world.side, [person]))
    [one] = [one for one in found[person].identifiers if one.kind is Kind.DEVICE]
    return one


@pytest.mark.parametrize("behaviour", ["unregistered", "lapse"])
async def test_a_token_no_app_has_any_more_is_invalid_and_nothing_goes_there(world: World, behaviour: str) -> None:
    """Said by the answer itself, or by a report that comes later."""
    ann, account = await upsert(world, unit("ann")), await world.account(behaviour)
    await world.sent(ann, push(account))
    await world.settle()
    await world.pass_time(5 * SECOND)
    one = await token_of(world, ann)
    assert (one.health, one.health_reason) == (Health.INVALID, "unregistered")
    [told] = await world.rows("select recipient_id, data from events where type = 'identifier.invalid'")
    assert (told["recipient_id"], told["data"]["kind"], told["data"]["reason"]) == (ann, "device", "unregistered")
    await upsert(world, unit("ann"))
    assert (await token_of(world, ann)).health is Health.INVALID, "an app that was restored names its old token too"
    later = await world.sent(ann, push(account))
    assert await world.attempts(later) == []
    await upsert(world, unit("ann", verified=True))
    assert (await token_of(world, ann)).health is Health.OK


async def test_a_push_that_waits_does_not_reach_whoever_has_the_device_now(world: World) -> None:
    bob, account = await upsert(world, unit("bob")), await world.account("silent")
    message = await world.send(bob, push(account))
    async with world.db.transaction() as tx:
        absorbed = world.hub.identity.absorbed
        [ann] = await world.hub.recipients.upsert(tx, world.side, [unit("ann")], absorbed=absorbed)
        assert isinstance(ann, Upserted)
        await world.run()
        assert await world.attempts(message) == [], "the gate does not wait for a person somebody else holds"
    await world.pass_time(SECOND)
    assert await world.status(message) == ("unroutable", True, "no_address")
    assert await world.attempts(message) == []
    theirs = await world.sent(ann.recipient_id, push(account))
    assert [one.state for one in await world.attempts(theirs)] == [State.SUBMITTED]


async def test_a_device_waits_for_a_gate_that_was_first(world: World) -> None:
    bob = await upsert(world, unit("bob"))
    async with world.db.transaction() as tx:
        await world.hub.recipients.lock(tx, [(world.side, bob)], skip_locked=True)
        moving = asyncio.create_task(upsert(world, unit("ann")))
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        while not await world.db.run(lambda tx: tx.value(waiting)):
            assert not moving.done(), "it did not wait"
        owned = await world.hub.recipients.identifiers(tx, [(world.side, bob)])
        assert TOKEN in {one.value for one in owned[world.side, bob]}
    ann = await moving
    assert (await token_of(world, ann)).value == TOKEN
