"""Use cases of the review queue: accept and reject. A review does what a person decides, and no more than rules allow.

The people an item concerns are locked first, then the item: an intake takes them in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

from tabellion.access.service import audit
from tabellion.consent.schemes import complete
from tabellion.consent.service import Consent
from tabellion.consent.types import Decision, NewDecision, Notice, Rank, RecipientSignal, Recorded
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.identity.clashes import Clash, clashes
from tabellion.identity.queue import Queue
from tabellion.identity.review_types import (
    Decided,
    Evidence,
    Grant,
    Identities,
    Reply,
    Review,
    ReviewDecided,
    ReviewStale,
    ReviewState,
    Told,
)
from tabellion.identity.service import Identity
from tabellion.identity.types import HUB, Rule
from tabellion.providers.base import Channel, Signal
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Kind, NewRecipient, Ref, Upserted


@dataclass(frozen=True, slots=True)
class Reviews:
    queue: Queue
    recipients: Recipients
    identity: Identity
    consent: Consent

    async def accept(
        self, tx: Tx, workspace_id: WorkspaceId, review_id: UUID, actor: str, reason: str | None
    ) -> Decided | ReviewStale:
        """What came of saying yes. `ReviewStale` is given back, not raised: that the item says so is to be committed.

        Raises `NotFound`, `ReviewDecided`, and what a merge or an upsert raises; the item stays open then.
        """
        told = await self.queue.read(tx, workspace_id, review_id)
        people = [(workspace_id, one) for one in told.review.recipients]
        await self.recipients.lock(tx, people, skip_locked=False)
        told = await self._open(tx, workspace_id, review_id)
        done = await self._do(tx, workspace_id, told, actor, reason)
        if isinstance(done, ReviewStale):
            await self.queue.decide(tx, workspace_id, told.review, ReviewState.SUPERSEDED, HUB, None)
            return done
        review = await self.queue.decide(tx, workspace_id, told.review, ReviewState.ACCEPTED, actor, reason)
        await _audited(tx, workspace_id, review, actor)
        return replace(done, review=review)

    async def reject(
        self, tx: Tx, workspace_id: WorkspaceId, review_id: UUID, actor: str, reason: str | None
    ) -> Review:
        """The item, which is not opened again for the same conflict. Raises `NotFound`, `ReviewDecided`."""
        told = await self._open(tx, workspace_id, review_id)
        review = await self.queue.decide(tx, workspace_id, told.review, ReviewState.REJECTED, actor, reason)
        await _audited(tx, workspace_id, review, actor)
        return review

    async def _open(self, tx: Tx, workspace_id: WorkspaceId, review_id: UUID) -> Told:
        """The item, locked and still to be decided."""
        told = await self.queue.lock(tx, workspace_id, review_id)
        if told.review.state is not ReviewState.OPEN:
            raise ReviewDecided(ids.show("rev", review_id), told.review.state)
        return told

    async def _do(
        self, tx: Tx, workspace_id: WorkspaceId, told: Told, actor: str, reason: str | None
    ) -> Decided | ReviewStale:
        match told.evidence:
            case None:
                return ReviewStale("somebody it concerns was erased")
            case Identities() as evidence:
                return await self._unite(tx, workspace_id, told.review, evidence, actor, reason)
            case Grant() as grant:
                return await self._record(tx, workspace_id, told.review, grant, actor)
            case Reply() as reply:
                return await self._stop(tx, workspace_id, told.review, reply)
            case _:
                assert_never(told.evidence)

    async def _unite(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        review: Review,
        evidence: Identities,
        actor: str,
        reason: str | None,
    ) -> Decided | ReviewStale:
        """Merge those in conflict, then apply what was brought."""
        [clash] = await clashes(tx, self.recipients, workspace_id, [evidence.brought])
        if clash is None or clash.people != sorted(review.recipients):
            return ReviewStale("the recipients are not in conflict as they were: one was merged, split or changed")
        first, *others = await self._all(tx, workspace_id, clash, review.source, actor)
        why, merges = reason or f"review {ids.show('rev', review.id)}", list[UUID]()
        for other in others:
            pair = Ref(id=first), Ref(id=other)
            merge = await self.identity.merge(tx, workspace_id, pair, why, actor, Rule.REVIEW)
            merges.append(merge.id)
            first = merge.into_id
        one = await self._upsert(tx, workspace_id, evidence.brought, review.source, actor)
        return Decided(review, one.recipient_id, merges)

    async def _all(self, tx: Tx, workspace_id: WorkspaceId, clash: Clash, source: str, actor: str) -> Sequence[UUID]:
        """Whom to make one. An external_id that nobody has becomes a recipient first: a split can take that back."""
        if clash.newcomer is None:
            return clash.full
        made = await self._upsert(tx, workspace_id, NewRecipient((clash.newcomer,)), source, actor)
        return [*clash.full, made.recipient_id]

    async def _upsert(self, tx: Tx, workspace_id: WorkspaceId, unit: NewRecipient, source: str, actor: str) -> Upserted:
        absorbed, upsert = self.identity.absorbed, self.recipients.upsert
        [one] = await upsert(tx, workspace_id, [unit], absorbed=absorbed, source=source, actor=actor, brought=True)
        if isinstance(one, HubError):
            raise one
        return one

    async def _record(
        self, tx: Tx, workspace_id: WorkspaceId, review: Review, grant: Grant, actor: str
    ) -> Decided | ReviewStale:
        """Record the grant as a secret key's own: the rules decide what that comes to, as for any other."""
        new = restated(grant, actor, review.id)
        [recorded] = await self.consent.record(tx, workspace_id, [new])
        if isinstance(recorded, HubError):
            return ReviewStale(f"the grant cannot be recorded any more: {recorded.detail}")
        return Decided(
            review,
            recorded.recipient_id,
            entry_id=recorded.id,
            decision=recorded.decision,
            applied=recorded.applied,
            because=recorded.reason,
        )

    async def _stop(self, tx: Tx, workspace_id: WorkspaceId, review: Review, reply: Reply) -> Decided | ReviewStale:
        """Record the STOP that the reply was: the person's own, by the words they wrote."""
        signal = RecipientSignal(
            signal=Signal.STOP,
            channel=Channel(reply.channel),
            address=reply.address,
            source=reply.source,
            actor=reply.account,
            sender=reply.sender,
            blocked_by_vendor=False,
            evidence={"review": ids.show("rev", review.id), "entry": ids.show("cns", reply.entry_id)},
        )
        [recorded] = await self.consent.record_signals(tx, workspace_id, [signal])
        if not isinstance(recorded, Recorded):
            return ReviewStale("the STOP cannot be recorded any more")
        return Decided(
            review,
            recorded.recipient_id,
            entry_id=recorded.id,
            decision=recorded.decision,
            applied=recorded.applied,
            because=recorded.reason,
        )


