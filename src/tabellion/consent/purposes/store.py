"""All SQL for `purposes`."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import msgspec

from tabellion.consent.purposes.types import PurposeSettings, Row, read_settings
from tabellion.core.db import Tx


async def of_sides(tx: Tx, workspace_ids: Collection[UUID]) -> dict[UUID, list[Row]]:
    """The rows of each side, by key; sides without any are left out."""
    rows = await tx.rows(
        """
        select p.workspace_id, p.key, p.settings, p.used_at, p.archived_at, p.created_at, p.updated_at
          from unnest($1::uuid[]) as asked (workspace_id)
          join purposes p on p.workspace_id = asked.workspace_id
         order by p.workspace_id, p.key
        """,
        list(workspace_ids),
    )
    found: dict[UUID, list[Row]] = {}
    for side, *fields in rows:
        found.setdefault(side, []).append(_row(*fields))
    return found


def _row(key: str, settings: Any, *times: Any) -> Row:
    return Row(key, read_settings(settings), *times)


async def write(tx: Tx, workspace_id: UUID, key: str, settings: PurposeSettings, *, archived: bool = False) -> None:
    """Make or change one. What it was used for stays."""
    await tx.execute(
        """
        insert into purposes (workspace_id, key, settings, archived_at, created_at, updated_at)
        values ($1, $2, $3, case when $4 then $5::timestamptz end, $5, $5)
        on conflict (workspace_id, key) do update
           set settings = excluded.settings, updated_at = excluded.updated_at,
               archived_at = case when $4 then coalesce(purposes.archived_at, excluded.archived_at) end
        """,
        workspace_id, key, msgspec.to_builtins(settings), archived, tx.now,
    )  # fmt: skip


async def delete(tx: Tx, workspace_id: UUID, key: str) -> bool:
    """Whether it was deleted: one that somebody uses just now stays."""
    done = await tx.execute(
        "delete from purposes where workspace_id = $1 and key = $2 and used_at is null", workspace_id, key
    )
    return done != "DELETE 0"


async def use(tx: Tx, workspace_id: UUID, keys: Collection[str]) -> None:
    """Note that something is decided, or asked to be sent, for purposes that were never used."""
    await tx.execute(
        "update purposes set used_at = $3 where workspace_id = $1 and key = any($2::text[]) and used_at is null",
        workspace_id, sorted(keys), tx.now,
    )  # fmt: skip


async def branded(tx: Tx, workspace_id: UUID) -> bool:
    """Whether any purpose names a brand."""
    found: bool = await tx.value(
        "select exists (select from purposes where workspace_id = $1 and settings ->> 'brand' is not null)",
        workspace_id,
    )
    return found


async def of_brand(tx: Tx, workspace_id: UUID, brand: str) -> list[str]:
    """The keys of the purposes that name a brand."""
    rows = await tx.rows(
        "select key from purposes where workspace_id = $1 and settings ->> 'brand' = $2 order by key",
        workspace_id, brand,
    )  # fmt: skip
    return [row["key"] for row in rows]
