"""Use cases of consent: verdicts, and recording decisions. All take batches; none commits."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from tabellion.consent import asking, contact, policy_lock, record, recording, store
from tabellion.consent.brands import service as brands
from tabellion.consent.brands.types import Brand
from tabellion.consent.erasing import Erasing
from tabellion.consent.keywords import store as keywords
from tabellion.consent.keywords.service import Hearing, understood
from tabellion.consent.keywords.types import Received
from tabellion.consent.lifting import Lifting
from tabellion.consent.merging import Merging
from tabellion.consent.notices import naming
from tabellion.consent.placing import wrong_kind
from tabellion.consent.policies import Policies
from tabellion.consent.purposes.service import note_used, purposes_of
from tabellion.consent.questions import Ask, Question, Verdict
from tabellion.consent.record import refusal
from tabellion.consent.recording import Recorder
from tabellion.consent.releasing import Releasing
from tabellion.consent.settings import service as settings
from tabellion.consent.signals import decision_of
from tabellion.consent.types import (
    RESTRICTIONS,
    Because,
    GrantsRefused,
    InFlight,
    Joined,
    KeptEntry,
    NewDecision,
    OptOutScope,
    Proof,
    Purposes,
    RecipientSignal,
    Recorded,
    RefusedGrant,
    RepliesUnclear,
    Standing,
    StopScope,
    UnclearReply,
)
from tabellion.consent.withdrawing import Withdrawal, Withdrawing
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, NotFound
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.ledger.service import Ledger
from tabellion.providers.base import Signal
from tabellion.recipients.erasing import Person
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Identifier, Recipient, Ref, RefObject

MOST: Final = 256
"""Decisions that `record` takes at once: one append to the ledger."""


async def unreviewed(tx: Tx, workspace_id: WorkspaceId, refused: Sequence[RefusedGrant]) -> None:
    """Nobody looks at the grants that were refused."""


async def unread(tx: Tx, workspace_id: WorkspaceId, replies: Sequence[UnclearReply]) -> None:
    """Nobody looks at replies."""


class Consent:
    """The only way to consent. `in_flight` finds the attempts that a restriction came too late for.

    `grants_refused` hears of grants of imports that a restriction refused, `replies_unclear` of replies that refused
    in other words than STOP.
    """

    def __init__(
        self,
        vault: Vault,
        recipients: Recipients,
        ledger: Ledger,
        events: EventLog,
        in_flight: InFlight,
        grants_refused: GrantsRefused = unreviewed,
        replies_unclear: RepliesUnclear = unread,
    ) -> None:
        self._recipients = recipients
        self._events = events
        self._replies_unclear = replies_unclear
        self._hearing = Hearing(recipients, events)
        self._recorder = Recorder(vault, recipients, ledger, events, in_flight, grants_refused)
        self._lifting = Lifting(self._recorder)
        self._merging = Merging(self._recorder)
        self._erasing = Erasing(self._recorder)
        self._releasing = Releasing(self._recorder)
        self._withdrawing = Withdrawing(self._recorder, self.record, self.policies)

    async def purposes(self, tx: Tx, workspace_id: UUID) -> Purposes:
        """The purposes of a workspace, by key, as they are now: archived ones too."""
        return (await purposes_of(tx, [workspace_id]))[workspace_id]

    async def verdicts(
        self, tx: Tx, questions: Sequence[Question], purposes: Mapping[UUID, Purposes] | None = None
    ) -> list[Verdict]:
        """The answer to each question as of now, in order; questions may span workspaces.

        `purposes` of their sides, where the caller has just read them. A gate leaves that out: it asks in statements
        that begin after it holds the policies and the recipients' locks.
        """
        if not questions:
            return []
        used = {(one.workspace_id, one.purpose) for one in questions}
        known = purposes or await purposes_of(tx, {side for side, _ in used})
        await note_used(tx, known, used)
        return await asking.answer(tx, self._recipients, questions, known)

    async def hold_policies(self, tx: Tx, sides: Collection[UUID]) -> None:
        """Let purposes and policies of these sides stay as they are until the transaction ends; before other locks."""
        await policy_lock.hold(tx, sides)

    async def check(self, tx: Tx, workspace_id: WorkspaceId, asks: Sequence[Ask]) -> list[Verdict | HubError]:
        """What a gate would say now, in order; where no identifier is named, about the one a send would choose."""
        purposes = await self.purposes(tx, workspace_id)
        return await asking.check(tx, self._recipients, workspace_id, asks, purposes) if asks else []

    async def refusal(self, tx: Tx, workspace_id: WorkspaceId, new: NewDecision) -> HubError | None:
        """Why this decision cannot be recorded, whoever it is about; None where it can."""
        return refusal(new, await self.purposes(tx, workspace_id), tx.now) or wrong_kind(new)

    async def contact_state(
        self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[Recipient]
    ) -> dict[UUID, dict[str, Any]]:
        """The traits of each person that follow from consent to marketing, by the words of customer-data platforms.

        Two statements for all, and of the channels that a person has an address of.
        """
        return await contact.states(tx, workspace_id, people, await self.purposes(tx, workspace_id))

    async def record(
        self, tx: Tx, workspace_id: WorkspaceId, decisions: Sequence[NewDecision], *, news_only: bool = False
    ) -> list[Recorded | HubError]:
        """What became of each decision, in order; a refusal where it cannot be recorded. At most 256.

        Those about one person apply one after the other. Entries, state and the signed tree that holds them commit
        with the transaction. Waits for the recipients' locks. With `news_only`, a restriction that says what the
        ledger has, and would change nothing, leaves no entry: its reason is `stated_already`. What the policies of the
        side add to a restriction are entries of their own behind it. They are those of when it began: a change of them
        that is acknowledged later may not count for it, one that was acknowledged before does.
        """
        if not decisions:
            return []
        purposes = await self.purposes(tx, workspace_id)
        await note_used(tx, {workspace_id: purposes}, {(workspace_id, new.purpose) for new in decisions})
        opts_out = any(new.decision in RESTRICTIONS for new in decisions)
        policies = await self._over(tx, workspace_id, purposes) if opts_out else Policies(purposes)
        return await self._recorder.record(tx, workspace_id, policies, decisions, news_only=news_only)

    async def policies(self, tx: Tx, workspace_id: WorkspaceId) -> Policies:
        """The purposes of a side and what it says about what an opt-out reaches, as they are now."""
        return await self._over(tx, workspace_id, await self.purposes(tx, workspace_id))

    async def _over(self, tx: Tx, workspace_id: WorkspaceId, purposes: Purposes) -> Policies:
        """The policies of a side over its purposes."""
        scoped = any(one.opt_out_scope is OptOutScope.BRAND for one in purposes.values())
        default = (await brands.brand(tx, workspace_id, None)).key if scoped else ""
        return Policies(purposes, default, (await settings.read(tx, workspace_id))[0].cross_channel)

    async def record_signals(
        self, tx: Tx, workspace_id: WorkspaceId, signals: Sequence[RecipientSignal]
    ) -> list[Recorded | HubError | None]:
        """What became of each signal of a vendor, in order; None where it decides nothing.

        For the transaction that stores the callback or the answer that carried it: the decision is durable before the
        vendor gets its answer. Of a refused one the log says so (`signal.refused`): nothing a vendor says is dropped.
        What the vendor did not say the person's own words may: keywords are told of, and noted to be answered.
        """
        if not signals:
            return []
        policies, _ = await settings.read(tx, workspace_id)
        purposes = await self.purposes(tx, workspace_id)
        heard = [understood(one, policies.keywords) for one in signals]
        meant = [_meaning(self._recipients, workspace_id, one, policies.stop_scope, purposes) for one in heard]
        # Whoever asks for help is looked up before the head of the ledger is locked: it is the last of the locks.
        asked = [ref for one, (ref, _) in zip(heard, meant, strict=True) if ref and one.signal is Signal.HELP]
        askers = await self._hearing.askers(tx, workspace_id, asked)
        decisions = [new for _, new in meant if isinstance(new, NewDecision)]
        recorded = iter([one for some in batched(decisions) for one in await self.record(tx, workspace_id, some)])
        became = [next(recorded) if isinstance(new, NewDecision) else new for _, new in meant]
        told = list(zip(heard, [ref for ref, _ in meant], became, strict=True))
        refused = [signal_refused(workspace_id, signal, one) for signal, _, one in told if isinstance(one, HubError)]
        if refused:
            await self._events.append(tx, refused)
        await self._hearing.note(tx, workspace_id, told, askers)
        unclear = [UnclearReply(one, it) for one, _, it in told if one.unclear and isinstance(it, Recorded)]
        if unclear:
            await self._replies_unclear(tx, workspace_id, unclear)
        return became

    async def withdraw(
        self, tx: Tx, workspace_id: WorkspaceId, said: Sequence[Withdrawal]
    ) -> list[list[Recorded | HubError]]:
        """Restrict addresses named by their hashes, and whoever has each; where nobody has, the hash alone.

        For each, in order, what became of what was news, where somebody has it: what stands already leaves no second
        entry.
        """
        return await self._withdrawing.withdraw(tx, workspace_id, said)

    async def keywords(self, tx: Tx, workspace_id: WorkspaceId, keyword_ids: Sequence[UUID]) -> list[Received]:
        """Those of the keywords that are still to be answered."""
        return await keywords.read(tx, workspace_id, keyword_ids) if keyword_ids else []

    async def brand(self, tx: Tx, workspace_id: WorkspaceId, key: str | None) -> Brand:
        """The brand of this key; the default one of the side where it names none, or none any more."""
        try:
            return await brands.brand(tx, workspace_id, key)
        except NotFound:
            return await brands.brand(tx, workspace_id, None)

    async def join(self, tx: Tx, workspace_id: WorkspaceId, why: Because) -> Joined:
        """Let what counted for one person count for another, both locked; the more restrictive verdict wins.

        Which restrictions reach further by that is said in the ledger, by entries of method `merge`.
        """
        return await self._merging.join(tx, workspace_id, await self.purposes(tx, workspace_id), why)

    async def attach(self, tx: Tx, workspace_id: WorkspaceId, why: Because) -> Joined:
        """As `join`, for somebody known only by an address."""
        return await self._merging.attach(tx, workspace_id, why)

    async def part(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        why: Because,
        joined: Joined,
        others: Sequence[Joined],
        hashes: Collection[bytes],
    ) -> None:
        """Take a merge back: each person's history is their own again, by entries of method `split` where it is needed.

        Of what was said in between, a grant goes with its identifier (`hashes` go back), and a restriction of the
        person holds for both. `others` are the merges into the same recipient that stay.
        """
        purposes = await self.purposes(tx, workspace_id)
        await self._merging.part(tx, workspace_id, purposes, why, joined, others, hashes)

    async def proofs(self, tx: Tx, workspace_id: WorkspaceId, entry_ids: Sequence[UUID]) -> list[Proof]:
        """The record and the key of each entry that can still be opened, for keeping them apart."""
        return await self._erasing.proofs(tx, workspace_id, entry_ids)

    async def erase(
        self, tx: Tx, workspace_id: WorkspaceId, person: Person, actor: str, kept: Collection[bytes]
    ) -> int:
        """End what counts for a person who is locked, but for their refusals at the addresses kept, by hash alone.

        How many entries lost whom they were about. Their keys must be destroyed after this, in the same transaction.
        """
        purposes = await self.purposes(tx, workspace_id)
        await naming.forget(tx, workspace_id, person.ids, [one.hash for one in person.identifiers])
        return await self._erasing.erase(tx, workspace_id, purposes, person, actor, kept)

    async def decided(
        self, tx: Tx, workspace_id: WorkspaceId, recipient_ids: Sequence[UUID], since: datetime
    ) -> set[UUID]:
        """Those people about whom anything was recorded since a time."""
        return await store.decided(tx, workspace_id, recipient_ids, since)

    async def entries(
        self, tx: Tx, workspace_id: WorkspaceId, recipient_ids: Sequence[UUID], after: int, limit: int
    ) -> list[tuple[KeptEntry, dict[str, Any] | None]]:
        """The entries that count for people behind an ordinal, in order, each with what the ledger committed to.

        None for one whose record does not open any more: whom it was recorded about was erased.
        """
        found = await store.of_people(tx, workspace_id, recipient_ids, after, limit)
        opened = await self.opened(tx, workspace_id, found)
        return [(one, opened.get(one.id)) for one in found]

    async def opened(
        self, tx: Tx, workspace_id: WorkspaceId, entries: Sequence[KeptEntry]
    ) -> dict[UUID, dict[str, Any]]:
        """What the ledger committed to; entries whose records do not open any more are left out."""
        subjects = {one.subject_id for one in entries if one.subject_id and one.sealed}
        keys = await self._recorder.vault.subjects(tx, workspace_id, subjects) if subjects else {}
        found = {one.id: _opened(workspace_id, one, keys) for one in entries}
        return {entry: record for entry, record in found.items() if record is not None}

    async def records(self, tx: Tx, workspace_id: WorkspaceId, entry_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
        """What the ledger committed to, of those entries whose people were not erased."""
        found = await store.sealed(tx, workspace_id, entry_ids) if entry_ids else []
        keys = await self._recorder.vault.subjects(tx, workspace_id, {one.subject_id for one in found})
        return {
            one.id: msgspec.json.decode(key.open(one.sealed, record.context(workspace_id, one.id)))
            for one in found
            if (key := keys.get(one.subject_id))
        }

    async def standing(
        self, tx: Tx, workspace_id: WorkspaceId, hashes: Sequence[bytes], people: Sequence[UUID]
    ) -> list[Standing]:
        """What stands for identifiers (hash) and for people."""
        return await store.around_decisions(tx, workspace_id, hashes, people)

    async def blocks(self, tx: Tx, workspace_id: WorkspaceId, hashes: Collection[bytes]) -> dict[bytes, frozenset[str]]:
        """Our senders that a vendor refuses to send from, by the identifier that it blocks."""
        found = await store.blocks(tx, [(workspace_id, one) for one in hashes]) if hashes else {}
        return {hash_: senders for (_, hash_), senders in found.items()}

    async def lift(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        entry_id: UUID,
        recipient_id: UUID,
        identifier: Identifier | None,
        reason: str,
        actor: str,
    ) -> UUID:
        """End a restriction of a person who is locked, by an entry that names it; nothing is allowed by that."""
        purposes = await self.purposes(tx, workspace_id)
        return await self._lifting.lift(tx, workspace_id, purposes, entry_id, recipient_id, identifier, reason, actor)

    async def released(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_id: RecipientId,
        hashes: Collection[bytes],
        why: str,
        actor: str | None = None,
    ) -> None:
        """End what a person granted for identifiers (hash) that are about to be no longer theirs, or of no use.

        The rows of the person and of whoever gets them are locked. Restrictions stay: they follow the identifier.
        """
        purposes = await self.purposes(tx, workspace_id)
        await self._releasing.release(tx, workspace_id, purposes, recipient_id, hashes, why, actor)

    async def refreshed(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_id: RecipientId,
        tokens: Sequence[tuple[bytes, bytes]],
        actor: str | None = None,
    ) -> None:
        """Let what was said about push tokens count for those of the person that took their places (old, new)."""
        purposes = await self.purposes(tx, workspace_id)
        await self._releasing.refresh(tx, workspace_id, purposes, recipient_id, tokens, actor)

    async def absorbed(self, tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId) -> None:
        """Let what was recorded about an address-only recipient count for the one it became part of."""
        await recording.absorb(tx, workspace_id, from_id, to_id)


def _meaning(
    recipients: Recipients, workspace_id: WorkspaceId, signal: RecipientSignal, scope: StopScope, purposes: Purposes
) -> tuple[Ref | None, NewDecision | HubError | None]:
    """Whom a signal is from, and the decision it is."""
    if signal.signal is None:
        return None, None
    named = RefObject(email=signal.address) if "@" in signal.address else RefObject(phone=signal.address)
    try:
        address = recipients.ref(workspace_id, named, "/address")
        return address, decision_of(signal, address, scope, purposes)
    except HubError as refusal:
        return None, refusal


def _opened(workspace_id: WorkspaceId, one: KeptEntry, keys: Mapping[UUID, Key]) -> dict[str, Any] | None:
    key = keys.get(one.subject_id) if one.subject_id else None
    if key is None or one.sealed is None:
        return None
    opened: dict[str, Any] = msgspec.json.decode(key.open(one.sealed, record.context(workspace_id, one.id)))
    return opened


def batched(decisions: Sequence[NewDecision]) -> Iterator[Sequence[NewDecision]]:
    """As many at once as the ledger takes: one body of a vendor that collects its events may hold more."""
    return (decisions[first : first + MOST] for first in range(0, len(decisions), MOST))


def signal_refused(workspace_id: WorkspaceId, signal: RecipientSignal, error: HubError) -> Event:
    """What the log says of a signal that no decision could be made of."""
    return Event(
        workspace_id=workspace_id,
        type="signal.refused",
        data={
            "signal": signal.signal,
            "channel": signal.channel,
            "provider": signal.source,
            "account_id": signal.actor,
            "code": error.code,
            **(signal.evidence or {}),
        },
        occurred_at=signal.occurred_at,
    )
