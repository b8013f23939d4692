"""All SQL for `brands`."""

from uuid import UUID

from tabellion.consent.brands.types import Brand
from tabellion.core.db import Tx


async def read(tx: Tx, workspace_id: UUID, key: str) -> Brand | None:
    row = await tx.row(
        """
        select key, name, contact, url, postal_address, is_default, created_at, updated_at
          from brands
         where workspace_id = $1 and key = $2
        """,
        workspace_id, key,
    )  # fmt: skip
    return Brand(**row) if row else None


async def read_default(tx: Tx, workspace_id: UUID, own: str) -> Brand | None:
    """The row that is the default; where none is, the row of the key `own`, if there is one."""
    row = await tx.row(
        """
        select key, name, contact, url, postal_address, is_default, created_at, updated_at
          from brands
         where workspace_id = $1 and (is_default or key = $2)
         order by is_default desc
         limit 1
        """,
        workspace_id, own,
    )  # fmt: skip
    return Brand(**row) if row else None


async def of_side(tx: Tx, workspace_id: UUID) -> list[Brand]:
    """All of a side, by key."""
    rows = await tx.rows(
        """
        select key, name, contact, url, postal_address, is_default, created_at, updated_at
          from brands
         where workspace_id = $1
         order by key
        """,
        workspace_id,
    )
    return [Brand(**row) for row in rows]


async def release_default(tx: Tx, workspace_id: UUID, key: str) -> None:
    """Let no other brand than this one be the default."""
    await tx.execute(
        "update brands set is_default = false where workspace_id = $1 and is_default and key <> $2", workspace_id, key
    )


async def write(tx: Tx, workspace_id: UUID, brand: Brand) -> None:
    await tx.execute(
        """
        insert into brands (workspace_id, key, name, contact, url, postal_address, is_default, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
        on conflict (workspace_id, key) do update
           set name = excluded.name, contact = excluded.contact, url = excluded.url,
               postal_address = excluded.postal_address, is_default = excluded.is_default,
               updated_at = excluded.updated_at
        """,
        workspace_id, brand.key, brand.name, brand.contact, brand.url, brand.postal_address, brand.is_default, tx.now,
    )  # fmt: skip


async def delete(tx: Tx, workspace_id: UUID, key: str) -> bool:
    """Whether there was one."""
    done = await tx.execute("delete from brands where workspace_id = $1 and key = $2", workspace_id, key)
    return done != "DELETE 0"
