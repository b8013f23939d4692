"""Workers that die: what they had started, what they say when they are too late, and what a rollback leaves."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest

from tabellion.core.db import Tx
from tabellion.jobs.types import Lane
from tabellion.messages import gate, jobs, store
from tabellion.messages.types import Guarantee, Success, Trigger
from tabellion.providers.base import Aborted, Accepted, Deferred, Outbound, Reason, Rejected, Result, State

from .conftest import ANN, HOUR, MINUTE, NUMBER, ONCE, SECOND, Worker, World, mail, sms

EVERY = frozenset(Trigger)
LEASE = timedelta(seconds=31)
"""After which another worker takes a dead one's jobs."""


async def dying(world: World, said: Result | None = None) -> Worker:
    """A worker that performed what it claimed and has not written what came of it."""
    worker = world.another_worker()
    if said is not None:
        world.wire.script.append(said)
    await worker.claim()
    return worker


async def waiting(world: World) -> int:
    [row] = await world.rows("select (select count(*) from jobs) + (select count(*) from delayed) as waiting")
    return int(row["waiting"])


async def test_what_a_dead_worker_started_is_uncertain_and_repeated_at_least_once(world: World) -> None:
    message = await world.send(ANN)
    await dying(world)
    await world.run()
    assert await world.states(message) == [(0, "started")], "nobody takes it before the lease has run out"
    await world.pass_time(LEASE)
    [first, second] = await world.attempts(message)
    assert (first.state, first.reason, first.ended_at) == (State.UNCERTAIN, Reason.NO_ANSWER, second.started_at)
    assert second.state is State.SUBMITTED
    assert len(await world.mails(ANN)) == 2, "it had left, and nobody could know"


async def test_what_a_dead_worker_started_is_sent_at_most_once(world: World) -> None:
    message = await world.send(ANN, guarantee=ONCE)
    await dying(world)
    await world.pass_time(HOUR)
    assert await world.states(message) == [(0, "uncertain")]
    assert len(await world.mails(ANN)) == 1
    await world.pass_time(24 * HOUR)
    assert await world.status(message) == ("expired", True, "expired")
    assert await waiting(world) == 0


async def test_reports_settle_what_a_dead_worker_left_uncertain(world: World) -> None:
    """Nothing had the vendor's id, so nothing it reported could be matched."""
    message = await world.send(NUMBER, guarantee=ONCE)
    await dying(world)
    await world.pass_time(LEASE)
    assert await world.status(message) == ("delivered", True, None)
    assert len(await world.texts(NUMBER)) == 1


async def test_a_worker_that_died_before_it_sent_anything(world: World) -> None:
    """The attempt is written, no byte left; nobody can tell that from one that left."""
    for guarantee, states in ((Guarantee.AT_LEAST_ONCE, ["uncertain", "submitted"]), (ONCE, ["uncertain"])):
        message = await world.send(ANN, guarantee=guarantee)
        worker = world.another_worker()

        async def never(outbound: Outbound) -> Result:
            await asyncio.Event().wait()
            raise AssertionError

        world.wire.script.append(never)
        await worker.engine.claim(list(Lane), rescan=True)
        await asyncio.sleep(0)
        await worker.engine.slots.close()
        await world.pass_time(LEASE)
        assert [state for _, state in await world.states(message)] == states


async def test_a_transaction_that_fails_in_begin_starts_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    message = await world.send(ANN)

    async def broken(tx: Tx, attempts: Any) -> None:
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as patched:
        patched.setattr(store, "insert_attempts", broken)
        await world.worker.claim()
    assert (await world.states(message), world.wire.carried) == ([], [])
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "submitted")]


async def test_an_outcome_that_cannot_be_written_is_uncertain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    message = await world.send(ANN, guarantee=ONCE)

    async def broken(tx: Tx, attempts: Any) -> None:
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as patched:
        patched.setattr(store, "update_attempts", broken)
        await world.worker.claim()
        await world.worker.finish()
    assert await world.states(message) == [(0, "started")]
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "uncertain")]
    assert len(await world.mails(ANN)) == 1


