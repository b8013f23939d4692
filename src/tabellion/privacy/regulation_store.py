"""All SQL of `regulations` and `privacy_settings`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tabellion.core.db import Row, Tx, columns
from tabellion.privacy.orders import Options, Progress, Regulation, State, System, Type

_REGULATION = """
    workspace_id, id, type, state, recipient_id, recipient_ids, requested_by, verified_by, options, created_at,
    execute_at, due_at, approved_by, approved_at, cancelled_by, cancelled_at, erased_at, done_at, systems, progress,
    certificate, backups_expire_at
"""


async def insert(tx: Tx, one: Regulation) -> bool:
    """Store a new regulation; whether it was new."""
    row = await tx.row(
        """
        insert into regulations (workspace_id, id, type, state, recipient_id, recipient_ids, requested_by, verified_by,
                                 options, created_at, execute_at, due_at, erased_at, done_at, systems, progress)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
        on conflict (workspace_id, id) do nothing
        returning id
        """,
        one.workspace_id, one.id, one.type, one.state, one.recipient_id, list(one.recipient_ids), one.requested_by,
        one.verified_by, one.options, one.created_at, one.execute_at, one.due_at, one.erased_at, one.done_at,
        one.systems, one.progress,
    )  # fmt: skip
    return row is not None


async def read(tx: Tx, workspace_id: UUID, regulation_id: UUID) -> Regulation | None:
    row = await tx.row(
        f"select {_REGULATION} from regulations where workspace_id = $1 and id = $2", workspace_id, regulation_id
    )
    return _regulation(row) if row else None


async def lock(tx: Tx, workspace_id: UUID, regulation_id: UUID) -> Regulation | None:
    """The regulation, and nobody else's to change until the transaction ends."""
    row = await tx.row(
        f"select {_REGULATION} from regulations where workspace_id = $1 and id = $2 for no key update",
        workspace_id, regulation_id,
    )  # fmt: skip
    return _regulation(row) if row else None


async def write(tx: Tx, one: Regulation) -> None:
    """Store how far a regulation is. Its row is locked."""
    await tx.execute(
        """
        update regulations
           set state = $3, recipient_ids = $4, execute_at = $5, approved_by = $6, approved_at = $7, cancelled_by = $8,
               cancelled_at = $9, erased_at = $10, done_at = $11, systems = $12, progress = $13, certificate = $14,
               backups_expire_at = $15
         where workspace_id = $1 and id = $2
        """,
        one.workspace_id, one.id, one.state, list(one.recipient_ids), one.execute_at, one.approved_by, one.approved_at,
        one.cancelled_by, one.cancelled_at, one.erased_at, one.done_at, one.systems, one.progress, one.certificate,
        one.backups_expire_at,
    )  # fmt: skip


async def page(
    tx: Tx,
    workspace_id: UUID,
    *,
    recipients: Sequence[UUID] | None,
    type: str | None,
    state: str | None,
    before: UUID | None,
    limit: int,
) -> list[Regulation]:
    """Newest first, those older than `before`."""
    rows = await tx.rows(
        f"""
        select {_REGULATION}
          from regulations
         where workspace_id = $1 and ($2::uuid[] is null or recipient_ids && $2) and ($3::text is null or type = $3)
           and ($4::text is null or state = $4) and ($5::uuid is null or id < $5)
         order by id desc
         limit $6
        """,
        workspace_id, recipients, type, state, before, limit,
    )  # fmt: skip
    return [_regulation(row) for row in rows]


async def of_person(
    tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], states: Sequence[str]
) -> list[Regulation]:
    """The regulations about a person, by any of their ids, that are in one of the states; the oldest first."""
    rows = await tx.rows(
        f"""
        select {_REGULATION}
          from regulations
         where workspace_id = $1 and recipient_ids && $2::uuid[] and state = any($3::text[])
         order by id
        """,
        workspace_id, recipient_ids, states,
    )  # fmt: skip
    return [_regulation(row) for row in rows]


async def people_of(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], states: Sequence[str]) -> set[UUID]:
    """Those of the people about whom there is a regulation in one of the states."""
    rows = await tx.rows(
        """
        select distinct about.id
          from regulations r
         cross join unnest(r.recipient_ids) as about (id)
         where r.workspace_id = $1 and r.recipient_ids && $2::uuid[] and r.state = any($3::text[])
           and about.id = any($2::uuid[])
        """,
        workspace_id, recipient_ids, states,
    )  # fmt: skip
    return {row["id"] for row in rows}


