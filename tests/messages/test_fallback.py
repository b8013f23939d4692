"""Fallback, precisely: every sentence of it, over vendors that report back."""

from typing import Any
from uuid import UUID

import pytest

from tabellion.messages.types import Evidence, Message, Status, Success, Trigger
from tabellion.providers.base import Accepted, Outbound, Reason, Rejected, Result, State

from .conftest import ANN, MINUTE, NUMBER, ONCE, SECOND, World, mail, sms

NOT_MOBILE = "+15005550009"
"""Twilio refuses a text to this number."""
UNREACHABLE = "+15005551003"
"""Accepted, then `undelivered`."""
FAILING = "+15005551001"
"""Accepted, then `failed`: the vendor could not hand it over."""
SILENT = "+15005551999"
"""Accepted and sent; no carrier ever says what became of it."""
EVERY = frozenset(Trigger)


async def vendor_id(world: World, message: UUID, place: int = 0) -> str:
    named = (await world.attempts(message))[place].provider_message_id
    assert named is not None
    return named


# What ends a step


async def test_a_rejected_step_hands_over(world: World) -> None:
    person = await world.person(ANN, NOT_MOBILE)
    message = await world.sent(person, sms(), mail())
    assert await world.states(message) == [(0, "rejected"), (1, "submitted")]
    assert await world.status(message) == ("sent", True, None)
    assert len(await world.mails(ANN)) == 1
    assert await world.happened(message) == [
        "message.queued", "attempt.rejected", "message.fell_back", "attempt.submitted", "message.sent",
    ]  # fmt: skip


@pytest.mark.parametrize(("number", "state"), [(UNREACHABLE, "undelivered"), (FAILING, "failed")])
async def test_what_a_vendor_reports_too_late_for_its_answer_hands_over(world: World, number: str, state: str) -> None:
    person = await world.person(ANN, number)
    message = await world.sent(person, sms(success=Success.DELIVERED), mail())
    assert await world.states(message) == [(0, state), (1, "submitted")]
    assert (await world.status(message))[0] == "sent"


async def test_undelivered_and_failed_are_different_reasons(world: World) -> None:
    """`undelivered` in one vendor is `failed` in another: here both exist, and a route can tell them apart."""
    for number, trigger, ended in (
        (UNREACHABLE, Trigger.UNDELIVERED, False),
        (UNREACHABLE, Trigger.ERROR, True),
        (FAILING, Trigger.ERROR, False),
        (FAILING, Trigger.UNDELIVERED, True),
    ):
        person = await world.person(f"{number[1:]}@example.org", number)
        message = await world.sent(person, sms(success=Success.DELIVERED, on=frozenset({trigger})), mail())
        assert len(await world.attempts(message)) == (1 if ended else 2)
        assert (await world.status(message))[0] == ("failed" if ended else "sent")


async def test_a_step_that_succeeded_ends_the_plan(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    message = await world.sent(person, sms(success=Success.DELIVERED, within=MINUTE, on=EVERY), mail())
    await world.pass_time(10 * MINUTE)
    assert await world.states(message) == [(0, "delivered")]
    assert await world.mails(ANN) == []


async def test_submitted_is_enough_by_default_and_what_follows_does_not_fall_back(world: World) -> None:
    person = await world.person(ANN, UNREACHABLE)
    message = await world.sent(person, sms(), mail())
    assert await world.states(message) == [(0, "undelivered")]
    assert await world.status(message) == ("failed", True, "unreachable")


async def test_not_delivered_in_time_hands_over(world: World) -> None:
    person = await world.person(ANN, SILENT)
    message = await world.sent(person, sms(success=Success.DELIVERED, within=5 * MINUTE, on=EVERY), mail())
    await world.pass_time(5 * MINUTE - SECOND)
    assert await world.states(message) == [(0, "sent")]
    assert await world.status(message) == ("sent", False, None)
    await world.pass_time(SECOND)
    assert await world.states(message) == [(0, "sent"), (1, "submitted")]
    [decision] = (await world.message(message)).decisions
    assert (decision["step"], decision["stage"], decision["reason"]) == (0, "time_limit", "timeout")


async def test_a_reason_that_is_not_in_on_ends_the_plan(world: World) -> None:
    person = await world.person(ANN, NOT_MOBILE)
    message = await world.sent(person, sms(on=frozenset({Trigger.TIMEOUT})), mail())
    assert await world.states(message) == [(0, "rejected")]
    assert await world.status(message) == ("failed", True, "invalid_address")


async def test_the_last_step_ends_the_plan_with_its_reason(world: World) -> None:
    person = await world.person("bounce@example.org", NOT_MOBILE)
    message = await world.sent(person, sms(), mail())
    assert await world.states(message) == [(0, "rejected"), (1, "rejected")]
    assert await world.status(message) == ("failed", True, "invalid_address")


async def test_a_step_refused_at_hand_off_hands_over(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    message = await world.send(person, sms(), mail())
    withdrawn = await world.decide(NUMBER, "withdrawn", "sms", "transactional")
    await world.run()
    assert await world.states(message) == [(1, "submitted")]
    [decision] = (await world.message(message)).decisions
    assert (decision["step"], decision["log_index"]) == (0, withdrawn.log_index)


async def test_the_next_step_is_decided_again_when_it_is_handed_over(world: World) -> None:
    person = await world.person(ANN, SILENT)
    message = await world.sent(person, sms(success=Success.DELIVERED, within=MINUTE, on=EVERY), mail())
    withdrawn = await world.decide(ANN, "withdrawn", "email", "transactional")
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "sent")]
    assert (await world.message(message)).decisions[-1]["log_index"] == withdrawn.log_index
    assert await world.status(message) == ("sent", True, None), "the best attempt counts"
    assert await world.mails(ANN) == []


