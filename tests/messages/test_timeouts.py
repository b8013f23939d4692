"""Time limits, and what is uncertain: what repeats, what waits, and that everything ends."""

from typing import Any

import pytest

from tabellion.core import ids
from tabellion.messages import gate
from tabellion.messages.types import Guarantee, Success, Trigger
from tabellion.providers.base import Accepted, Deferred, Reason, Rejected, Result, Uncertain
from tabellion.simulators.twilio import signed

from .conftest import ACCOUNT, ANN, HOUR, MINUTE, NUMBER, ONCE, SECOND, World, mail, sms

EVERY = frozenset(Trigger)
LOST = Uncertain("the connection closed")
DEFER = Deferred("busy", Reason.VENDOR_ERROR)
SILENT = "+15005551999"


async def waiting(world: World) -> int:
    [row] = await world.rows("select (select count(*) from jobs) + (select count(*) from delayed) as waiting")
    return int(row["waiting"])


# Limits


async def test_a_limit_counts_from_the_first_try_of_its_step(world: World) -> None:
    person = await world.person(ANN, SILENT)
    step = sms(success=Success.DELIVERED, within=5 * MINUTE, on=EVERY)
    world.wire.script.append(Deferred("busy", Reason.VENDOR_ERROR, 120.0))
    message = await world.send(person, step, mail(), send_at=world.clock.now() + HOUR)
    await world.pass_time(HOUR + 5 * MINUTE - SECOND)
    assert [step for step, _ in await world.states(message)] == [0, 0]
    await world.pass_time(SECOND)
    assert (await world.states(message))[-1] == (1, "submitted")


async def test_each_step_has_its_own_limit(world: World) -> None:
    person = await world.person(ANN, SILENT)
    slow = sms(success=Success.DELIVERED, within=MINUTE, on=EVERY)
    message = await world.sent(person, slow, sms(success=Success.DELIVERED, within=3 * MINUTE, on=EVERY), mail())
    await world.pass_time(4 * MINUTE - SECOND)
    assert [step for step, _ in await world.states(message)] == [0, 1]
    await world.pass_time(SECOND)
    assert [step for step, _ in await world.states(message)] == [0, 1, 2]


async def test_the_last_step_out_of_time_is_final_and_its_best_attempt_counts(world: World) -> None:
    message = await world.sent(SILENT, sms(success=Success.DELIVERED, within=MINUTE, on=EVERY))
    await world.pass_time(MINUTE)
    assert await world.status(message) == ("sent", True, None)


async def test_a_step_that_waits_for_delivery_without_a_limit_ends_when_the_message_expires(world: World) -> None:
    message = await world.sent(SILENT, sms(success=Success.DELIVERED), expires_at=world.clock.now() + HOUR)
    await world.pass_time(HOUR - SECOND)
    assert await world.status(message) == ("sent", False, None)
    await world.pass_time(SECOND)
    assert await world.status(message) == ("sent", True, None)
    assert await waiting(world) == 0


async def test_a_limit_that_passes_while_a_retry_waits_hands_over(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    world.wire.script.append(Deferred("busy", Reason.VENDOR_ERROR, 600.0))
    message = await world.sent(person, sms(within=MINUTE, on=EVERY), mail())
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "deferred"), (1, "submitted")]
    await world.pass_time(HOUR)
    assert await world.states(message) == [(0, "deferred"), (1, "submitted")]


async def test_a_limit_not_among_the_reasons_ends_the_plan(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    world.wire.script.append(Deferred("busy", Reason.VENDOR_ERROR, 600.0))
    message = await world.sent(person, sms(within=MINUTE, on=frozenset({Trigger.ERROR})), mail())
    await world.pass_time(MINUTE)
    assert await world.status(message) == ("failed", True, "timeout")
    await world.pass_time(HOUR)
    assert await world.states(message) == [(0, "deferred")]


async def test_a_limit_of_a_message_whose_time_is_over_does_not_hand_over(world: World) -> None:
    person = await world.person(ANN, SILENT)
    world.wire.script.append(LOST)
    message = await world.sent(
        person, sms(within=5 * MINUTE, on=EVERY), mail(), guarantee=ONCE, expires_at=world.clock.now() + MINUTE
    )
    await world.pass_time(HOUR)
    assert await world.status(message) == ("expired", True, "expired")
    assert await world.states(message) == [(0, "uncertain")]
    assert await world.mails(ANN) == []


# Uncertain


async def test_at_least_once_repeats_what_is_uncertain(world: World) -> None:
    await world.vendor("POST", "/twilio/control/faults", {"kind": "hang_up"})
    message = await world.sent(NUMBER)
    assert await world.states(message) == [(0, "uncertain")]
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "uncertain"), (0, "delivered")]
    assert await world.status(message) == ("delivered", True, None)


