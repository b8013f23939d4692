"""What evidence does to a message: one place for answers, callbacks, lost leases and time limits.

Pure: takes the message with its attempts and says what they become.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tabellion.messages import rules
from tabellion.messages.types import Attempt, Evidence, Message, Status, Trigger
from tabellion.providers.base import State

_ENDED: dict[str | None, Status] = {
    Trigger.SUPPRESSED: Status.SUPPRESSED,
    Trigger.NO_ADDRESS: Status.UNROUTABLE,
    "no_account": Status.UNROUTABLE,
    "expired": Status.EXPIRED,
}


@dataclass
class Progress:
    """A message under change: its attempts, what happened (events to append), and whether a next step is due."""

    message: Message
    attempts: list[Attempt]
    happened: list[tuple[str, Attempt | None, dict[str, Any]]] = field(default_factory=list)
    """(event type, the attempt it is about, extra data)."""
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

    def record(self, evidence: Evidence, now: datetime) -> None:
        """Apply one piece of evidence to its attempt, then let the plan move."""
        place = next(i for i, attempt in enumerate(self.attempts) if attempt.id == evidence.attempt_id)
        before = self.attempts[place]
        state = rules.advance(before.state, evidence.state)
        if name := rules.contradiction(before.state, evidence.state):
            self.happened.append((f"attempt.{name}", before, {"provider_code": evidence.provider_code}))
        self.attempts[place] = self.changed[place] = _with(before, state, evidence, now)
        if state is not before.state:
            self.happened.append((f"attempt.{state}", self.attempts[place], {}))
            self._move(self.attempts[place])

    def suppress(self, verdict: dict[str, Any], now: datetime) -> None:
        """The gate refused the current step at hand-off: keep its decision, hand over or end."""
        decision = {"at": now.isoformat(), "step": self.message.step, **verdict}
        self.message = replace(self.message, decisions=[*self.message.decisions, decision])
        self.stop(Trigger.SUPPRESSED, str(verdict["reason"]))

    def stop(self, trigger: Trigger, reason: str) -> None:
        """The current step cannot go on: hand over to the next, or end."""
        self._go(rules.hand_over(self.message.plan, self.message.step, trigger), reason)

    def expire(self) -> None:
        self._end(Status.EXPIRED, "expired")

    def settle(self) -> None:
        """Fold the status from the attempts, and say so when it changed."""
        ended = self.message.status if self.message.final else None
        status = rules.status((a.state for a in self.attempts), ended=ended)
        self._set(status)

    def _move(self, attempt: Attempt) -> None:
        if attempt.step < self.message.step:
            self._late(attempt)
        elif not self.message.final:
            move = rules.after(self.message.plan, attempt.step, attempt.state)
            self._go(move, attempt.reason or move.reason or attempt.state)
        elif self.message.status is Status.SENT and attempt.state in rules.ENDED_BADLY:
            self._end(Status.FAILED, attempt.reason or attempt.state)

    def _late(self, attempt: Attempt) -> None:
        """An earlier step succeeded after a later one began: say so, and start no further step."""
        if attempt.state is State.DELIVERED:
            self.happened.append(("message.delivered_after_fallback", attempt, {}))
            if not self.message.final:
                self._end(Status.DELIVERED, None)

    def _go(self, move: rules.Move, reason: str) -> None:
        if move.kind == "next":
            self.message = replace(self.message, step=self.message.step + 1, reason=reason)
            self.moved = True
        elif move.kind == "end":
            self._end(_ENDED.get(move.reason, Status.FAILED), reason if move.reason else None)

    def _end(self, status: Status, reason: str | None) -> None:
        """End the plan. A good attempt outweighs how it ended."""
        best = rules.status((a.state for a in self.attempts), ended=status)
        self.moved = False
        self.message = replace(self.message, final=True, reason=None if best is not status else reason)
        self._set(best)

    def _set(self, status: Status) -> None:
        if status is not self.message.status:
            self.message = replace(self.message, status=status)
            if status is not Status.SENDING:
                self.happened.append((f"message.{status}", self._latest(), {}))

    def _latest(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None


def open_progress(message: Message, attempts: Sequence[Attempt]) -> Progress:
    return Progress(message, list(attempts))


def _with(attempt: Attempt, state: State, evidence: Evidence, now: datetime) -> Attempt:
    """The attempt with what the evidence adds; what stands is kept where the evidence says nothing or ranks lower."""
    known = replace(
        attempt,
        provider_message_id=attempt.provider_message_id or evidence.provider_message_id,
        ended_at=attempt.ended_at or now,
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
