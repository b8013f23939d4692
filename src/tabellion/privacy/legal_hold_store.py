"""All SQL of `legal_holds`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tabellion.core.db import Row, Tx


@dataclass(frozen=True, slots=True)
class LegalHold:
    id: UUID
    recipient_id: UUID
    reason: str
    set_by: str
    created_at: datetime
    until: datetime | None
    released_by: str | None = None
    released_at: datetime | None = None


async def insert(tx: Tx, workspace_id: UUID, hold: LegalHold) -> None:
    await tx.execute(
        """
        insert into legal_holds (workspace_id, id, recipient_id, reason, set_by, created_at, until)
        values ($1, $2, $3, $4, $5, $6, $7)
        """,
        workspace_id, hold.id, hold.recipient_id, hold.reason, hold.set_by, hold.created_at, hold.until,
    )  # fmt: skip


async def lock(tx: Tx, workspace_id: UUID, hold_id: UUID) -> LegalHold | None:
    row = await tx.row(
        """
        select id, recipient_id, reason, set_by, created_at, until, released_by, released_at
          from legal_holds
         where workspace_id = $1 and id = $2
           for no key update
        """,
        workspace_id, hold_id,
    )  # fmt: skip
    return _hold(row) if row else None


async def release(tx: Tx, workspace_id: UUID, hold_id: UUID, actor: str) -> None:
    await tx.execute(
        "update legal_holds set released_by = $3, released_at = $4 where workspace_id = $1 and id = $2",
        workspace_id, hold_id, actor, tx.now,
    )  # fmt: skip


async def page(
    tx: Tx, workspace_id: UUID, *, standing: bool | None, before: UUID | None, limit: int
) -> list[LegalHold]:
    rows = await tx.rows(
        """
        select id, recipient_id, reason, set_by, created_at, until, released_by, released_at
          from legal_holds
         where workspace_id = $1 and ($2::uuid is null or id < $2)
           and ($3::boolean is null or (released_at is null and (until is null or until > $4)) = $3)
         order by id desc
         limit $5
        """,
        workspace_id, before, standing, tx.now, limit,
    )  # fmt: skip
    return [_hold(row) for row in rows]


async def any_of(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> bool:
    """Whether a hold stands now on one of the recipients."""
    found: bool = await tx.value(
        """
        select exists (
               select from legal_holds
                where workspace_id = $1 and recipient_id = any($2::uuid[]) and released_at is null
                  and (until is null or until > $3))
        """,
        workspace_id, recipient_ids, tx.now,
    )  # fmt: skip
    return found


async def anywhere(tx: Tx) -> bool:
    """Whether a hold stands now on any side."""
    found: bool = await tx.value(
        "select exists (select from legal_holds where released_at is null and (until is null or until > $1))", tx.now
    )
    return found


async def held(tx: Tx, workspace_id: UUID) -> list[UUID]:
    """The recipients under a hold now, and all that are the same person."""
    rows = await tx.rows(
        """
        select distinct part.id
          from legal_holds h
          join recipients r on r.workspace_id = $1 and r.id = h.recipient_id
          join lateral (
               select id
                 from recipients
                where workspace_id = $1 and (id = r.merged_into or (merged_into = r.merged_into and merged_into <> id))
               ) part on true
         where h.workspace_id = $1 and h.released_at is null and (h.until is null or h.until > $2)
        """,
        workspace_id, tx.now,
    )  # fmt: skip
    return [row["id"] for row in rows]


def _hold(row: Row) -> LegalHold:
    return LegalHold(**row)