@pytest.mark.parametrize("fault", ["error", "garbage", "half"])
async def test_what_a_vendor_answers_badly_is_uncertain(world: World, fault: str) -> None:
    await world.vendor("POST", "/twilio/control/faults", {"kind": fault})
    message = await world.sent(NUMBER, guarantee=ONCE)
    assert await world.states(message) == [(0, "uncertain")]


async def test_at_least_once_stops_repeating_and_ends_when_the_message_expires(world: World) -> None:
    """Nothing ended a step whose eighth send was uncertain too: the message was `sending` for ever."""
    person = await world.person(ANN, NUMBER)
    world.wire.script += [LOST] * 50
    message = await world.sent(person, sms(), mail(), expires_at=world.clock.now() + HOUR)
    await world.pass_time(HOUR - SECOND)
    assert await world.states(message) == [(0, "uncertain")] * gate.MOST_ATTEMPTS
    assert await world.status(message) == ("sending", False, None)
    await world.pass_time(SECOND)
    assert await world.status(message) == ("expired", True, "expired")
    assert await waiting(world) == 0


async def test_one_uncertain_try_does_not_end_what_is_put_off_again_and_again(world: World) -> None:
    """With eight tries behind it, one of them uncertain, the job was over and nothing ended the message."""
    world.wire.script += [LOST, *[DEFER] * 11]
    message = await world.sent(NUMBER)
    await world.pass_time(20 * HOUR)
    assert await world.states(message) == [(0, "uncertain"), *[(0, "deferred")] * 11, (0, "delivered")]


async def test_a_message_may_be_tried_more_often_than_a_byte_counts(world: World) -> None:
    """The account is chosen by the number of tries; above 255 that raised."""
    world.wire.script += [DEFER] * 300
    message = await world.sent(NUMBER, expires_at=world.clock.now() + 30 * 24 * HOUR)
    await world.pass_time(29 * 24 * HOUR)
    assert (await world.states(message))[-1] == (0, "delivered")


async def test_a_failure_after_an_uncertain_try_falls_back_under_at_least_once(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    world.wire.script += [LOST, Rejected(Reason.INVALID_ADDRESS, "no")]
    message = await world.sent(person, sms(), mail())
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "uncertain"), (0, "rejected"), (1, "submitted")]