async def test_a_worker_that_stops_before_the_first_byte_leaves_nothing_uncertain(world: World) -> None:
    """Marketing, which goes out at most once, was lost at every deployment."""
    message = await world.send(ANN, guarantee=ONCE)
    worker = world.another_worker()

    async def connecting(outbound: Outbound) -> Result:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return Aborted("the worker stopped before the first byte")

    world.wire.script.append(connecting)
    await worker.engine.claim(list(Lane), rescan=True)
    await asyncio.sleep(0)
    await worker.engine.slots.close()
    await worker.finish()
    assert await world.states(message) == [(0, "aborted")]
    await world.pass_time(MINUTE)
    assert await world.states(message) == [(0, "aborted"), (0, "submitted")]
    assert len(await world.mails(ANN)) == 1


# A fault of ours


async def test_a_message_whose_job_dies_ends_and_goes_on_where_its_plan_allows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty faults later the job was a dead letter, and its message stayed open for ever."""
    ann = await world.person(ANN, NUMBER)
    until = world.clock.now() + timedelta(days=6)
    alone = await world.send("bob@example.org", expires_at=until)
    onward = await world.send(ann, sms(on=EVERY), mail(), expires_at=until)
    verdicts = world.hub.consent.verdicts

    async def broken(tx: Tx, questions: Any) -> Any:
        if any(one.channel == "sms" or one.recipient_id != ann for one in questions):
            raise RuntimeError("a fault of ours")
        return await verdicts(tx, questions)

    monkeypatch.setattr(world.hub.consent, "verdicts", broken)
    await world.pass_time(timedelta(days=5))
    assert await world.status(alone) == ("failed", True, "internal_error")
    assert await world.status(onward) == ("sent", True, None)
    assert await world.states(onward) == [(1, "submitted")]
    assert (await world.message(onward)).decisions[-1]["reason"] == "internal_error"
    assert [row["kind"] for row in await world.rows("select kind from dead_letters")] == ["message.deliver"] * 2
    assert await waiting(world) == 0


# Too late


async def test_an_answer_that_comes_after_the_lease_is_evidence(world: World) -> None:
    message = await world.send(NUMBER, guarantee=ONCE)
    late = await dying(world, Accepted("SM1"))
    await world.pass_time(LEASE)
    assert await world.status(message) == ("sending", False, None)
    await late.finish()
    assert await world.states(message) == [(0, "submitted")]
    assert await world.status(message) == ("sent", True, None)
    assert (await world.attempts(message))[0].provider_message_id == "SM1"


async def test_a_late_answer_counts_beside_the_repeat(world: World) -> None:
    message = await world.send(NUMBER)
    late = await dying(world, Accepted("SM1"))
    world.clock.advance(LEASE)

    async def meanwhile(outbound: Outbound) -> Result:
        await late.finish()
        return Accepted("SM2")

    world.wire.script.append(meanwhile)
    await world.run()
    assert await world.states(message) == [(0, "submitted"), (0, "submitted")]
    assert await world.status(message) == ("sent", True, None)


async def test_a_late_deferral_gives_nothing_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last send of a worker without a lease was called failed, though it was its successor's to give up."""
    monkeypatch.setattr(jobs, "MOST_ATTEMPTS", 1)
    message = await world.send(NUMBER, guarantee=ONCE)
    late = await dying(world, Deferred("busy", Reason.VENDOR_ERROR))
    await world.pass_time(LEASE)
    await late.finish()
    await world.pass_time(HOUR)
    assert await world.states(message) == [(0, "uncertain")]


