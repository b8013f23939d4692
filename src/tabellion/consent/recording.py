"""Recording a batch of decisions: place and lock, read, decide in order, write, append to the ledger, answer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from tabellion.consent import record as records
from tabellion.consent import rules, schemes, store
from tabellion.consent.batch import Batch, Written
from tabellion.consent.notices import naming
from tabellion.consent.notices.types import Named as NamedNotice
from tabellion.consent.placing import erased, place
from tabellion.consent.policies import Policies, widened
from tabellion.consent.types import (
    ANY,
    GRANTS,
    RESTRICTIONS,
    STATED,
    Covered,
    Decision,
    GrantsRefused,
    Incoming,
    InFlight,
    Kept,
    NewDecision,
    Placed,
    Purposes,
    Rank,
    Recorded,
    RefusedGrant,
    Scope,
)
from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, Unavailable
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.ledger import ordinals
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Appended, Leaf, LogId
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Named, NewRecipient

LOG: Final = "consent"
MOST: Final = 256
"""Entries that the ledger takes at once."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """What recording needs. The transaction, the workspace and its purposes come with each batch."""

    vault: Vault
    recipients: Recipients
    ledger: Ledger
    events: EventLog
    in_flight: InFlight
    grants_refused: GrantsRefused

    async def record(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        policies: Policies,
        decisions: Sequence[NewDecision],
        *,
        news_only: bool = False,
    ) -> list[Recorded | HubError]:
        """What became of each decision, in order; a refusal where it cannot be recorded."""
        known = policies.purposes
        answers: dict[int, Recorded | HubError] = {
            index: wrong for index, new in enumerate(decisions) if (wrong := records.refusal(new, known, tx.now))
        }
        wanted = {index: new for index, new in enumerate(decisions) if index not in answers}
        placed: dict[int, Placed] = {}
        for index, one in (await place(tx, self.recipients, workspace_id, wanted)).items():
            if isinstance(one, HubError):
                answers[index] = one
            else:
                placed[index] = one
        answers |= await self._decide(tx, workspace_id, policies, decisions, placed, news_only)
        return [answers[index] for index in range(len(decisions))]

    async def _decide(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        policies: Policies,
        decisions: Sequence[NewDecision],
        placed: Mapping[int, Placed],
        news_only: bool,
    ) -> dict[int, Recorded | HubError]:
        """The answers to decisions whose recipients are locked. All reading happens after the lock."""
        if not placed:
            return {}
        keys = await self.vault.subjects(tx, workspace_id, {one.scope.recipient_id for one in placed.values()})
        batch = await _around(tx, workspace_id, policies.purposes, placed.values(), news_only)
        log = await self.ledger.origin(tx, workspace_id, LOG)
        notices = await self._notices(tx, workspace_id, policies.purposes, decisions, placed)
        answers: dict[int, Recorded | HubError] = {}
        written: list[int] = []
        for index, one in sorted(placed.items()):
            known = one.scope.recipient_id in keys
            answer = _take(batch, decisions[index], one, log, tx, news_only, notices.get(index)) if known else erased()
            if answer is None:
                _widen(batch, policies, decisions[index], one, log, tx)
                written += [index] * (len(batch.written) - len(written))
            else:
                answers[index] = answer
        told = [(index, decisions[index], one) for index, one in answers.items() if isinstance(one, Recorded)]
        if batch.written:
            stored = await self._store(tx, workspace_id, policies.purposes, batch, keys, log)
            answers |= _warned(_gathered(written, stored), decisions, notices)
            await self._adopt(tx, workspace_id, written, decisions, placed, notices, keys)
            entries = zip(written, batch.written, stored, strict=True)
            told += [(index, one.new, recorded) for index, one, recorded in entries]
            if refused := _for_review(batch.written, stored):
                await self.grants_refused(tx, workspace_id, refused)
        in_order = sorted(told, key=lambda one: one[0])
        events = [_event(workspace_id, new, one) for _, new, one in in_order if one.reason != STATED]
        if events:
            await self.events.append(tx, events)
        return answers

    async def _notices(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        purposes: Purposes,
        decisions: Sequence[NewDecision],
        placed: Mapping[int, Placed],
    ) -> dict[int, NamedNotice]:
        """What each notice that a decision names turned out to be."""
        naming_it = {index: one for index, one in placed.items() if decisions[index].notice is not None}
        shown = {one.scope.recipient_id for index, one in naming_it.items() if _served(decisions[index])}
        merged = await self.recipients.merged(tx, workspace_id, shown)
        return await naming.named(tx, workspace_id, _asked(decisions, naming_it, purposes, merged))

    async def _adopt(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        written: Sequence[int],
        decisions: Sequence[NewDecision],
        placed: Mapping[int, Placed],
        notices: Mapping[int, NamedNotice],
        keys: Mapping[UUID, Key],
    ) -> None:
        """What was shown to nobody known was shown to who decided on it; a public key cannot say who that is."""
        adopted = {
            notices[index].adopts: placed[index].scope.recipient_id
            for index in written
            if index in notices and decisions[index].rank > Rank.PUBLIC_KEY
        }
        found = {served: person for served, person in adopted.items() if served is not None}
        if found:
            await naming.adopt(tx, self.vault, workspace_id, found, keys)

    async def state(
        self, tx: Tx, workspace_id: WorkspaceId, purposes: Purposes, batch: Batch, log: str
    ) -> list[Recorded]:
        """Record what the hub itself states, as the batch has it, in order, of the log its records name.

        The recipients are locked.
        """
        keys = await self.vault.subjects(tx, workspace_id, {one.scope.recipient_id for one in batch.written})
        stored = await self._store(tx, workspace_id, purposes, batch, keys, log)
        told = zip(batch.written, stored, strict=True)
        await self.events.append(tx, [_event(workspace_id, one.new, recorded) for one, recorded in told])
        return stored

    async def _store(
        self, tx: Tx, workspace_id: WorkspaceId, purposes: Purposes, batch: Batch, keys: Mapping[UUID, Key], log: str
    ) -> list[Recorded]:
        """Write what the batch came to. The ledger's head is the last row locked; entries need its numbers."""
        if batch.ended:
            await store.end(tx, workspace_id, batch.ended)
        if batch.restored:
            await store.restore(tx, workspace_id, batch.restored)
        await self._promote(tx, workspace_id, batch.written)
        sealed = [_sealed(workspace_id, one, keys) for one in batch.written]  # others wait while the head is locked
        appended, size = await self._append(tx, workspace_id, [_leaf(one, keys, tx) for one in batch.written], log)
        places = [one.ordinal for one in appended]
        written = batch.numbered(places)
        entries = [_entry(*one, tx) for one in zip(written, appended, sealed, strict=True)]
        await store.insert(tx, workspace_id, entries)
        if lifted := batch.lifted(places):
            await store.add_lifts(tx, workspace_id, lifted)
        if blocked := _blocked(written):
            await store.block(tx, workspace_id, blocked)
        if lifted_blocks := _unblocked(written):
            await store.lift_blocks(tx, workspace_id, lifted_blocks)
        undeliverable = await _undeliverable(tx, workspace_id, written)
        started = await self._started(tx, workspace_id, purposes, written)
        return [
            _recorded(one, leaf, size, deliverable=place not in undeliverable, started=started.get(place, ()))
            for place, (one, leaf) in enumerate(zip(written, appended, strict=True))
        ]

    async def _append(
        self, tx: Tx, workspace_id: WorkspaceId, leaves: Sequence[Leaf], log: str
    ) -> tuple[list[Appended], int]:
        """Where each leaf went, and the size of the tree that holds them all; as many at once as the ledger takes.

        Raises `Unavailable` where that is not the log which the records name: it was succeeded since they were made.
        """
        appended: list[Appended] = []
        size = 0
        for first in range(0, len(leaves), MOST):
            some, size = await self.ledger.append(tx, workspace_id, leaves[first : first + MOST], LOG)
            appended += some
        if any(self.ledger.name(LogId(workspace_id, LOG, one.generation)) != log for one in appended):
            raise Unavailable("ledger_succeeded", "the log got its successor just now; send this again")
        return appended, size

    async def _promote(self, tx: Tx, workspace_id: WorkspaceId, written: Sequence[Written]) -> None:
        """A recipient known only as an address becomes a full one when it grants something."""
        units = {
            one.scope.recipient_id: NewRecipient((Named(one.identifier.kind, one.identifier.value),))
            for one in written
            if one.address_only and one.identifier and one.outcome.applied and one.outcome.decision in GRANTS
        }
        if units:
            await self.recipients.upsert(tx, workspace_id, list(units.values()), absorbed=absorb, source="consent")

    async def _started(
        self, tx: Tx, workspace_id: WorkspaceId, purposes: Purposes, written: Sequence[Written]
    ) -> dict[int, Sequence[UUID]]:
        """For the place of each applied restriction, the attempts it came too late for."""
        places = [
            place for place, one in enumerate(written) if one.outcome.applied and one.outcome.decision in RESTRICTIONS
        ]
        if not places:
            return {}
        scopes = [written[place].scope for place in places]
        whole = {one.recipient_id for one in scopes if one.person_scope}
        merged = await self.recipients.merged(tx, workspace_id, whole)
        covered = [_covered(one, merged.get(one.recipient_id, ()), purposes) for one in scopes]
        return dict(zip(places, await self.in_flight(tx, workspace_id, covered), strict=True))


