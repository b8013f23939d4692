"""All SQL for `notices_served`."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from tabellion.consent.notices.types import Means, Served
from tabellion.core.db import Row, Tx, columns


async def insert(tx: Tx, workspace_id: UUID, served: Sequence[Served]) -> None:
    await tx.execute(
        """
        insert into notices_served
            (workspace_id, id, notice, version, language, recipient_id, identifier_hash, means, source, actor,
             served_at, recorded_at, sealed)
        select $1, made.*
          from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::bytea[], $8::text[],
                      $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::bytea[]) as made
        """,
        workspace_id, *columns([_row(one) for one in served], 12),
    )  # fmt: skip


def _row(one: Served) -> tuple[object, ...]:
    return (
        one.id, one.notice, one.version, one.language, one.recipient_id, one.identifier_hash, one.means, one.source,
        one.actor, one.served_at, one.recorded_at, one.sealed,
    )  # fmt: skip


async def page(
    tx: Tx, workspace_id: UUID, notice: str, version: str | None, before: UUID | None, limit: int
) -> list[Served]:
    """What was shown of a notice, newest first."""
    rows = await tx.rows(
        """
        select id, notice, version, language, recipient_id, identifier_hash, means, source, actor, served_at,
               recorded_at, sealed
          from notices_served
         where workspace_id = $1 and notice = $2 and ($3::text is null or version = $3)
           and ($4::uuid is null or id < $4)
         order by id desc
         limit $5
        """,
        workspace_id, notice, version, before, limit,
    )  # fmt: skip
    return [_served(row) for row in rows]


async def page_of_person(
    tx: Tx, workspace_id: UUID, notice: str, recipient_ids: Sequence[UUID], before: UUID | None, limit: int
) -> list[Served]:
    """What was shown of a notice to a person, newest first."""
    rows = await tx.rows(
        """
        select id, notice, version, language, recipient_id, identifier_hash, means, source, actor, served_at,
               recorded_at, sealed
          from notices_served
         where workspace_id = $1 and notice = $2 and recipient_id = any($3::uuid[])
           and ($4::uuid is null or id < $4)
         order by id desc
         limit $5
        """,
        workspace_id, notice, recipient_ids, before, limit,
    )  # fmt: skip
    return [_served(row) for row in rows]


async def of_people(
    tx: Tx,
    workspace_id: UUID,
    recipient_ids: Sequence[UUID],
    hashes: Sequence[bytes],
    after: UUID | None,
    limit: int,
) -> list[Served]:
    """What was shown to people, or under identifiers of theirs before anybody knew whose they were; oldest first."""
    rows = await tx.rows(
        """
        select id, notice, version, language, recipient_id, identifier_hash, means, source, actor, served_at,
               recorded_at, sealed
          from notices_served
         where workspace_id = $1 and (recipient_id = any($2::uuid[]) or identifier_hash = any($3::bytea[]))
           and ($4::uuid is null or id > $4)
         order by id
         limit $5
        """,
        workspace_id, recipient_ids, hashes, after, limit,
    )  # fmt: skip
    return [_served(row) for row in rows]


async def read(tx: Tx, workspace_id: UUID, served_ids: Iterable[UUID]) -> dict[UUID, Served]:
    rows = await tx.rows(
        """
        select id, notice, version, language, recipient_id, identifier_hash, means, source, actor, served_at,
               recorded_at, sealed
          from notices_served
         where workspace_id = $1 and id = any($2::uuid[])
        """,
        workspace_id, sorted(set(served_ids)),
    )  # fmt: skip
    return {row["id"]: _served(row) for row in rows}


async def adopt(tx: Tx, workspace_id: UUID, adopted: Sequence[tuple[UUID, UUID, bytes]]) -> None:
    """Let showings to nobody known (id) be to a person, their evidence sealed with that person's key."""
    await tx.execute(
        """
        update notices_served s
           set recipient_id = made.recipient_id, sealed = made.sealed, identifier_hash = null
          from unnest($2::uuid[], $3::uuid[], $4::bytea[]) as made (id, recipient_id, sealed)
         where s.workspace_id = $1 and s.id = made.id and s.recipient_id is null
        """,
        workspace_id, *columns(adopted, 3),
    )  # fmt: skip


async def forget(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], hashes: Sequence[bytes]) -> None:
    """Delete what was shown to people, and under identifiers of theirs."""
    await tx.execute(
        """
        delete from notices_served
         where workspace_id = $1 and (recipient_id = any($2::uuid[]) or identifier_hash = any($3::bytea[]))
        """,
        workspace_id, recipient_ids, hashes,
    )  # fmt: skip


def _served(row: Row) -> Served:
    return Served(
        id=row["id"],
        notice=row["notice"],
        version=row["version"],
        language=row["language"],
        recipient_id=row["recipient_id"],
        identifier_hash=row["identifier_hash"],
        means=Means(row["means"]),
        source=row["source"],
        actor=row["actor"],
        served_at=row["served_at"],
        recorded_at=row["recorded_at"],
        sealed=row["sealed"],
    )