async def test_at_most_once_does_not_repeat_and_waits_for_its_limit(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    await world.vendor("POST", "/twilio/control/faults", {"kind": "hang_up"})
    message = await world.sent(person, sms(within=10 * MINUTE, on=EVERY), mail(), guarantee=ONCE)
    await world.pass_time(10 * MINUTE - SECOND)
    assert await world.states(message) == [(0, "uncertain")]
    await world.pass_time(SECOND)
    assert await world.states(message) == [(0, "uncertain"), (1, "submitted")]
    assert await world.texts(NUMBER) == []


async def test_at_most_once_without_a_limit_waits_until_the_message_expires(world: World) -> None:
    world.wire.script.append(LOST)
    message = await world.sent(NUMBER, guarantee=ONCE, expires_at=world.clock.now() + HOUR)
    await world.pass_time(HOUR - SECOND)
    assert await world.status(message) == ("sending", False, None)
    await world.pass_time(SECOND)
    assert await world.status(message) == ("expired", True, "expired")


async def test_marketing_goes_out_at_most_once_by_default(world: World) -> None:
    await world.decide(NUMBER, "granted", "sms")
    await world.vendor("POST", "/twilio/control/faults", {"kind": "hang_up"})
    message = await world.sent(NUMBER, purpose="marketing")
    await world.pass_time(5 * HOUR)
    assert await world.states(message) == [(0, "uncertain")]


# Vendors that drop what they have already


async def keys(world: World, *said: Result, **more: Any) -> list[tuple[str, str]]:
    """Attempt id and idempotency key of each hand-off of one message, answered as said."""
    account = await world.account()
    world.wire.script += said
    await world.send(NUMBER, sms(accounts=(account,)), **more)
    await world.pass_time(HOUR)
    return [(one.attempt_id, one.idempotency_key) for one in world.wire.carried]


@pytest.mark.parametrize("guarantee", list(Guarantee))
async def test_a_repeat_goes_out_under_the_key_of_what_it_repeats(world: World, guarantee: Guarantee) -> None:
    """Each had a key of its own, so that no vendor could know the repeat; and at most once was never repeated."""
    seen = await keys(world, DEFER, LOST, DEFER, LOST, Accepted("one"), guarantee=guarantee)
    attempts = [attempt for attempt, _ in seen]
    assert len(set(attempts)) == 5
    assert [key for _, key in seen] == [attempts[0], *[attempts[1]] * 4]


async def test_a_repeat_goes_to_the_account_that_knows_it(world: World) -> None:
    accounts = tuple([await world.account(name=f"account {number}") for number in range(5)])
    for _ in range(5):
        world.wire.script += [LOST, LOST, LOST, Accepted("one")]
        message = await world.send(NUMBER, sms(accounts=accounts), guarantee=ONCE)
        await world.pass_time(10 * MINUTE)
        assert len(await world.attempts(message)) == 4
        assert len({one.account_id for one in await world.attempts(message)}) == 1


async def test_at_most_once_is_not_repeated_elsewhere_when_that_account_is_gone(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    first, second = await world.account(), await world.account()
    step = sms(accounts=(first, second), within=HOUR, on=EVERY)
    world.wire.script.append(LOST)
    message = await world.sent(person, step, mail(), guarantee=ONCE)
    [attempt] = await world.attempts(message)
    await world.disable(attempt.account_id)
    await world.pass_time(30 * MINUTE)
    assert await world.states(message) == [(0, "uncertain")]
    await world.pass_time(HOUR)
    assert [step for step, _ in await world.states(message)] == [0, 1]


async def test_a_repeat_refused_leaves_the_first_uncertain_and_at_most_once_waits(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    account = await world.account()
    world.wire.script += [LOST, Rejected(Reason.CREDENTIALS, "no")]
    message = await world.sent(person, sms(accounts=(account,), within=HOUR, on=EVERY), mail(), guarantee=ONCE)
    await world.pass_time(30 * MINUTE)
    assert await world.states(message) == [(0, "uncertain"), (0, "rejected")]
    await world.pass_time(HOUR)
    assert [step for step, _ in await world.states(message)] == [0, 0, 1]


async def test_a_repeat_refused_without_a_limit_ends_when_the_message_expires(world: World) -> None:
    account = await world.account()
    world.wire.script += [LOST, *[DEFER] * 20]
    message = await world.sent(NUMBER, sms(accounts=(account,)), guarantee=ONCE, expires_at=world.clock.now() + HOUR)
    await world.pass_time(HOUR - SECOND)
    assert (await world.states(message))[-1] == (0, "deferred")
    assert not (await world.message(message)).final
    await world.pass_time(SECOND)
    assert await world.status(message) == ("expired", True, "expired")


async def test_a_report_finds_an_uncertain_attempt_by_its_name(world: World) -> None:
    """Without an answer there is no vendor's id: what waited for a report could never get one."""
    person = await world.person(ANN, NUMBER)
    world.wire.script.append(LOST)
    message = await world.sent(person, sms(success=Success.DELIVERED, within=HOUR, on=EVERY), mail(), guarantee=ONCE)
    [attempt] = await world.attempts(message)
    url = world.wire.carried[0].callback_url
    assert url is not None
    assert url.endswith(f"?attempt={ids.show('att', attempt.id)}")
    fields = {"AccountSid": ACCOUNT, "MessageSid": f"SM{7:032x}", "MessageStatus": "delivered"}
    assert await world.post(signed(ACCOUNT, url, fields)) == 200
    await world.run()
    assert await world.status(message) == ("delivered", True, None)
    assert (await world.attempts(message))[0].provider_message_id == f"SM{7:032x}"
    await world.pass_time(2 * HOUR)
    assert await world.mails(ANN) == []
