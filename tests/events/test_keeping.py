"""Events that were kept long enough, on a real database: what may end, and what a follower keeps from it."""

from datetime import date, timedelta

import pytest

from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.errors import Unavailable
from tabellion.core.ids import WorkspaceId
from tabellion.events import keeping, store
from tabellion.events.followers import counting, follow
from tabellion.events.service import EventLog, list_events
from tabellion.events.types import END, START, Event

DAY = timedelta(days=1)


async def append(db: Database, events: EventLog, side: WorkspaceId, *types: str) -> None:
    await db.run(lambda tx: events.append(tx, [Event(side, one, {}) for one in types]))


async def left(db: Database, side: WorkspaceId) -> list[str]:
    return [one.type for one in (await db.run(lambda tx: list_events(tx, side))).events]


async def test_who_is_furthest_behind_bounds_what_ends(
    db: Database, events: EventLog, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    assert await db.run(keeping.slowest) is None, "while nobody follows, nothing may end"
    await append(db, events, workspace_id, "a.b", "c.d")
    await follow(db, counting(), 1)
    slowest = await db.run(keeping.slowest)
    assert slowest is not None
    assert (slowest.name, slowest.unread_since) == ("counts", clock.now())
    before = clock.now() + DAY
    page = await db.run(lambda tx: keeping.old(tx, workspace_id, START, slowest.cursor, before, 10))
    assert len(page) == 1
    assert await db.run(lambda tx: keeping.end(tx, workspace_id, START, page, before, [])) == 1
    assert await left(db, workspace_id) == ["c.d"]


async def test_what_is_spared_and_what_is_young_stays(
    db: Database, events: EventLog, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    await append(db, events, workspace_id, "a.b", "c.d", "e.f")
    clock.advance(DAY)
    before = clock.now()
    await append(db, events, workspace_id, "g.h")
    page = await db.run(lambda tx: keeping.old(tx, workspace_id, START, END, before, 10))
    assert len(page) == 3
    assert await db.run(lambda tx: keeping.end(tx, workspace_id, START, page, before, page[1:2])) == 2
    assert await left(db, workspace_id) == ["c.d", "g.h"]


async def days(db: Database, before: timedelta) -> list[date]:
    return await db.run(lambda tx: keeping.days(tx, tx.now - before))


async def test_a_day_that_is_read_is_dropped_and_one_that_is_not_stays(
    db: Database, events: EventLog, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    await append(db, events, workspace_id, "a.b", "c.d")
    today = clock.now().date()
    clock.advance(DAY)
    assert await days(db, timedelta()) == [], "a clock may still be in yesterday"
    clock.advance(DAY)
    assert (await days(db, timedelta()))[0] == today
    assert await db.run(lambda tx: keeping.count(tx, today)) == {workspace_id: 2}
    assert not await db.run(lambda tx: keeping.drop(tx, today)), "nobody follows"
    await follow(db, counting(), 1)
    assert not await db.run(lambda tx: keeping.drop(tx, today)), "one is not read"
    await follow(db, counting(), 1)
    assert await db.run(lambda tx: keeping.drop(tx, today))
    assert today not in await db.run(store.partitions)
    assert not await db.run(lambda tx: keeping.drop(tx, today)), "it is gone"
    assert await left(db, workspace_id) == []


async def test_only_a_day_that_holds_nothing_is_dropped_as_empty(
    db: Database, events: EventLog, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    await append(db, events, workspace_id, "a.b")
    today = clock.now().date()
    clock.advance(4 * DAY)
    assert not await db.run(lambda tx: keeping.drop_empty(tx, today))
    assert await db.run(lambda tx: keeping.drop_empty(tx, today + DAY))
    assert await left(db, workspace_id) == ["a.b"]
    for late in (keeping.drop_empty, keeping.count):
        with pytest.raises(Unavailable) as refused:
            await db.run(lambda tx, late=late: late(tx, today + DAY))  # type: ignore[misc]
        assert refused.value.code == "partition_gone", "another round was here before"


async def test_an_event_of_a_day_that_was_dropped_is_kept(
    db: Database, events: EventLog, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    """A process whose clock is far behind loses nothing."""
    today, now = clock.now().date(), clock.now()
    clock.advance(4 * DAY)
    assert await db.run(lambda tx: keeping.drop_empty(tx, today))
    clock.moment = now
    await append(db, events, workspace_id, "a.b")
    assert await left(db, workspace_id) == ["a.b"]


@pytest.mark.parametrize("what", ["select 1 from events", "insert into {day} select e.* from events e where false"])
async def test_the_end_of_a_day_gives_way_to_readers_and_writers(
    db: Database, events: EventLog, clock: FakeClock, what: str
) -> None:
    today = clock.now().date()
    clock.advance(4 * DAY)
    async with db.transaction() as other:
        await other.execute(what.format(day=f"events_{today:%Y%m%d}"))
        with pytest.raises(Unavailable) as refused:
            await db.run(lambda tx: keeping.drop_empty(tx, today))
        assert refused.value.code == "partition_blocked"
    assert await db.run(lambda tx: keeping.drop_empty(tx, today))
