"""SQL that ends what is kept of recipients, and what restricts their processing. All callers hold their rows."""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from tabellion.core.db import Tx, columns


async def delete_identifiers(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> None:
    await tx.execute(
        "delete from identifiers where workspace_id = $1 and recipient_id = any($2::uuid[])",
        workspace_id, recipient_ids,
    )  # fmt: skip


async def delete_claims(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> None:
    """Forget which devices and browsers they were named with."""
    await tx.execute(
        "delete from identifier_claims where workspace_id = $1 and recipient_id = any($2::uuid[])",
        workspace_id, recipient_ids,
    )  # fmt: skip


async def delete_versions(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> None:
    await tx.execute(
        "delete from recipient_versions where workspace_id = $1 and recipient_id = any($2::uuid[])",
        workspace_id, recipient_ids,
    )  # fmt: skip


async def empty(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> None:
    """Leave of recipients that they were, and when they were erased."""
    await tx.execute(
        """
        update recipients
           set traits = null, locale = null, time_zone = null, erased_at = $3, updated_at = $3, version = version + 1
         where workspace_id = $1 and id = any($2::uuid[]) and erased_at is null
        """,
        workspace_id, recipient_ids, tx.now,
    )  # fmt: skip


async def remember(tx: Tx, workspace_id: UUID, hashes: Collection[bytes], regulation_id: UUID) -> None:
    """Note the keyed hashes of an erased person's identifiers."""
    await tx.execute(
        """
        insert into erased_identifiers (workspace_id, hash, regulation_id, erased_at)
        select $1, hash, $2, $3
          from unnest($4::bytea[]) as erased (hash)
         order by hash
        on conflict (workspace_id, hash) do nothing
        """,
        workspace_id, regulation_id, tx.now, sorted(hashes),
    )  # fmt: skip


async def remembered(tx: Tx, workspace_id: UUID, hashes: Iterable[bytes]) -> set[bytes]:
    """Those hashes that an erased person had."""
    rows = await tx.rows(
        "select hash from erased_identifiers where workspace_id = $1 and hash = any($2::bytea[])",
        workspace_id, list(hashes),
    )  # fmt: skip
    return {row["hash"] for row in rows}


async def hashes_of(tx: Tx, workspace_id: UUID, regulation_id: UUID) -> list[bytes]:
    """What was noted for one erasure."""
    rows = await tx.rows(
        "select hash from erased_identifiers where workspace_id = $1 and regulation_id = $2 order by hash",
        workspace_id, regulation_id,
    )  # fmt: skip
    return [row["hash"] for row in rows]


async def erased(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Whether each recipient that there is was erased."""
    rows = await tx.rows(
        """
        select id, erased_at is not null as erased
          from recipients
         where workspace_id = $1 and id = any($2::uuid[])
        """,
        workspace_id, recipient_ids,
    )  # fmt: skip
    return {row["id"]: row["erased"] for row in rows}


async def restrict(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> None:
    await tx.execute(
        """
        update recipients
           set restricted_at = $3
         where workspace_id = $1 and id = any($2::uuid[]) and restricted_at is null
        """,
        workspace_id, recipient_ids, tx.now,
    )  # fmt: skip


async def release(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> None:
    await tx.execute(
        "update recipients set restricted_at = null where workspace_id = $1 and id = any($2::uuid[])",
        workspace_id, recipient_ids,
    )  # fmt: skip


async def restricted(tx: Tx, pairs: Iterable[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
    """Those (workspace, merge root) whose processing is restricted. Found in an index that holds only these."""
    rows = await tx.rows(
        """
        select r.workspace_id, r.id
          from unnest($1::uuid[], $2::uuid[]) as asked (workspace_id, id)
         cross join lateral (
               select workspace_id, id
                 from recipients
                where recipients.workspace_id = asked.workspace_id and recipients.id = asked.id
                  and restricted_at is not null
                limit 1) r
        """,
        *columns(sorted(pairs), 2),
    )
    return {(row["workspace_id"], row["id"]) for row in rows}