async def absorb(tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId) -> None:
    """Let what was recorded about an address-only recipient count for the one it became part of.

    Only for a caller that names one identifier, so that nobody is absorbed: no merge is recorded here.
    """
    await store.move(tx, workspace_id, from_id, to_id)


async def _around(tx: Tx, workspace_id: UUID, purposes: Purposes, placed: Collection[Placed], news_only: bool) -> Batch:
    """The state around decisions, read in statements that begin after their recipients are locked."""
    hashes = {one.scope.identifier_hash for one in placed if one.scope.identifier_hash}
    people = list({one.scope.recipient_id for one in placed})
    kept = await store.kept(tx, workspace_id, people) if news_only else frozenset[Kept]()
    starting = sorted({one.scope.identifier_hash for one in placed if one.starts and one.scope.identifier_hash})
    suspended = await store.suspended(tx, workspace_id, starting) if starting else {}
    standing = await store.around_decisions(tx, workspace_id, sorted(hashes), people)
    return Batch(purposes, tx.now, standing, kept, suspended)


def _served(new: NewDecision) -> bool:
    return new.notice is not None and new.notice.served is not None


def _asked(
    decisions: Sequence[NewDecision],
    placed: Mapping[int, Placed],
    purposes: Purposes,
    merged: Mapping[UUID, Sequence[UUID]],
) -> dict[int, naming.Asked]:
    """The notices that decisions name, under their places."""
    return {
        index: naming.Asked(
            notice.id,
            notice.version,
            notice.served,
            rules.line(purposes, decisions[index].purpose),
            frozenset({one.scope.recipient_id, *merged.get(one.scope.recipient_id, ())}),
            decisions[index].occurred_at,
        )
        for index, one in placed.items()
        if (notice := decisions[index].notice) is not None
    }


