"""The health of an address at the gate, and addresses of kinds that have a channel of their own."""

from datetime import timedelta

import pytest

from tabellion.messages.service import reaches
from tabellion.providers.base import Channel
from tabellion.recipients.types import DELIVERABLE, Health, Kind, RefObject, Resolved

from .conftest import World

ANN = "ann@example.org"
SECOND = "ann@second.example.org"
HOUR = timedelta(hours=1)


async def fall_ill(world: World, address: str, health: Health, reason: str | None = "hard_bounce") -> None:
    recipients, side = world.hub.recipients, world.side
    ref = recipients.ref(side, RefObject(email=address), "")
    async with world.db.transaction() as tx:
        [found] = await recipients.resolve(tx, side, [ref], False)
        assert isinstance(found, Resolved)
        assert found.identifier is not None
        await recipients.set_health(tx, side, [(found.identifier.hash, health, reason)])


@pytest.mark.parametrize("health", ["invalid", "held"])
async def test_nothing_is_sent_to_an_address_that_fell_ill_after_acceptance(world: World, health: str) -> None:
    message = await world.send(ANN)
    await fall_ill(world, ANN, Health(health))
    await world.run()
    assert await world.status(message) == ("suppressed", True, "identifier_unhealthy")
    assert (await world.attempts(message), world.wire.carried) == ([], [])
    [decision] = (await world.message(message)).decisions
    assert decision["inputs"]["identifier_health"] == health


@pytest.mark.parametrize("health", ["soft_bouncing", "stale"])
async def test_an_address_that_may_still_be_reached_is_tried(world: World, health: str) -> None:
    message = await world.send(ANN)
    await fall_ill(world, ANN, Health(health))
    await world.run()
    assert len(await world.attempts(message)) == 1


async def test_a_message_for_an_ill_address_is_suppressed_at_once(world: World) -> None:
    await world.person(ANN)
    await fall_ill(world, ANN, Health.INVALID)
    assert await world.status(await world.send(ANN)) == ("suppressed", True, "identifier_unhealthy")


async def test_a_person_is_written_to_at_the_address_that_is_well(world: World) -> None:
    ann = await world.person(ANN, SECOND)
    await fall_ill(world, ANN, Health.INVALID)
    await world.sent(ann)
    assert [one.to for one in world.wire.carried] == [SECOND]
    await fall_ill(world, SECOND, Health.HELD)
    await fall_ill(world, ANN, Health.OK, None)
    await world.sent(ann)
    assert [one.to for one in world.wire.carried] == [SECOND, ANN]


async def test_a_check_says_what_the_gate_would_say(world: World) -> None:
    await world.person(ANN)
    await fall_ill(world, ANN, Health.INVALID)
    http = await world.http()
    asked = {"recipient": {"email": ANN}, "channel": "email", "purpose": "transactional"}
    answer = (await http.post("/v1/consents/check", json=asked)).json()
    assert (answer["sendable"], answer["reason"]) == (False, "identifier_unhealthy")


def test_every_deliverable_kind_reaches_a_channel_and_no_other_does() -> None:
    assert {kind for kind in Kind for channel in Channel if reaches(kind, channel)} == DELIVERABLE
    assert not any(reaches(Kind("external:crm"), channel) for channel in Channel)


async def test_a_number_of_whatsapp_is_written_to_there(world: World) -> None:
    http = await world.http()
    to = {"identifier": {"kind": "whatsapp", "value": "436601234567"}}
    body = {"to": to, "purpose": "transactional", "content": {"text": "Hello"}}
    plan = (await http.post("/v1/messages", json=body)).json()["plan"]
    assert [one["channel"] for one in plan] == ["whatsapp"]