async def test_a_step_without_an_address_hands_over_and_says_why(world: World) -> None:
    person = await world.person(ANN)
    message = await world.sent(person, sms(), mail())
    assert await world.states(message) == [(1, "submitted")]
    [decision] = (await world.message(message)).decisions
    assert (decision["step"], decision["stage"], decision["reason"]) == (0, "hand_off", "no_address")


async def test_a_route_of_ten_steps_ends(world: World) -> None:
    person = await world.person(NOT_MOBILE)
    message = await world.sent(person, *[sms() for _ in range(10)])
    assert await world.states(message) == [(step, "rejected") for step in range(10)]
    assert (await world.status(message))[:2] == ("failed", True)


# Late news


async def test_a_late_delivery_after_the_next_step_started_is_said_and_cancels_the_rest(world: World) -> None:
    person = await world.person(ANN, SILENT)
    slow = sms(success=Success.DELIVERED, within=MINUTE, on=EVERY)
    message = await world.sent(person, slow, slow, mail())
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "sent"), (1, "sent")]
    assert await world.reported(await vendor_id(world, message), "delivered") == 200
    await world.run()
    assert await world.status(message) == ("delivered", True, None)
    assert (await world.happened(message))[-3:] == [
        "attempt.delivered", "message.delivered_after_fallback", "message.delivered",
    ]  # fmt: skip
    await world.pass_time(10 * MINUTE)
    assert await world.states(message) == [(0, "delivered"), (1, "sent")]
    assert await world.mails(ANN) == []


async def test_a_late_delivery_after_the_plan_ended_raises_the_status(world: World) -> None:
    person = await world.person(ANN, UNREACHABLE)
    message = await world.sent(person, sms(success=Success.DELIVERED), mail())
    assert await world.states(message) == [(0, "undelivered"), (1, "submitted")]
    await world.reported(await vendor_id(world, message), "delivered")
    await world.run()
    assert await world.states(message) == [(0, "delivered"), (1, "submitted")]
    assert await world.status(message) == ("delivered", True, None)
    assert "message.delivered_after_fallback" in await world.happened(message)


async def test_a_delivery_before_the_next_step_started_lets_it_never_start(world: World) -> None:
    person = await world.person(ANN, SILENT)
    message = await world.sent(person, sms(success=Success.DELIVERED, within=MINUTE, on=EVERY), mail())
    world.clock.advance(MINUTE)
    await world.worker.engine.tick()
    await world.worker.claim()  # the time limit; the step it handed over to waits in its lane
    assert (await world.message(message)).step == 1
    await world.reported(await vendor_id(world, message), "delivered")
    [job] = await world.rows("select id from jobs where kind = 'message.deliver'")
    await world.execute("delete from jobs where id = $1", job["id"])
    await world.run()
    assert await world.status(message) == ("delivered", True, None)
    await world.execute(
        "insert into jobs (lane, workspace_id, kind, payload, enqueued_at) values (2, $1, $2, $3, $4)",
        world.side, "message.deliver",
        {"message": message.hex, "recipient": person.hex, "step": 1}, world.clock.now(),
    )  # fmt: skip
    await world.run()
    assert await world.states(message) == [(0, "delivered")]
    assert "message.delivered_after_fallback" not in await world.happened(message)


