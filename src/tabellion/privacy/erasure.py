"""Carrying out an erasure: step by step, each in batches, each going on where it was after a crash.

The step `erase` is the point of no return, and the only one that must be whole: what the person refused goes on
standing by hash, proofs that messages relied on are put aside, the journal outside the database learns of it, and the
person's keys are destroyed. From then on everything sealed for them is unreadable; what follows tidies up.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from tabellion.access.service import audit
from tabellion.consent.service import Consent
from tabellion.consent.types import GRANTS
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events import service as log
from tabellion.events.service import EventLog
from tabellion.events.types import START, Cursor, Event
from tabellion.identity.queue import Queue
from tabellion.identity.service import Identity
from tabellion.ledger import ordinals
from tabellion.messages.erasing import Erasing as MessagesErasing
from tabellion.messages.store import Relied
from tabellion.privacy import regulation_store as store
from tabellion.privacy.certificates import Certificates
from tabellion.privacy.idle import RETENTION, Idle
from tabellion.privacy.journal import Erased, Journal
from tabellion.privacy.legal_holds import LegalHolds
from tabellion.privacy.orders import OPEN, Progress, Regulation, State, Step, System, SystemState, Type
from tabellion.privacy.proof_store import HeldProof
from tabellion.privacy.proofs import Proofs
from tabellion.privacy.service import Retention
from tabellion.recipients.erasing import Erasing as RecipientsErasing
from tabellion.recipients.erasing import Person
from tabellion.webhooks.erasing import Erasing as WebhooksErasing

BATCH: Final = 1_000
"""Messages of one transaction."""
SETTLE: Final = timedelta(seconds=65)
"""How long after the keys are gone the tidying begins: a process keeps a key in memory for a minute."""
ACTOR: Final = "hub"


@dataclass(frozen=True)
class Erasure:
    vault: Vault
    journal: Journal
    certificates: Certificates
    install_id: UUID
    recipients: RecipientsErasing
    consent: Consent
    identity: Identity
    queue: Queue
    messages: MessagesErasing
    webhooks: WebhooksErasing
    proofs: Proofs
    holds: LegalHolds
    retention: Retention
    idle: Idle
    events: EventLog

    async def restrict(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> int:
        """What an erasure does at once: nothing is sent to the person any more. How many messages were cancelled."""
        await self.recipients.restrict(tx, workspace_id, people)
        return await self.messages.cancel(tx, workspace_id, people, BATCH)

    async def go_on(self, tx: Tx, order: Regulation) -> tuple[Regulation, timedelta | None]:
        """The order after its next batch, stored; and how long to wait for the one after, None where there is none."""
        after = await self._step(tx, order)
        await store.write(tx, after)
        if after.state is not State.RUNNING:
            return after, None
        settling = (order.progress.step, after.progress.step) == (Step.ERASE, Step.MESSAGES)
        return after, SETTLE if settling else timedelta(0)

    async def _step(self, tx: Tx, order: Regulation) -> Regulation:
        match order.progress.step:
            case Step.SEARCH:
                return await self._search(tx, order)
            case Step.ERASE:
                return await self._erase(tx, order)
            case Step.MESSAGES:
                return await self._messages(tx, order)
            case Step.CALLBACKS:
                return await self._callbacks(tx, order)
            case Step.EVENTS:
                return await self._events(tx, order)
            case Step.CERTIFY:
                return await self.certify(tx, _done(order, tx.now))

    async def _search(self, tx: Tx, order: Regulation) -> Regulation:
        person = await self._erasable(tx, order)
        if isinstance(person, Regulation):
            return person
        after = UUID(order.progress.cursor) if order.progress.cursor else None
        cursor, found = await self.webhooks.search(tx, WorkspaceId(order.workspace_id), person.identifiers, after)
        order = replace(order, state=State.RUNNING, recipient_ids=person.ids)
        order = _counted(order, "callbacks", SystemState.PENDING, tx.now, erased=found)
        return _next(order, cursor.hex if cursor else None, Step.ERASE)

    async def _erase(self, tx: Tx, order: Regulation) -> Regulation:
        person = await self._erasable(tx, order)
        if isinstance(person, Regulation):
            return person
        if await self.messages.cancel(tx, WorkspaceId(order.workspace_id), person.ids, BATCH) == BATCH:
            return order
        order = replace(
            order, recipient_ids=person.ids, erased_at=tx.now, backups_expire_at=self.vault.backups_expire_at(tx.now)
        )
        return _next(await self.destroy(tx, order, person), None, Step.MESSAGES)

    async def _erasable(self, tx: Tx, order: Regulation) -> Person | Regulation:
        """The person, locked, where they may be erased now; else the order as it waits or ends."""
        side = WorkspaceId(order.workspace_id)
        person = await self.recipients.held(tx, side, order.recipient_id)
        if person is None:
            return await self._vanished(tx, order)
        if await self.holds.stand(tx, side, person.ids):
            return await self._block(tx, order)
        if order.requested_by == RETENTION and not await self.idle.still(tx, side, person.ids):
            return await self._spare(tx, order, person)
        return person

    async def destroy(self, tx: Tx, order: Regulation, person: Person, known: Collection[bytes] = ()) -> Regulation:
        """The part that cannot be taken back; the journal knows before the database does.

        `known` are hashes of the person's identifiers beside those they have now.
        """
        side, keep = WorkspaceId(order.workspace_id), order.options.keep_opt_outs
        hashes = sorted({*known, *(one.hash for one in person.identifiers)}) if keep else []
        held = await self._put_aside(tx, side, order.id, person)
        vendors = await self._vendors(tx, side, person.ids)
        entries = await self.consent.erase(tx, side, person, ACTOR, hashes)
        await self.identity.forget(tx, side, person.ids)
        await self.queue.forget(tx, side, person.ids)
        await self.recipients.erase(tx, side, person.ids, hashes, order.id)
        await self.journal.append([journaled(order, hashes)])
        await audit(tx, side, ACTOR, "recipient.erased", order.shown, {"ids": len(person.ids)})
        order = _counted(order, "recipients", SystemState.DONE, tx.now, identifiers=len(person.identifiers))
        order = _counted(order, "identity", SystemState.DONE, tx.now, ids=len(person.ids))
        order = _counted(order, "consent", SystemState.DONE, tx.now, entries=entries, opt_outs_kept=keep)
        order = _counted(order, "proofs", SystemState.DONE, tx.now, held=len(held))
        return replace(order, systems={**order.systems, **vendors})

    async def _put_aside(self, tx: Tx, side: WorkspaceId, regulation_id: UUID, person: Person) -> Sequence[HeldProof]:
        """Hold the proofs of what messages to the person relied on. Of somebody nobody can read there are none."""
        if not person.identifiers:
            return []
        relied = await self.messages.relied_on(tx, side, person.ids)
        policy = await self.retention.policy(tx, side)
        until = {entry: at for entry, at in _needed(relied, policy.proof_days).items() if at > tx.now}
        proofs = await self.consent.proofs(tx, side, sorted(until))
        return await self.proofs.hold(tx, side, regulation_id, [one for one in proofs if _granted(one.record)], until)

    async def _vendors(self, tx: Tx, side: WorkspaceId, people: Sequence[UUID]) -> dict[str, System]:
        """The vendors that were handed something for the person: what they keep is theirs to end."""
        return {
            ids.show("acc", one.account_id): System(
                SystemState.MANUAL,
                {
                    "provider": one.provider,
                    "attempts": one.attempts,
                    "first_at": one.first_at,
                    "last_at": one.last_at,
                    "todo": "ask the vendor to erase what it keeps, or let its own retention end it; then say so",
                },
                tx.now,
            )
            for one in await self.messages.reached_through(tx, side, people)
        }

    async def _messages(self, tx: Tx, order: Regulation) -> Regulation:
        after = UUID(order.progress.cursor) if order.progress.cursor else None
        side = WorkspaceId(order.workspace_id)
        page = await self.messages.sweep(tx, side, order.recipient_ids, after, BATCH)
        order = _counted(order, "messages", SystemState.PENDING, tx.now, emptied=len(page))
        return _next(order, page[-1].hex if len(page) == BATCH else None, Step.CALLBACKS, "messages", tx.now)

    async def _callbacks(self, tx: Tx, order: Regulation) -> Regulation:
        after = UUID(order.progress.cursor) if order.progress.cursor else None
        side = WorkspaceId(order.workspace_id)
        cursor, found = await self.webhooks.sweep(tx, side, order.recipient_ids, after)
        order = _counted(order, "callbacks", SystemState.PENDING, tx.now, erased=found)
        return _next(order, cursor.hex if cursor else None, Step.EVENTS, "callbacks", tx.now)

    async def _events(self, tx: Tx, order: Regulation) -> Regulation:
        after = Cursor.read(order.progress.cursor) if order.progress.cursor else START
        cursor, found = await log.unlink(tx, WorkspaceId(order.workspace_id), order.recipient_ids, after)
        order = _counted(order, "events", SystemState.PENDING, tx.now, unlinked=found)
        return _next(order, cursor.shown() if cursor else None, Step.CERTIFY, "events", tx.now)

    async def certify(self, tx: Tx, order: Regulation) -> Regulation:
        """The order with its certificate, signed anew; what was done is said in the log once."""
        held = await self.proofs.of(tx, WorkspaceId(order.workspace_id), order.id)
        hashes = await self.recipients.kept(tx, WorkspaceId(order.workspace_id), order.id)
        signed = await self.certificates.sign(tx, claims(self.install_id, order, held, len(hashes)))
        if order.certificate is None:
            await self.events.append(tx, [event(order, "done")])
        return replace(order, certificate=signed)

    async def _block(self, tx: Tx, order: Regulation) -> Regulation:
        """A legal hold stands: the order waits for its end, and then begins anew: callbacks will have come in.

        Nothing is sent to the person meanwhile.
        """
        await self.events.append(tx, [event(order, "blocked", reason="legal_hold")])
        return replace(order, state=State.BLOCKED, progress=Progress())

    async def _spare(self, tx: Tx, order: Regulation, person: Person) -> Regulation:
        """Somebody idle came back before they were erased: everything is as it was."""
        side = WorkspaceId(order.workspace_id)
        others = await store.of_person(tx, side, person.ids, [*OPEN, State.IN_FORCE])
        if not any(one.id != order.id and one.type in (Type.ERASE, Type.RESTRICT) for one in others):
            await self.recipients.release(tx, side, person.ids)
        order = replace(order, state=State.CANCELLED, cancelled_by=ACTOR, cancelled_at=tx.now)
        await self.events.append(tx, [event(order, "cancelled", reason="recipient_not_idle")])
        return order

    async def _vanished(self, tx: Tx, order: Regulation) -> Regulation:
        """Somebody else erased the person meanwhile: there is nothing left to do."""
        await self.events.append(tx, [event(order, "cancelled", reason="recipient_erased")])
        return replace(order, state=State.CANCELLED, cancelled_by=ACTOR, cancelled_at=tx.now)


# pure


def _next(
    order: Regulation, cursor: str | None, then: Step, system: str | None = None, now: datetime | None = None
) -> Regulation:
    """The order at the next batch of its step, or at its next step, with that system done."""
    if cursor is not None:
        return replace(order, progress=Progress(order.progress.step, cursor))
    if system is not None:
        standing = order.systems[system]
        order = replace(order, systems={**order.systems, system: replace(standing, state=SystemState.DONE, at=now)})
    return replace(order, progress=Progress(then))


def _done(order: Regulation, now: datetime) -> Regulation:
    return replace(order, state=State.DONE, done_at=now)


def _counted(order: Regulation, system: str, state: SystemState, now: datetime, **counts: int) -> Regulation:
    """The order with more done in one system."""
    before = order.systems.get(system, System(state)).detail
    detail = {name: before.get(name, 0) + number for name, number in counts.items()}
    return replace(order, systems={**order.systems, system: System(state, {**before, **detail}, now)})


def _needed(relied: Sequence[Relied], days: Callable[[str], int]) -> dict[UUID, datetime]:
    """Until when each consent entry may have to be proved: so long after the last message that relied on it."""
    until: dict[UUID, datetime] = {}
    for one in relied:
        entry, end = ids.parse("cns", one.entry), one.last_at + timedelta(days=days(one.purpose))
        until[entry] = max(end, until.get(entry, end))
    return until


def _granted(record: bytes) -> bool:
    """Whether a committed record is one that allowed something."""
    return msgspec.json.decode(record)["decision"] in GRANTS


def journaled(order: Regulation, hashes: Sequence[bytes]) -> Erased:
    assert order.erased_at is not None
    return Erased(
        workspace_id=order.workspace_id,
        regulation_id=order.id,
        recipient_ids=order.recipient_ids,
        hashes=hashes,
        requested_by=order.requested_by,
        verified_by=order.verified_by,
        approved_by=order.approved_by,
        approved_at=order.approved_at,
        created_at=order.created_at,
        erased_at=order.erased_at,
    )


def claims(install_id: UUID, order: Regulation, held: Sequence[HeldProof], hashes: int) -> dict[str, Any]:
    """What a certificate states."""
    return {
        "iss": f"tabellion:{install_id.hex}",
        "jti": order.shown,
        "iat": int(order.done_at.timestamp()) if order.done_at else 0,
        "type": order.type,
        "recipient": ids.show("rcp", order.recipient_id),
        "ids": [ids.show("rcp", one) for one in order.recipient_ids],
        "requested_at": order.created_at,
        "requested_by": order.requested_by,
        "verified_by": order.verified_by,
        "approved_by": order.approved_by,
        "erased_at": order.erased_at,
        "done_at": order.done_at,
        "backups_expire_at": order.backups_expire_at,
        "systems": order.systems,
        "held": [
            {
                "id": ids.show("prf", one.id),
                "what": "proof of a consent that messages relied on",
                "purpose": one.purpose,
                **ordinals.told(one.ordinal),
                "until": one.held_until,
            }
            for one in held
        ],
        "kept": {"opt_out_hashes": hashes, "why": "so that no import brings the person back" if hashes else None},
    }


def event(order: Regulation, word: str, **more: Any) -> Event:
    """`regulation.created`, `.approved`, `.blocked`, `.done`, `.cancelled`, `.overdue`."""
    data = {"regulation": {"id": order.shown, "type": order.type, "state": order.state}, **more}
    if order.erased_at is None:
        data["recipient"] = {"id": ids.show("rcp", order.recipient_id)}
    person = RecipientId(order.recipient_id) if order.erased_at is None else None
    return Event(WorkspaceId(order.workspace_id), f"regulation.{word}", data, recipient_id=person)
