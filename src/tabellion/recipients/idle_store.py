"""SQL that finds recipients nobody named for long."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from tabellion.core.db import Tx


async def walk(tx: Tx, workspace_id: UUID, after: UUID, before: datetime, most: int) -> list[tuple[UUID, bool]]:
    """The next recipients behind an id, each with whether it is a full one, a merge root, and unchanged since."""
    rows = await tx.rows(
        """
        select id, not address_only and merged_into = id and erased_at is null and updated_at < $3 as old
          from recipients
         where workspace_id = $1 and id > $2
         order by id
         limit $4
        """,
        workspace_id, after, before, most,
    )  # fmt: skip
    return [(row["id"], row["old"]) for row in rows]


async def changed(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], since: datetime) -> set[UUID]:
    """Those that were changed since a time."""
    rows = await tx.rows(
        "select id from recipients where workspace_id = $1 and id = any($2::uuid[]) and updated_at >= $3",
        workspace_id, recipient_ids, since,
    )  # fmt: skip
    return {row["id"] for row in rows}


async def named(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], since: datetime) -> set[UUID]:
    """Those of whom an identifier was named since a time."""
    rows = await tx.rows(
        """
        select wanted.id
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select recipient_id
                 from identifiers
                where workspace_id = $1 and recipient_id = wanted.id and last_seen_at >= $3
                limit 1) i
        """,
        workspace_id, recipient_ids, since,
    )  # fmt: skip
    return {row["id"] for row in rows}
