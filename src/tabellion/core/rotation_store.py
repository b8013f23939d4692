"""All SQL of rotation: over the keys of all workspace sides, and the table `epochs`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from tabellion.core.db import Row, Tx, columns

_LOCK: Final = 0x6570_6F63_6873
"""The advisory lock that a rotating transaction holds."""
LEAST, MOST = (UUID(int=0),) * 2, (UUID(int=2**128 - 1),) * 2

Place = tuple[UUID, UUID]
"""Workspace side and person: where in the primary key of `subject_keys`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One epoch: how many living keys are wrapped under it, since when none is, and when its key was destroyed."""

    name: str
    keys: int
    emptied_at: datetime | None
    destroyed_at: datetime | None


async def survey(tx: Tx) -> list[Standing]:
    """Every epoch that there was or that a living key names, oldest first. Looks at all keys."""
    rows = await tx.rows(
        """
        with living as (
            select epoch, count(*) as keys
              from (select epoch from subject_keys where wrapped is not null
                    union all
                    select epoch from workspace_keys) as every
             group by epoch
        )
        select coalesce(name, epoch) as name, coalesce(keys, 0) as keys, emptied_at, destroyed_at
          from epochs
          full join living on epoch = name
         order by made_at nulls first, name
        """
    )
    return [Standing(row["name"], row["keys"], row["emptied_at"], row["destroyed_at"]) for row in rows]


async def alone(tx: Tx) -> bool:
    """Whether no other process rotates now; if so, none does until this transaction ends."""
    taken: bool = await tx.value("select pg_try_advisory_xact_lock($1)", _LOCK)
    return taken


async def in_use(tx: Tx) -> list[str]:
    """The epochs that keys may be wrapped under."""
    rows = await tx.rows("select name from epochs where emptied_at is null and destroyed_at is null order by name")
    return [row["name"] for row in rows]


async def empty_since(tx: Tx, before: datetime) -> list[str]:
    """The epochs that have been empty for so long."""
    rows = await tx.rows(
        "select name from epochs where emptied_at <= $1 and destroyed_at is null order by emptied_at, name", before
    )
    return [row["name"] for row in rows]


async def lives(tx: Tx, name: str) -> bool:
    """Whether a living key is wrapped under an epoch. Looks at all keys where none is."""
    found: bool = await tx.value(
        """
        select exists (select from subject_keys where epoch = $1 and wrapped is not null)
            or exists (select from workspace_keys where epoch = $1)
        """,
        name,
    )
    return found


async def set_emptied(tx: Tx, name: str) -> bool:
    """Whether that was news."""
    done = await tx.execute("update epochs set emptied_at = $2 where name = $1 and emptied_at is null", name, tx.now)
    return done == "UPDATE 1"


async def set_living(tx: Tx, name: str) -> None:
    await tx.execute("update epochs set emptied_at = null where name = $1", name)


async def set_destroyed(tx: Tx, name: str, at: datetime) -> None:
    await tx.execute("update epochs set destroyed_at = $2 where name = $1 and destroyed_at is null", name, at)


async def boundary(tx: Tx, after: Place, most: int) -> Place:
    """The place of the last of the next `most` people; the end of all, where there are fewer."""
    row = await tx.row(
        """
        select workspace_id, subject_id
          from subject_keys
         where (workspace_id, subject_id) > ($1, $2)
         order by workspace_id, subject_id
        offset $3 - 1
         limit 1
        """,
        *after, most,
    )  # fmt: skip
    return (row["workspace_id"], row["subject_id"]) if row else MOST


async def lock_people(tx: Tx, old: Sequence[str], after: Place, upto: Place) -> list[Place]:
    """Those within these places whose living key is under an old epoch, locked; but who is being erased is left."""
    rows = await tx.rows(
        """
        select workspace_id, subject_id
          from subject_keys
         where (workspace_id, subject_id) > ($1, $2) and (workspace_id, subject_id) <= ($3, $4)
           and epoch = any($5::text[]) and wrapped is not null
           for no key update skip locked
        """,
        *after, *upto, old,
    )  # fmt: skip
    return [(row["workspace_id"], row["subject_id"]) for row in rows]


async def read_people(tx: Tx, places: Sequence[Place]) -> list[Row]:
    return await tx.rows(
        """
        select workspace_id, subject_id, epoch, wrapped
          from unnest($1::uuid[], $2::uuid[]) as place (workspace_id, subject_id)
          join subject_keys using (workspace_id, subject_id)
        """,
        *columns(places, 2),
    )


async def write_people(tx: Tx, epoch: str, rows: Sequence[tuple[UUID, UUID, bytes]]) -> None:
    await tx.execute(
        """
        update subject_keys as held
           set epoch = $4, wrapped = anew.wrapped
          from unnest($1::uuid[], $2::uuid[], $3::bytea[]) as anew (workspace_id, subject_id, wrapped)
         where held.workspace_id = anew.workspace_id and held.subject_id = anew.subject_id
           and held.wrapped is not null
        """,
        *columns(rows, 3), epoch,
    )  # fmt: skip


async def lock_sides(tx: Tx, old: Sequence[str], most: int) -> list[tuple[UUID, str]]:
    rows = await tx.rows(
        """
        select workspace_id, use
          from workspace_keys
         where epoch = any($1::text[])
         limit $2
           for no key update skip locked
        """,
        old, most,
    )  # fmt: skip
    return [(row["workspace_id"], row["use"]) for row in rows]


async def read_sides(tx: Tx, places: Sequence[tuple[UUID, str]]) -> list[Row]:
    return await tx.rows(
        """
        select workspace_id, use, epoch, wrapped
          from unnest($1::uuid[], $2::text[]) as place (workspace_id, use)
          join workspace_keys using (workspace_id, use)
        """,
        *columns(places, 2),
    )


async def write_sides(tx: Tx, epoch: str, rows: Sequence[tuple[UUID, str, bytes]]) -> None:
    await tx.execute(
        """
        update workspace_keys as held
           set epoch = $4, wrapped = anew.wrapped
          from unnest($1::uuid[], $2::text[], $3::bytea[]) as anew (workspace_id, use, wrapped)
         where held.workspace_id = anew.workspace_id and held.use = anew.use
        """,
        *columns(rows, 3), epoch,
    )  # fmt: skip
