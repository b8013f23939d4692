"""The hand-off: `message.deliver` and `message.step_timeout`.

Begin decides under the recipient's lock, in the transaction that writes the attempt as `started`. A decision takes
the same lock, so once a restriction is acknowledged no covered attempt starts.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Account
from tabellion.consent.service import Consent
from tabellion.consent.types import RecipientSignal
from tabellion.core import ids
from tabellion.core.clock import Clock
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.ids import AccountId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.core.wake import Bell
from tabellion.jobs.rules import retry_at
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Begun, Claimed, Done, Later, NewJob, Perform, Ruling
from tabellion.messages import store
from tabellion.messages.evidence import evidence_of, without
from tabellion.messages.gate import MOST_ATTEMPTS, Case, Gate, Pair, case_of, gives_up, open_cases
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
SOON: Final = timedelta(seconds=1)
"""How long a time limit waits for a hand-off under way."""
OVERDUE: Final = timedelta(minutes=2)
"""A hand-off that started longer ago is under way no more, whatever its row says."""


@dataclass(frozen=True, slots=True)
class Handoff:
    """One attempt to make: everything `perform` needs, no database."""

    attempt: Attempt
    account: Account
    outbound: Outbound
    not_after: float
    departs_in: float = 0.0


Outcome: TypeAlias = tuple[Claimed, tuple[Handoff, Result], bool]
"""A job, what was handed off and what came of it, and whether the job is still this worker's."""


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
    observe: Callable[[Handoff, Result, float], None] = field(default=lambda handoff, result, seconds: None)
    """Told of each attempt: what was handed off, what came of it, and how long the vendor took, in seconds."""
    name: str = DELIVER
    max_tries: int = 50

    # begin: the gate

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        cases = await self.gate.decide(tx, jobs)
        await self._start(tx, cases)
        return [case.begun or Done() for case in cases]

    async def _start(self, tx: Tx, cases: Sequence[Case]) -> None:
        """Write the attempts as `started`, and what else changed."""
        keys = await self._keys(tx, open_cases(cases))
        not_after = self._not_after(tx)
        for case in open_cases(cases):
            case.changed = True
            if key := keys.get((case.message.workspace_id, case.message.recipient_id)):
                case.begun = Perform(self._handoff(tx, case, key, not_after))
            elif case.progress:
                case.progress.cancel("erased")
                case.close()
        starting = [case for case in cases if isinstance(case.begun, Perform)]
        if starting:
            await store.insert_attempts(tx, [case.begun.work.attempt for case in starting])  # type: ignore[union-attr]
        timers = [timer for case in starting if not case.tried and (timer := _timer(case, tx.now))]
        if jobs := timers + [case.put_off for case in cases if case.put_off]:
            await enqueue(tx, jobs, self.bell)
        if changed := [case.progress for case in cases if case.progress and case.changed]:
            await self.messages.save(tx, changed)

    def _not_after(self, tx: Tx) -> float:
        """The deadline of the first byte: counted from `started`, which is when this transaction began."""
        since = max(0.0, (self.clock.now() - tx.now).total_seconds())
        return self.clock.monotonic() - since + WRITE_WITHIN

    async def _keys(self, tx: Tx, cases: Sequence[Case]) -> dict[Pair, Key]:
        """The data keys of the people written to; none where the person was erased."""
        people: dict[UUID, set[UUID]] = {}
        for case in cases:
            people.setdefault(case.message.workspace_id, set()).add(case.message.recipient_id)
        keys: dict[Pair, Key] = {}
        for workspace_id, wanted in sorted(people.items()):
            found = await self.vault.subjects(tx, workspace_id, wanted)
            keys |= {(workspace_id, person): key for person, key in found.items()}
        return keys

    def _handoff(self, tx: Tx, case: Case, key: Key, not_after: float) -> Handoff:
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
        content = open_content(key, message).on(case.current.channel)
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
            callback_url=_named(self.callback_url(account), attempt),
            at=tx.now,
            repeats=ids.show("att", case.repeats.id) if case.repeats else None,
        )
        wait = max(0.0, (case.departs - tx.now).total_seconds()) if case.departs else 0.0
        return Handoff(attempt, account, outbound, not_after, wait)

    # perform: the wire

    async def perform(self, work: Handoff) -> tuple[Handoff, Result]:
        try:
            if work.departs_in:
                await asyncio.sleep(work.departs_in)
        except asyncio.CancelledError:
            return work, Aborted("the worker stopped before the departure")
        provider, began = self.providers[work.account.provider], self.clock.monotonic()
        result = await self.send(provider, work.outbound, work.account.settings, work.not_after)
        self.observe(work, result, self.clock.monotonic() - began)
        return work, result

    # finish: the outcome

    async def finish(self, tx: Tx, results: Sequence[Outcome]) -> Sequence[Ruling]:
        """Record the outcomes. Of a job another worker took over meanwhile, only the evidence counts."""
        # Decisions first: they lock recipients, which come before messages.
        await self._signal(tx, [work_and_result for _, work_and_result, _ in results])
        pairs = [_message_of(work) for _, (work, _), _ in results]
        found = await self.messages.progress(tx, pairs)
        rulings: list[Ruling] = []
        timers: list[NewJob] = []
        for pair, (_, (work, result), owned) in zip(pairs, results, strict=True):
            progress = found[pair]
            tried = progress.of_step(work.attempt.step)
            given_up = owned and _gives_up(progress.message, work.attempt.step, result, tried)
            progress.record(self._evidence(work, result, given_up=given_up), tx.now)
            ruling = Done() if given_up else self._ruling(tx, progress, work, result, len(tried))
            rulings.append(ruling)
            if isinstance(result, Uncertain) and _is_waited_for(progress.message, ruling):
                timers.append(_expiry_timer(progress.message, work.attempt.step))
        await self.messages.save(tx, list(found.values()))
        await self._pace(tx, [work_and_result for _, work_and_result, _ in results])
        if timers:
            await enqueue(tx, timers, self.bell)
        return rulings

    def _ruling(self, tx: Tx, progress: Progress, work: Handoff, result: Result, tries: int) -> Ruling:
        """Whether this step is tried again, and when: never later than the message expires, so that it ends then."""
        message = progress.message
        if message.final or message.step != work.attempt.step:
            return Done()
        match result:
            case Deferred(retry_after=after):
                asked = timedelta(seconds=after) if after is not None else None
            case Aborted():
                asked = None
            case Uncertain() if _may_repeat(message, self.providers[work.account.provider]):
                asked = None
            case _:
                return Done()
        run_at = retry_at(tx.now, tries - 1, self.chance, asked)
        # Not counted: what ends it is the message's own expiry, not the engine's patience.
        said = without(result.detail, work.outbound.to)
        return Later(min(run_at, max(message.expires_at, tx.now)), counted=False, reason=said)

    async def _signal(self, tx: Tx, results: Sequence[tuple[Handoff, Result]]) -> None:
        """Record the decisions that answers carried: the person had opted out at the vendor's."""
        signals: dict[WorkspaceId, list[RecipientSignal]] = {}
        for work, result in results:
            if isinstance(result, Rejected):
                said = [_signal(work, seen) for seen in result.signals]
                signals.setdefault(WorkspaceId(work.account.workspace_id), []).extend(said)
        for workspace_id, said in sorted(signals.items()):
            if said:
                await self.consent.record_signals(tx, workspace_id, said)

    async def _pace(self, tx: Tx, results: Sequence[tuple[Handoff, Result]]) -> None:
        """Slow down the accounts that said so; let those that took messages go a little faster again."""
        slower: dict[Pair, float | None] = {}
        faster: set[Pair] = set()
        for work, result in results:
            pair = (work.account.workspace_id, work.account.id)
            match result:
                case Deferred(reason=reason, retry_after=after) if reason is Reason.RATE_LIMITED or after is not None:
                    slower[pair] = max(slower.get(pair) or 0.0, after or 0.0)
                case Accepted():
                    faster.add(pair)
        for workspace_id, account_id in sorted(slower):
            pause = slower[workspace_id, account_id] or None
            await self.accounts.throttled(tx, WorkspaceId(workspace_id), AccountId(account_id), pause)
        if faster := faster - slower.keys():
            await self.accounts.succeeded(tx, faster)

    def _evidence(self, work: Handoff, result: Result, *, given_up: bool) -> Evidence:
        """The result as evidence on its attempt."""
        normaliser = f"{work.account.provider}/{self.providers[work.account.provider].version}"
        return evidence_of(work.attempt.id, result, address=work.outbound.to, normaliser=normaliser, given_up=given_up)

    # lost: a worker died between begin and finish

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        """What was `started` may have left: it is uncertain from now on, and the guarantee decides in begin."""
        cases = [case_of(job) for job in jobs]
        found = await self.messages.progress(tx, [case.pair for case in cases])
        timers = []
        for case in cases:
            progress = found.get(case.pair)
            for attempt in progress.of_step(case.step) if progress else ():
                if progress and attempt.state is State.STARTED:
                    progress.record(_unheard(attempt), tx.now)
                    timers.append(_expiry_timer(progress.message, attempt.step))
        await self.messages.save(tx, list(found.values()))
        if timers:
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
            progress.record(_unheard(one), tx.now)
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


