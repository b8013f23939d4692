"""Appending, listing, eras and days, on a real database."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from tabellion.core import ids
from tabellion.core.clock import FakeClock, SystemClock
from tabellion.core.db import Database, Tx
from tabellion.core.errors import Unavailable
from tabellion.core.ids import WorkspaceId
from tabellion.core.wake import Bell
from tabellion.events import store
from tabellion.events.followers import Follower, Turn, follow
from tabellion.events.service import (
    APPENDED,
    EventLog,
    ensure_partitions,
    list_events,
    of_message,
    open_log,
)
from tabellion.events.types import START, Event, Page, Recorded, Wanted


def event(workspace_id: WorkspaceId, type: str = "message.sent", **named: object) -> Event:
    return Event(workspace_id, type, {"n": 1}, **named)  # type: ignore[arg-type]


async def listed(db: Database, workspace_id: WorkspaceId, **named: object) -> Page:
    return await db.run(lambda tx: list_events(tx, workspace_id, **named))  # type: ignore[arg-type]


async def test_events_come_back_as_they_were_appended_in_order(
    db: Database, events: EventLog, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    earlier = clock.now() - timedelta(hours=3)
    recipient, message = ids.new(), ids.new()
    given = [
        event(workspace_id, "message.sent", recipient_id=recipient, message_id=message, occurred_at=earlier),
        *[event(workspace_id, f"message.step_{n}") for n in range(20)],
    ]
    await db.run(lambda tx: events.append(tx, given))
    page = await listed(db, workspace_id)
    assert [one.id for one in page.events] == [one.id for one in given]
    first, second = page.events[:2]
    assert (first.type, first.recipient_id, first.message_id) == ("message.sent", recipient, message)
    assert (first.occurred_at, first.recorded_at) == (earlier, clock.now())
    assert (second.occurred_at, second.recipient_id, second.message_id) == (clock.now(), None, None)
    assert first.data == {"n": 1}
    assert page.after == page.events[-1].cursor


async def test_nothing_is_appended_by_an_empty_batch(db: Database, events: EventLog, workspace_id: WorkspaceId) -> None:
    bell = Bell()
    rung = bell.listen(APPENDED)
    await db.run(lambda tx: EventLog(1, bell).append(tx, []))
    assert not rung.is_set()


async def test_whoever_waits_is_woken_after_the_commit_and_not_before(db: Database, workspace_id: WorkspaceId) -> None:
    bell = Bell()
    rung, log = bell.listen(APPENDED), EventLog(1, bell)
    async with db.transaction() as tx:
        await log.append(tx, [event(workspace_id)])
        assert not rung.is_set()
    assert rung.is_set()


async def test_a_rolled_back_event_wakes_nobody(db: Database, workspace_id: WorkspaceId) -> None:
    bell = Bell()
    rung, log = bell.listen(APPENDED), EventLog(1, bell)
    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as tx:
            await log.append(tx, [event(workspace_id)])
            raise ZeroDivisionError
    assert not rung.is_set()
    assert (await listed(db, workspace_id)).events == []


async def test_pages_lead_through_the_whole_log(db: Database, events: EventLog, workspace_id: WorkspaceId) -> None:
    given = [event(workspace_id) for _ in range(7)]
    for one in given:
        await db.run(lambda tx, one=one: events.append(tx, [one]))
    seen, after = [], START
    for size in (3, 3, 1, 0):
        page = await listed(db, workspace_id, after=after, limit=3)
        assert len(page.events) == size
        seen += [one.id for one in page.events]
        after = page.after
    assert seen == [one.id for one in given]


async def test_a_poller_sees_nothing_that_an_earlier_transaction_may_still_precede(
    db: Database, events: EventLog, workspace_id: WorkspaceId
) -> None:
    early, late = event(workspace_id, "early"), event(workspace_id, "late")
    async with db.transaction() as open_tx:
        await events.append(open_tx, [early])
        await db.run(lambda tx: events.append(tx, [late]))
        page = await listed(db, workspace_id)
        assert page.events == []
        assert page.after == START
    page = await listed(db, workspace_id, after=page.after)
    assert [one.type for one in page.events] == ["early", "late"]


async def test_filters_choose_by_type_prefix_recipient_and_message(
    db: Database, events: EventLog, workspace_id: WorkspaceId
) -> None:
    ann, hello = ids.new(), ids.new()
    given = [
        event(workspace_id, "message.sent", recipient_id=ann, message_id=hello),
        event(workspace_id, "message.delivered", recipient_id=ann, message_id=hello),
        event(workspace_id, "consent.granted", recipient_id=ann),
        event(workspace_id, "messages_other"),
    ]
    await db.run(lambda tx: events.append(tx, given))

    async def types(**wanted: str | UUID | list[UUID]) -> list[str]:
        page = await listed(db, workspace_id, wanted=Wanted(**wanted))  # type: ignore[arg-type]
        return [one.type for one in page.events]

    assert await types(type="message.sent") == ["message.sent"]
    assert await types(type="message.*") == ["message.sent", "message.delivered"]
    assert await types(recipients=[]) == await types(recipients=[], message_id=hello) == []
    assert await types(recipients=[ids.new(), ann], type="consent.*") == ["consent.granted"]
    assert await types(recipients=[ann]) == ["message.sent", "message.delivered", "consent.granted"]
    assert await types(message_id=hello) == ["message.sent", "message.delivered"]
    assert await types(message_id=hello, type="message.delivered", recipients=[ann]) == ["message.delivered"]
    assert await types(message_id=hello, recipients=[ids.new()]) == []
    assert await types(type="message._ent") == []


async def test_a_rare_type_is_found_over_several_bounded_looks(
    db: Database, events: EventLog, workspace_id: WorkspaceId
) -> None:
    given = [event(workspace_id, "rare" if n in (12, 29) else "common") for n in range(30)]
    await db.run(lambda tx: events.append(tx, given))
    found, after, looks = [], START, 0
    while True:
        page = await listed(db, workspace_id, after=after, wanted=Wanted(type="rare"), through=10)
        if page.after == after:
            break
        looks += 1
        found += [one.id for one in page.events]
        after = page.after
    assert found == [given[12].id, given[29].id]
    assert looks == 3


async def test_a_workspace_sees_its_own_events_only(db: Database, events: EventLog, workspace_id: WorkspaceId) -> None:
    other, message = WorkspaceId(ids.new()), ids.new()
    await db.run(lambda tx: events.append(tx, [event(other, message_id=message), event(workspace_id)]))
    assert len((await listed(db, workspace_id)).events) == 1
    assert (await listed(db, workspace_id, wanted=Wanted(message_id=message))).events == []
    assert await db.run(lambda tx: of_message(tx, workspace_id, message)) == []
    assert len(await db.run(lambda tx: of_message(tx, other, message))) == 1


# Eras


async def newest_txid(tx: Tx, txid: int) -> None:
    """What a restored dump looks like: the log's ids are those of another cluster."""
    await tx.execute("update events set txid = $1::xid8", txid)