async def being_erased(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], states: Sequence[str]) -> bool:
    """Whether there is an order to erase one of the people in one of the states."""
    found: bool = await tx.value(
        """
        select exists (
            select
              from regulations
             where workspace_id = $1 and recipient_ids && $2::uuid[] and type = 'erase' and state = any($3::text[]))
        """,
        workspace_id, recipient_ids, states,
    )  # fmt: skip
    return found


async def count_open(tx: Tx, workspace_id: UUID, requested_by: str) -> int:
    """How many regulations that somebody ordered are not carried out yet."""
    count: int = await tx.value(
        """
        select count(*)
          from regulations
         where workspace_id = $1 and requested_by = $2
           and state in ('awaiting_approval', 'scheduled', 'blocked', 'running')
        """,
        workspace_id, requested_by,
    )  # fmt: skip
    return count


async def erased(tx: Tx, after: tuple[UUID, UUID] | None, most: int) -> list[Regulation]:
    """Every erasure that was carried out, of all sides, in the order of (side, id)."""
    side, last = after or (None, None)
    rows = await tx.rows(
        f"""
        select {_REGULATION}
          from regulations
         where erased_at is not null and ($1::uuid is null or (workspace_id, id) > ($1, $2))
         order by workspace_id, id
         limit $3
        """,
        side, last, most,
    )  # fmt: skip
    return [_regulation(row) for row in rows]


async def not_erased(tx: Tx, orders: Sequence[tuple[UUID, UUID]]) -> list[UUID]:
    """Those of the orders (side, id) that the database knows neither as carried out nor as taken back."""
    rows = await tx.rows(
        """
        select wanted.id
          from unnest($1::uuid[], $2::uuid[]) as wanted (workspace_id, id)
         where not exists (
               select from regulations r
                where r.workspace_id = wanted.workspace_id and r.id = wanted.id
                  and (r.erased_at is not null or r.state = 'cancelled'))
        """,
        *columns(orders, 2),
    )
    return [row["id"] for row in rows]


async def blocked(tx: Tx, after: tuple[UUID, UUID] | None, most: int) -> list[tuple[UUID, UUID, UUID]]:
    """(side, order, recipient) of the orders that wait for the end of a legal hold, of all sides."""
    side, last = after or (None, None)
    rows = await tx.rows(
        """
        select workspace_id, id, recipient_id
          from regulations
         where state = 'blocked' and ($1::uuid is null or (workspace_id, id) > ($1, $2))
         order by workspace_id, id
         limit $3
        """,
        side, last, most,
    )  # fmt: skip
    return [tuple(row) for row in rows]


async def become_overdue(tx: Tx, most: int) -> list[Regulation]:
    """Those that should have been carried out by now and that nobody was told of yet; now they are."""
    rows = await tx.rows(
        f"""
        update regulations
           set overdue_at = $1
         where (workspace_id, id) in (
               select workspace_id, id
                 from regulations
                where state in ('awaiting_approval', 'scheduled', 'blocked', 'running') and due_at <= $1
                  and overdue_at is null
                order by due_at, workspace_id, id
                limit $2
                  for no key update skip locked)
        returning {_REGULATION}
        """,
        tx.now, most,
    )  # fmt: skip
    return [_regulation(row) for row in rows]


async def count_overdue(tx: Tx) -> int:
    """How many regulations of all sides should have been carried out by now."""
    count: int = await tx.value(
        """
        select count(*)
          from regulations
         where state in ('awaiting_approval', 'scheduled', 'blocked', 'running') and due_at <= $1
        """,
        tx.now,
    )
    return count


async def settings(tx: Tx, workspace_id: UUID) -> tuple[Mapping[str, Any] | None, datetime | None]:
    row = await tx.row("select settings, updated_at from privacy_settings where workspace_id = $1", workspace_id)
    return (row["settings"], row["updated_at"]) if row else (None, None)


async def set_settings(tx: Tx, workspace_id: UUID, settings: Mapping[str, Any]) -> None:
    await tx.execute(
        """
        insert into privacy_settings (workspace_id, settings, updated_at)
        values ($1, $2, $3)
        on conflict (workspace_id) do update set settings = excluded.settings, updated_at = excluded.updated_at
        """,
        workspace_id, settings, tx.now,
    )  # fmt: skip


def _regulation(row: Row) -> Regulation:
    fields = dict(row) | {
        "type": Type(row["type"]),
        "state": State(row["state"]),
        "options": msgspec.convert(row["options"], Options),
        "systems": msgspec.convert(row["systems"], dict[str, System]),
        "progress": msgspec.convert(row["progress"], Progress),
    }
    return Regulation(**fields)
