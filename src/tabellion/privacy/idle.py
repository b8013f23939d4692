"""Idle recipients: whom nobody named, wrote to or recorded a decision of, for as long as the side's policy says."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from tabellion.consent.service import Consent
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.messages.service import Messages
from tabellion.privacy import regulation_store
from tabellion.privacy.legal_holds import LegalHolds
from tabellion.privacy.orders import OPEN, State
from tabellion.privacy.service import Retention
from tabellion.recipients import idle
from tabellion.recipients.service import Recipients

RETENTION: Final = "retention"
"""Who orders the erasure of an idle recipient."""
POLICY: Final = "retention policy"
"""What such an order rests on."""
PAGE: Final = 1_000
"""Recipients of one transaction."""


@dataclass(frozen=True)
class Idle:
    recipients: Recipients
    consent: Consent
    messages: Messages
    holds: LegalHolds
    retention: Retention

    async def page(self, tx: Tx, workspace_id: WorkspaceId, after: UUID | None) -> tuple[list[UUID], UUID | None]:
        """Whom the policy would have erased among the next recipients, in the order of their ids.

        And after which to go on, None at the end.
        """
        since = await self._since(tx, workspace_id)
        if since is None:
            return [], None
        old, further = await idle.walk(tx, workspace_id, after, since, PAGE)
        return await self.among(tx, workspace_id, old), further

    async def among(self, tx: Tx, workspace_id: WorkspaceId, roots: Sequence[UUID]) -> list[UUID]:
        """Those whom the policy would have erased, whom no order is about and no legal hold protects."""
        parts = await self.recipients.merged(tx, workspace_id, roots)
        people = {root: {root, *parts.get(root, ())} for root in roots}
        everyone = sorted(set().union(*people.values()))
        if not everyone or (since := await self._since(tx, workspace_id)) is None:
            return []
        busy = await self._busy(tx, workspace_id, everyone, since)
        busy |= await regulation_store.people_of(tx, workspace_id, everyone, [*OPEN, State.IN_FORCE])
        busy |= set(await self.holds.held(tx, workspace_id))
        return [root for root in roots if not people[root] & busy]

    async def still(self, tx: Tx, workspace_id: WorkspaceId, people: Collection[UUID]) -> bool:
        """Whether one person, by all their ids, is idle now. Nobody is where the policy keeps people for ever."""
        since = await self._since(tx, workspace_id)
        return since is not None and not await self._busy(tx, workspace_id, sorted(people), since)

    async def _since(self, tx: Tx, workspace_id: WorkspaceId) -> datetime | None:
        """The time before which the last that was heard must lie."""
        days = (await self.retention.policy(tx, workspace_id)).recipients
        return None if days is None else tx.now - timedelta(days=days)

    async def _busy(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID], since: datetime) -> set[UUID]:
        """Those of the people of whom anything was heard since, or to whom something is on its way."""
        seen = await idle.seen(tx, workspace_id, people, since)
        seen |= await self.messages.written_to(tx, workspace_id, people, since)
        return seen | await self.consent.decided(tx, workspace_id, people, since)
