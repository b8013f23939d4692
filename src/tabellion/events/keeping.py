"""Ending events that were kept long enough: of one side in batches, and of all sides by the day.

Nothing ends that a follower has not read. While nobody follows, nothing ends at all.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.events import keeping_store as store
from tabellion.events.store import SLACK, lock_eras, next_after, partitions
from tabellion.events.types import Cursor, Old


@dataclass(frozen=True, slots=True)
class Slowest:
    """The follower furthest behind: what is up to its cursor everybody has read."""

    name: str
    cursor: Cursor
    unread_since: datetime | None
    """When the first event was recorded that it has not read."""


async def slowest(tx: Tx) -> Slowest | None:
    """The follower that bounds what may end; None where nobody follows."""
    found = await store.slowest(tx)
    if found is None:
        return None
    name, place = found
    first = await next_after(tx, place)
    return Slowest(name, place.cursor, first[0] if first else None)


async def old(tx: Tx, workspace_id: WorkspaceId, after: Cursor, upto: Cursor, before: datetime, most: int) -> list[Old]:
    """The next of a side's events that were recorded before a time, up to and with a place."""
    return await store.old(tx, workspace_id, after, upto, before, most)


async def end(
    tx: Tx, workspace_id: WorkspaceId, after: Cursor, page: Sequence[Old], before: datetime, spared: Sequence[Old]
) -> int:
    """Delete a page that `old` gave behind `after`, but for those spared; how many were deleted."""
    if not page:
        return 0
    return await store.delete(tx, workspace_id, after, page[-1].cursor, before, [one.cursor.position for one in spared])


async def days(tx: Tx, before: datetime) -> list[date]:
    """The days, oldest first, that ended before a time and that nobody's clock can still be in."""
    bound = min(before, tx.now - SLACK)
    return [day for day in await partitions(tx) if end_of(day) <= bound]


async def read_days(tx: Tx, before: datetime) -> list[date]:
    """Those of the same days of which every follower has read all."""
    bound = await slowest(tx)
    if bound is None:
        return []
    return [day for day in await days(tx, before) if bound.unread_since is None or end_of(day) <= bound.unread_since]


async def count(tx: Tx, day: date) -> dict[UUID, int]:
    """How many events each side has on a day. Reads all of it. Raises Unavailable where it was dropped meanwhile."""
    return await store.count_day(tx, day)


async def drop_empty(tx: Tx, day: date) -> bool:
    """Drop a day that holds nothing; whether it did. Raises Unavailable where the log is being read for long."""
    if not await store.empty(tx, day):
        return False
    return await _drop(tx, day, lambda: store.empty(tx, day))


async def drop(tx: Tx, day: date) -> bool:
    """Drop a day with all it holds, where every follower has read it; whether that was so. Raises as `drop_empty`."""
    bound = await store.slowest(tx)
    if bound is None:
        return False
    return await _drop(tx, day, lambda: store.behind(tx, day, bound[1].cursor))


async def _drop(tx: Tx, day: date, may: Callable[[], Awaitable[bool]]) -> bool:
    """Drop a day if it may go once nobody can append to it any more. One maker or dropper of days at a time."""
    await lock_eras(tx)
    if day not in await partitions(tx):
        return False
    await store.close_day(tx, day)
    if not await may():
        return False
    await store.drop_day(tx, day)
    return True


def end_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC) + timedelta(days=1)