async def test_a_late_rejection_falls_back_when_nothing_else_is_under_way(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    message = await world.send(person, sms(), mail(), guarantee=ONCE)
    late = await dying(world, Rejected(Reason.INVALID_ADDRESS, "no"))
    await world.pass_time(LEASE)
    assert await world.states(message) == [(0, "uncertain")]
    await late.finish()
    await world.run()
    assert await world.states(message) == [(0, "rejected"), (1, "submitted")]


async def test_a_late_success_after_the_plan_failed_raises_the_status_and_drops_the_reason(world: World) -> None:
    """The reason of the failure stayed beside `sent`."""
    message = await world.send(NUMBER, sms(within=MINUTE, on=EVERY), guarantee=ONCE)
    late = await dying(world, Accepted("SM1"))
    await world.pass_time(2 * MINUTE)
    assert await world.status(message) == ("failed", True, "timeout")
    await late.finish()
    assert await world.status(message) == ("sent", True, None)


async def test_a_late_stop_in_an_answer_is_still_a_stop(world: World) -> None:
    account = await world.account("opted_out")
    await world.send(NUMBER, sms(accounts=(account,)), guarantee=ONCE)
    late = await dying(world)
    await world.pass_time(LEASE)
    await late.finish()
    assert {one["decision"] for one in await world.rows("select decision from consent_entries")} == {"withdrawn"}


async def test_a_worker_that_stops_closes_what_has_not_left_as_aborted(world: World) -> None:
    """A hand-off that waited for its departure was given up as uncertain."""
    account = await world.account(rate=5.0)
    messages = [await world.send(NUMBER, sms(accounts=(account,)), guarantee=ONCE) for _ in range(2)]
    worker = world.another_worker()
    await worker.engine.claim(list(Lane), rescan=True)
    await worker.one_performed()
    await worker.engine.slots.close()
    await worker.finish()
    await worker.engine.release()
    assert sorted([(await world.states(one))[0][1] for one in messages]) == ["aborted", "submitted"]
    await world.pass_time(MINUTE)
    assert [(await world.status(one))[0] for one in messages] == ["delivered", "delivered"]


# Repeated deaths


async def test_a_message_that_kills_its_worker_is_not_sent_for_ever(world: World) -> None:
    """A lost lease did not count: a hand-off that ends its worker went out fifty times."""
    message = await world.send(NUMBER, expires_at=world.clock.now() + HOUR)
    world.wire.script += [Accepted(f"SM{number}") for number in range(60)]
    for _ in range(20):
        await dying(world)
        world.clock.advance(LEASE)
    assert len(world.wire.carried) == gate.MOST_ATTEMPTS
    await world.pass_time(2 * HOUR)
    assert await world.status(message) == ("expired", True, "expired")


async def test_a_dead_worker_of_one_message_does_not_touch_another(world: World) -> None:
    lost, fine = await world.send(NUMBER), await world.send(ANN)
    worker = world.another_worker()
    world.wire.script += [Accepted("1"), Accepted("2")]
    await worker.claim()
    [result] = [one for one in worker.engine.results if one[0].payload["message"] == fine.hex]
    worker.engine.results[:] = [result]
    await worker.finish()
    assert (await world.states(lost), await world.states(fine)) == ([(0, "started")], [(0, "submitted")])
    await world.pass_time(LEASE)
    assert (await world.states(lost))[0] == (0, "uncertain")
    assert await world.states(fine) == [(0, "submitted")]


async def test_a_limit_does_not_wait_for_ever_for_a_hand_off_nobody_ends(world: World) -> None:
    person = await world.person(ANN, NUMBER)
    step = sms(success=Success.DELIVERED, within=MINUTE, on=EVERY)
    message = await world.send(person, step, mail())
    await dying(world, Accepted("SM1"))
    await world.execute("delete from jobs")
    await world.pass_time(5 * MINUTE)
    assert await world.states(message) == [(0, "uncertain"), (1, "submitted")]


async def test_workers_at_once_start_each_message_once(world: World) -> None:
    messages = [await world.send(f"p{number}@example.org") for number in range(30)]
    workers = [world.another_worker() for _ in range(4)]
    for _ in range(4):
        await asyncio.gather(*(worker.claim() for worker in workers))
        await asyncio.gather(*(worker.finish() for worker in workers))
        world.clock.advance(SECOND)
        await world.worker.engine.tick()
    assert [await world.states(one) for one in messages] == [[(0, "submitted")]] * len(messages)
