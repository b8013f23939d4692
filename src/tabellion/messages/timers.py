"""Time limits: `message.step_timeout`, and what ends a step that nothing else would end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.jobs.types import Begun, Claimed, Done, Later, NewJob, Ruling
from tabellion.messages.evidence import unheard
from tabellion.messages.gate import Case, case_of
from tabellion.messages.progress import Progress
from tabellion.messages.service import STEP_TIMEOUT, Messages
from tabellion.messages.types import Message, Success, Trigger
from tabellion.providers.base import State

SOON: Final = timedelta(seconds=1)
"""How long a time limit waits for a hand-off under way."""
OVERDUE: Final = timedelta(minutes=2)
"""A hand-off that started longer ago is under way no more, whatever its row says."""


@dataclass(frozen=True)
class StepTimeout:
    """`message.step_timeout`: a step had its time; hand over, or end with the best attempt."""

    messages: Messages
    name: str = STEP_TIMEOUT
    max_tries: int = 50

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        cases = [case_of(job) for job in jobs]
        found = await self.messages.progress(tx, [case.pair for case in cases])
        begun = [self._end(tx, case.step, found.get(case.pair)) for case in cases]
        if touched := [progress for progress in found.values() if progress.dirty]:
            await self.messages.save(tx, touched)
        return begun

    def _end(self, tx: Tx, step: int, progress: Progress | None) -> Begun:
        """End the step if it is still the current one. A hand-off under way is waited for: two would reach the person.

        That is soon: it has 10 s to begin, the vendor has its time to answer, and a dead worker's lease runs out.
        """
        if progress is None or progress.message.final or progress.message.step != step:
            return Done()
        started = [one for one in progress.of_step(step) if one.state is State.STARTED]
        if any(one.started_at > tx.now - OVERDUE for one in started):
            return Later(tx.now + SOON, counted=False, reason="a hand-off is under way")
        for one in started:
            progress.record(unheard(one), tx.now)
        if progress.message.expires_at <= tx.now:
            progress.expire()
        else:
            progress.stop(Trigger.TIMEOUT, "timeout", tx.now)
        return Done()

    async def perform(self, work: None) -> None:
        raise AssertionError("a time limit has nothing to perform")

    async def finish(self, tx: Tx, results: Sequence[tuple[Claimed, None, bool]]) -> Sequence[Ruling]:
        return [Done() for _ in results]

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        return None

    async def died(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        """The limit could not be kept, and nothing else would end the step."""
        cases = [case_of(job) for job in jobs]
        found = await self.messages.progress(tx, [case.pair for case in cases])
        for case in cases:
            if progress := found.get(case.pair):
                progress.fault(case.step, tx.now)
        await self.messages.save(tx, list(found.values()))


def timer(case: Case, now: datetime) -> NewJob | None:
    """The time limit of a step that begins now."""
    step = case.current
    if step.within is not None:
        return _job(case.message, case.step, min(now + step.within, case.message.expires_at))
    return None if step.success is Success.SUBMITTED else expiry_timer(case.message, case.step)


def expiry_timer(message: Message, step: int) -> NewJob:
    return _job(message, step, message.expires_at)


def _job(message: Message, step: int, run_at: datetime) -> NewJob:
    payload = {"message": message.id.hex, "recipient": message.recipient_id.hex, "step": step}
    return NewJob(WorkspaceId(message.workspace_id), STEP_TIMEOUT, payload, message.lane, run_at)
