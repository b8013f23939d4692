"""The hand-off: `message.deliver`.

Begin decides under the recipient's lock, in the transaction that writes the attempt as `started`. A decision takes
the same lock, so once a restriction is acknowledged no covered attempt starts.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
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
from tabellion.core.ids import AccountId, RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.core.wake import Bell
from tabellion.jobs.rules import retry_at
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Begun, Claimed, Done, Later, NewJob, Perform, Ruling
from tabellion.messages import store
from tabellion.messages.evidence import evidence_of, unheard, without
from tabellion.messages.gate import MOST_ATTEMPTS, Case, Gate, Pair, case_of, gives_up, open_cases
from tabellion.messages.progress import Progress
from tabellion.messages.rules import HANDED_OVER
from tabellion.messages.service import DELIVER, Messages, open_content, shown
from tabellion.messages.timers import expiry_timer, timer
from tabellion.messages.types import Attempt, Evidence, Guarantee, Message
from tabellion.providers.base import (
    Aborted,
    Accepted,
    AddressSignal,
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


@dataclass(frozen=True, slots=True)
class Handoff:
    """One attempt to make: everything `perform` needs, no database."""

    attempt: Attempt
    account: Account
    outbound: Outbound
    not_after: float
    departs_in: float = 0.0


Decided: TypeAlias = dict[WorkspaceId, list[tuple[UUID, RecipientSignal]]]
"""By workspace side: whom an attempt went to, and what its answer said they had decided."""

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
        timers = [one for case in starting if not case.tried and (one := timer(case, tx.now))]
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
            sender=case.current.sender,
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
        decided = self._decisions([work_and_result for _, work_and_result, _ in results])
        # A decision locks its person, who comes before messages, and the head of the ledger, which comes after them.
        await self._hold(tx, decided)
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
                timers.append(expiry_timer(progress.message, work.attempt.step))
        await self.messages.save(tx, list(found.values()))
        await self._pace(tx, [work_and_result for _, work_and_result, _ in results])
        if timers:
            await enqueue(tx, timers, self.bell)
        for workspace_id, signals in sorted(decided.items()):
            await self.consent.record_signals(tx, workspace_id, [signal for _, signal in signals])
        await self.messages.unregister(tx, _unregistered([work_and_result for _, work_and_result, _ in results]))
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

    async def _hold(self, tx: Tx, decided: Decided) -> None:
        """Lock the people about whom answers carried decisions."""
        people = {(side, RecipientId(person)) for side, signals in decided.items() for person, _ in signals}
        if people:
            await self.gate.recipients.lock(tx, sorted(people), skip_locked=False)

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

    def _decisions(self, results: Sequence[tuple[Handoff, Result]]) -> Decided:
        """The decisions that answers carried: the person had opted out at the vendor's."""
        decided: Decided = {}
        for work, result in results:
            if isinstance(result, Rejected) and result.signals:
                told = [(work.attempt.recipient_id, self._signal(work, seen)) for seen in result.signals]
                decided.setdefault(WorkspaceId(work.account.workspace_id), []).extend(told)
        return decided

    def _signal(self, work: Handoff, seen: SignalSeen) -> RecipientSignal:
        account = work.account
        return RecipientSignal(
            signal=seen.signal,
            channel=work.attempt.channel,
            address=seen.address,
            source=account.provider,
            actor=ids.show("acc", account.id),
            sender=self.providers[account.provider].sender(account.settings, work.outbound.sender),
            evidence={"attempt": ids.show("att", work.attempt.id)},
            brand=account.brand,
        )

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
                    progress.record(unheard(attempt), tx.now)
                    timers.append(expiry_timer(progress.message, attempt.step))
        await self.messages.save(tx, list(found.values()))
        if timers:
            await enqueue(tx, timers, self.bell)

    async def died(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        """A fault of ours ended the step: the plan goes on without it, or the message ends.

        What has left, or may have, is waited for: it has a time limit.
        """
        cases = [case_of(job) for job in jobs]
        found = await self.messages.progress(tx, [case.pair for case in cases])
        for case in cases:
            progress = found.get(case.pair)
            if progress and not _may_be_heard(progress, case.step):
                progress.fault(case.step, tx.now)
        await self.messages.save(tx, list(found.values()))


def _may_be_heard(progress: Progress, step: int) -> bool:
    """Whether an attempt of the step has left, or may have and is not repeated."""
    heard = HANDED_OVER | {State.STARTED}
    if progress.message.guarantee is Guarantee.AT_MOST_ONCE:
        heard |= {State.UNCERTAIN}
    return any(one.state in heard for one in progress.of_step(step))


def _gives_up(message: Message, step: int, result: Result, tried: Sequence[Attempt]) -> bool:
    """Whether this was the step's last try: an uncertain one is not repeated for ever; one put off may fall back."""
    if not isinstance(result, Uncertain):
        return gives_up(message, step, len(tried))
    return sum(one.state is State.UNCERTAIN for one in tried) + 1 >= MOST_ATTEMPTS


def _unregistered(results: Sequence[tuple[Handoff, Result]]) -> set[tuple[UUID, bytes]]:
    """The tokens (workspace, hash) that the vendor says no app has any more."""
    return {
        (work.attempt.workspace_id, work.attempt.identifier)
        for work, result in results
        if isinstance(result, Rejected) and result.address_signal is AddressSignal.TOKEN_INVALID
    }


def _may_repeat(message: Message, provider: Provider[Any]) -> bool:
    return message.guarantee is Guarantee.AT_LEAST_ONCE or Feature.IDEMPOTENCY_KEY in provider.features


def _named(callback_url: str | None, attempt: Attempt) -> str | None:
    """The callback URL with the attempt in it: a report that comes before the answer, or without one, finds it."""
    return f"{callback_url}?attempt={ids.show('att', attempt.id)}" if callback_url else None


def _message_of(work: Handoff) -> Pair:
    return work.attempt.workspace_id, work.attempt.message_id


def _is_waited_for(message: Message, ruling: Ruling) -> bool:
    """Whether an uncertain hand-off may be the last thing that happens: then the step needs an end of its own."""
    return not message.final and (isinstance(ruling, Done) or message.guarantee is Guarantee.AT_MOST_ONCE)
