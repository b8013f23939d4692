"""The hand-off: `message.deliver` and `message.step_timeout`.

Begin decides under the recipient's lock, in the transaction that writes the attempt as `started`. A decision takes
the same lock, so once a restriction is acknowledged no covered attempt starts.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Account
from tabellion.consent.service import Consent
from tabellion.consent.types import RecipientSignal
from tabellion.core import ids
from tabellion.core.clock import Clock
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.core.wake import Bell
from tabellion.jobs.rules import retry_at
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Begun, Claimed, Done, Later, NewJob, Perform, Ruling
from tabellion.messages import store
from tabellion.messages.gate import Case, Gate, Pair, attempts_of, case_of, open_cases
from tabellion.messages.progress import Progress
from tabellion.messages.service import DELIVER, STEP_TIMEOUT, Messages, open_content, shown
from tabellion.messages.types import Attempt, Evidence, Guarantee, Message, Success, Trigger
from tabellion.providers.base import (
    Aborted,
    Accepted,
    Deferred,
    Feature,
    Outbound,
    Provider,
    Reason,
    Rejected,
    Result,
    SignalSeen,
    State,
    Uncertain,
)

WRITE_WITHIN: Final = 10.0
"""Seconds after `started` within which the first request byte must be written, or the attempt is aborted."""
MOST_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Handoff:
    """One attempt to make: everything `perform` needs, no database."""

    attempt: Attempt
    account: Account
    outbound: Outbound
    not_after: float
    departs_in: float = 0.0


@dataclass(frozen=True)
class Deliver:
    """`message.deliver`: one step of one message through the gate and out of the door."""

    gate: Gate
    messages: Messages
    consent: Consent
    accounts: Accounts
    vault: Vault
    clock: Clock
    bell: Bell
    providers: Mapping[str, Provider[Any]]
    send: Callable[[Provider[Any], Outbound, Any, float], Awaitable[Result]]
    """Carries an outbound message over the wire: (provider, message, settings, not_after) -> result."""
    callback_url: Callable[[Account], str | None]
    chance: random.Random
    observe: Callable[[str, str], None] = field(default=lambda provider, outcome: None)
    name: str = DELIVER
    max_tries: int = 50

    # begin: the gate

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        cases = await self.gate.decide(tx, jobs)
        await self._start(tx, cases)
        return [case.begun or Done() for case in cases]

    async def _start(self, tx: Tx, cases: Sequence[Case]) -> None:
        """Write the attempts as `started`, and what else changed."""
        starting = open_cases(cases)
        keys = await self._keys(tx, starting)
        begun = self.clock.monotonic()
        timers = []
        for case in starting:
            case.changed = True
            first = not any(attempt.step == case.step for attempt in attempts_of(case))
            handoff = self._handoff(tx, case, keys, begun)
            case.begun = Perform(handoff)
            if first and (timer := _timer(case, tx.now)):
                timers.append(timer)
        if starting:
            performs = [case.begun.work for case in starting if isinstance(case.begun, Perform)]
            await store.insert_attempts(tx, [work.attempt for work in performs])
        if timers:
            await enqueue(tx, timers, self.bell)
        if changed := [case.progress for case in cases if case.progress and case.changed]:
            await self.messages.save(tx, changed)

    async def _keys(self, tx: Tx, cases: Sequence[Case]) -> dict[tuple[UUID, UUID], Key]:
        keys: dict[tuple[UUID, UUID], Key] = {}
        for workspace_id in {case.person[0] for case in cases}:
            people = {case.message.recipient_id for case in cases if case.person[0] == workspace_id}
            found = await self.vault.subjects(tx, workspace_id, people)
            keys |= {(workspace_id, person): key for person, key in found.items()}
        return keys

    def _handoff(self, tx: Tx, case: Case, keys: Mapping[tuple[UUID, UUID], Key], begun: float) -> Handoff:
        message, account, identifier, verdict = case.message, case.account, case.identifier, case.verdict
        assert account is not None
        assert identifier is not None
        assert verdict is not None
        attempt = Attempt(
            workspace_id=message.workspace_id,
            id=ids.new(),
            message_id=message.id,
            recipient_id=case.root or message.recipient_id,
            step=case.step,
            purpose=message.purpose,
            channel=case.current.channel,
            identifier=identifier.hash,
            account_id=account.id,
            provider=account.provider,
            state=State.STARTED,
            started_at=tx.now,
            decision=shown(verdict),
        )
        content = open_content(keys[message.workspace_id, message.recipient_id], message).on(case.current.channel)
        outbound = Outbound(
            attempt_id=ids.show("att", attempt.id),
            message_id=ids.show("msg", message.id),
            channel=case.current.channel,
            to=identifier.value,
            text=content.text,
            subject=content.subject,
            html=content.html,
            reply_to=content.reply_to,
            headers=content.headers,
            callback_url=self.callback_url(account),
            at=tx.now,
        )
        wait = max(0.0, (case.departs - tx.now).total_seconds()) if case.departs else 0.0
        return Handoff(attempt, account, outbound, begun + WRITE_WITHIN, wait)

    # perform: the wire

    async def perform(self, work: Handoff) -> tuple[Handoff, Result]:
        if work.departs_in:
            await asyncio.sleep(work.departs_in)
        provider = self.providers[work.account.provider]
        result = await self.send(provider, work.outbound, work.account.settings, work.not_after)
        self.observe(work.account.provider, type(result).__name__.lower())
        return work, result

    # finish: the outcome

    async def finish(self, tx: Tx, results: Sequence[tuple[Claimed, tuple[Handoff, Result], bool]]) -> Sequence[Ruling]:
        """Record the outcomes. Of a job another worker took over meanwhile, only the evidence counts."""
        pairs = [(work.attempt.workspace_id, work.attempt.message_id) for _, (work, _), _ in results]
        found = await self.messages.progress(tx, pairs)
        rulings: list[Ruling] = []
        for pair, (job, (work, result), owned) in zip(pairs, results, strict=True):
            progress = found[pair]
            given_up = job.tries + 1 >= MOST_TRIES
            progress.record(_evidence(work.attempt.id, result, given_up=given_up), tx.now)
            rulings.append(self._ruling(tx, job, progress, work, result) if owned and not given_up else Done())
        await self.messages.save(tx, list(found.values()))
        await self._signal(tx, results)
        if timers := _last_timers(results, found):
            await enqueue(tx, timers, self.bell)
        return rulings

    def _ruling(self, tx: Tx, job: Claimed, progress: Progress, work: Handoff, result: Result) -> Ruling:
        """Whether this step is tried again, and when."""
        if progress.message.final or progress.message.step != work.attempt.step:
            return Done()
        match result:
            case Deferred(retry_after=after):
                asked = timedelta(seconds=after) if after is not None else None
                return Later(retry_at(tx.now, job.tries, self.chance, asked), reason=result.detail)
            case Aborted():
                return Later(retry_at(tx.now, job.tries, self.chance), reason=result.detail)
            case Uncertain() if _may_repeat(progress.message, self.providers[work.account.provider]):
                return Later(retry_at(tx.now, job.tries, self.chance), reason=result.detail)
            case _:
                return Done()

    async def _signal(self, tx: Tx, results: Sequence[tuple[Claimed, tuple[Handoff, Result], bool]]) -> None:
        """Slow down an account that said so; record decisions that an answer carried."""
        for _, (work, result), _ in results:
            account = work.account
            if isinstance(result, Deferred) and result.reason is Reason.RATE_LIMITED:
                await self.accounts.throttled(tx, WorkspaceId(account.workspace_id), account.id, result.retry_after)
            elif isinstance(result, Rejected) and result.signals:
                signals = [_signal(work, seen) for seen in result.signals]
                await self.consent.record_signals(tx, WorkspaceId(account.workspace_id), signals)

    # lost: a worker died between begin and finish

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        """What was `started` may have left: it is uncertain from now on, and the guarantee decides in begin."""
        found = await self.messages.progress(tx, [case_of(job).pair for job in jobs])
        timers = []
        for progress in found.values():
            for attempt in progress.attempts:
                if attempt.state is State.STARTED:
                    detail = "the worker ended before it could record the answer"
                    progress.record(Evidence(attempt.id, State.UNCERTAIN, Reason.NO_ANSWER, detail=detail), tx.now)
                    timers.append(_expiry_timer(progress.message, attempt.step))
        await self.messages.save(tx, list(found.values()))
        await enqueue(tx, timers, self.bell)


@dataclass(frozen=True)
class StepTimeout:
    """`message.step_timeout`: a step had its time; hand over, or end with the best attempt."""

    messages: Messages
    name: str = STEP_TIMEOUT
    max_tries: int = 50

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        cases = [case_of(job) for job in jobs]
        found = await self.messages.progress(tx, [case.pair for case in cases])
        for case in cases:
            progress = found.get(case.pair)
            if progress and not progress.message.final and progress.message.step == case.step:
                progress.stop(Trigger.TIMEOUT, "timeout")
        await self.messages.save(tx, list(found.values()))
        return [Done() for _ in jobs]

    async def perform(self, work: None) -> None:
        raise AssertionError("a time limit has nothing to perform")

    async def finish(self, tx: Tx, results: Sequence[tuple[Claimed, None, bool]]) -> Sequence[Ruling]:
        return [Done() for _ in results]

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        return None


def _signal(work: Handoff, seen: SignalSeen) -> RecipientSignal:
    """A decision that a vendor's answer carried: the person had opted out at the vendor's."""
    return RecipientSignal(
        signal=seen.signal,
        channel=work.attempt.channel,
        address=seen.address,
        source=work.account.provider,
        actor=ids.show("acc", work.account.id),
        evidence={"attempt": ids.show("att", work.attempt.id)},
    )


def _may_repeat(message: Message, provider: Provider[Any]) -> bool:
    return message.guarantee is Guarantee.AT_LEAST_ONCE or Feature.IDEMPOTENCY_KEY in provider.features


def _timer(case: Case, now: datetime) -> NewJob | None:
    """The time limit of a step that begins now."""
    step = case.current
    if step.within is not None:
        return _timer_job(case.message, case.step, min(now + step.within, case.message.expires_at))
    return None if step.success is Success.SUBMITTED else _expiry_timer(case.message, case.step)


def _expiry_timer(message: Message, step: int) -> NewJob:
    return _timer_job(message, step, message.expires_at)


def _timer_job(message: Message, step: int, run_at: datetime) -> NewJob:
    payload = {"message": message.id.hex, "recipient": message.recipient_id.hex, "step": step}
    return NewJob(WorkspaceId(message.workspace_id), STEP_TIMEOUT, payload, message.lane, run_at)


def _last_timers(
    results: Sequence[tuple[Claimed, tuple[Handoff, Result], bool]], found: Mapping[Pair, Progress]
) -> list[NewJob]:
    """An uncertain hand-off that is not repeated ends, at the latest, when the message expires."""
    uncertain = [work.attempt for _, (work, result), _ in results if isinstance(result, Uncertain)]
    timers = []
    for attempt in uncertain:
        message = found[attempt.workspace_id, attempt.message_id].message
        if not message.final and message.guarantee is Guarantee.AT_MOST_ONCE:
            timers.append(_expiry_timer(message, attempt.step))
    return timers


def _evidence(attempt_id: UUID, result: Result, *, given_up: bool) -> Evidence:
    """The result as evidence. What is deferred for the last time has failed."""
    match result:
        case Accepted(provider_id=provider_id, provider_code=code):
            return Evidence(attempt_id, State.SUBMITTED, provider_message_id=provider_id, provider_code=code)
        case Rejected(reason=reason, detail=detail, provider_code=code, permanent=permanent):
            return Evidence(attempt_id, State.REJECTED, reason, permanent, provider_code=code, detail=detail)
        case Deferred(detail=detail, reason=reason, provider_code=code):
            state = State.FAILED if given_up else State.DEFERRED
            return Evidence(attempt_id, state, reason, provider_code=code, detail=detail)
        case Uncertain(detail=detail, reason=reason):
            return Evidence(attempt_id, State.UNCERTAIN, reason, detail=detail)
        case Aborted(detail=detail):
            state = State.FAILED if given_up else State.ABORTED
            return Evidence(attempt_id, state, Reason.OTHER, detail=detail)
    raise AssertionError(f"no such result: {result!r}")
