"""Push tokens and web push subscriptions that fell silent: an hourly look, in batches of their own transactions."""

from dataclasses import dataclass
from typing import Final

from tabellion.core.db import Database
from tabellion.core.ids import WorkspaceId
from tabellion.recipients import tokens_store as tokens
from tabellion.recipients.service import Recipients

BATCH: Final = 1_000
"""Rows of one transaction."""


@dataclass(frozen=True)
class Staleness:
    recipients: Recipients

    async def apply(self, db: Database) -> int:
        """One round over all sides; how many became stale. Safe beside another, and after one that was cut off."""
        return sum([await self._apply_to(db, WorkspaceId(side)) for side in await db.run(tokens.sides)])

    async def _apply_to(self, db: Database, side: WorkspaceId) -> int:
        total, full = 0, True
        while full:
            looked = await db.run(lambda tx: self.recipients.look(tx, side, BATCH))
            total, full = total + len(looked.stale), looked.rows == BATCH
        return total
