"""SQL that ends events: of one side in batches, and of all sides by the day."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Final
from uuid import UUID

from asyncpg import LockNotAvailableError, UndefinedTableError

from tabellion.core.db import Tx
from tabellion.core.errors import Unavailable
from tabellion.events.types import Cursor, Old, Place

PATIENCE: Final = "200ms"
"""How long a day's end waits for those who read the log: who comes after it waits as well."""


async def slowest(tx: Tx) -> tuple[str, Place] | None:
    """The follower furthest behind, and how far it has read; None where nobody follows."""
    row = await tx.row(
        """
        select name, era, txid, position, day
          from followers
         order by era, txid, position, name
         limit 1
        """
    )
    return (row["name"], Place(Cursor(row["era"], row["txid"], row["position"]), row["day"])) if row else None


async def old(tx: Tx, workspace_id: UUID, after: Cursor, upto: Cursor, before: datetime, most: int) -> list[Old]:
    """A side's events between two places that were recorded before a time, in log order."""
    rows = await tx.rows(
        """
        select e.era, e.txid, e.position, e.recipient_id, e.message_id
          from events e
         where e.workspace_id = $1
           and (e.era, e.txid, e.position) > ($2, $3::xid8, $4)
           and (e.era, e.txid, e.position) <= ($5, $6::xid8, $7)
           and e.recorded_at < $8
         order by e.era, e.txid, e.position
         limit $9
        """,
        workspace_id, *after, *upto, before, most,
    )  # fmt: skip
    return [Old(Cursor(row[0], row[1], row[2]), row[3], row[4]) for row in rows]


async def delete(
    tx: Tx, workspace_id: UUID, after: Cursor, upto: Cursor, before: datetime, spared: Sequence[int]
) -> int:
    """Delete what `old` finds between the two places, but for the positions spared; how many there were."""
    done = await tx.execute(
        """
        delete from events e
         where e.workspace_id = $1
           and (e.era, e.txid, e.position) > ($2, $3::xid8, $4)
           and (e.era, e.txid, e.position) <= ($5, $6::xid8, $7)
           and e.recorded_at < $8 and e.position <> all($9::bigint[])
        """,
        workspace_id, *after, *upto, before, spared,
    )  # fmt: skip
    return int(done.rpartition(" ")[2])


async def close_day(tx: Tx, day: date) -> None:
    """Let nobody append to a day until tx ends. Raises Unavailable where somebody does."""
    with _there(day):
        await tx.execute(f"set local lock_timeout = '{PATIENCE}'")
        await tx.execute(f"lock table {_name(day)} in share mode")


async def drop_day(tx: Tx, day: date) -> None:
    """Drop a day that is closed. Raises Unavailable when somebody reads the log for longer than we may wait."""
    with _there(day):
        await tx.execute(f"drop table {_name(day)}")


async def empty(tx: Tx, day: date) -> bool:
    with _there(day):
        found: bool = await tx.value(f"select not exists (select from {_name(day)})")
        return found


async def behind(tx: Tx, day: date, cursor: Cursor) -> bool:
    """Whether all of a day lies behind a place."""
    with _there(day):
        found: bool = await tx.value(
            f"select not exists (select from {_name(day)} where (era, txid, position) > ($1, $2::xid8, $3))", *cursor
        )
        return found


async def count_day(tx: Tx, day: date) -> dict[UUID, int]:
    """How many events each side has on a day."""
    with _there(day):
        rows = await tx.rows(f"select workspace_id, count(*) as number from {_name(day)} group by workspace_id")
        return {row["workspace_id"]: row["number"] for row in rows}


def _name(day: date) -> str:
    return f"events_{day:%Y%m%d}"


@contextmanager
def _there(day: date) -> Iterator[None]:
    """Say what is in the way: readers, or another round that was here before."""
    try:
        yield
    except LockNotAvailableError as error:
        reading = f"the log is being read; {_name(day)} ends with the next round"
        raise Unavailable("partition_blocked", reading) from error
    except UndefinedTableError as error:
        raise Unavailable("partition_gone", f"{_name(day)} was dropped meanwhile") from error
