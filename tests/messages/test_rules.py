"""Plans and states as values."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.messages import rules
from tabellion.messages.rules import Option
from tabellion.messages.types import Status, Step, Success, Trigger
from tabellion.providers.base import Channel, State

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
STATES = st.sampled_from(list(State))


def option(channel: Channel, *, sendable: bool = True, denied: bool = False, name: str = "aa") -> Option:
    verdict = {"reason": "withdrawn" if denied else "no_consent", "log_index": 7}
    return Option(channel, name, sendable, denied, verdict)


# States


@given(st.permutations([State.SUBMITTED, State.SENT, State.DELIVERED, State.UNCERTAIN]))
def test_receipts_in_any_order_end_in_the_same_state(order: list[State]) -> None:
    state = State.STARTED
    for evidence in order:
        state = rules.advance(state, evidence)
    assert state is State.DELIVERED


@given(STATES, STATES)
def test_evidence_never_lowers_a_state_and_twice_is_once(current: State, evidence: State) -> None:
    after = rules.advance(current, evidence)
    assert rules.RANK[after] >= rules.RANK[current]
    assert rules.advance(after, evidence) is after


def test_a_bounce_after_delivery_is_its_own_event_and_changes_nothing() -> None:
    assert rules.advance(State.DELIVERED, State.BOUNCED) is State.DELIVERED
    assert rules.contradiction(State.DELIVERED, State.BOUNCED) == "bounced_after_delivery"


def test_a_word_we_do_not_list_changes_nothing() -> None:
    assert rules.advance(State.STARTED, State.UNKNOWN) is State.STARTED


# Moves


def plan_of(*steps: Step) -> rules.Plan:
    return rules.Plan(steps)


SMS_THEN_MAIL = plan_of(
    Step(Channel.SMS, success=Success.DELIVERED, within=timedelta(minutes=1), on=frozenset(Trigger)),
    Step(Channel.EMAIL),
)


@pytest.mark.parametrize(
    ("state", "move"),
    [
        (State.DELIVERED, "end"),
        (State.SUBMITTED, "wait"),
        (State.UNCERTAIN, "wait"),
        (State.DEFERRED, "wait"),
        (State.ABORTED, "wait"),
        (State.REJECTED, "next"),
        (State.UNDELIVERED, "next"),
        (State.BOUNCED, "next"),
        (State.FAILED, "next"),
    ],
)
def test_what_an_attempt_state_does_to_the_plan(state: State, move: str) -> None:
    assert rules.after(SMS_THEN_MAIL, 0, state).kind == move


def test_an_uncertain_outcome_hands_over_only_by_its_time_limit() -> None:
    assert rules.after(SMS_THEN_MAIL, 0, State.UNCERTAIN) == rules.WAIT
    assert rules.hand_over(SMS_THEN_MAIL, 0, Trigger.TIMEOUT).kind == "next"


def test_a_reason_that_is_not_listed_ends_the_plan() -> None:
    plan = plan_of(Step(Channel.SMS, on=frozenset({Trigger.TIMEOUT})), Step(Channel.EMAIL))
    assert rules.after(plan, 0, State.REJECTED) == rules.Move("end", Trigger.REJECTED)


def test_the_last_step_always_ends() -> None:
    assert rules.hand_over(SMS_THEN_MAIL, 1, Trigger.ERROR).kind == "end"


@given(st.lists(st.sampled_from(list(Channel)), min_size=1, max_size=6), st.lists(st.sampled_from(list(Trigger))))
def test_every_plan_ends_after_at_most_one_hand_over_a_step(channels: list[Channel], triggers: list[Trigger]) -> None:
    plan = plan_of(*(Step(channel, on=frozenset(triggers)) for channel in channels))
    step, moves = 0, 0
    while rules.hand_over(plan, step, Trigger.ERROR).kind == "next":
        step, moves = step + 1, moves + 1
    assert moves < len(channels)


# Planning


def test_auto_takes_the_channels_with_account_and_address_in_order() -> None:
    options = {Channel.SMS: option(Channel.SMS), Channel.EMAIL: option(Channel.EMAIL)}
    plan = rules.plan_auto(options, frozenset({Channel.SMS, Channel.EMAIL}), due=True, order=rules.CHANNEL_ORDER)
    assert [step.channel for step in plan.steps] == [Channel.EMAIL, Channel.SMS]
    assert {c.channel: c.reason for c in plan.candidates if not c.chosen} == {
        Channel.PUSH: "no_address",
        Channel.WHATSAPP: "no_address",
    }


def test_auto_never_chooses_a_denied_channel_that_is_due() -> None:
    options = {Channel.SMS: option(Channel.SMS), Channel.EMAIL: option(Channel.EMAIL, sendable=False, denied=True)}
    plan = rules.plan_auto(options, frozenset({Channel.SMS, Channel.EMAIL}), due=True, order=rules.CHANNEL_ORDER)
    assert [step.channel for step in plan.steps] == [Channel.SMS]


def test_auto_keeps_a_denied_channel_for_later_because_the_hand_off_decides() -> None:
    options = {Channel.EMAIL: option(Channel.EMAIL, sendable=False, denied=True)}
    plan = rules.plan_auto(options, frozenset({Channel.EMAIL}), due=False, order=rules.CHANNEL_ORDER)
    assert rules.opening(plan, options, due=False) == rules.Opening(0)


def test_a_plan_emptied_by_denials_is_suppressed_and_one_without_address_is_unroutable() -> None:
    denied = {Channel.EMAIL: option(Channel.EMAIL, sendable=False, denied=True)}
    accounts = frozenset({Channel.EMAIL})
    emptied = rules.plan_auto(denied, accounts, due=True, order=rules.CHANNEL_ORDER)
    assert rules.opening(emptied, denied, due=True).ended is Status.SUPPRESSED
    nowhere = rules.plan_auto({}, accounts, due=True, order=rules.CHANNEL_ORDER)
    assert rules.opening(nowhere, {}, due=True).ended is Status.UNROUTABLE


def test_a_denied_first_step_hands_over_at_acceptance_when_its_route_says_so() -> None:
    options = {Channel.SMS: option(Channel.SMS, sendable=False, denied=True), Channel.EMAIL: option(Channel.EMAIL)}
    plan = rules.plan_route([Step(Channel.SMS), Step(Channel.EMAIL)], options)
    assert rules.opening(plan, options, due=True) == rules.Opening(1, passed=(0,))


def test_a_denied_step_ends_the_plan_where_suppressed_is_not_among_its_reasons() -> None:
    options = {Channel.SMS: option(Channel.SMS, sendable=False, denied=True), Channel.EMAIL: option(Channel.EMAIL)}
    plan = rules.plan_route([Step(Channel.SMS, on=frozenset({Trigger.ERROR})), Step(Channel.EMAIL)], options)
    start = rules.opening(plan, options, due=True)
    assert (start.ended, start.reason) == (Status.SUPPRESSED, "withdrawn")


def test_the_address_with_the_best_verdict_is_meant_then_the_verified_then_the_latest() -> None:
    denied = option(Channel.SMS, sendable=False, denied=True, name="zz")
    plain = option(Channel.SMS, name="aa")
    assert rules.best([denied, plain]) is plain
    verified = Option(Channel.SMS, "ab", True, False, {}, verified=True)
    seen = Option(Channel.SMS, "ac", True, False, {}, last_seen=NOW)
    assert rules.best([plain, seen, verified]) is verified
    assert rules.best([plain, seen]) is seen


# Defaults


def test_defaults_follow_the_class_of_the_purpose() -> None:
    assert rules.expiry("security", NOW) == NOW + timedelta(minutes=10)
    assert rules.expiry("service", NOW) == NOW + timedelta(hours=24)
    assert rules.expiry("marketing", NOW) == NOW + timedelta(hours=4)
    assert rules.guarantee("service") == "at_least_once"
    assert rules.guarantee("marketing") == "at_most_once"


# Status


@pytest.mark.parametrize(
    ("states", "ended", "status"),
    [
        ([], None, Status.SENDING),
        ([State.STARTED], None, Status.SENDING),
        ([State.REJECTED, State.SUBMITTED], None, Status.SENT),
        ([State.DELIVERED, State.REJECTED], Status.FAILED, Status.DELIVERED),
        ([State.REJECTED], Status.FAILED, Status.FAILED),
        ([State.UNDELIVERED], Status.EXPIRED, Status.EXPIRED),
    ],
)
def test_the_best_attempt_counts(states: list[State], ended: Status | None, status: Status) -> None:
    assert rules.status(states, ended=ended) is status
