"""The gate, in the claim: may each job's step go out, to which address, through which account?

Runs in the transaction that writes the attempt as `started`. It locks the person's row first and reads everything in
statements after that; a decision takes the same lock, so once a restriction is acknowledged no covered attempt starts.
Before, it takes its share of the lock on each side's policies, which whoever changes a purpose takes alone: once a
tightened purpose is acknowledged no attempt starts that it forbids.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Account
from tabellion.consent.questions import Question, Verdict
from tabellion.consent.service import Consent
from tabellion.core.db import Tx
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.jobs.types import Begun, Claimed, Done, Later, NewJob
from tabellion.messages import store
from tabellion.messages.progress import Progress
from tabellion.messages.rules import HANDED_OVER, hand_over
from tabellion.messages.service import Messages, reaches, shown
from tabellion.messages.types import Attempt, Guarantee, Message, Step, Trigger
from tabellion.providers.base import Feature, State
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Identifier

Pair = store.Pair

SKIPPED: Final = timedelta(milliseconds=50)
NEAR: Final = timedelta(milliseconds=250)
"""A departure further away than this waits as a delayed job, with no attempt written."""
MOST_ATTEMPTS: Final = 8
"""Network sends of one step; after them a plan with a further step for errors goes there, and an uncertain one waits.