def _warned(
    stored: Mapping[int, Recorded], decisions: Sequence[NewDecision], notices: Mapping[int, NamedNotice]
) -> dict[int, Recorded]:
    """What was recorded, with what is to be said about its notice and evidence."""
    found = {}
    for index, one in stored.items():
        named = notices.get(index)
        said = (*(named.warnings if named else ()), *schemes.warnings(decisions[index]))
        found[index] = replace(one, warnings=said) if said else one
    return found


def _take(
    batch: Batch, new: NewDecision, placed: Placed, log: str, tx: Tx, news_only: bool, notice: NamedNotice | None
) -> Recorded | HubError | None:
    """Decide and take the decision into the batch: None. Or the answer where that leaves no entry."""
    incoming = _incoming(new, placed, tx, complete=bool(notice and notice.known) and schemes.complete(new))
    outcome = batch.decide(incoming)
    if outcome.ignored:
        return Recorded(placed.scope.recipient_id, outcome.decision, applied=False, reason=outcome.reason)
    if news_only and batch.stated(incoming, outcome):
        return Recorded(placed.scope.recipient_id, outcome.decision, outcome.applied, STATED)
    entry_id, told = ids.new(), notice.committed if notice else None
    try:
        record = records.committed(entry_id, log, placed, new, outcome, incoming.effective_at, tx.now, told)
    except HubError as refusal:
        return refusal
    batch.write(entry_id, new, incoming, placed, outcome, record)
    return None


def _widen(batch: Batch, policies: Policies, new: NewDecision, placed: Placed, log: str, tx: Tx) -> None:
    """Take in what the policies add to the decision that was taken in last, where it is an opt-out that applied."""
    last = batch.written[-1]
    if not last.outcome.applied or last.outcome.decision not in RESTRICTIONS:
        return
    for more, where in widened(policies, new, placed, last.standing.id):
        refused = _take(batch, more, where, log, tx, True, None)
        if isinstance(refused, HubError):
            raise refused


def _gathered(written: Sequence[int], stored: Sequence[Recorded]) -> dict[int, Recorded]:
    """The answer to each decision: of its own entry, with the attempts of what it brought, too."""
    found: dict[int, Recorded] = {}
    for index, one in zip(written, stored, strict=True):
        own = found.setdefault(index, one)
        if own is not one and one.in_flight:
            found[index] = replace(own, in_flight=tuple(dict.fromkeys((*own.in_flight, *one.in_flight))))
    return found


def _incoming(new: NewDecision, placed: Placed, tx: Tx, *, complete: bool) -> Incoming:
    return Incoming(
        scope=placed.scope,
        decision=new.decision,
        basis=new.basis,
        method=new.method,
        rank=new.rank,
        effective_at=rules.effective(new.decision, new.method, new.rank, new.occurred_at, tx.now),
        # A live restriction counts from its receipt, which is under the lock: no grant that stands by then is newer,
        # whatever the clocks of two processes say.
        time_known=new.occurred_at is not None and rules.imported(new.method, new.rank),
        complete=complete,
        assertable=bool(new.source and new.notice and new.occurred_at),
        expires_at=new.expires_at,
        confirm=new.confirm,
        addresses=placed.addresses,
    )


