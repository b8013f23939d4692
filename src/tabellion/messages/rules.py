"""Pure rules of plans and statuses: values in, value out. The law is `docs/glossary.md` and the vocabulary of steps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from tabellion.messages.types import Candidate, Guarantee, Plan, Status, Step, Success, Trigger
from tabellion.providers.base import Channel, State

RANK: Final[Mapping[State, int]] = {
    State.DELIVERED: 6,
    State.BOUNCED: 5,
    State.UNDELIVERED: 5,
    State.REJECTED: 5,
    State.FAILED: 5,
    State.SENT: 4,
    State.SUBMITTED: 3,
    State.UNCERTAIN: 2,
    State.DEFERRED: 2,
    State.ABORTED: 2,
    State.STARTED: 1,
    State.UNKNOWN: 0,
}
"""How much an attempt state says. Evidence of lower or equal rank never changes a state."""

ENDED_BADLY: Final = frozenset({State.BOUNCED, State.UNDELIVERED, State.REJECTED, State.FAILED})
HANDED_OVER: Final = frozenset({State.SUBMITTED, State.SENT, State.DELIVERED})
_MAY_SUCCEED: Final = HANDED_OVER | {State.STARTED}

_TRIGGER: Final[Mapping[State, Trigger]] = {
    State.FAILED: Trigger.ERROR,
    State.REJECTED: Trigger.REJECTED,
    State.BOUNCED: Trigger.UNDELIVERED,
    State.UNDELIVERED: Trigger.UNDELIVERED,
}
_ENOUGH: Final[Mapping[Success, frozenset[State]]] = {
    Success.SUBMITTED: HANDED_OVER,
    Success.SENT: frozenset({State.SENT, State.DELIVERED}),
    Success.DELIVERED: frozenset({State.DELIVERED}),
    Success.READ: frozenset(),
}
_GOODNESS: Final[Mapping[State, int]] = {State.DELIVERED: 3, State.SENT: 2, State.SUBMITTED: 2}
_STATUS: Final[Mapping[int, Status]] = {3: Status.DELIVERED, 2: Status.SENT}

EXPIRY: Final[Mapping[str, timedelta]] = {
    "security": timedelta(minutes=10),
    "service": timedelta(hours=24),
    "marketing": timedelta(hours=4),
    "research": timedelta(hours=4),
}
CHANNEL_ORDER: Final = (Channel.EMAIL, Channel.PUSH, Channel.SMS, Channel.WHATSAPP)


def expiry(purpose_class: str, send_at: datetime) -> datetime:
    """When a message of this purpose class is too old to send."""
    return send_at + EXPIRY[purpose_class]


def guarantee(purpose_class: str) -> Guarantee:
    return Guarantee.AT_LEAST_ONCE if purpose_class in {"security", "service"} else Guarantee.AT_MOST_ONCE


# Attempt states


def advance(current: State, evidence: State) -> State:
    """The state after one more piece of evidence: it only ever rises."""
    return evidence if RANK[evidence] > RANK[current] else current


def contradiction(current: State, evidence: State) -> str | None:
    """The name of evidence that says the opposite of what stands: its own event, not a new state."""
    if current is State.DELIVERED and evidence in ENDED_BADLY:
        return f"{evidence}_after_delivery"
    return None


# Plans


@dataclass(frozen=True, slots=True)
class Move:
    """What the plan does next: `wait`, `next` (hand over to the next step) or `end`."""

    kind: str
    reason: str | None = None


WAIT: Final = Move("wait")


def after(plan: Plan, step: int, state: State, others: Iterable[State] = (), *, at_most_once: bool = False) -> Move:
    """The move after an attempt of the current step came to this state; `others` are the step's other attempts.

    While another of them may still succeed the step does not hand over, or the person would get both. One that is
    uncertain may have succeeded: where a message goes out at most once, only the time limit goes on from there.
    """
    if reached(plan, step, state):
        return Move("end")
    trigger = _TRIGGER.get(state)
    blocking = _MAY_SUCCEED | {State.UNCERTAIN} if at_most_once else _MAY_SUCCEED
    if trigger is None or not blocking.isdisjoint(others):
        return WAIT
    return hand_over(plan, step, trigger)


def reached(plan: Plan, step: int, state: State) -> bool:
    """Whether an attempt in this state is the success that its step wanted."""
    return state in _ENOUGH[plan.steps[step].success]


def hand_over(plan: Plan, step: int, trigger: Trigger) -> Move:
    """The move when the current step stopped for this reason."""
    if trigger in plan.steps[step].on and step + 1 < len(plan.steps):
        return Move("next", trigger)
    return Move("end", trigger)


def status(states: Iterable[State], *, ended: Status | None) -> Status:
    """The message's status: its best attempt counts; without a good one, how the plan ended, or that it still runs."""
    best = max((_GOODNESS.get(state, 0) for state in states), default=0)
    if best:
        return _STATUS[best]
    return ended or Status.SENDING