The last resort of a plan is tried until the message expires: an outage of minutes must not fail a message of a day.
"""


@dataclass
class Case:
    """One job on its way through the gate."""

    job: Claimed
    pair: Pair
    person: tuple[WorkspaceId, RecipientId]
    step: int
    progress: Progress | None = None
    root: UUID | None = None
    begun: Begun | None = None
    identifier: Identifier | None = None
    verdict: Verdict | None = None
    senders: dict[str | None, Verdict] = field(default_factory=dict)
    """The verdict on each of our senders that the step may use."""
    account: Account | None = None
    departs: datetime | None = None
    repeats: Attempt | None = None
    """The uncertain attempt that this one repeats, at a vendor that drops what it has already."""
    put_off: NewJob | None = None
    """The job that comes back at the departure time reserved for it."""
    changed: bool = False

    @property
    def message(self) -> Message:
        assert self.progress is not None
        return self.progress.message

    @property
    def current(self) -> Step:
        return self.message.plan.steps[self.step]

    @property
    def tried(self) -> list[Attempt]:
        """The attempts of this step so far."""
        return self.progress.of_step(self.step) if self.progress else []

    def stop(self, trigger: Trigger, reason: str, now: datetime) -> None:
        assert self.progress is not None
        self.progress.stop(trigger, reason, now)
        self.close()

    def close(self) -> None:
        """The job is done; what it changed is to be saved."""
        self.begun = Done()
        self.changed = True


@dataclass(frozen=True)
class Gate:
    messages: Messages
    recipients: Recipients
    consent: Consent
    accounts: Accounts

    async def decide(self, tx: Tx, jobs: Sequence[Claimed]) -> list[Case]:
        """Each job's case: closed (`begun` is set) or free to start, with address, verdict, account and departure."""
        cases = [case_of(job) for job in jobs]
        await self.consent.hold_policies(tx, {case.person[0] for case in cases})
        await self._lock(tx, cases)
        await self._read(tx, cases)
        await self._decide(tx, cases)
        await self._route(tx, cases)
        return cases

    async def _lock(self, tx: Tx, cases: Sequence[Case]) -> None:
        """Lock each person's root. A person somebody else holds comes back in 50 ms, uncounted."""
        roots = await self.recipients.lock(tx, [case.person for case in cases], skip_locked=True)
        for case in cases:
            case.root = roots.get(case.person)
            if case.root is None:
                case.begun = Later(tx.now + SKIPPED, counted=False)

    async def _read(self, tx: Tx, cases: Sequence[Case]) -> None:
        """Read the messages under lock; drop what is over, moved on, expired or already handed over."""
        waiting = open_cases(cases)
        found = await self.messages.progress(tx, [case.pair for case in waiting], content=True)
        seen: set[Pair] = set()
        for case in waiting:
            if case.pair in seen:
                case.begun = Later(tx.now + SKIPPED, counted=False)
                continue
            seen.add(case.pair)
            case.progress = found.get(case.pair)
            if case.progress is None or case.message.final or case.message.step != case.step:
                case.begun = Done()
            elif case.message.expires_at <= tx.now:
                case.progress.expire()
                case.close()
            else:
                self._look_back(tx, case)

    def _look_back(self, tx: Tx, case: Case) -> None:
        """Close the case where an earlier attempt of its step forbids another; else see whether this one repeats it."""
        states = [attempt.state for attempt in case.tried]
        uncertain = states.count(State.UNCERTAIN)
        case.repeats = next((one for one in case.tried if self._repeatable(one)), None)
        once = case.message.guarantee is Guarantee.AT_MOST_ONCE
        if not HANDED_OVER.isdisjoint(states) or State.STARTED in states:
            # One that started without this job's lease having run out belongs to another job, which will end it.
            case.begun = Done()
        elif uncertain >= MOST_ATTEMPTS or (uncertain and once and case.repeats is None):
            case.begun = Done()
        elif gives_up(case.message, case.step, len(case.tried)):
            case.stop(Trigger.ERROR, "gave_up", tx.now)

    def _repeatable(self, attempt: Attempt) -> bool:
        provider = self.accounts.providers.get(attempt.provider)
        return (
            attempt.state is State.UNCERTAIN and provider is not None and Feature.IDEMPOTENCY_KEY in provider.features
        )

    async def _decide(self, tx: Tx, cases: Sequence[Case]) -> None:
        """Ask again, now, for the address the step means. In statements of their own: after the lock."""
        waiting = open_cases(cases)
        addresses = await self.recipients.identifiers(tx, _people(waiting))
        for case in waiting:
            case.identifier = _meant(case.current, addresses.get(_person(case), []))
            if case.identifier is None:
                case.stop(Trigger.NO_ADDRESS, "no_address", tx.now)
        waiting = open_cases(waiting)
        sides = sorted({case.person[0] for case in waiting})
        usable = {side: await self.accounts.usable(tx, side) for side in sides}
        asked = [(case, sender) for case in waiting for sender in self._senders(case, usable[case.person[0]])]
        verdicts = await self.consent.verdicts(tx, [_question(case, sender) for case, sender in asked])
        for (case, sender), verdict in zip(asked, verdicts, strict=True):
            case.senders[sender] = verdict
        for case in waiting:
            case.verdict = next((one for one in case.senders.values() if one.sendable), None)
            if case.verdict is None and case.progress:
                case.progress.suppress(shown(next(iter(case.senders.values()))), tx.now)
                case.close()

    def _senders(self, case: Case, usable: Sequence[Account]) -> Sequence[str | None]:
        """What the step may come from, as blocks name it."""
        pool = [one for one in usable if _serves(one, case.current)]
        heard = case.current.sender
        if heard is None or not pool:
            return self.accounts.senders(pool, case.current.channel)
        provider = self.accounts.providers[pool[0].provider]
        return [provider.sender(pool[0].settings, heard)]

    async def _route(self, tx: Tx, cases: Sequence[Case]) -> None:
        """Choose the account and reserve a departure from it."""
        for workspace_id in sorted({case.person[0] for case in open_cases(cases)}):
            usable = await self.accounts.usable(tx, workspace_id)
            for case in open_cases(cases):
                if case.person[0] == workspace_id:
                    self._choose(tx, case, usable)
        waiting = open_cases(cases)
        wanted = [(case.person[0], case.account.id) for case in waiting if case.account]
        kept = {place: time for place, case in enumerate(waiting) if (time := _reserved(case))}
        for case, departs in zip(waiting, await self.accounts.reserve(tx, wanted, kept), strict=True):
            case.departs = departs
            if departs - tx.now > NEAR:
                case.put_off = _put_off(case, departs)
                case.begun = Done()

    def _choose(self, tx: Tx, case: Case, usable: Sequence[Account]) -> None:
        """A repeat goes to the account of what it repeats: another one does not know that it has it already."""
        before = case.repeats
        usable = [one for one in usable if self._may_come_from(case, one)]
        case.account = next((one for one in usable if before and one.id == before.account_id), None)
        if case.account is None and before and case.message.guarantee is Guarantee.AT_MOST_ONCE:
            case.begun = Done()
        elif case.account is None:
            case.repeats = None
            case.account = _pick(usable, case)
        if case.account is None and case.begun is None:
            case.stop(Trigger.ERROR, "no_account", tx.now)
        elif case.account is not None:
            case.verdict = case.senders.get(self.accounts.sender(case.account), case.verdict)

    def _may_come_from(self, case: Case, account: Account) -> bool:
        """Whether the person lets us write from what an account sends from."""
        verdict = case.senders.get(self.accounts.sender(account))
        return verdict is None or verdict.sendable


