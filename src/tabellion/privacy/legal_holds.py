"""Legal holds: nothing about a person is destroyed while one stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tabellion.access.rules import require_compliance
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError, Invalid, NotFound
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.privacy import legal_hold_store as store
from tabellion.privacy.legal_hold_store import LegalHold
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Ref


@dataclass(frozen=True)
class LegalHolds:
    recipients: Recipients
    events: EventLog

    async def set(self, tx: Tx, caller: Caller, ref: Ref, reason: str, until: datetime | None) -> LegalHold:
        """Hold what is kept about a person. Audited. Raises `NotFound`, and `Invalid` for an end that is past."""
        require_compliance(caller, "a legal hold")
        if until is not None and until <= tx.now:
            raise Invalid("invalid_request", "until lies in the past; leave it out, or name when the hold ends")
        recipient_id = await self._locked(tx, caller.workspace_id, ref)
        hold = LegalHold(ids.new(), recipient_id, reason, caller.actor, tx.now, until)
        await store.insert(tx, caller.workspace_id, hold)
        await self._told(tx, caller, hold, "set")
        return hold

    async def release(self, tx: Tx, caller: Caller, hold_id: UUID) -> LegalHold:
        """End a hold. Audited. Raises `NotFound`, and `Conflict` where it ended already."""
        require_compliance(caller, "the end of a legal hold")
        hold = await store.lock(tx, caller.workspace_id, hold_id)
        if hold is None:
            raise NotFound("legal_hold_not_found", f"there is no legal hold {ids.show('lgh', hold_id)} here")
        if hold.released_at is not None:
            raise Conflict("legal_hold_released", "the hold was released already")
        await store.release(tx, caller.workspace_id, hold_id, caller.actor)
        await self._told(tx, caller, hold, "released")
        return hold

    async def page(
        self, tx: Tx, workspace_id: WorkspaceId, *, standing: bool | None, before: UUID | None, limit: int
    ) -> list[LegalHold]:
        """Newest first; with `standing` only those that hold now, or only those that do not."""
        return await store.page(tx, workspace_id, standing=standing, before=before, limit=limit)

    async def stand(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> bool:
        """Whether a hold stands on any of a person's ids."""
        return await store.any_of(tx, workspace_id, people)

    async def held(self, tx: Tx, workspace_id: WorkspaceId) -> list[UUID]:
        """Every id of the people of a side who are under a hold now."""
        return await store.held(tx, workspace_id)

    async def anywhere(self, tx: Tx) -> bool:
        """Whether a hold stands on any side."""
        return await store.anywhere(tx)

    async def _locked(self, tx: Tx, workspace_id: WorkspaceId, ref: Ref) -> RecipientId:
        """Whom a ref means when everything under way about them is over: an erasure looks for holds under this lock."""
        [found] = await self.recipients.resolve(tx, workspace_id, [ref], create=False)
        if isinstance(found, HubError):
            raise found
        await self.recipients.lock(tx, [(workspace_id, found.recipient_id)], skip_locked=False)
        [again] = await self.recipients.resolve(tx, workspace_id, [ref], create=False)
        if isinstance(again, HubError):
            raise again
        if again.recipient_id != found.recipient_id:
            return await self._locked(tx, workspace_id, ref)
        return RecipientId(again.recipient_id)

    async def _told(self, tx: Tx, caller: Caller, hold: LegalHold, word: str) -> None:
        shown, person = ids.show("lgh", hold.id), ids.show("rcp", hold.recipient_id)
        await audit(tx, caller.workspace_id, caller.actor, f"legal_hold.{word}", shown, {"recipient": person})
        data = {"recipient": {"id": person}, "legal_hold": {"id": shown}}
        event = Event(caller.workspace_id, f"legal_hold.{word}", data, recipient_id=RecipientId(hold.recipient_id))
        await self.events.append(tx, [event])