async def test_an_era_goes_on_while_the_cluster_is_the_same(db: Database, workspace_id: WorkspaceId) -> None:
    log = await open_log(db)
    await db.run(lambda tx: log.append(tx, [event(workspace_id)]))
    assert (log.era, (await open_log(db)).era) == (1, 1)


async def test_after_a_restore_new_events_come_after_the_old_ones(db: Database, workspace_id: WorkspaceId) -> None:
    old = await open_log(db)
    seen: list[UUID] = []

    async def handle(tx: Tx, events: Sequence[Recorded]) -> None:
        seen.extend(one.id for one in events)

    follower = Follower("reader", handle)
    before = [event(workspace_id) for _ in range(3)]
    await db.run(lambda tx: old.append(tx, before))
    assert await follow(db, follower, 2) is Turn.READ
    await db.run(lambda tx: newest_txid(tx, 1 << 40))
    await db.run(lambda tx: tx.execute("update followers set txid = $1::xid8", 1 << 40))

    log = await open_log(db)
    assert log.era == 2
    after = [event(workspace_id) for _ in range(3)]
    await db.run(lambda tx: log.append(tx, after))
    while await follow(db, follower, 2) is Turn.READ:
        pass
    assert seen == [one.id for one in before + after]
    page = await listed(db, workspace_id)
    assert [one.id for one in page.events] == [one.id for one in before + after]


