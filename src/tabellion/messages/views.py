"""Messages as they are shown: the message, its timeline, its explanation."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tabellion.core import ids
from tabellion.events.types import Recorded
from tabellion.messages.types import Attempt, Message, Status, Step
from tabellion.providers.base import Channel, State


class PlannedStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step of the plan, as decided at acceptance."""

    channel: Channel
    success: str
    within: str | None = None
    on: list[str] = []
    accounts: list[str] = []


class AcceptedMessage(msgspec.Struct, frozen=True):
    """The answer to a message that is durable."""

    id: str
    status: Status
    recipient_id: str
    plan: list[PlannedStep]
    reason: str | None = None


class AttemptView(msgspec.Struct, frozen=True):
    """One network hand-off to one account."""

    id: str
    account_id: str
    provider: str
    channel: Channel
    state: State
    provider_message_id: str | None
    reason: str | None
    permanent: bool
    provider_code: str | None
    started_at: datetime
    ended_at: datetime | None


class StepView(msgspec.Struct, frozen=True):
    channel: Channel
    success: str
    within: str | None
    on: list[str]
    attempts: list[AttemptView]


class MessageView(msgspec.Struct, frozen=True):
    """A message and what became of it. Content and addresses are not shown here."""

    id: str
    status: Status
    final: bool
    reason: str | None
    recipient_id: str
    purpose: str
    priority: str
    guarantee: str
    step: int
    steps: list[StepView]
    send_at: datetime
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    tags: list[str]
    metadata: dict[str, Any] | None


class MessagePage(msgspec.Struct, frozen=True):
    data: list[MessageView]
    next_cursor: str | None


class TimelineEntry(msgspec.Struct, frozen=True):
    """One thing that happened to the message, in the order recorded."""

    id: str
    type: str
    occurred_at: datetime
    data: dict[str, Any]


class Timeline(msgspec.Struct, frozen=True):
    data: list[TimelineEntry]


class CandidateView(msgspec.Struct, frozen=True):
    """A channel the plan considered."""

    channel: Channel
    chosen: bool
    reason: str
    verdict: dict[str, Any] | None


class AttemptExplained(msgspec.Struct, frozen=True):
    attempt: AttemptView
    decision: dict[str, Any]
    """The verdict at hand-off, in the transaction that started the attempt."""
    detail: str | None


class Explanation(msgspec.Struct, frozen=True):
    """Why the message went where it went, or nowhere."""

    id: str
    status: Status
    final: bool
    reason: str | None
    purpose: str
    rule: str
    """How the plan was made: `route`, `address` or `auto`."""
    candidates: list[CandidateView]
    steps: list[PlannedStep]
    decisions: list[dict[str, Any]]
    """Refusals of the gate, at acceptance and at hand-off, each with its rule and ledger index."""
    attempts: list[AttemptExplained]


def accepted(message: Message) -> AcceptedMessage:
    return AcceptedMessage(
        id=ids.show("msg", message.id),
        status=message.status,
        recipient_id=ids.show("rcp", message.recipient_id),
        plan=[planned(step) for step in message.plan.steps],
        reason=message.reason,
    )


def timeline(events: Sequence[Recorded]) -> Timeline:
    return Timeline([TimelineEntry(ids.show("evt", e.id), e.type, e.occurred_at, dict(e.data)) for e in events])


def planned(step: Step) -> PlannedStep:
    return PlannedStep(
        channel=step.channel,
        success=step.success,
        within=_duration(step),
        on=sorted(step.on),
        accounts=[ids.show("acc", account) for account in step.accounts],
    )


def view(message: Message, attempts: Sequence[Attempt]) -> MessageView:
    return MessageView(
        id=ids.show("msg", message.id),
        status=message.status,
        final=message.final,
        reason=message.reason,
        recipient_id=ids.show("rcp", message.recipient_id),
        purpose=message.purpose,
        priority=message.lane.name.lower(),
        guarantee=message.guarantee,
        step=message.step,
        steps=[_step(number, step, attempts) for number, step in enumerate(message.plan.steps)],
        send_at=message.send_at,
        expires_at=message.expires_at,
        created_at=message.created_at,
        updated_at=message.updated_at,
        tags=list(message.tags),
        metadata=dict(message.metadata) if message.metadata is not None else None,
    )


def explain(message: Message, attempts: Sequence[Attempt]) -> Explanation:
    return Explanation(
        id=ids.show("msg", message.id),
        status=message.status,
        final=message.final,
        reason=message.reason,
        purpose=message.purpose,
        rule=message.plan.rule,
        candidates=[
            CandidateView(one.channel, one.chosen, one.reason, _plain(one.verdict)) for one in message.plan.candidates
        ],
        steps=[planned(step) for step in message.plan.steps],
        decisions=[dict(decision) for decision in message.decisions],
        attempts=[AttemptExplained(attempt(one), dict(one.decision), one.detail) for one in attempts],
    )


def attempt(one: Attempt) -> AttemptView:
    return AttemptView(
        id=ids.show("att", one.id),
        account_id=ids.show("acc", one.account_id),
        provider=one.provider,
        channel=one.channel,
        state=one.state,
        provider_message_id=one.provider_message_id,
        reason=one.reason,
        permanent=one.permanent,
        provider_code=one.provider_code,
        started_at=one.started_at,
        ended_at=one.ended_at,
    )


def _step(number: int, step: Step, attempts: Sequence[Attempt]) -> StepView:
    return StepView(
        channel=step.channel,
        success=step.success,
        within=_duration(step),
        on=sorted(step.on),
        attempts=[attempt(one) for one in attempts if one.step == number],
    )


def _duration(step: Step) -> str | None:
    return None if step.within is None else str(msgspec.to_builtins(step.within))


def _plain(verdict: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(verdict) if verdict is not None else None
