"""The hand-off: the gate in begin, the attempt it writes, the wire, the outcome, and trying again."""

from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tabellion.access.service import create_workspace
from tabellion.core.db import Tx
from tabellion.core.errors import Invalid
from tabellion.core.vault import Vault
from tabellion.jobs.service import enqueue
from tabellion.messages import gate
from tabellion.messages.service import deliver_job
from tabellion.messages.types import Content, Guarantee, Success, Trigger
from tabellion.providers.base import (
    Aborted,
    Accepted,
    Channel,
    Deferred,
    Outbound,
    Reason,
    Rejected,
    Result,
    State,
    Uncertain,
)

from .conftest import ANN, HOUR, MINUTE, NUMBER, OTHER_NUMBER, SECOND, World, mail, sms

OPTED_OUT = "+15005550004"
"""A number that Twilio answers 21610 for."""
DEFER = Deferred("the vendor answered 429", Reason.RATE_LIMITED, None, "429")


async def jobs(world: World) -> int:
    [row] = await world.rows("select (select count(*) from jobs) + (select count(*) from delayed) as waiting")
    return int(row["waiting"])


# Through real vendors


async def test_a_mail_arrives_with_what_was_said(world: World) -> None:
    content = Content("Hello Ann", "Hi", reply_to="shop@example.org", headers={"X-Order": "17"})
    message = await world.sent(ANN, content=content)
    [mail_] = await world.mails(ANN)
    [attempt] = await world.attempts(message)
    assert (mail_["text"], mail_["headers"]["Subject"]) == ("Hello Ann\n", "Hi")
    assert (mail_["headers"]["Reply-To"], mail_["headers"]["X-Order"]) == ("shop@example.org", "17")
    assert (attempt.state, attempt.provider, attempt.channel) == (State.SUBMITTED, "smtp", Channel.EMAIL)
    assert attempt.provider_message_id == mail_["headers"]["Message-ID"]
    assert (attempt.started_at, attempt.ended_at) == (world.clock.now(), world.clock.now())
    assert await world.status(message) == ("sent", True, None)


async def test_a_text_is_delivered_and_its_reports_say_so(world: World) -> None:
    message = await world.sent(NUMBER)
    [text] = await world.texts(NUMBER)
    [attempt] = await world.attempts(message)
    assert (text["body"], text["sid"]) == ("Your parcel is here", attempt.provider_message_id)
    assert await world.status(message) == ("delivered", True, None)
    assert await world.happened(message) == [
        "message.queued", "attempt.submitted", "message.sent", "attempt.sent", "attempt.delivered", "message.delivered",
    ]  # fmt: skip