GOOD: Final = frozenset(_STATUS.values())
"""The statuses that rest on an attempt."""


# Planning


class Option(msgspec.Struct, frozen=True, gc=False):
    """One address of the person and what the gate says of it now."""

    channel: Channel
    identifier: str
    sendable: bool
    denied: bool
    verdict: Mapping[str, Any]
    verified: bool = False
    last_seen: datetime | None = None


def best(options: Sequence[Option]) -> Option | None:
    """The address a step means: best verdict, then verified, then seen last, then by id."""
    return max(options, key=_preference, default=None)


def _preference(option: Option) -> tuple[bool, bool, bool, float, str]:
    seen = option.last_seen.timestamp() if option.last_seen else 0.0
    return option.sendable, not option.denied, option.verified, seen, option.identifier


def by_channel(options: Iterable[Option]) -> dict[Channel, Option]:
    """The address to use on each channel."""
    grouped: dict[Channel, list[Option]] = {}
    for option in options:
        grouped.setdefault(option.channel, []).append(option)
    return {channel: chosen for channel, group in grouped.items() if (chosen := best(group))}


def plan_route(steps: Sequence[Step], options: Mapping[Channel, Option]) -> Plan:
    """The plan of a stated route: every step kept, with the address it means."""
    chosen = []
    seen = []
    for step in steps:
        option = options.get(step.channel)
        chosen.append(
            Step(
                channel=step.channel,
                accounts=step.accounts,
                success=step.success,
                within=step.within,
                on=step.on,
                identifier=option.identifier if option else None,
            )
        )
        verdict = option.verdict if option else None
        seen.append(Candidate(step.channel, True, "stated" if option else "no_address", verdict))
    return Plan(tuple(chosen), tuple(seen), "route")


def plan_address(option: Option) -> Plan:
    """The plan for an address in `to`: one step on its channel."""
    step = Step(channel=option.channel, identifier=option.identifier)
    return Plan((step,), (Candidate(option.channel, True, "address", option.verdict),), "address")


def plan_auto(
    options: Mapping[Channel, Option], with_account: frozenset[Channel], *, due: bool, order: Sequence[Channel]
) -> Plan:
    """The plan by the workspace's channel order: one step a channel with account, address and no denial.

    A message for later is decided at hand-off, so a denial of today does not remove a channel from its plan.
    """
    steps, seen = [], []
    for channel in order:
        reason = _passed_over(options.get(channel), channel in with_account, due)
        option = options.get(channel)
        if option and not reason:
            steps.append(Step(channel=channel, identifier=option.identifier))
        seen.append(Candidate(channel, not reason, reason or "channel_order", option.verdict if option else None))
    return Plan(tuple(steps), tuple(seen), "auto")


def _passed_over(option: Option | None, account: bool, due: bool) -> str | None:
    if option is None:
        return "no_address"
    if not account:
        return "no_account"
    return "suppressed" if due and not option.sendable else None


class Opening(msgspec.Struct, frozen=True, gc=False):
    """Where a plan starts: a step, or the status it ends with at once."""

    step: int = 0
    ended: Status | None = None
    reason: str | None = None
    passed: tuple[int, ...] = ()
    """Steps that were refused at acceptance and handed over."""


def opening(plan: Plan, options: Mapping[Channel, Option], *, due: bool) -> Opening:
    """Where the plan starts. Denied at acceptance and due now: suppressed at once; for later: decided at hand-off."""
    if not plan.steps:
        return _closed(plan)
    passed: list[int] = []
    for number, step in enumerate(plan.steps):
        option = options.get(step.channel)
        if not due or option is None or option.sendable:
            return Opening(number, passed=tuple(passed))
        passed.append(number)
        if hand_over(plan, number, Trigger.SUPPRESSED).kind == "end":
            return Opening(number, Status.SUPPRESSED, str(option.verdict["reason"]), tuple(passed))
    raise AssertionError("the last step always opens or ends")


def _closed(plan: Plan) -> Opening:
    """A plan without a step: suppressed when a denial emptied it, else there was no way to reach the person."""
    refused = [one for one in plan.candidates if one.reason == "suppressed"]
    if refused and refused[0].verdict:
        return Opening(0, Status.SUPPRESSED, str(refused[0].verdict["reason"]))
    return Opening(0, Status.UNROUTABLE, "no_address" if _lacks_address(plan) else "no_account")


def _lacks_address(plan: Plan) -> bool:
    return all(one.reason == "no_address" for one in plan.candidates)
