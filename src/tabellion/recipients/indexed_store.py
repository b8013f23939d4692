"""All SQL of `recipient_traits` and `trait_indexes`."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from tabellion.core.db import Tx, columns


class IndexState(StrEnum):
    """How far a declared trait is searchable."""

    BUILDING = "building"
    READY = "ready"
    REMOVING = "removing"


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """An index that is not what was declared yet."""

    workspace_id: UUID
    name: str
    state: IndexState
    done_to: UUID | None


async def declare(tx: Tx, workspace_id: UUID, names: Sequence[str]) -> None:
    """Have these traits indexed, and no others: new ones are to be built, others to be removed."""
    await tx.execute(
        """
        update trait_indexes
           set state = 'removing', declared_at = $3
         where workspace_id = $1 and name <> all($2::text[]) and state <> 'removing'
        """,
        workspace_id, names, tx.now,
    )  # fmt: skip
    await tx.execute(
        """
        insert into trait_indexes (workspace_id, name, state, declared_at)
        select distinct $1::uuid, name, 'building', $3::timestamptz
          from unnest($2::text[]) as named (name)
         order by name
        on conflict (workspace_id, name) do update
           set state = excluded.state, declared_at = excluded.declared_at, done_to = null
         where trait_indexes.state = 'removing'
        """,
        workspace_id, names, tx.now,
    )  # fmt: skip


async def states(tx: Tx, workspace_id: UUID) -> dict[str, IndexState]:
    rows = await tx.rows("select name, state from trait_indexes where workspace_id = $1 order by name", workspace_id)
    return {row["name"]: IndexState(row["state"]) for row in rows}


async def waiting(tx: Tx, before: datetime) -> Waiting | None:
    """The index that waits longest of those declared before, locked; None where another process has them."""
    row = await tx.row(
        """
        select workspace_id, name, state, done_to
          from trait_indexes
         where state <> 'ready' and declared_at <= $1
         order by declared_at
         limit 1
           for update skip locked
        """,
        before,
    )
    return Waiting(row["workspace_id"], row["name"], IndexState(row["state"]), row["done_to"]) if row else None


async def done(tx: Tx, workspace_id: UUID, name: str, done_to: UUID | None, *, ready: bool) -> None:
    """Note how far building an index is."""
    await tx.execute(
        """
        update trait_indexes
           set done_to = $3, state = case when $4 then 'ready' else state end
         where workspace_id = $1 and name = $2
        """,
        workspace_id, name, done_to, ready,
    )  # fmt: skip


async def drop(tx: Tx, workspace_id: UUID, name: str, limit: int) -> bool:
    """Delete some values of a trait; with the last one the index itself, and then it is True."""
    gone = await tx.execute(
        """
        delete from recipient_traits
         where workspace_id = $1 and name = $2
           and recipient_id = any(array(select recipient_id
                                          from recipient_traits
                                         where workspace_id = $1 and name = $2
                                         limit $3))
        """,
        workspace_id, name, limit,
    )  # fmt: skip
    if gone == f"DELETE {limit}":
        return False
    await tx.execute("delete from trait_indexes where workspace_id = $1 and name = $2", workspace_id, name)
    return True


async def people(tx: Tx, workspace_id: UUID, after: UUID | None, limit: int) -> list[UUID]:
    """Ids of recipients, merged ones too, oldest first, behind the recipient `after`."""
    rows = await tx.rows(
        """
        select id
          from recipients
         where workspace_id = $1 and ($2::uuid is null or id > $2)
         order by id
         limit $3
        """,
        workspace_id, after, limit,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def put(tx: Tx, workspace_id: UUID, values: Iterable[tuple[UUID, str, str]]) -> None:
    """Store values: (recipient, trait, value)."""
    await tx.execute(
        """
        insert into recipient_traits (workspace_id, recipient_id, name, value)
        select $1, recipient_id, name, value
          from unnest($2::uuid[], $3::text[], $4::text[]) as said (recipient_id, name, value)
         order by recipient_id, name
        on conflict (workspace_id, recipient_id, name) do update set value = excluded.value
        """,
        workspace_id, *columns(list(values), 3),
    )  # fmt: skip


async def take(tx: Tx, workspace_id: UUID, gone: Iterable[tuple[UUID, str]]) -> None:
    """Delete the values of (recipient, trait), where there are any."""
    await tx.execute(
        """
        delete from recipient_traits t
         using unnest($2::uuid[], $3::text[]) as gone (recipient_id, name)
         where t.workspace_id = $1 and t.recipient_id = gone.recipient_id and t.name = gone.name
        """,
        workspace_id, *columns(list(gone), 2),
    )  # fmt: skip


async def forget_indexed(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> None:
    """Delete everything plain of these recipients: for their erasure, under their locks."""
    await tx.execute(
        "delete from recipient_traits where workspace_id = $1 and recipient_id = any($2::uuid[])",
        workspace_id, recipient_ids,
    )  # fmt: skip


async def find(tx: Tx, workspace_id: UUID, name: str, value: str, before: UUID | None, limit: int) -> list[UUID]:
    """Ids of full recipients whose trait has the value, newest first, made before the recipient `before`."""
    rows = await tx.rows(
        """
        select t.recipient_id
          from recipient_traits t
         cross join lateral (
               select address_only, merged_into, erased_at
                 from recipients
                where recipients.workspace_id = $1 and recipients.id = t.recipient_id
                limit 1) r
         where t.workspace_id = $1 and t.name = $2 and t.value = $3 and ($4::uuid is null or t.recipient_id < $4)
           and not r.address_only and r.merged_into = t.recipient_id and r.erased_at is null
         order by t.recipient_id desc
         limit $5
        """,
        workspace_id, name, value, before, limit,
    )  # fmt: skip
    return [row["recipient_id"] for row in rows]
