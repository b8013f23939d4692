"""What evidence does to a message, as values: the traps of the vocabulary."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec.structs import replace

from tabellion.core import ids
from tabellion.jobs.types import Lane
from tabellion.messages.progress import Progress, open_progress
from tabellion.messages.types import Attempt, Evidence, Guarantee, Message, Plan, Status, Step, Success, Trigger
from tabellion.providers.base import Channel, Reason, State

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
EVERY = frozenset(Trigger)
SMS = Step(Channel.SMS, success=Success.DELIVERED, within=timedelta(minutes=1), on=EVERY, identifier="aa")
MAIL = Step(Channel.EMAIL, identifier="bb")


def message(*steps: Step, **changes: object) -> Message:
    made = Message(
        workspace_id=UUID(int=1), id=ids.new(), recipient_id=UUID(int=2), purpose="transactional",
        status=Status.SENDING, final=False, reason=None, step=0, lane=Lane.NORMAL,
        guarantee=Guarantee.AT_LEAST_ONCE, send_at=NOW, expires_at=NOW + timedelta(hours=1), created_at=NOW,
        updated_at=NOW, plan=Plan(steps), decisions=[],
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def attempt(of: Message, step: int = 0, state: State = State.STARTED) -> Attempt:
    return Attempt(
        workspace_id=of.workspace_id, id=ids.new(), message_id=of.id, recipient_id=of.recipient_id, step=step,
        purpose=of.purpose, channel=of.plan.steps[step].channel, identifier=b"a", account_id=UUID(int=3),
        provider="fake", state=state, started_at=NOW,
    )  # fmt: skip


def given(*facts: tuple[int, State], steps: tuple[Step, ...] = (SMS, MAIL)) -> tuple[Progress, list[Attempt]]:
    """A message and one attempt a step, after the evidence (step, state) in order."""
    of = message(*steps)
    attempts = [attempt(of, number) for number in range(len(steps))]
    progress = open_progress(of, attempts)
    for step, state in facts:
        progress.record(Evidence(attempts[step].id, state, Reason.OTHER), NOW)
    progress.settle()
    return progress, attempts


def events(progress: Progress) -> list[str]:
    return [one.type for one in progress.happened]


def test_accepted_ends_a_plan_that_wanted_no_more() -> None:
    progress, _ = given((0, State.SUBMITTED), steps=(MAIL,))
    assert (progress.message.status, progress.message.final) == (Status.SENT, True)
    assert events(progress) == ["attempt.submitted", "message.sent"]


def test_a_rejected_step_hands_over_and_the_message_is_not_final() -> None:
    progress, _ = given((0, State.REJECTED))
    assert progress.moved
    assert (progress.message.step, progress.message.final) == (1, False)
    assert progress.message.status is Status.SENDING


def test_a_rejected_last_step_fails_the_message_with_its_reason() -> None:
    progress, _ = given((0, State.REJECTED), steps=(MAIL,))
    assert (progress.message.status, progress.message.reason) == (Status.FAILED, "other")
    assert progress.message.final


def test_delivery_after_an_early_end_raises_the_status() -> None:
    progress, _ = given((0, State.SUBMITTED), (0, State.DELIVERED), steps=(MAIL,))
    assert progress.message.status is Status.DELIVERED


def test_undelivered_after_sent_fails_the_message() -> None:
    progress, _ = given((0, State.SUBMITTED), (0, State.UNDELIVERED), steps=(MAIL,))
    assert (progress.message.status, progress.message.final) == (Status.FAILED, True)


def test_receipts_twice_and_out_of_order_change_nothing_more() -> None:
    progress, _ = given(
        (0, State.DELIVERED), (0, State.SENT), (0, State.DELIVERED), (0, State.SUBMITTED), steps=(MAIL,)
    )
    assert progress.attempts[0].state is State.DELIVERED
    assert events(progress) == ["attempt.delivered", "message.delivered"]


def test_a_bounce_after_a_delivery_is_an_event_of_its_own() -> None:
    progress, _ = given((0, State.DELIVERED), (0, State.BOUNCED), steps=(MAIL,))
    assert progress.message.status is Status.DELIVERED
    assert "attempt.bounced_after_delivery" in events(progress)


def test_step_one_delivered_after_step_two_began_ends_the_plan_and_says_so() -> None:
    progress, _ = given((0, State.UNDELIVERED), (0, State.DELIVERED))
    assert "message.delivered_after_fallback" in events(progress)
    assert (progress.message.status, progress.message.final) == (Status.DELIVERED, True)
    assert not progress.moved


def test_an_uncertain_outcome_waits_and_its_time_limit_hands_over() -> None:
    progress, _ = given((0, State.UNCERTAIN))
    assert (progress.message.step, progress.message.final, progress.moved) == (0, False, False)
    progress.stop(Trigger.TIMEOUT, "timeout", NOW)
    assert (progress.message.step, progress.moved) == (1, True)


def test_the_last_step_out_of_time_is_final_and_its_best_attempt_counts() -> None:
    last = replace(MAIL, success=Success.DELIVERED)
    progress, _ = given((0, State.SUBMITTED), steps=(last,))
    assert not progress.message.final
    progress.stop(Trigger.TIMEOUT, "timeout", NOW)
    assert (progress.message.status, progress.message.final) == (Status.SENT, True)


def test_a_refusal_at_hand_off_is_kept_with_its_entry() -> None:
    progress, _ = given(steps=(MAIL,))
    progress.suppress({"verdict": "denied", "reason": "stop", "log_index": 41}, NOW)
    assert (progress.message.status, progress.message.reason) == (Status.SUPPRESSED, "stop")
    assert progress.message.decisions[0]["log_index"] == 41


def test_late_evidence_keeps_the_vendor_id_of_what_stands() -> None:
    of = message(MAIL)
    one = attempt(of)
    progress = open_progress(of, [one])
    progress.record(Evidence(one.id, State.SUBMITTED, provider_message_id="SM1"), NOW)
    progress.record(Evidence(one.id, State.DELIVERED), NOW)
    assert progress.attempts[0].provider_message_id == "SM1"


def test_what_nothing_touched_is_not_stored_again() -> None:
    progress, _ = given(steps=(MAIL,))
    assert not progress.dirty
    assert progress.changed == {}
