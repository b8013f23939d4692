"""Use cases of retention: read and set a side's policy, and apply it, in batches of their own transactions."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.ids import WorkspaceId
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.messages.service import Messages
from tabellion.privacy import store
from tabellion.privacy.types import Applied, Policy, Standing
from tabellion.webhooks.service import Webhooks

BATCH: Final = 1_000
"""Rows of one transaction."""
SIDES: Final = 500


@dataclass(frozen=True)
class Retention:
    messages: Messages
    webhooks: Webhooks
    events: EventLog

    async def read(self, tx: Tx, workspace_id: WorkspaceId) -> Standing:
        """A side's policy; the default where none was set."""
        return await store.read(tx, workspace_id)

    async def set(self, tx: Tx, caller: Caller, policy: Policy) -> Standing:
        """A side's policy from now on, audited. What is too old by it ends with the next round."""
        await store.write(tx, caller.workspace_id, policy)
        detail = {
            "callbacks_days": policy.callbacks,
            "content_days": policy.content,
            "proofs_days": policy.proofs,
            "proofs_by_purpose": policy.proofs_by_purpose,
        }
        await audit(tx, caller.workspace_id, caller.actor, "retention.set", "retention", detail)
        return await store.read(tx, caller.workspace_id)

    async def apply(self, db: Database) -> Applied:
        """One round over all sides; what it ended in all. Safe beside another, and after one that was cut off."""
        total, after = Applied(), None
        while sides := await db.run(lambda tx, after=after: store.sides(tx, after, SIDES)):  # type: ignore[misc]
            for side in sides:
                one = await self.apply_to(db, WorkspaceId(side))
                total = Applied(total.callbacks + one.callbacks, total.contents + one.contents)
            after = sides[-1]
        return total

    async def apply_to(self, db: Database, side: WorkspaceId) -> Applied:
        """One round on one side; where it ended anything, the log says how much."""
        policy = (await db.run(lambda tx: store.read(tx, side))).policy
        done = Applied(await self._callbacks(db, side, policy), await self._contents(db, side, policy))
        if done != Applied():
            told = Event(side, "retention.applied", {"callbacks": done.callbacks, "contents": done.contents})
            await db.run(lambda tx: self.events.append(tx, [told]))
        return done

    async def _callbacks(self, db: Database, side: WorkspaceId, policy: Policy) -> int:
        if policy.callbacks is None:
            return 0
        before, total, gone = _before(db, policy.callbacks), 0, BATCH
        while gone == BATCH:
            gone = await db.run(lambda tx: self.webhooks.forget(tx, side, before, BATCH))
            total += gone
        return total

    async def _contents(self, db: Database, side: WorkspaceId, policy: Policy) -> int:
        """Empty page after page. The mark stops before the first message that is not final; the round goes on."""
        if policy.content is None:
            return 0
        before, total = _before(db, policy.content), 0
        cursor, open_, full = await db.run(lambda tx: store.mark(tx, side)), False, True
        while full:
            page, emptied = await db.run(
                lambda tx, cursor=cursor, open_=open_: self._page(tx, side, cursor, before, open_)  # type: ignore[misc]
            )
            total, full = total + emptied, len(page) == BATCH
            cursor = page[-1][0] if page else cursor
            open_ = open_ or not all(final for _, final in page)
        return total

    async def _page(
        self, tx: Tx, side: WorkspaceId, cursor: UUID | None, before: UUID, open_: bool
    ) -> tuple[list[tuple[UUID, bool]], int]:
        page, emptied = await self.messages.empty(tx, side, cursor, before, BATCH)
        done = _leading(page) if not open_ else []
        if done:
            await store.set_mark(tx, side, done[-1])
        return page, emptied


def _leading(page: list[tuple[UUID, bool]]) -> list[UUID]:
    """The ids before the first message that is not final."""
    first = next((place for place, (_, final) in enumerate(page) if not final), len(page))
    return [one for one, _ in page[:first]]


def _before(db: Database, days: int) -> UUID:
    return ids.floor(db.clock.now() - timedelta(days=days))