async def test_each_channel_says_its_own(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    content = Content("long", "Subject", by_channel={"sms": {"text": "short"}, "email": {"subject": "Mail"}})
    await world.sent(person, sms(), content=content)
    await world.sent(person, mail(), content=content)
    assert [one["body"] for one in await world.texts(NUMBER)] == ["short"]
    assert [(one["headers"]["Subject"], one["text"]) for one in await world.mails(ANN)] == [("Mail", "long\n")]


# The gate


async def test_the_second_decision_is_recorded_with_the_attempt(world: World) -> None:
    message = await world.send(ANN, send_at=world.clock.now() + HOUR)
    granted = await world.decide(ANN, "granted", "email", "transactional")
    await world.pass_time(HOUR)
    [attempt] = await world.attempts(message)
    [candidate] = (await world.message(message)).plan.candidates
    assert candidate.verdict is not None
    assert (candidate.verdict["verdict"], candidate.verdict["log_index"]) == ("unknown", None)
    assert (attempt.decision["verdict"], attempt.decision["log_index"]) == ("allowed", granted.log_index)


async def test_a_restriction_after_acceptance_stops_the_hand_off(world: World) -> None:
    message = await world.send(NUMBER)
    withdrawn = await world.decide(NUMBER, "withdrawn", "sms", "transactional")
    await world.run()
    assert await world.status(message) == ("suppressed", True, "withdrawn")
    assert (await world.attempts(message), world.wire.carried, await world.texts(NUMBER)) == ([], [], [])
    [decision] = (await world.message(message)).decisions
    assert (decision["stage"], decision["log_index"]) == ("hand_off", withdrawn.log_index)


async def test_a_retry_goes_through_the_gate_again(world: World) -> None:
    world.wire.script.append(DEFER)
    message = await world.sent(NUMBER)
    assert await world.states(message) == [(0, "deferred")]
    await world.decide(NUMBER, "withdrawn", "sms", "transactional")
    await world.pass_time(MINUTE)
    assert await world.status(message) == ("suppressed", True, "withdrawn")
    assert len(world.wire.carried) == 1


async def test_a_restriction_names_what_it_came_too_late_for(world: World) -> None:
    message = await world.send(NUMBER)
    named: list[Any] = []

    async def meanwhile(outbound: Outbound) -> Result:
        named.append((await world.decide(NUMBER, "withdrawn", "sms", "transactional")).in_flight)
        return Accepted("SM1")

    world.wire.script.append(meanwhile)
    await world.run()
    [attempt] = await world.attempts(message)
    assert named == [[attempt.id]]
    assert (await world.decide(NUMBER, "withdrawn", "sms", "transactional")).in_flight == []


async def test_a_person_somebody_else_holds_comes_back_and_no_try_is_counted(world: World) -> None:
    message = await world.send(ANN)
    person = (await world.message(message)).recipient_id
    async with _holding(world, person):
        await world.run()
        assert await world.states(message) == []
        [row] = await world.rows("select tries, run_at from delayed")
        assert (row["tries"], row["run_at"]) == (0, world.clock.now() + gate.SKIPPED)
    await world.pass_time(SECOND)
    assert await world.states(message) == [(0, "submitted")]


async def test_no_byte_is_written_later_than_ten_seconds_after_the_start(world: World) -> None:
    await world.send(ANN)
    began = world.clock.monotonic()
    usable = world.hub.accounts.usable

    async def slowly(tx: Tx, workspace_id: Any) -> Any:
        world.clock.advance(4 * SECOND)
        return await usable(tx, workspace_id)

    world.hub.accounts.usable = slowly  # type: ignore[method-assign]
    await world.run()
    assert world.wire.deadlines == [began + 10.0], "counted from `started`, however long begin took after it"


# Time


async def test_a_scheduled_message_leaves_at_its_time_and_not_before(world: World) -> None:
    message = await world.send(ANN, send_at=world.clock.now() + HOUR)
    await world.pass_time(HOUR - SECOND)
    assert (await world.states(message), await world.status(message)) == ([], ("queued", False, None))
    await world.pass_time(SECOND)
    [attempt] = await world.attempts(message)
    assert attempt.started_at == (await world.message(message)).send_at


async def test_what_is_too_old_expires_and_is_never_sent_late(world: World) -> None:
    message = await world.send(ANN, expires_at=world.clock.now() + MINUTE)
    world.clock.advance(MINUTE)
    await world.run()
    assert await world.status(message) == ("expired", True, "expired")
    assert world.wire.carried == []
    assert await world.happened(message) == ["message.queued", "message.expired"]


async def test_a_retry_that_would_come_too_late_ends_the_message_on_its_time(world: World) -> None:
    """It stayed open until the vendor's Retry-After had passed."""
    world.wire.script.append(Deferred("throttled", Reason.RATE_LIMITED, 3000.0))
    message = await world.sent(ANN, expires_at=world.clock.now() + MINUTE)
    await world.pass_time(MINUTE)
    assert await world.status(message) == ("expired", True, "expired")
    assert len(world.wire.carried) == 1


# Trying again


async def test_a_throttled_hand_off_waits_as_long_as_the_vendor_asked(world: World) -> None:
    account = await world.simulated("twilio")
    await world.vendor("POST", "/twilio/control/faults", {"kind": "throttle", "retry_after": "30"})
    message = await world.sent(NUMBER)
    [first] = await world.attempts(message)
    assert (first.state, first.reason, first.provider_code) == (State.DEFERRED, Reason.RATE_LIMITED, "429")
    [pace] = await world.rows("select account_id, paused_until from account_pacing")
    assert (pace["account_id"], pace["paused_until"]) == (account, world.clock.now() + 30 * SECOND)
    await world.pass_time(29 * SECOND)
    assert len(await world.attempts(message)) == 1
    await world.pass_time(MINUTE)
    first, second = await world.attempts(message)
    assert second.started_at - first.started_at >= 30 * SECOND
    assert await world.states(message) == [(0, "deferred"), (0, "delivered")]


async def test_an_outage_of_hours_does_not_fail_a_message_of_a_day(world: World) -> None:
    """Eight tries in two minutes, and an acknowledged message was given up: no greylisting lasts that short."""
    await world.vendor("POST", "/twilio/control/faults", {"kind": "throttle", "times": 0, "retry_after": "1"})
    message = await world.sent(NUMBER)
    await world.pass_time(3 * HOUR)
    assert len(await world.states(message)) > gate.MOST_ATTEMPTS
    assert await world.status(message) == ("sending", False, None)
    await world.vendor("DELETE", "/twilio/control/faults")
    await world.pass_time(2 * HOUR)
    assert (await world.status(message))[0] == "delivered"


async def test_a_vendor_that_never_takes_it_ends_with_the_message(world: World) -> None:
    await world.vendor("POST", "/twilio/control/faults", {"kind": "throttle", "times": 0, "retry_after": "1"})
    message = await world.sent(NUMBER, expires_at=world.clock.now() + HOUR)
    await world.pass_time(2 * HOUR)
    assert await world.status(message) == ("expired", True, "expired")
    assert await jobs(world) == 0


async def test_giving_up_is_an_error_the_plan_may_fall_back_for(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    await world.vendor("POST", "/twilio/control/faults", {"kind": "throttle", "times": 0})
    message = await world.sent(person, sms(on=frozenset({Trigger.ERROR})), mail())
    await world.pass_time(HOUR)
    assert (await world.states(message))[-2:] == [(0, "failed"), (1, "submitted")]


async def test_a_vendor_that_takes_messages_again_is_given_back_its_speed(world: World) -> None:
    """Nobody told the accounts of a success, so that one 429 slowed an account for ever."""
    world.wire.script += [DEFER]
    await world.sent(ANN)
    [slow] = await world.rows("select rate from account_pacing")
    await world.pass_time(MINUTE)
    for _ in range(3):
        await world.sent(ANN)
        await world.pass_time(2 * SECOND)
    [faster] = await world.rows("select rate from account_pacing")
    assert faster["rate"] > slow["rate"]


async def test_a_503_that_names_a_time_slows_the_account_as_well(world: World) -> None:
    world.wire.script += [Deferred("away", Reason.VENDOR_ERROR, 20.0, "503")]
    await world.sent(ANN)
    [pace] = await world.rows("select paused_until from account_pacing")
    assert pace["paused_until"] == world.clock.now() + 20 * SECOND


async def test_a_paced_backlog_drains(world: World) -> None:
    """A job that came back for its departure reserved another one, at the end of the queue: none ever left."""
    account = await world.account(rate=1.0)
    await world.only(account)
    messages = [await world.send(OTHER_NUMBER) for _ in range(20)]
    began = world.clock.now()
    await world.pass_time(HOUR)
    started = sorted([(await world.attempts(one))[0].started_at for one in messages])
    assert [(at - began).total_seconds() for at in started] == [float(place) for place in range(20)]


async def test_a_reserved_departure_is_given_up_when_the_account_is_paused_meanwhile(world: World) -> None:
    account = await world.account(rate=1.0)
    await world.only(account)
    messages = [await world.send(OTHER_NUMBER) for _ in range(5)]
    world.wire.script += [Accepted("one"), Deferred("throttled", Reason.RATE_LIMITED, 60.0)]
    began = world.clock.now()
    await world.pass_time(HOUR)
    started = sorted([one.started_at - began for message in messages for one in await world.attempts(message)])
    assert started[:2] == [timedelta(), SECOND]
    assert started[2] >= 61 * SECOND
    assert Counter([(await world.message(one)).status.value for one in messages]) == {"delivered": 4, "sent": 1}


async def test_an_aborted_hand_off_never_left_and_goes_through_the_gate_again(world: World) -> None:
    world.wire.script += [Aborted("too late")]
    message = await world.sent(NUMBER)
    assert await world.states(message) == [(0, "aborted")]
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "aborted"), (0, "delivered")]