def restated(grant: Grant, actor: str, review_id: UUID) -> NewDecision:
    """The grant as whoever accepts it states it: with its own notice, evidence and time, and the review's id."""
    return NewDecision(
        recipient=Ref(id=grant.recipient_id),
        channel=grant.channel,
        purpose=grant.purpose,
        decision=grant.decision,
        basis=grant.basis,
        method=grant.method,
        source=grant.source,
        rank=Rank.SECRET_KEY,
        actor=actor,
        identifier=Ref(kind=Kind(grant.kind), value=grant.value),
        notice=Notice(*grant.notice) if grant.notice else None,
        evidence={**(grant.evidence or {}), "review": ids.show("rev", review_id)},
        scheme=grant.scheme,
        jurisdiction=grant.jurisdiction,
        expires_at=grant.expires_at,
        occurred_at=grant.occurred_at,
    )


def would(review: Review, evidence: Evidence) -> str:
    """What accepting an item does, in a sentence."""
    match evidence:
        case Identities():
            return "merges the candidates into one recipient, which split takes back, and applies what was brought"
        case Reply():
            return "records the reply as a STOP; rejected, marketing to the number stays restricted until START"
        case Grant(decision=Decision.ASSERTED):
            return "records the assertion again, not in force: it lifts no restriction"
        case Grant(refused_because="objection_stands"):
            return "records the grant as pending: an objection, complaint or STOP is lifted by the person alone"
        case Grant() as grant if grant.notice and complete(restated(grant, HUB, review.id)):
            return "records the grant, in force if its notice is known and it is the newer one; otherwise pending"
        case Grant():
            return "records the grant as pending, because notice or evidence is incomplete: the person must confirm"
        case _:
            assert_never(evidence)


async def _audited(tx: Tx, workspace_id: WorkspaceId, review: Review, actor: str) -> None:
    people = [ids.show("rcp", one) for one in review.recipients]
    detail = {"kind": review.kind, "recipients": people}
    await audit(tx, workspace_id, actor, f"review.{review.state}", ids.show("rev", review.id), detail)
