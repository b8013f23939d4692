"""All SQL of `held_proofs` and `proof_openings`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from tabellion.core.db import Row, Tx, columns


@dataclass(frozen=True, slots=True)
class HeldProof:
    id: UUID
    regulation_id: UUID
    entry_id: UUID
    ordinal: int
    purpose: str
    sealed: bytes | None = field(repr=False)
    created_at: datetime
    held_until: datetime
    destroyed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """That a key wants to read a held proof, and whether another one agreed."""

    id: UUID
    proof_id: UUID
    reason: str
    requested_by: str
    requested_at: datetime
    approved_by: str | None = None
    approved_at: datetime | None = None
    ends_at: datetime | None = None


async def insert(tx: Tx, workspace_id: UUID, proofs: Sequence[HeldProof]) -> None:
    rows = [
        (
            one.id,
            one.regulation_id,
            one.entry_id,
            one.ordinal,
            one.purpose,
            one.sealed,
            one.created_at,
            one.held_until,
        )
        for one in proofs
    ]
    await tx.execute(
        """
        insert into held_proofs (workspace_id, id, regulation_id, entry_id, log_index, purpose, sealed, created_at,
                                 held_until)
        select $1, id, regulation_id, entry_id, log_index, purpose, sealed, created_at, held_until
          from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[], $6::text[], $7::bytea[], $8::timestamptz[],
                      $9::timestamptz[])
            as made (id, regulation_id, entry_id, log_index, purpose, sealed, created_at, held_until)
        """,
        workspace_id, *columns(rows, 8),
    )  # fmt: skip


async def of_regulation(tx: Tx, workspace_id: UUID, regulation_id: UUID) -> list[HeldProof]:
    rows = await tx.rows(
        """
        select id, regulation_id, entry_id, log_index, purpose, sealed, created_at, held_until, destroyed_at
          from held_proofs
         where workspace_id = $1 and regulation_id = $2
         order by log_index, id
        """,
        workspace_id, regulation_id,
    )  # fmt: skip
    return [_proof(row) for row in rows]


async def page(tx: Tx, workspace_id: UUID, before: UUID | None, limit: int) -> list[HeldProof]:
    """Newest first, those older than `before`."""
    rows = await tx.rows(
        """
        select id, regulation_id, entry_id, log_index, purpose, sealed, created_at, held_until, destroyed_at
          from held_proofs
         where workspace_id = $1 and ($2::uuid is null or id < $2)
         order by id desc
         limit $3
        """,
        workspace_id, before, limit,
    )  # fmt: skip
    return [_proof(row) for row in rows]


async def read(tx: Tx, workspace_id: UUID, proof_id: UUID) -> HeldProof | None:
    row = await tx.row(
        """
        select id, regulation_id, entry_id, log_index, purpose, sealed, created_at, held_until, destroyed_at
          from held_proofs
         where workspace_id = $1 and id = $2
        """,
        workspace_id, proof_id,
    )  # fmt: skip
    return _proof(row) if row else None


async def expired(tx: Tx, most: int) -> list[tuple[UUID, HeldProof]]:
    """The proofs of all sides that nobody needs any more, each with its side, and ours to destroy."""
    rows = await tx.rows(
        """
        select workspace_id, id, regulation_id, entry_id, log_index, purpose, sealed, created_at, held_until,
               destroyed_at
          from held_proofs
         where destroyed_at is null and held_until <= $1
         order by held_until, workspace_id, id
         limit $2
           for no key update skip locked
        """,
        tx.now, most,
    )  # fmt: skip
    return [(row["workspace_id"], _proof(row)) for row in rows]


async def destroy(tx: Tx, workspace_id: UUID, proof_ids: Sequence[UUID]) -> None:
    await tx.execute(
        "update held_proofs set sealed = null, destroyed_at = $3 where workspace_id = $1 and id = any($2::uuid[])",
        workspace_id, proof_ids, tx.now,
    )  # fmt: skip


async def insert_opening(tx: Tx, workspace_id: UUID, opening: Opening) -> None:
    await tx.execute(
        """
        insert into proof_openings (workspace_id, id, proof_id, reason, requested_by, requested_at)
        values ($1, $2, $3, $4, $5, $6)
        """,
        workspace_id, opening.id, opening.proof_id, opening.reason, opening.requested_by, opening.requested_at,
    )  # fmt: skip


async def lock_opening(tx: Tx, workspace_id: UUID, opening_id: UUID) -> Opening | None:
    row = await tx.row(
        """
        select id, proof_id, reason, requested_by, requested_at, approved_by, approved_at, ends_at
          from proof_openings
         where workspace_id = $1 and id = $2
           for no key update
        """,
        workspace_id, opening_id,
    )  # fmt: skip
    return Opening(**row) if row else None


async def approve_opening(tx: Tx, workspace_id: UUID, opening_id: UUID, actor: str, ends_at: datetime) -> None:
    await tx.execute(
        """
        update proof_openings
           set approved_by = $3, approved_at = $4, ends_at = $5
         where workspace_id = $1 and id = $2
        """,
        workspace_id, opening_id, actor, tx.now, ends_at,
    )  # fmt: skip


def _proof(row: Row) -> HeldProof:
    """Of the columns of a proof, with others. `log_index` holds ordinals, as with the entries themselves."""
    kept = {name: row[name] for name in HeldProof.__dataclass_fields__ if name != "ordinal"}
    return HeldProof(ordinal=row["log_index"], **kept)