async def test_a_cursor_in_the_future_opens_an_era_even_if_its_events_are_gone(
    db: Database, workspace_id: WorkspaceId
) -> None:
    await open_log(db)
    await db.run(lambda tx: store.register(tx, "reader", from_start=True))
    await db.run(lambda tx: tx.execute("update followers set era = 1, txid = $1::xid8", 1 << 40))
    assert (await open_log(db)).era == 2


async def test_another_cluster_opens_an_era(db: Database) -> None:
    await open_log(db)
    await db.run(lambda tx: tx.execute("update event_eras set system_identifier = 1"))
    assert [(await open_log(db)).era for _ in range(2)] == [2, 2]


async def test_a_process_that_opened_the_log_before_goes_on_in_the_new_era(
    db: Database, workspace_id: WorkspaceId
) -> None:
    early = await open_log(db)
    await db.run(lambda tx: tx.execute("update event_eras set system_identifier = 1"))
    await open_log(db)
    await db.run(lambda tx: early.append(tx, [event(workspace_id)]))
    assert (await listed(db, workspace_id)).events[0].cursor.era == 2


# Days


async def days(db: Database) -> list[date]:
    return await db.run(store.partitions)


async def in_default(db: Database) -> int:
    count: int = await db.run(lambda tx: tx.value("select count(*) from only events_default"))
    return count


async def test_a_week_is_made_ahead(db: Database, events: EventLog, clock: FakeClock) -> None:
    today = clock.now().date()
    assert await days(db) == [today + timedelta(days=n) for n in range(8)]
    clock.advance(timedelta(days=2))
    await db.run(ensure_partitions)
    assert await days(db) == [today + timedelta(days=n) for n in range(10)]


async def test_an_event_lies_in_its_day(
    db: Database, events: EventLog, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    await db.run(lambda tx: events.append(tx, [event(workspace_id)]))
    name = await db.run(lambda tx: tx.value("select tableoid::regclass::text from events"))
    assert name == f"events_{clock.now():%Y%m%d}"


async def test_an_event_of_a_day_nobody_made_is_kept_and_moves_into_it(
    db: Database, events: EventLog, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    clock.advance(timedelta(days=30))
    one = event(workspace_id)
    await db.run(lambda tx: events.append(tx, [one]))
    before = (await listed(db, workspace_id)).events
    assert await in_default(db) == 1

    await db.run(ensure_partitions)
    assert await in_default(db) == 0
    assert (await listed(db, workspace_id)).events == before
    assert [found.id for found in before] == [one.id]


async def test_making_days_gives_way_to_readers(db: Database, events: EventLog, clock: FakeClock) -> None:
    clock.advance(timedelta(days=5))
    async with db.transaction() as reader:
        await reader.rows("select 1 from events")
        with pytest.raises(Unavailable) as refused:
            await db.run(ensure_partitions)
        assert refused.value.code == "partition_blocked"
    await db.run(ensure_partitions)


async def test_a_clock_ahead_hides_nothing_from_a_follower(
    db: Database, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    """One event from the future must not move a follower's day past the events that others append after it.

    The server's own day bounds it, and a test's clock stands on a day that is long past for the server.
    """
    clock.moment = SystemClock().now()
    log, seen = await open_log(db), []

    async def handle(tx: Tx, events: Sequence[Recorded]) -> None:
        seen.extend(one.id for one in events)

    follower = Follower("reader", handle)
    ahead = Database(db._pool, FakeClock(datetime(2199, 1, 1, tzinfo=UTC)))
    first, second = event(workspace_id), event(workspace_id)
    await ahead.run(lambda tx: log.append(tx, [first]))
    await follow(ahead, follower, 10)
    await db.run(lambda tx: log.append(tx, [second]))
    await follow(db, follower, 10)
    assert seen == [first.id, second.id]