async def test_an_aborted_hand_off_is_suppressed_where_consent_ended_meanwhile(world: World) -> None:
    world.wire.script += [Aborted("too late")]
    message = await world.sent(NUMBER)
    await world.decide(NUMBER, "withdrawn", "sms", "transactional")
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "aborted")]
    assert (await world.status(message))[0] == "suppressed"


@pytest.mark.parametrize("guarantee", list(Guarantee))
async def test_two_jobs_for_one_message_make_one_attempt(world: World, guarantee: Guarantee) -> None:
    """Under at least once the second job sent it again while the first was under way."""
    message = await world.send(NUMBER, guarantee=guarantee)
    again = deliver_job(await world.message(message))
    await world.db.run(lambda tx: enqueue(tx, [again]))
    await world.pass_time(SECOND)
    assert len(await world.attempts(message)) == 1

    second = await world.send(NUMBER, guarantee=guarantee)
    job = deliver_job(await world.message(second))

    async def meanwhile(outbound: Outbound) -> Result:
        await world.db.run(lambda tx: enqueue(tx, [job]))
        await world.another_worker().run()
        return Accepted("SM1")

    world.wire.script.append(meanwhile)
    await world.run()
    assert len(await world.attempts(second)) == 1
    assert await jobs(world) == 0


async def test_a_job_of_a_step_that_is_over_does_nothing(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    world.wire.script += [Rejected(Reason.OTHER, "no"), Accepted("1")]
    message = await world.send(person, sms(), mail())
    job = deliver_job(await world.message(message))
    await world.run()
    await world.db.run(lambda tx: enqueue(tx, [job]))
    await world.run()
    assert await world.states(message) == [(0, "rejected"), (1, "submitted")]


async def test_a_job_of_nothing_is_done(world: World) -> None:
    message = await world.send(ANN)
    await world.execute("delete from messages")
    await world.run()
    assert await jobs(world) == 0
    assert message


async def test_a_message_whose_person_is_erased_is_cancelled_and_its_neighbours_go_out(world: World) -> None:
    """The missing key raised, and the job was tried fifty times."""
    gone, stays = await world.send(ANN), await world.send("ben@example.org")
    person = (await world.message(gone)).recipient_id

    async def destroyed(tx: Tx, workspace_id: Any, people: Any) -> Any:
        found = await Vault.subjects(world.hub.around.vault, tx, workspace_id, people)
        return {one: key for one, key in found.items() if one != person}

    deliver = world.worker.engine._steps._kinds["message.deliver"]
    object.__setattr__(deliver, "vault", _Vault(destroyed))
    await world.run()
    assert await world.status(gone) == ("canceled", True, "erased")
    assert (await world.status(stays))[0] == "sent"


# Accounts


async def test_a_step_uses_the_accounts_it_names_and_no_others(world: World) -> None:
    ours, other = await world.account(name="ours"), await world.account(name="other")
    messages = [await world.sent(NUMBER, sms(accounts=(ours,))) for _ in range(6)]
    used = {(await world.attempts(one))[0].account_id for one in messages}
    assert used == {ours}
    assert other != ours


async def test_weights_share_out_the_messages(world: World) -> None:
    heavy, light = await world.account(weight=9), await world.account(weight=1)
    step = sms(accounts=(heavy, light))
    world.wire.script += [Accepted(f"SM{number}") for number in range(60)]
    messages = [await world.send(NUMBER, step) for _ in range(60)]
    await world.run()
    used = Counter([(await world.attempts(one))[0].account_id for one in messages])
    assert used[heavy] > used[light]
    assert set(used) <= {heavy, light}


async def test_an_account_disabled_after_acceptance_is_not_used(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    message = await world.send(person, sms(), mail())
    await world.disable(await world.simulated("twilio"))
    await world.run()
    assert await world.states(message) == [(1, "submitted")]
    [decision] = (await world.message(message)).decisions
    assert (decision["step"], decision["reason"]) == (0, "no_account")


async def test_no_account_at_all_is_unroutable(world: World) -> None:
    """It was called failed at hand-off, and unroutable at acceptance."""
    message = await world.send(NUMBER)
    await world.disable(await world.simulated("twilio"))
    await world.run()
    assert await world.status(message) == ("unroutable", True, "no_account")


async def test_an_unknown_account_and_that_of_another_tenant_are_refused(world: World) -> None:
    """A mistyped account was accepted, and the message ended unroutable where nobody looked."""
    rival = await world.db.run(lambda tx: create_workspace(tx, "rival"))
    theirs = await world.account(side=rival.test)
    for account in (theirs, UUID(int=5)):
        [refused] = await world.accept(world.a_send(NUMBER, sms(accounts=(account,))))
        assert isinstance(refused, Invalid)
        assert refused.errors[0].pointer == "/route/steps/0/accounts/0"
    assert await world.rows("select id from messages") == []


async def test_an_address_that_went_away_is_unroutable(world: World) -> None:
    message = await world.send(NUMBER)
    await world.execute("update identifiers set kind = 'external_id'")
    await world.run()
    assert await world.status(message) == ("unroutable", True, "no_address")


# What vendors say


async def test_the_answer_that_a_number_opted_out_is_recorded_as_a_stop(world: World) -> None:
    person = await world.person(OPTED_OUT)
    message = await world.sent(OPTED_OUT)
    [attempt] = await world.attempts(message)
    assert (attempt.state, attempt.reason, attempt.permanent) == (State.REJECTED, Reason.OPTED_OUT, True)
    [entry] = await world.rows("select recipient_id, channel, purpose, decision from consent_entries")
    assert tuple(entry) == (person, "phone_messaging", "*", "withdrawn")
    assert (await world.status(await world.send(OPTED_OUT)))[0] == "suppressed"
    assert await world.happened(message) == ["message.queued", "attempt.rejected", "message.failed"]


async def test_many_opt_outs_in_one_batch_are_each_recorded(world: World) -> None:
    account = await world.account("opted_out")
    numbers = [f"+1202555{number:04d}" for number in range(200, 240)]
    for number in numbers:
        await world.send(number, sms(accounts=(account,)))
    await world.run()
    [row] = await world.rows("select count(*), count(distinct recipient_id) from consent_entries where standing")
    assert tuple(row) == (len(numbers), len(numbers))


HOSTILE: list[tuple[Result, str]] = [
    (Accepted("an id\0with a nul"), "submitted"),
    (Accepted("x" * 100_000), "submitted"),
    (Accepted("SM1", "\0" * 300), "submitted"),
    (Rejected(Reason.OTHER, "no\0\ud800" * 10_000, "\0" * 100_000), "rejected"),
    (Deferred("\0" * 5, Reason.OTHER, None, "\ud800"), "deferred"),
    (Uncertain("\0\ud800"), "uncertain"),
    (Aborted("\0"), "aborted"),
]


async def test_nothing_a_vendor_answers_can_keep_the_outcome_from_being_recorded(world: World) -> None:
    """A NUL in an answer made finish raise; the hand-off was taken for lost, and went out again."""
    for said, state in HOSTILE:
        world.wire.script.append(said)
        message = await world.sent(NUMBER)
        assert await world.states(message) == [(0, state)]
        [attempt] = await world.attempts(message)
        assert attempt.provider_message_id in (None, "SM1")
        assert len(attempt.detail or "") <= 500


async def test_what_a_vendor_quotes_of_the_address_is_not_kept(world: World) -> None:
    world.wire.script += [
        Rejected(Reason.INVALID_ADDRESS, "550 5.1.1 <ANN@example.org>: no such user ann@example.org here"),
        Rejected(Reason.INVALID_ADDRESS, "The 'To' number +12025550111 (12025550111) is not valid"),
    ]
    for to in (ANN, NUMBER):
        [attempt] = await world.attempts(await world.sent(to))
        assert attempt.detail is not None
        assert "ann" not in attempt.detail.lower()
        assert NUMBER[1:] not in attempt.detail


async def test_the_number_of_statements_does_not_grow_with_the_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each throttled answer and each opt-out of a batch cost statements of its own."""
    counts: list[int] = []
    fetch, execute = Tx.rows, Tx.execute

    async def rows(self: Tx, sql: str, *args: Any) -> Any:
        counts[-1] += 1
        return await fetch(self, sql, *args)

    async def run(self: Tx, sql: str, *args: Any) -> Any:
        counts[-1] += 1
        return await execute(self, sql, *args)

    account = await world.account()
    for size, said in ((2, DEFER), (40, DEFER), (2, Accepted("x")), (40, Accepted("x"))):
        await world.accept(
            *(world.a_send(f"+120255{size:02d}{place:03d}", sms(accounts=(account,))) for place in range(size))
        )
        await world.execute("delete from account_pacing")
        world.clock.advance(2 * SECOND)
        world.wire.script += [said] * size
        with monkeypatch.context() as patched:
            patched.setattr(Tx, "rows", rows)
            patched.setattr(Tx, "execute", run)
            counts.append(0)
            await world.worker.claim()
            await world.worker.finish()
        await world.execute("delete from delayed")
    assert counts[0] == counts[1]
    assert counts[2] == counts[3]


async def test_a_message_in_flight_is_not_listed_as_such_after_its_outcome(world: World) -> None:
    await world.sent(NUMBER, sms(success=Success.DELIVERED))
    assert (await world.decide(NUMBER, "withdrawn", "sms", "transactional")).in_flight == []


@asynccontextmanager
async def _holding(world: World, person: UUID) -> Any:
    """Somebody else's transaction has the person's row."""
    async with world.db.transaction() as tx:
        await world.hub.recipients.lock(tx, [(world.side, person)], skip_locked=False)
        yield


class _Vault:
    def __init__(self, subjects: Any) -> None:
        self.subjects = subjects
