"""Use cases of regulations: order, approve, take back, tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.consent.service import Consent
from tabellion.consent.types import ANY, MARKETING, Decision, Method, NewDecision, Rank
from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.errors import Conflict, HubError, Invalid, NotFound
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.wake import Bell
from tabellion.events.service import EventLog
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Lane, NewJob
from tabellion.privacy import regulation_store as store
from tabellion.privacy.erasure import Erasure, event
from tabellion.privacy.idle import POLICY, RETENTION
from tabellion.privacy.jobs import EXECUTE
from tabellion.privacy.legal_holds import LegalHolds
from tabellion.privacy.orders import (
    CLOCK,
    DOWNLOAD,
    OPEN,
    UNDO,
    UNDONE,
    Gone,
    Held,
    NotCancellable,
    NotReady,
    Options,
    Pending,
    PrivacySettings,
    Regulation,
    State,
    System,
    SystemState,
    Type,
    UnknownRegulation,
    require_other,
)
from tabellion.recipients.erasing import Person
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Ref

BATCH: Final = 500


async def being_erased(tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> bool:
    """Whether there is an open order to erase one of the people."""
    return await store.being_erased(tx, workspace_id, people, list(OPEN))


class Order(msgspec.Struct, frozen=True):
    """What is asked for."""

    type: Type
    recipient: Ref
    verified_by: str
    due_at: datetime | None = None
    options: Options = Options()


@dataclass(frozen=True)
class Regulations:
    recipients: Recipients
    consent: Consent
    erasure: Erasure
    holds: LegalHolds
    events: EventLog
    bell: Bell | None = None

    async def order(self, tx: Tx, caller: Caller, asked: Order) -> Regulation:
        """Take an order on a person's data, do at once what is due at once, and schedule the rest. Audited.

        Raises `NotFound`; 409 where the same is ordered already, or a legal hold forbids what is to be immediate.
        """
        if asked.options.immediate:
            caller.require_compliance("an order without time to take it back")
        if asked.due_at is not None and asked.due_at <= tx.now:
            raise Invalid("invalid_request", "due_at lies in the past; leave it out, or name when it has to be done")
        return await self.order_as(tx, caller.workspace_id, caller.actor, asked)

    async def order_as(self, tx: Tx, workspace_id: WorkspaceId, actor: str, asked: Order) -> Regulation:
        """As `order`, of somebody who is no key: the command line."""
        person = await self._person(tx, workspace_id, asked.recipient)
        await self._refuse(tx, workspace_id, asked, person)
        return await self._take(tx, workspace_id, actor, asked, person)

    async def retire(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> Regulation | None:
        """Order the erasure of an idle recipient, by the side's retention policy. Audited.

        None where they are not idle any more, or something forbids it. Where erasures need a second key, it waits.
        """
        person = await self.erasure.recipients.held(tx, workspace_id, recipient_id)
        if person is None or not await self.erasure.idle.among(tx, workspace_id, [person.root]):
            return None
        asked = Order(Type.ERASE, Ref(id=person.root), POLICY, options=Options(immediate=True))
        return await self._take(tx, workspace_id, RETENTION, asked, person)

    async def room_to_retire(self, tx: Tx, workspace_id: WorkspaceId, most: int) -> int:
        """How many further orders of retention there may be, for `most` of them to be open at once."""
        return max(0, most - await store.count_open(tx, workspace_id, RETENTION))

    async def approve(self, tx: Tx, caller: Caller, regulation_id: UUID) -> Regulation:
        """Agree to an order that waits for it, as another key than the one that gave it. Audited."""
        order = await self._locked(tx, caller.workspace_id, regulation_id)
        if order.state is not State.AWAITING_APPROVAL:
            raise Conflict("regulation_not_waiting", f"the regulation is {order.state}; there is nothing to approve")
        require_other(caller, order.requested_by)
        execute_at = max(order.execute_at, tx.now)
        order = replace(
            order, state=State.SCHEDULED, approved_by=caller.actor, approved_at=tx.now, execute_at=execute_at
        )
        person = await self._person(tx, caller.workspace_id, Ref(id=order.recipient_id))
        await store.write(tx, order)
        await audit(tx, caller.workspace_id, caller.actor, "regulation.approved", order.shown, {})
        await self.events.append(tx, [event(order, "approved")])
        return await self._answered(tx, await self._begin(tx, order, person), person)

    async def cancel(self, tx: Tx, caller: Caller, regulation_id: UUID) -> Regulation:
        """Take an order back, or end a restriction. Audited. Raises 409 where it is carried out already."""
        people = await self._everyone(tx, caller.workspace_id, regulation_id)
        order = await self._locked(tx, caller.workspace_id, regulation_id)
        if order.state not in UNDONE:
            raise NotCancellable(order.state)
        order = replace(order, state=State.CANCELLED, cancelled_by=caller.actor, cancelled_at=tx.now)
        await store.write(tx, order)
        if order.type in (Type.ERASE, Type.RESTRICT):
            for one in people:
                await self._release(tx, caller.workspace_id, one)
        await audit(tx, caller.workspace_id, caller.actor, "regulation.cancelled", order.shown, {})
        await self.events.append(tx, [event(order, "cancelled", reason="taken_back")])
        return order

    async def report(self, tx: Tx, caller: Caller, regulation_id: UUID, system: str, note: str) -> Regulation:
        """Note that a system which the hub cannot reach has done its part. The certificate is signed anew. Audited."""
        order = await self._locked(tx, caller.workspace_id, regulation_id)
        standing = order.systems.get(system)
        if standing is None or standing.state is not SystemState.MANUAL:
            raise NotFound("system_not_found", "the regulation has no such system that somebody must see to")
        detail = {**standing.detail, "reported_by": caller.actor, "note": note}
        done = System(SystemState.DONE, {k: v for k, v in detail.items() if k != "todo"}, tx.now)
        order = replace(order, systems={**order.systems, system: done})
        order = await self.erasure.certify(tx, order) if order.certificate else order
        await store.write(tx, order)
        await audit(tx, caller.workspace_id, caller.actor, "regulation.reported", order.shown, {"system": system})
        return order

    async def read(self, tx: Tx, workspace_id: WorkspaceId, regulation_id: UUID) -> Regulation:
        """One order. Raises `NotFound`."""
        order = await store.read(tx, workspace_id, regulation_id)
        if order is None:
            raise UnknownRegulation(ids.show("reg", regulation_id))
        return order

    async def page(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        *,
        recipients: Sequence[UUID] | None,
        type: Type | None,
        state: State | None,
        before: UUID | None,
        limit: int,
    ) -> list[Regulation]:
        """Newest first, those older than `before`; `recipients` are the ids of one person."""
        return await store.page(
            tx, workspace_id, recipients=recipients, type=type, state=state, before=before, limit=limit
        )

    async def certificate(self, tx: Tx, workspace_id: WorkspaceId, regulation_id: UUID) -> str:
        """The signed statement of an erasure that is done. Raises 409 before."""
        order = await self.read(tx, workspace_id, regulation_id)
        if order.certificate is None:
            raise NotReady(f"the regulation is {order.state}; a certificate is made when an erasure is done")
        return order.certificate

    async def exported(self, tx: Tx, caller: Caller, regulation_id: UUID) -> Regulation:
        """The order whose export is being fetched, audited. Raises 409 before it is ready, 410 after its time."""
        order = await self._fetchable(tx, caller.workspace_id, regulation_id)
        await audit(tx, caller.workspace_id, caller.actor, "regulation.fetched", order.shown, {})
        return order

    async def evidence(self, tx: Tx, workspace_id: WorkspaceId, actor: str, regulation_id: UUID) -> Regulation:
        """The order whose export is given out as evidence, audited. Raises as `exported`, and 409 without a reason."""
        order = await self._fetchable(tx, workspace_id, regulation_id)
        if not order.options.reason:
            raise NotReady("the export was ordered without a reason, and evidence needs one; order it again with one")
        await audit(tx, workspace_id, actor, "regulation.evidence_begun", order.shown, {})
        return order

    async def released(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> None:
        """Go on with the orders about a person that waited for the end of a legal hold."""
        await self.recipients.lock(tx, [(workspace_id, RecipientId(recipient_id))], skip_locked=False)
        people = await self.recipients.meant(tx, workspace_id, Ref(id=recipient_id))
        if await self.holds.stand(tx, workspace_id, people):
            return
        for order in await store.of_person(tx, workspace_id, people, [State.BLOCKED]):
            await store.write(tx, replace(order, state=State.SCHEDULED))
            await self._enqueue(tx, order)

    async def settings(self, tx: Tx, workspace_id: WorkspaceId) -> tuple[PrivacySettings, datetime | None]:
        """How a side deals with orders, and since when; None where it is the default."""
        settings, updated_at = await store.settings(tx, workspace_id)
        return (msgspec.convert(settings, PrivacySettings) if settings else PrivacySettings()), updated_at

    async def set_settings(self, tx: Tx, caller: Caller, settings: PrivacySettings) -> None:
        """Set all of it. Audited."""
        caller.require_compliance("how orders are dealt with")
        told = msgspec.to_builtins(settings)
        await store.set_settings(tx, caller.workspace_id, told)
        await audit(tx, caller.workspace_id, caller.actor, "privacy_settings.set", "privacy_settings", told)

    async def watch(self, db: Database) -> int:
        """Say in the log which orders are overdue, each once; how many were."""
        total, found = 0, BATCH
        while found == BATCH:
            found = await db.run(self._overdue)
            total += found
        return total

    async def resume(self, db: Database) -> None:
        """Go on with the orders that waited for a legal hold whose time is over."""
        after: tuple[UUID, UUID] | None = None
        while page := await db.run(lambda tx, after=after: store.blocked(tx, after, BATCH)):  # type: ignore[misc]
            for side, _, person in page:
                await db.run(lambda tx, side=side, person=person: self.released(tx, WorkspaceId(side), person))  # type: ignore[misc]
            after = page[-1][:2]

    async def _overdue(self, tx: Tx) -> int:
        late = await store.become_overdue(tx, BATCH)
        await self.events.append(tx, [event(one, "overdue") for one in late])
        return len(late)

    async def _person(self, tx: Tx, workspace_id: WorkspaceId, ref: Ref) -> Person:
        """Whom a ref means, locked. An address may find another owner while the lock is waited for."""
        while True:
            [found] = await self.recipients.resolve(tx, workspace_id, [ref], create=False)
            if isinstance(found, HubError):
                raise found
            person = await self.erasure.recipients.held(tx, workspace_id, found.recipient_id)
            [again] = await self.recipients.resolve(tx, workspace_id, [ref], create=False)
            if isinstance(again, HubError):
                raise again
            if person is not None and again.recipient_id in person.ids:
                return person

    async def _fetchable(self, tx: Tx, workspace_id: WorkspaceId, regulation_id: UUID) -> Regulation:
        order = await self.read(tx, workspace_id, regulation_id)
        if order.type is not Type.EXPORT or order.done_at is None:
            raise NotReady(f"the regulation is a {order.type} and {order.state}; there is nothing to fetch")
        if order.done_at + DOWNLOAD <= tx.now:
            raise Gone(f"an export can be fetched for {DOWNLOAD.days} days; order it again")
        return order

    async def _refuse(self, tx: Tx, workspace_id: WorkspaceId, asked: Order, person: Person) -> None:
        standing = await store.of_person(tx, workspace_id, person.ids, [*OPEN, State.IN_FORCE])
        same = next((one for one in standing if one.type is asked.type), None)
        if same is not None and asked.type in (Type.ERASE, Type.RESTRICT):
            raise Pending(same.shown)
        immediate = asked.type is Type.ERASE and asked.options.immediate
        if immediate and await self.holds.stand(tx, workspace_id, person.ids):
            raise Held()

    async def _take(self, tx: Tx, workspace_id: WorkspaceId, actor: str, asked: Order, person: Person) -> Regulation:
        made = await self._made(tx, workspace_id, actor, asked, person)
        await store.insert(tx, made)
        # How it was verified is with the order: people write it, and it may name a person.
        detail = {"type": made.type, "recipient": ids.show("rcp", made.recipient_id)}
        await audit(tx, workspace_id, actor, "regulation.created", made.shown, detail)
        await self.events.append(tx, [event(made, "created")])
        if made.type is Type.ERASE:
            await self.erasure.restrict(tx, workspace_id, person.ids)
        if made.state is State.SCHEDULED:
            made = await self._begin(tx, made, person)
        return await self._answered(tx, made, person)

    async def _made(self, tx: Tx, workspace_id: WorkspaceId, actor: str, asked: Order, person: Person) -> Regulation:
        settings, _ = await self.settings(tx, workspace_id)
        waits = asked.type in settings.approvals
        undo = asked.type is Type.ERASE and not asked.options.immediate
        return Regulation(
            workspace_id=workspace_id,
            id=ids.new(),
            type=asked.type,
            state=State.AWAITING_APPROVAL if waits else State.SCHEDULED,
            recipient_id=person.root,
            recipient_ids=person.ids,
            requested_by=actor,
            verified_by=asked.verified_by,
            options=asked.options,
            created_at=tx.now,
            execute_at=tx.now + UNDO if undo else tx.now,
            due_at=asked.due_at or tx.now + CLOCK,
        )

    async def _begin(self, tx: Tx, order: Regulation, person: Person) -> Regulation:
        """Carry out what needs no batches, and have the rest carried out."""
        match order.type:
            case Type.ERASE:
                await self._enqueue(tx, order)
                return order
            case Type.RESTRICT:
                await self.erasure.recipients.restrict(tx, WorkspaceId(order.workspace_id), person.ids)
                return await self._end(tx, replace(order, state=State.IN_FORCE, done_at=tx.now))
            case Type.OBJECT:
                await self._object(tx, order)
                return await self._end(tx, replace(order, state=State.DONE, done_at=tx.now))
            case Type.EXPORT:
                return await self._end(tx, replace(order, state=State.DONE, done_at=tx.now))

    async def _answered(self, tx: Tx, order: Regulation, person: Person) -> Regulation:
        """The order, with what it came too late for where it stops what is sent."""
        if order.type is not Type.ERASE and order.state is not State.IN_FORCE:
            return order
        started = await self.erasure.messages.in_flight(tx, WorkspaceId(order.workspace_id), person.ids)
        return replace(order, in_flight=started)

    async def _end(self, tx: Tx, order: Regulation) -> Regulation:
        order = replace(order, systems={"hub": System(SystemState.DONE, at=tx.now)})
        await store.write(tx, order)
        await self.events.append(tx, [event(order, "done")])
        return order

    async def _object(self, tx: Tx, order: Regulation) -> None:
        """Record the person's objection, on every channel. Raises `Invalid` for a purpose there is none of."""
        decisions = [
            NewDecision(
                recipient=Ref(id=order.recipient_id),
                channel=ANY,
                purpose=purpose,
                decision=Decision.OBJECTED,
                basis=None,
                method=Method.API,
                source="regulation",
                rank=Rank.SECRET_KEY,
                actor=order.requested_by,
                evidence={"regulation": order.shown, "verified_by": order.verified_by},
            )
            for purpose in order.options.purposes or (MARKETING,)
        ]
        for one in await self.consent.record(tx, WorkspaceId(order.workspace_id), decisions):
            if isinstance(one, HubError):
                raise one

    async def _everyone(self, tx: Tx, workspace_id: WorkspaceId, regulation_id: UUID) -> list[UUID]:
        """Whom an order restricts, locked: a merge hands a restriction on, and a split leaves it with both."""
        order = await self.read(tx, workspace_id, regulation_id)
        people = await self.erasure.identity.ever_one_with(tx, workspace_id, order.recipient_ids)
        locked = await self.recipients.lock(tx, [(workspace_id, RecipientId(one)) for one in people], skip_locked=False)
        return sorted(set(locked.values()))

    async def _release(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> None:
        """End the restriction of a person, unless another order wants it."""
        person = await self.erasure.recipients.held(tx, workspace_id, recipient_id)
        if person is None:
            return
        standing = await store.of_person(tx, workspace_id, person.ids, [*OPEN, State.IN_FORCE])
        if not any(one.type in (Type.ERASE, Type.RESTRICT) for one in standing):
            await self.erasure.recipients.release(tx, workspace_id, person.ids)

    async def _locked(self, tx: Tx, workspace_id: WorkspaceId, regulation_id: UUID) -> Regulation:
        """The order under lock, after its person: the order of locks."""
        order = await self.read(tx, workspace_id, regulation_id)
        await self.recipients.lock(tx, [(workspace_id, order.recipient_id)], skip_locked=False)
        locked = await store.lock(tx, workspace_id, regulation_id)
        if locked is None:
            raise UnknownRegulation(ids.show("reg", regulation_id))
        return locked

    async def _enqueue(self, tx: Tx, order: Regulation) -> None:
        job = NewJob(
            WorkspaceId(order.workspace_id), EXECUTE, {"regulation": order.id.hex}, Lane.NORMAL, order.execute_at
        )
        await enqueue(tx, [job], self.bell)
