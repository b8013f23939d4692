"""The gate, in the claim: may each job's step go out, to which address, through which account?

Runs in the transaction that writes the attempt as `started`. It locks the person's row first and reads everything in
statements after that; a decision takes the same lock, so once a restriction is acknowledged no covered attempt starts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Account
from tabellion.consent.service import Consent
from tabellion.consent.types import Question, Verdict
from tabellion.core.db import Tx
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.jobs.types import Begun, Claimed, Done, Later
from tabellion.messages import store
from tabellion.messages.progress import Progress
from tabellion.messages.rules import HANDED_OVER
from tabellion.messages.service import Messages, reaches, shown
from tabellion.messages.types import Attempt, Guarantee, Message, Step, Trigger
from tabellion.providers.base import State
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Identifier

Pair = store.Pair

SKIPPED: Final = timedelta(milliseconds=50)
NEAR: Final = timedelta(milliseconds=250)
"""A departure further away than this waits as a delayed job, with no attempt written."""


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
    account: Account | None = None
    departs: datetime | None = None
    changed: bool = False

    @property
    def message(self) -> Message:
        assert self.progress is not None
        return self.progress.message

    @property
    def current(self) -> Step:
        return self.message.plan.steps[self.step]

    def stop(self, trigger: Trigger, reason: str) -> None:
        assert self.progress is not None
        self.progress.stop(trigger, reason)
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
        found = await self.messages.progress(tx, [case.pair for case in waiting])
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
            elif _handed_over(case.progress.attempts, case.message.guarantee, case.step):
                case.begun = Done()

    async def _decide(self, tx: Tx, cases: Sequence[Case]) -> None:
        """Ask again, now, for the address the step means. In statements of their own: after the lock."""
        waiting = open_cases(cases)
        addresses = await self.recipients.identifiers(tx, _people(waiting))
        for case in waiting:
            case.identifier = _meant(case.current, addresses.get(_person(case), []))
            if case.identifier is None:
                case.stop(Trigger.NO_ADDRESS, "no_address")
        waiting = open_cases(waiting)
        verdicts = await self.consent.verdicts(tx, [_question(case) for case in waiting])
        for case, verdict in zip(waiting, verdicts, strict=True):
            case.verdict = verdict
            if not verdict.sendable and case.progress:
                case.progress.suppress(shown(verdict), tx.now)
                case.close()

    async def _route(self, tx: Tx, cases: Sequence[Case]) -> None:
        """Choose the account and reserve a departure from it."""
        for workspace_id in {case.person[0] for case in open_cases(cases)}:
            usable = await self.accounts.usable(tx, workspace_id)
            for case in open_cases(cases):
                if case.person[0] == workspace_id:
                    case.account = _pick(usable, case)
                    if case.account is None:
                        case.stop(Trigger.ERROR, "no_account")
        waiting = open_cases(cases)
        wanted = [(case.person[0], case.account.id) for case in waiting if case.account]
        for case, departs in zip(waiting, await self.accounts.reserve(tx, wanted), strict=True):
            case.departs = departs
            if departs - tx.now > NEAR:
                case.begun = Later(departs, counted=False, reason="paced")


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


def attempts_of(case: Case) -> list[Attempt]:
    return case.progress.attempts if case.progress else []


def _person(case: Case) -> tuple[WorkspaceId, RecipientId]:
    return case.person[0], RecipientId(case.root or case.person[1])


def _people(cases: Sequence[Case]) -> list[tuple[WorkspaceId, RecipientId]]:
    return sorted({_person(case) for case in cases})


def _handed_over(attempts: Sequence[Attempt], guarantee: Guarantee, step: int) -> bool:
    """Whether this step already left, so that another try could be a duplicate the guarantee does not allow."""
    states = {attempt.state for attempt in attempts if attempt.step == step}
    if states & HANDED_OVER:
        return True
    return guarantee is Guarantee.AT_MOST_ONCE and bool(states & {State.UNCERTAIN, State.STARTED})


def _meant(step: Step, addresses: Sequence[Identifier]) -> Identifier | None:
    """The address the step recorded; None when the person has it no more."""
    matching = (one for one in addresses if reaches(one.kind, step.channel))
    return next((one for one in matching if step.identifier == one.hash.hex()), None)


def _question(case: Case) -> Question:
    assert case.identifier is not None
    return Question(
        workspace_id=case.message.workspace_id,
        recipient_id=case.root,
        identifier_hash=case.identifier.hash,
        kind=case.identifier.kind,
        channel=case.current.channel,
        purpose=case.message.purpose,
    )


def _pick(usable: Sequence[Account], case: Case) -> Account | None:
    """One account of the step's pool, by weight, the same for the same message and try."""
    step = case.current
    pool = [a for a in usable if step.channel in a.channels and (not step.accounts or a.id in step.accounts)]
    if not pool:
        return None
    seed = hashlib.sha256(case.message.id.bytes + bytes([case.job.tries % 256])).digest()
    place = int.from_bytes(seed[:4], "big") % sum(account.weight for account in pool)
    for account in pool:
        place -= account.weight
        if place < 0:
            return account
    return pool[-1]
