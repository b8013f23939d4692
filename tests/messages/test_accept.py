"""Accepting messages: who is meant, the plan as it is decided and recorded, what is refused and what that leaves."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tabellion.access.service import create_workspace
from tabellion.core.errors import HubError, Invalid, NotFound
from tabellion.messages.service import Send
from tabellion.messages.types import Content, Guarantee, Message, Status, Success, Trigger
from tabellion.providers.base import Channel
from tabellion.recipients.types import RefObject

from .conftest import ANN, HOUR, MINUTE, NUMBER, OTHER_NUMBER, World, mail, sms


async def accepted(world: World, to: Any, *steps: Any, **more: Any) -> Message:
    [message] = await world.accept(world.a_send(to, *steps, **more))
    assert isinstance(message, Message), message
    return message


async def count(world: World, table: str) -> int:
    [row] = await world.rows(f"select count(*) from {table}")
    return int(row[0])


def considered(message: Message) -> dict[str, tuple[bool, str]]:
    return {one.channel.value: (one.chosen, one.reason) for one in message.plan.candidates}


# Plans


async def test_an_address_is_one_step_on_its_channel(world: World) -> None:
    for to, channel in ((ANN, Channel.EMAIL), (NUMBER, Channel.SMS)):
        message = await accepted(world, to)
        [step] = message.plan.steps
        assert (message.plan.rule, step.channel, step.success) == ("address", channel, Success.SUBMITTED)
        assert step.on == frozenset(Trigger) - {Trigger.TIMEOUT}
        assert (message.status, message.final, message.step) == (Status.QUEUED, False, 0)


async def test_an_accepted_message_is_stored_with_plan_event_and_job(world: World) -> None:
    message = await accepted(world, ANN)
    stored = await world.message(message.id)
    assert stored == replace(message, content=b"")
    assert await world.happened(message.id) == ["message.queued"]
    [job] = await world.rows("select kind, payload from jobs")
    assert job["kind"] == "message.deliver"
    assert UUID(job["payload"]["message"]) == message.id


async def test_the_plan_records_the_first_decision_with_its_rule(world: World) -> None:
    granted = await world.decide(NUMBER, "granted", "sms")
    message = await accepted(world, NUMBER, purpose="marketing")
    [candidate] = (await world.message(message.id)).plan.candidates
    assert candidate.verdict is not None
    assert (candidate.verdict["verdict"], candidate.verdict["log_index"]) == ("allowed", granted.log_index)


async def test_auto_takes_the_channel_order_and_says_what_it_passed_over(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    message = await accepted(world, person)
    assert message.plan.rule == "auto"
    assert [step.channel for step in message.plan.steps] == [Channel.EMAIL, Channel.SMS]
    assert considered(message) == {
        "email": (True, "channel_order"),
        "push": (False, "no_address"),
        "sms": (True, "channel_order"),
        "whatsapp": (False, "no_account"),
    }


async def test_auto_leaves_out_a_channel_that_is_denied_now(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    await world.decide(ANN, "withdrawn", "email", "transactional")
    message = await accepted(world, person)
    assert [step.channel for step in message.plan.steps] == [Channel.SMS]
    assert considered(message)["email"] == (False, "suppressed")


async def test_auto_keeps_a_denied_channel_for_later(world: World) -> None:
    person = await world.person(ANN)
    await world.decide(ANN, "withdrawn", "email", "transactional")
    message = await accepted(world, person, send_at=world.clock.now() + HOUR)
    assert [step.channel for step in message.plan.steps] == [Channel.EMAIL]


async def test_a_stated_route_is_kept_step_for_step(world: World) -> None:
    person = await world.person(ANN)
    text = sms(success=Success.DELIVERED, within=5 * MINUTE, on=frozenset({Trigger.TIMEOUT}))
    message = await accepted(world, person, text, mail())
    first, second = (await world.message(message.id)).plan.steps
    assert (first.channel, first.success, first.within, first.on) == (text.channel, text.success, text.within, text.on)
    assert (first.identifier, second.identifier is not None) == (None, True)
    assert considered(message) == {"sms": (True, "no_address"), "email": (True, "stated")}


async def test_a_step_takes_the_address_with_the_best_verdict(world: World) -> None:
    person = await world.person(NUMBER, OTHER_NUMBER)
    first, second = [one.hash.hex() for one in await _identifiers(world, person)]
    assert (await accepted(world, person, sms())).plan.steps[0].identifier in (first, second)
    await world.stop(NUMBER)
    assert (await accepted(world, person, sms())).plan.steps[0].identifier == second
    assert (await accepted(world, person)).plan.steps[0].identifier == second


async def test_an_address_in_to_is_meant_even_where_the_person_has_a_better_one(world: World) -> None:
    await world.person(NUMBER, OTHER_NUMBER)
    await world.stop(NUMBER)
    message = await accepted(world, NUMBER)
    assert (message.status, message.reason) == (Status.SUPPRESSED, "stop")


async def test_nowhere_to_send_is_unroutable_at_once(world: World) -> None:
    person = await world.person("crm-1")
    message = await accepted(world, person)
    assert (message.status, message.final, message.reason) == (Status.UNROUTABLE, True, "no_address")
    assert await world.happened(message.id) == ["message.unroutable"]
    assert await count(world, "jobs") == 0


# Denied at acceptance


async def test_denied_and_due_now_is_suppressed_at_once(world: World) -> None:
    withdrawn = await world.decide(NUMBER, "withdrawn", "sms", "transactional")
    message = await accepted(world, NUMBER)
    assert (message.status, message.final, message.reason) == (Status.SUPPRESSED, True, "withdrawn")
    assert await world.happened(message.id) == ["message.suppressed"]
    [decision] = (await world.message(message.id)).decisions
    assert (decision["stage"], decision["step"], decision["log_index"]) == ("acceptance", 0, withdrawn.log_index)
    assert await count(world, "jobs") == 0


async def test_unknown_fails_closed_for_marketing_and_open_for_service(world: World) -> None:
    assert (await accepted(world, ANN, purpose="marketing")).status is Status.SUPPRESSED
    assert (await accepted(world, ANN, purpose="transactional")).status is Status.QUEUED


@pytest.mark.parametrize("lifted", [True, False])
async def test_denied_and_scheduled_is_decided_at_hand_off(world: World, lifted: bool) -> None:
    await world.decide(NUMBER, "withdrawn", "sms", "transactional")
    message = await accepted(world, NUMBER, send_at=world.clock.now() + HOUR)
    assert (message.status, message.final) == (Status.QUEUED, False)
    world.clock.advance(30 * MINUTE)
    if lifted:
        await world.decide(NUMBER, "granted", "sms", "transactional")
    await world.pass_time(30 * MINUTE)
    assert (await world.status(message.id))[0] == ("delivered" if lifted else "suppressed")
    assert len(await world.texts(NUMBER)) == lifted


async def test_a_step_denied_at_acceptance_hands_over(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    withdrawn = await world.decide(NUMBER, "withdrawn", "sms", "transactional")
    message = await accepted(world, person, sms(), mail())
    assert (message.status, message.step) == (Status.QUEUED, 1)
    [decision] = message.decisions
    assert (decision["step"], decision["log_index"]) == (0, withdrawn.log_index)
    await world.run()
    assert await world.states(message.id) == [(1, "submitted")]


async def test_a_step_denied_at_acceptance_ends_the_plan_where_suppressed_is_not_in_on(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    await world.decide(NUMBER, "withdrawn", "sms", "transactional")
    message = await accepted(world, person, sms(on=frozenset({Trigger.ERROR})), mail())
    assert (message.status, message.final) == (Status.SUPPRESSED, True)


# Who is meant


async def test_an_unknown_address_becomes_a_recipient(world: World) -> None:
    message = await accepted(world, ANN)
    people = await world.db.run(lambda tx: world.hub.recipients.page(tx, world.side, None, 10))
    assert [one.id for one in people] == [message.recipient_id]
    assert (await accepted(world, ANN)).recipient_id == message.recipient_id


async def test_create_false_refuses_an_unknown_address_and_makes_nobody(world: World) -> None:
    [refused] = await world.accept(world.a_send(ANN, create=False))
    assert isinstance(refused, NotFound)
    assert await count(world, "recipients") == 0
    known = await world.person(ANN)
    assert (await accepted(world, ANN, create=False)).recipient_id == known


async def test_an_address_known_only_for_its_restriction_can_be_written_to_where_that_allows_it(world: World) -> None:
    await world.decide(ANN, "withdrawn", "email", "marketing")
    assert await world.db.run(lambda tx: world.hub.recipients.page(tx, world.side, None, 10)) == []
    refused = await accepted(world, ANN, purpose="marketing")
    service = await accepted(world, ANN)
    assert (refused.status, service.status) == (Status.SUPPRESSED, Status.QUEUED)
    await world.run()
    assert await world.states(service.id) == [(0, "submitted")]
    assert len(await world.mails(ANN)) == 1


async def test_an_unknown_purpose_is_refused_and_leaves_nothing_behind(world: World) -> None:
    """It made a recipient of the address before it was refused."""
    refused, taken = await world.accept(world.a_send(ANN, purpose="nonsense"), world.a_send(NUMBER))
    assert isinstance(refused, Invalid)
    assert refused.code == "purpose_unknown"
    assert "transactional" in refused.detail
    assert isinstance(taken, Message)
    assert await count(world, "recipients") == 1


async def test_defaults_follow_the_class_of_the_purpose(world: World) -> None:
    await world.decide(ANN, "granted", "email")
    now = world.clock.now()
    for purpose, expires, guarantee in (
        ("security", timedelta(minutes=10), Guarantee.AT_LEAST_ONCE),
        ("transactional", timedelta(hours=24), Guarantee.AT_LEAST_ONCE),
        ("marketing", timedelta(hours=4), Guarantee.AT_MOST_ONCE),
    ):
        later = await accepted(world, ANN, purpose=purpose, send_at=now + HOUR)
        assert (later.expires_at, later.guarantee) == (now + HOUR + expires, guarantee)
    stated = await accepted(world, ANN, expires_at=now + MINUTE, guarantee=Guarantee.AT_MOST_ONCE)
    assert (stated.expires_at, stated.guarantee) == (now + MINUTE, Guarantee.AT_MOST_ONCE)


# Batches


async def test_each_unit_of_a_batch_gets_its_own_answer_in_order(world: World) -> None:
    sends = [
        world.a_send(ANN),
        world.a_send(NUMBER, create=False),
        world.a_send(NUMBER, purpose="nonsense"),
        world.a_send(UUID(int=9)),
        world.a_send(OTHER_NUMBER),
    ]
    answers = await world.accept(*sends)
    said = [one.code if isinstance(one, HubError) else one.status.value for one in answers]
    assert said == ["queued", "recipient_not_found", "purpose_unknown", "recipient_not_found", "queued"]
    assert (await count(world, "messages"), await count(world, "jobs"), await count(world, "recipients")) == (2, 2, 2)


async def test_units_of_a_batch_that_name_one_new_address_share_its_recipient(world: World) -> None:
    answers = await world.accept(world.a_send(ANN), world.a_send(NUMBER), world.a_send(ANN), world.a_send(ANN))
    first, other, second, third = [one for one in answers if isinstance(one, Message)]
    assert first.recipient_id == second.recipient_id == third.recipient_id != other.recipient_id
    assert len({first.id, second.id, third.id}) == 3
    await world.run()
    assert len(await world.mails(ANN)) == 3


async def test_transactions_that_name_one_new_address_share_its_recipient(world: World) -> None:
    batches = await asyncio.gather(*(world.accept(world.a_send(ANN), world.a_send(NUMBER)) for _ in range(6)))
    people = [{one.recipient_id for one in batch if isinstance(one, Message)} for batch in batches]
    assert all(one == people[0] for one in people)
    assert (await count(world, "recipients"), await count(world, "messages")) == (2, 12)


async def test_a_transaction_that_fails_leaves_nothing(world: World) -> None:
    class Failed(Exception):
        pass

    async def work(tx: Any) -> None:
        await world.hub.messages.accept(tx, world.side, [world.a_send(ANN)])
        raise Failed

    with pytest.raises(Failed):
        await world.db.run(work)
    for table in ("messages", "recipients", "identifiers", "jobs", "events", "subject_keys"):
        assert await count(world, table) == 0, table
    assert isinstance((await world.accept(world.a_send(ANN)))[0], Message), "nor in a cache"
    await world.run()
    assert len(await world.mails(ANN)) == 1


async def test_two_sides_with_equal_data_have_nothing_in_common(world: World) -> None:
    other = await world.db.run(lambda tx: create_workspace(tx, "rival"))
    mine = await accepted(world, ANN)
    [theirs] = await world.accept(world.a_send(ANN), side=other.test)
    assert isinstance(theirs, Message)
    assert mine.recipient_id != theirs.recipient_id
    assert mine.plan.steps[0].identifier != theirs.plan.steps[0].identifier
    [wrong] = await world.accept(world.a_send(mine.recipient_id), side=other.test)
    assert isinstance(wrong, NotFound)
    await world.decide(ANN, "withdrawn", "email", "transactional")
    await world.run()
    assert (await world.status(mine.id))[0] == "suppressed"
    message, [attempt] = await world.db.run(lambda tx: world.hub.messages.read(tx, other.test, theirs.id))
    assert (message.status, attempt.workspace_id) == (Status.SENT, other.test)


async def test_what_is_said_is_sealed(world: World) -> None:
    content = Content(text="the quick brown fox", subject="a subject of ours", html="<b>the fox</b>")
    [message] = await world.accept(Send(world.hub.recipients.ref(world.side, RefObject(email=ANN), ""), "transactional",
                                        content))  # fmt: skip
    assert isinstance(message, Message)
    [row] = await world.rows("select messages::text as row, content from messages")
    for words in ("quick brown", "subject of ours", "fox", ANN):
        assert words not in row["row"]
        assert words.encode() not in row["content"]


async def _identifiers(world: World, person: UUID) -> list[Any]:
    found = await world.db.run(lambda tx: world.hub.recipients.identifiers(tx, [(world.side, person)]))
    by_value = {one.value: one for one in found[world.side, person]}
    return [by_value[NUMBER], by_value[OTHER_NUMBER]]