def _leaf(written: Written, keys: Mapping[UUID, Key], tx: Tx) -> Leaf:
    entry_id = written.standing.id
    key = keys[written.scope.recipient_id].derive(f"entry:{entry_id}")
    return Leaf(entry_id, "consent", key.hash(written.record), tx.now.date())


def _sealed(workspace_id: UUID, written: Written, keys: Mapping[UUID, Key]) -> bytes:
    key = keys[written.scope.recipient_id]
    return key.seal(written.record, records.context(workspace_id, written.standing.id))


def _entry(written: Written, leaf: Appended, sealed: bytes, tx: Tx) -> store.Entry:
    return store.Entry(
        standing=written.standing,
        leaf_hash=leaf.leaf_hash,
        subject_id=written.scope.recipient_id,
        identifier_kind=written.identifier.kind if written.identifier else None,
        source=written.new.source,
        recorded_at=tx.now,
        applied=written.outcome.applied,
        reason=written.outcome.reason,
        in_force=written.in_force,
        notice=written.new.notice.id if written.new.notice else None,
        notice_version=str(written.new.notice.version) if written.new.notice else None,
        sealed=sealed,
        ended_by=written.ended_by,
    )


def _blocked(written: Sequence[Written]) -> list[tuple[bytes, str, UUID]]:
    return [
        (one.scope.identifier_hash, one.new.vendor_block, one.standing.id)
        for one in written
        if one.new.vendor_block is not None and one.scope.identifier_hash
    ]


def _unblocked(written: Sequence[Written]) -> list[tuple[bytes, str]]:
    return [
        (one.scope.identifier_hash, one.new.vendor_unblock)
        for one in written
        if one.new.vendor_unblock is not None and one.scope.identifier_hash
    ]


async def _undeliverable(tx: Tx, workspace_id: UUID, written: Sequence[Written]) -> set[int]:
    """The places of applied grants whose number a vendor blocks."""
    grants = {
        place: (workspace_id, one.scope.identifier_hash)
        for place, one in enumerate(written)
        if one.scope.channel in rules.PHONE_CHANNELS
        and one.outcome.applied
        and one.outcome.decision in GRANTS
        and one.scope.identifier_hash
    }
    blocks = await store.blocks(tx, set(grants.values())) if grants else {}
    return {place for place, number in grants.items() if number in blocks}


def _covered(scope: Scope, merged: Sequence[UUID], purposes: Purposes) -> Covered:
    """What a restriction covers; attempts to whom its person once was, before a merge, among it."""
    return Covered(
        recipient_ids=(scope.recipient_id, *merged) if scope.person_scope else (),
        identifier_hash=scope.identifier_hash,
        channels=frozenset() if scope.channel == ANY else rules.channels_under(scope.channel),
        purposes=rules.purposes_under(purposes, scope.purpose),
    )


def _for_review(written: Sequence[Written], stored: Sequence[Recorded]) -> list[RefusedGrant]:
    """The grants that no rule may let through, and that somebody should look at."""
    return [
        RefusedGrant(one.new, recorded, one.identifier)
        for one, recorded in zip(written, stored, strict=True)
        if one.identifier is not None and rules.for_review(one.new.rank, one.outcome)
    ]


def _recorded(written: Written, leaf: Appended, size: int, *, deliverable: bool, started: Sequence[UUID]) -> Recorded:
    return Recorded(
        recipient_id=written.scope.recipient_id,
        decision=written.outcome.decision,
        applied=written.outcome.applied,
        reason=written.outcome.reason,
        id=written.standing.id,
        log_index=leaf.index,
        log=ordinals.log(leaf.ordinal),
        leaf_hash=leaf.leaf_hash,
        tree_size=size,
        deliverable=None if deliverable else False,
        in_flight=started,
        renews=written.renews,
    )


def _event(workspace_id: WorkspaceId, new: NewDecision, recorded: Recorded) -> Event:
    consent = {
        "id": ids.show("cns", recorded.id) if recorded.id else None,
        "log_index": recorded.log_index,
        **({"log": recorded.log} if recorded.log else {}),
        "channel": new.channel,
        "purpose": new.purpose,
        "decision": recorded.decision,
        "method": new.method,
        "source": new.source,
        "applied": recorded.applied,
        "reason": recorded.reason,
    }
    return Event(
        workspace_id=workspace_id,
        type=f"consent.{_happened(recorded)}",
        data={"recipient": {"id": ids.show("rcp", recorded.recipient_id)}, "consent": consent},
        recipient_id=RecipientId(recorded.recipient_id),
    )


def _happened(recorded: Recorded) -> str:
    if recorded.id is None:
        return "ignored"
    if recorded.applied or recorded.decision is Decision.PENDING:
        return recorded.decision.value
    return "refused"