def gives_up(message: Message, step: int, tries: int) -> bool:
    """Whether a step that was put off so often is left for the next one."""
    return tries >= MOST_ATTEMPTS and hand_over(message.plan, step, Trigger.ERROR).kind == "next"


def case_of(job: Claimed) -> Case:
    workspace_id = WorkspaceId(job.workspace_id)
    return Case(
        job=job,
        pair=(workspace_id, UUID(job.payload["message"])),
        person=(workspace_id, RecipientId(UUID(job.payload["recipient"]))),
        step=job.payload["step"],
    )


def open_cases(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if case.begun is None]


def _person(case: Case) -> tuple[WorkspaceId, RecipientId]:
    return case.person[0], RecipientId(case.root or case.person[1])


def _people(cases: Sequence[Case]) -> list[tuple[WorkspaceId, RecipientId]]:
    return sorted({_person(case) for case in cases})


def _meant(step: Step, addresses: Sequence[Identifier]) -> Identifier | None:
    """The address the step recorded; None when the person has it no more."""
    matching = (one for one in addresses if reaches(one.kind, step.channel))
    return next((one for one in matching if step.identifier == one.hash.hex()), None)


def _serves(account: Account, step: Step) -> bool:
    return step.channel in account.channels and (not step.accounts or account.id in step.accounts)


def _question(case: Case, sender: str | None) -> Question:
    assert case.identifier is not None
    return Question(
        workspace_id=case.message.workspace_id,
        recipient_id=case.root,
        identifier_hash=case.identifier.hash,
        kind=case.identifier.kind,
        channel=case.current.channel,
        purpose=case.message.purpose,
        sender=sender,
        health=case.identifier.health,
    )


def _pick(usable: Sequence[Account], case: Case) -> Account | None:
    """One account of the step's pool, by weight, the same for the same message and number of tries."""
    step = case.current
    pool = [one for one in usable if _serves(one, step)]
    if not pool:
        return None
    seed = hashlib.sha256(case.message.id.bytes + bytes([case.step, len(case.tried) % 256])).digest()
    place = int.from_bytes(seed[:4], "big") % sum(account.weight for account in pool)
    for account in pool:
        place -= account.weight
        if place < 0:
            return account
    return pool[-1]


def _put_off(case: Case, departs: datetime) -> NewJob:
    """The job again, with its reservation: one that reserved anew each time it came back would never leave."""
    assert case.account is not None
    reserved = {"account": case.account.id.hex, "departs": departs.isoformat()}
    run_at = min(departs, case.message.expires_at)
    return NewJob(case.person[0], case.job.kind, {**case.job.payload, **reserved}, case.job.lane, run_at)


def _reserved(case: Case) -> datetime | None:
    """The departure that this job already has from this account."""
    payload = case.job.payload
    if case.account is None or payload.get("account") != case.account.id.hex:
        return None
    return datetime.fromisoformat(payload["departs"])
