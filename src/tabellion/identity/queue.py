"""The review queue: what no rule may decide is kept here until somebody does.

Evidence is sealed under the data key of each person it concerns, one over the other: once one of them is erased,
nobody can read it, in no backup either.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

import msgspec

from tabellion.consent.types import RefusedGrant, UnclearReply
from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.identity import items
from tabellion.identity.items import NewItem
from tabellion.identity.review_types import (
    Evidence,
    Grant,
    NewReview,
    Reply,
    Review,
    ReviewKind,
    ReviewState,
    Told,
    UnknownReview,
)
from tabellion.identity.types import HUB

SOURCE_LENGTH: Final = 255
REPLY_LENGTH: Final = 1000


class Queue:
    """The items themselves. What accepting one does is for `Reviews`."""

    def __init__(self, vault: Vault, events: EventLog) -> None:
        self._vault = vault
        self._events = events

    async def put(
        self, tx: Tx, workspace_id: WorkspaceId, wanted: Sequence[NewReview]
    ) -> list[tuple[UUID, ReviewState] | None]:
        """The item about each, in order: opened here, or the one that is open or was rejected; None: someone is erased.

        The same conflict opens one item, however often it comes.
        """
        lookup = (await self._vault.workspace(tx, workspace_id, "lookup")).derive("reviews")
        keys = await self._vault.subjects(tx, workspace_id, {one for new in wanted for one in new.recipients})
        dedupes = [lookup.hash(b"".join([new.kind.encode(), *sorted(new.conflict)])) for new in wanted]
        seen = Counter(dedupes)
        rows = {
            dedupe: _row(workspace_id, new, dedupe, seen[dedupe], keys)
            for new, dedupe in zip(wanted, dedupes, strict=True)
            if keys.keys() >= set(new.recipients)
        }
        found = await items.put(tx, workspace_id, list(rows.values())) if rows else {}
        opened = [rows[dedupe] for dedupe, (_, _, fresh) in found.items() if fresh]
        await self._events.append(tx, [_event(workspace_id, "opened", one, one.id) for one in opened])
        return [found[one][:2] if one in found else None for one in dedupes]

    async def grants_refused(self, tx: Tx, workspace_id: WorkspaceId, refused: Sequence[RefusedGrant]) -> None:
        """Keep grants that a source brought against a restriction: the port that consent calls."""
        await self.put(tx, workspace_id, [_consent_conflict(one) for one in refused])

    async def replies_unclear(self, tx: Tx, workspace_id: WorkspaceId, replies: Sequence[UnclearReply]) -> None:
        """Keep replies that refused without saying STOP: the port that consent calls. One open item a number."""
        kept = [_unclear_reply(one) for one in replies if one.recorded.id is not None and one.recorded.applied]
        await self.put(tx, workspace_id, kept)

    async def read(self, tx: Tx, workspace_id: WorkspaceId, review_id: UUID) -> Told:
        """One item with its evidence. Raises `NotFound`."""
        found = await items.read(tx, workspace_id, review_id)
        if found is None:
            raise UnknownReview(ids.show("rev", review_id))
        keys = await self._vault.subjects(tx, workspace_id, found.recipients)
        if not keys.keys() >= set(found.recipients):
            return Told(found, None, None)
        evidence = _open(found.sealed, found.recipients, keys, _context(workspace_id, found.dedupe))
        reason = _open(found.reason, found.recipients, keys, _context(workspace_id, found.dedupe, "reason"))
        return Told(
            found,
            msgspec.json.decode(evidence, type=Evidence) if evidence is not None else None,
            reason.decode() if reason is not None else None,
        )

    async def page(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        state: ReviewState | None,
        kind: ReviewKind | None,
        before: UUID | None,
        limit: int,
    ) -> list[Review]:
        """Items, newest first, opened before the item `before`."""
        return await items.page(tx, workspace_id, state, kind, before, limit)

    async def lock(self, tx: Tx, workspace_id: WorkspaceId, review_id: UUID) -> Told:
        """One item, held until the transaction ends. Whoever needs the people as well locks them first."""
        await items.lock(tx, workspace_id, review_id)
        return await self.read(tx, workspace_id, review_id)

    async def decide(
        self, tx: Tx, workspace_id: WorkspaceId, review: Review, state: ReviewState, actor: str, reason: str | None
    ) -> Review:
        """The item in its new state; the log says so. It is locked."""
        keys = await self._vault.subjects(tx, workspace_id, review.recipients)
        sealed = None
        if reason is not None and keys.keys() >= set(review.recipients):
            context = _context(workspace_id, review.dedupe, "reason")
            sealed = _seal(reason.encode(), review.recipients, keys, context)
        await items.decide(tx, workspace_id, review.id, state, actor, sealed)
        after = replace(review, state=state, decided_at=tx.now, decided_by=actor, reason=sealed)
        await self._events.append(tx, [_event(workspace_id, state.value, after, review.id)])
        return after

    async def forget(self, tx: Tx, workspace_id: WorkspaceId, recipient_ids: Sequence[UUID]) -> None:
        """Let go of all that items show of these recipients: they are erased. Those still open are superseded.

        Name the recipients that were merged into an erased person too.
        """
        await items.forget(tx, workspace_id, sorted(recipient_ids), HUB)


def _row(workspace_id: UUID, new: NewReview, dedupe: bytes, seen: int, keys: Mapping[UUID, Key]) -> NewItem:
    people = sorted(set(new.recipients))
    evidence = _seal(msgspec.json.encode(new.evidence), people, keys, _context(workspace_id, dedupe))
    return NewItem(ids.new(), new.kind, dedupe, people, new.source[:SOURCE_LENGTH], evidence, seen)


def _context(workspace_id: UUID, dedupe: bytes, of: str = "evidence") -> str:
    return f"review:{workspace_id}:{dedupe.hex()}:{of}"


def _seal(plain: bytes, people: Sequence[UUID], keys: Mapping[UUID, Key], context: str) -> bytes:
    for one in sorted(people):
        plain = keys[one].seal(plain, context)
    return plain


def _open(sealed: bytes | None, people: Sequence[UUID], keys: Mapping[UUID, Key], context: str) -> bytes | None:
    if sealed is None:
        return None
    for one in sorted(people, reverse=True):
        sealed = keys[one].open(sealed, context)
    return sealed


def _consent_conflict(refused: RefusedGrant) -> NewReview:
    """A refused grant as an item. It is about an address, a channel and a purpose, whoever says it and when."""
    new, recorded, identifier = refused.new, refused.recorded, refused.identifier
    if recorded.id is None or recorded.log_index is None:
        raise ValueError("a refused grant has an entry")
    grant = Grant(
        entry_id=recorded.id,
        log_index=recorded.log_index,
        log=recorded.log,
        refused_because=recorded.reason or "",
        recipient_id=recorded.recipient_id,
        kind=identifier.kind,
        value=identifier.value,
        channel=new.channel,
        purpose=new.purpose,
        decision=new.decision,
        basis=new.basis,
        method=new.method,
        source=new.source,
        notice=(new.notice.id, new.notice.version) if new.notice else None,
        evidence=new.evidence,
        scheme=new.scheme,
        jurisdiction=new.jurisdiction,
        expires_at=new.expires_at,
        occurred_at=new.occurred_at,
    )
    about = [identifier.hash, f"{new.channel}:{new.purpose}".encode()]
    return NewReview(ReviewKind.CONSENT_CONFLICT, about, [recorded.recipient_id], new.source, grant)


def _unclear_reply(said: UnclearReply) -> NewReview:
    """A reply as an item. It is about the number, whatever was written."""
    signal, recorded = said.signal, said.recorded
    if recorded.id is None or recorded.log_index is None:
        raise ValueError("a restriction has an entry")
    reply = Reply(
        entry_id=recorded.id,
        log_index=recorded.log_index,
        log=recorded.log,
        recipient_id=recorded.recipient_id,
        address=signal.address,
        channel=signal.channel,
        text=(signal.text or "")[:REPLY_LENGTH],
        source=signal.source,
        sender=signal.sender,
        account=signal.actor,
    )
    about = [f"{signal.address}:{signal.channel}".encode()]
    return NewReview(ReviewKind.UNCLEAR_REPLY, about, [recorded.recipient_id], signal.source, reply)


def _event(workspace_id: WorkspaceId, happened: str, item: NewItem | Review, review_id: UUID) -> Event:
    review = {"id": ids.show("rev", review_id), "kind": item.kind, "source": item.source}
    people = [{"id": ids.show("rcp", one)} for one in item.recipients]
    return Event(
        workspace_id=workspace_id,
        type=f"review.{happened}",
        data={"review": review, "recipients": people},
        recipient_id=RecipientId(item.recipients[0]) if item.recipients else None,
    )
