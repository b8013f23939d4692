"""All SQL for `merges`."""

from collections.abc import Sequence
from uuid import UUID

from tabellion.consent.types import Joined
from tabellion.core.db import Row, Tx
from tabellion.identity.types import Merge, Rule
from tabellion.recipients.moving import Moved


async def insert(tx: Tx, workspace_id: UUID, merge: Merge) -> None:
    await tx.execute(
        """
        insert into merges
            (workspace_id, id, from_id, into_id, rule, actor, merged_at, sealed, identifiers, recipients, entries,
             stated, restated, log_index)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        """,
        workspace_id, merge.id, merge.from_id, merge.into_id, merge.rule, merge.actor, merge.merged_at, merge.sealed,
        merge.moved.identifiers, merge.moved.recipients, merge.consent.entries, list(merge.consent.stated),
        list(merge.consent.stated.values()), merge.consent.ordinal,
    )  # fmt: skip


async def read(tx: Tx, workspace_id: UUID, merge_id: UUID) -> Merge | None:
    row = await tx.row(
        """
        select id, from_id, into_id, rule, actor, merged_at, undone_at, undone_by, sealed, identifiers, recipients,
               entries, stated, restated, log_index
          from merges
         where workspace_id = $1 and id = $2
        """,
        workspace_id, merge_id,
    )  # fmt: skip
    return _merge(row) if row else None


async def of(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> list[Merge]:
    """The merges of recipients, into them and of them, newest first, those that were taken back too."""
    rows = await tx.rows(
        """
        select id, from_id, into_id, rule, actor, merged_at, undone_at, undone_by, sealed, identifiers, recipients,
               entries, stated, restated, log_index
          from merges
         where workspace_id = $1 and into_id = any($2::uuid[])
         union
        select id, from_id, into_id, rule, actor, merged_at, undone_at, undone_by, sealed, identifiers, recipients,
               entries, stated, restated, log_index
          from merges
         where workspace_id = $1 and from_id = any($2::uuid[])
         order by merged_at desc, id desc
        """,
        workspace_id, recipient_ids,
    )  # fmt: skip
    return [_merge(row) for row in rows]


async def standing_into(tx: Tx, workspace_id: UUID, into_id: UUID) -> list[Merge]:
    """The merges into a recipient that were not taken back."""
    rows = await tx.rows(
        """
        select id, from_id, into_id, rule, actor, merged_at, undone_at, undone_by, sealed, identifiers, recipients,
               entries, stated, restated, log_index
          from merges
         where workspace_id = $1 and into_id = $2 and undone_at is null
         order by id
        """,
        workspace_id, into_id,
    )  # fmt: skip
    return [_merge(row) for row in rows]


async def standing_of(tx: Tx, workspace_id: UUID, from_id: UUID) -> UUID | None:
    """The merge by which a recipient is part of another; None for a root."""
    found: UUID | None = await tx.value(
        "select id from merges where workspace_id = $1 and from_id = $2 and undone_at is null", workspace_id, from_id
    )
    return found


async def forget(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> None:
    """Keep of merges of recipients that they were, not what they rested on."""
    await tx.execute(
        """
        update merges
           set sealed = null, identifiers = '{}', entries = '{}', stated = '{}', restated = '{}'
         where workspace_id = $1 and (into_id = any($2::uuid[]) or from_id = any($2::uuid[]))
        """,
        workspace_id, recipient_ids,
    )  # fmt: skip


async def undo(tx: Tx, workspace_id: UUID, merge_id: UUID, actor: str) -> None:
    await tx.execute(
        "update merges set undone_at = $3, undone_by = $4 where workspace_id = $1 and id = $2",
        workspace_id, merge_id, tx.now, actor,
    )  # fmt: skip


def _merge(row: Row) -> Merge:
    return Merge(
        id=row["id"],
        from_id=row["from_id"],
        into_id=row["into_id"],
        rule=Rule(row["rule"]),
        actor=row["actor"],
        merged_at=row["merged_at"],
        undone_at=row["undone_at"],
        undone_by=row["undone_by"],
        sealed=row["sealed"],
        moved=Moved(row["identifiers"], row["recipients"]),
        consent=Joined(row["entries"], dict(zip(row["stated"], row["restated"], strict=True)), row["log_index"]),
    )
