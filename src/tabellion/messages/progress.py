"""What evidence does to a message: one place for answers, callbacks, lost leases and time limits.

Pure: takes the message with its attempts and says what they become.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from tabellion.messages import rules
from tabellion.messages.types import Attempt, Evidence, Guarantee, Happening, Message, Status, Trigger
from tabellion.providers.base import State

_ENDED: Mapping[str | None, Status] = {
    Trigger.SUPPRESSED: Status.SUPPRESSED,
    Trigger.NO_ADDRESS: Status.UNROUTABLE,
    "no_account": Status.UNROUTABLE,
}
"""How a plan ended, by the trigger or the reason it ended for; otherwise it failed."""


@dataclass
class Progress:
    """A message under change: its attempts, what happened (events to append), and whether a next step is due."""

    message: Message
    attempts: list[Attempt]
    happened: list[Happening] = field(default_factory=list)
    moved: bool = False
    """The plan went to its next step: a job is due for it."""
    changed: dict[int, Attempt] = field(default_factory=dict)
    """The attempts that evidence touched, by place."""

    def __post_init__(self) -> None:
        self._stored = self.message

    @property
    def dirty(self) -> bool:
        """Whether the message itself must be stored."""
        return self.message is not self._stored

    def of_step(self, step: int) -> list[Attempt]:
        """The attempts of one step, oldest first."""
        return [attempt for attempt in self.attempts if attempt.step == step]

    def record(self, evidence: Evidence, now: datetime) -> None:
        """Apply one piece of evidence to its attempt, then let the plan move."""
        evidence = evidence if evidence.received_at else replace(evidence, received_at=now)
        place = next(i for i, attempt in enumerate(self.attempts) if attempt.id == evidence.attempt_id)
        before = self.attempts[place]
        state = rules.advance(before.state, evidence.state)
        if name := rules.contradiction(before.state, evidence.state):
            told = {"provider_code": evidence.provider_code}
            self.happened.append(Happening(f"attempt.{name}", before, evidence, told))
        after = _with(before, state, evidence, now)
        if after != before:
            self.attempts[place] = self.changed[place] = after
        if state is not before.state:
            self.happened.append(Happening(f"attempt.{state}", after, evidence))
            self._move(before, after)

    def suppress(self, verdict: Mapping[str, Any], now: datetime) -> None:
        """The gate refused the current step at hand-off: keep its decision, hand over or end."""
        self._decide(now, "hand_off", verdict)
        self._stop(Trigger.SUPPRESSED, str(verdict["reason"]))

    def stop(self, trigger: Trigger, reason: str, now: datetime) -> None:
        """The current step cannot go on: say when and why, hand over to the next, or end."""
        self._decide(now, "time_limit" if trigger is Trigger.TIMEOUT else "hand_off", {"reason": reason})
        self._stop(trigger, reason)

    def fault(self, step: int, now: datetime) -> None:
        """Nobody will do the job of this step any more; if it is still the current one it stops."""
        if not self.message.final and self.message.step == step:
            self.stop(Trigger.ERROR, "internal_error", now)

    def expire(self) -> None:
        self._end(Status.EXPIRED, "expired")

    def cancel(self, reason: str) -> None:
        self._end(Status.CANCELED, reason)

    def settle(self) -> None:
        """Fold the status from the attempts, and say so when it changed."""
        final, status = self.message.final, self.message.status
        self._fold((Status.FAILED if status in rules.GOOD else status) if final else None, self.message.reason)

    def _move(self, before: Attempt, attempt: Attempt) -> None:
        if attempt.step < self.message.step:
            self._late(before, attempt)
        elif not self.message.final:
            others = [one.state for one in self.of_step(attempt.step) if one.id != attempt.id]
            once = self.message.guarantee is Guarantee.AT_MOST_ONCE
            move = rules.after(self.message.plan, attempt.step, attempt.state, others, at_most_once=once)
            self._go(move, attempt.reason or move.reason or attempt.state)
        elif self.message.status in rules.GOOD and attempt.state in rules.ENDED_BADLY:
            self._end(Status.FAILED, attempt.reason or attempt.state)

    def _late(self, before: Attempt, attempt: Attempt) -> None:
        """An earlier step succeeded after the plan had gone on: say so, and start no further step."""
        if self._succeeded(attempt):
            if not self._succeeded(before) and any(one.step > attempt.step for one in self.attempts):
                self.happened.append(Happening("message.delivered_after_fallback", attempt))
            if not self.message.final:
                self._end(Status.DELIVERED, None)
        elif self.message.final and self.message.status in rules.GOOD and attempt.state in rules.ENDED_BADLY:
            self._end(Status.FAILED, attempt.reason or attempt.state)

    def _succeeded(self, attempt: Attempt) -> bool:
        return attempt.state is State.DELIVERED or rules.reached(self.message.plan, attempt.step, attempt.state)

    def _stop(self, trigger: Trigger, reason: str) -> None:
        self._go(rules.hand_over(self.message.plan, self.message.step, trigger), reason)

    def _go(self, move: rules.Move, reason: str) -> None:
        if move.kind == "next":
            self.message = replace(self.message, step=self.message.step + 1, reason=reason)
            self.moved = True
            steps = {"from_step": self.message.step - 1, "to_step": self.message.step, "on": move.reason}
            self.happened.append(Happening("message.fell_back", self._latest(), data={**steps, "reason": reason}))
        elif move.kind == "end":
            ended = _ENDED.get(move.reason) or _ENDED.get(reason, Status.FAILED)
            self._end(ended, reason if move.reason else None)

    def _end(self, status: Status, reason: str | None) -> None:
        """End the plan. A good attempt outweighs how it ended."""
        self.moved = False
        if not self.message.final:
            self.message = replace(self.message, final=True)
        self._fold(status, reason)

    def _fold(self, ended: Status | None, reason: str | None) -> None:
        """Set the status that the attempts make, and its reason: none where the best attempt is a good one."""
        status = rules.status((one.state for one in self.attempts), ended=ended)
        reason = None if status in rules.GOOD else reason
        if (status, reason) == (self.message.status, self.message.reason):
            return
        news = status not in (self.message.status, Status.SENDING)
        self.message = replace(self.message, status=status, reason=reason)
        if news:
            self.happened.append(Happening(f"message.{status}", self._latest()))

    def _decide(self, now: datetime, stage: str, decision: Mapping[str, Any]) -> None:
        kept = {"at": now.isoformat(), "step": self.message.step, "stage": stage, **decision}
        self.message = replace(self.message, decisions=[*self.message.decisions, kept])

    def _latest(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None


def open_progress(message: Message, attempts: Sequence[Attempt]) -> Progress:
    return Progress(message, list(attempts))


def _with(attempt: Attempt, state: State, evidence: Evidence, now: datetime) -> Attempt:
    """The attempt with what the evidence adds; what stands is kept where the evidence says nothing or ranks lower."""
    known = replace(
        attempt,
        provider_message_id=attempt.provider_message_id or evidence.provider_message_id,
        ended_at=attempt.ended_at or (None if state is State.STARTED else now),
    )
    if state is attempt.state:
        return known
    return replace(
        known,
        state=state,
        reason=evidence.reason,
        permanent=evidence.permanent,
        provider_code=evidence.provider_code,
        detail=evidence.detail,
    )