def _gives_up(message: Message, step: int, result: Result, tried: Sequence[Attempt]) -> bool:
    """Whether this was the step's last try: an uncertain one is not repeated for ever; one put off may fall back."""
    if not isinstance(result, Uncertain):
        return gives_up(message, step, len(tried))
    return sum(one.state is State.UNCERTAIN for one in tried) + 1 >= MOST_ATTEMPTS


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


def _unheard(attempt: Attempt) -> Evidence:
    """What is known of a hand-off whose worker ended."""
    detail = "the worker ended before it could record the answer"
    return Evidence(attempt.id, State.UNCERTAIN, Reason.NO_ANSWER, detail=detail)


def _named(callback_url: str | None, attempt: Attempt) -> str | None:
    """The callback URL with the attempt in it: a report that comes before the answer, or without one, finds it."""
    return f"{callback_url}?attempt={ids.show('att', attempt.id)}" if callback_url else None


def _message_of(work: Handoff) -> Pair:
    return work.attempt.workspace_id, work.attempt.message_id


def _is_waited_for(message: Message, ruling: Ruling) -> bool:
    """Whether an uncertain hand-off may be the last thing that happens: then the step needs an end of its own."""
    return not message.final and (isinstance(ruling, Done) or message.guarantee is Guarantee.AT_MOST_ONCE)


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
