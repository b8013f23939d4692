"""Whom nobody named for long: what an idle recipient is, as far as recipients know."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.recipients import idle_store as store


async def walk(
    tx: Tx, workspace_id: WorkspaceId, after: UUID | None, before: datetime, most: int
) -> tuple[list[UUID], UUID | None]:
    """Of the next `most` recipients the full ones that stand for themselves and did not change since a time.

    And after which to go on, None at the end.
    """
    page = await store.walk(tx, workspace_id, after or ids.FIRST, before, most)
    return [one for one, old in page if old], page[-1][0] if len(page) == most else None


async def seen(tx: Tx, workspace_id: WorkspaceId, recipient_ids: Sequence[UUID], since: datetime) -> set[UUID]:
    """Those that were changed since a time, or of whom an identifier was named."""
    changed = await store.changed(tx, workspace_id, recipient_ids, since)
    return changed | await store.named(tx, workspace_id, recipient_ids, since)