async def test_a_late_success_of_less_than_delivery_counts_where_the_step_wanted_no_more(world: World) -> None:
    """Only a delivery did: the plan went on although its first step had what it wanted."""
    person = await world.person(ANN, NUMBER)
    account = await world.account("silent")
    first = sms(accounts=(account,), success=Success.SENT, within=MINUTE, on=EVERY)
    message = await world.sent(person, first, sms(accounts=(account,), success=Success.DELIVERED), mail())
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "submitted"), (1, "submitted")]
    [attempt, _] = await world.attempts(message)
    evidence = [((world.side, message), Evidence(attempt.id, State.SENT))]
    await world.db.run(lambda tx: world.hub.messages.record(tx, evidence))
    assert await world.status(message) == ("sent", True, None)
    assert "message.delivered_after_fallback" in await world.happened(message)


async def test_a_failure_after_all_of_what_the_plan_ended_with_fails_the_message(world: World) -> None:
    """It stayed `sent` where the attempt was of an earlier step than the current one."""
    person = await world.person(ANN, SILENT)
    message = await world.sent(person, sms(success=Success.DELIVERED, within=MINUTE, on=EVERY), mail())
    await world.decide(ANN, "withdrawn", "email", "transactional")
    await world.pass_time(MINUTE)
    assert await world.status(message) == ("sent", True, None)
    await world.reported(await vendor_id(world, message), "undelivered", ErrorCode="30003")
    await world.run()
    assert await world.status(message) == ("failed", True, "unreachable")


async def test_a_bounce_after_a_delivery_is_an_event_of_its_own(world: World) -> None:
    message = await world.sent(NUMBER)
    await world.reported(await vendor_id(world, message), "undelivered", ErrorCode="30003")
    await world.run()
    assert await world.status(message) == ("delivered", True, None)
    assert (await world.happened(message))[-1] == "attempt.undelivered_after_delivery"


# Never blindly, never two at once


async def test_an_uncertain_hand_off_does_not_fall_back(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    await world.vendor("POST", "/twilio/control/faults", {"kind": "hang_up"})
    message = await world.sent(person, sms(on=EVERY), mail(), guarantee=ONCE)
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "uncertain")]
    assert await world.mails(ANN) == []


async def test_the_time_limit_waits_for_a_hand_off_under_way(world: World) -> None:
    """It handed over, and two steps were in flight at once."""
    person = await world.person(ANN, NUMBER)
    seen: list[Any] = []

    async def slowly(outbound: Outbound) -> Result:
        other = world.another_worker()
        world.clock.advance(5 * SECOND)
        await other.run()
        seen.append(await world.states(message))
        return Accepted("SM1")

    world.wire.script.append(slowly)
    message = await world.send(person, sms(success=Success.DELIVERED, within=2 * SECOND, on=EVERY), mail())
    await world.run()
    assert seen == [[(0, "started")]]
    await world.pass_time(SECOND)
    assert await world.states(message) == [(0, "submitted"), (1, "submitted")]


async def test_news_of_an_earlier_try_does_not_hand_over_while_another_is_under_way(world: World) -> None:
    """A rejection that came late handed over, and both steps reached the person."""
    person = await world.person(ANN, NUMBER)
    message = await world.send(person, sms(), mail())
    late = world.another_worker()
    world.wire.script.append(Rejected(Reason.OTHER, "no"))
    await late.claim()
    world.clock.advance(31 * SECOND)

    async def meanwhile(outbound: Outbound) -> Result:
        await late.finish()
        return Accepted("SM2")

    world.wire.script.append(meanwhile)
    await world.run()
    assert await world.states(message) == [(0, "rejected"), (0, "submitted")]
    await world.pass_time(MINUTE)
    assert await world.status(message) == ("sent", True, None)
    assert await world.mails(ANN) == []


async def test_a_late_rejection_does_not_undo_what_another_try_handed_over(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    message = await world.send(person, sms(success=Success.DELIVERED, within=5 * MINUTE, on=EVERY), mail())
    late = world.another_worker()
    world.wire.script.append(Rejected(Reason.OTHER, "no"))
    await late.claim()
    world.clock.advance(31 * SECOND)
    world.wire.script.append(Accepted("SM2"))
    await world.run()
    assert await world.states(message) == [(0, "uncertain"), (0, "submitted")]
    await late.finish()
    await world.run()
    assert await world.states(message) == [(0, "rejected"), (0, "submitted")]
    assert (await world.message(message)).step == 0


async def test_a_plan_that_ended_stays_ended(world: World) -> None:
    person = await world.person(ANN, NOT_MOBILE)
    message = await world.sent(person, sms(), mail())
    before = await world.message(message)
    await world.pass_time(60 * MINUTE)
    assert await world.message(message) == before
    assert isinstance(before, Message)
    assert before.status is Status.SENT
