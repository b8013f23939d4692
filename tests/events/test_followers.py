"""Followers: every event once, in order, whatever overlaps and whatever crashes."""

import asyncio
import io
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database, Tx
from tabellion.core.errors import Unavailable
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import open_log as open_lines
from tabellion.core.telemetry import Metrics
from tabellion.core.wake import Bell
from tabellion.events.followers import Follower, Followers, Turn, counting, follow
from tabellion.events.service import EventLog, counts, horizon, lags
from tabellion.events.types import Event, Recorded

SIDE = WorkspaceId(UUID(int=1))


class Seen:
    """A follower that remembers what it was given in transactions that committed."""

    def __init__(self, name: str = "reader", *, from_start: bool = True) -> None:
        self.events: list[Recorded] = []
        self.follower = Follower(name, self._handle, from_start=from_start)

    async def _handle(self, tx: Tx, events: Sequence[Recorded]) -> None:
        tx.after_commit(lambda: self.events.extend(events))

    @property
    def ids(self) -> list[UUID]:
        return [one.id for one in self.events]


def some(count: int, type: str = "message.sent") -> list[Event]:
    return [Event(SIDE, type, {}) for _ in range(count)]


async def appended(db: Database, log: EventLog, count: int) -> list[UUID]:
    given = some(count)
    await db.run(lambda tx: log.append(tx, given))
    return [one.id for one in given]


async def read_all(db: Database, follower: Follower, most: int = 100) -> Turn:
    while (turn := await follow(db, follower, most)) is Turn.READ:
        pass
    return turn


async def test_a_new_follower_starts_with_the_first_event(db: Database, events: EventLog) -> None:
    given = await appended(db, events, 5)
    seen = Seen()
    assert await read_all(db, seen.follower, 2) is Turn.NOTHING
    assert seen.ids == given


async def test_one_that_starts_from_now_sees_only_what_comes(db: Database, events: EventLog) -> None:
    await appended(db, events, 5)
    seen = Seen(from_start=False)
    await read_all(db, seen.follower)
    given = await appended(db, events, 2)
    await read_all(db, seen.follower)
    assert seen.ids == given


async def test_an_open_transaction_holds_back_what_might_come_after_it(db: Database, events: EventLog) -> None:
    seen, early = Seen(), some(1)
    async with db.transaction() as open_tx:
        await events.append(open_tx, early)
        late = await appended(db, events, 1)
        await follow(db, seen.follower, 10)
        assert await follow(db, seen.follower, 10) is Turn.HELD
        assert seen.ids == []
    assert await read_all(db, seen.follower) is Turn.NOTHING
    assert seen.ids == [early[0].id, *late]


async def test_a_handler_that_raises_moves_nothing(db: Database, events: EventLog) -> None:
    given = await appended(db, events, 3)

    async def fail(tx: Tx, events: Sequence[Recorded]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await follow(db, Follower("reader", fail), 10)
    seen = Seen()
    await read_all(db, seen.follower)
    assert seen.ids == given


async def test_a_crash_in_the_middle_of_a_batch_counts_nothing_twice(db: Database, events: EventLog) -> None:
    """The handler has written, the place has not moved, and the connection dies."""
    await appended(db, events, 4)
    whole = counting()

    async def crash(tx: Tx, events: Sequence[Recorded]) -> None:
        await whole.handle(tx, events)
        await tx.execute("select pg_terminate_backend(pg_backend_pid())")

    await follow(db, whole, 1)
    with pytest.raises(Unavailable):
        await follow(db, Follower(whole.name, crash), 2)
    assert await db.run(counts) == {"message.sent": 1}
    await read_all(db, whole)
    assert await db.run(counts) == {"message.sent": 4}


async def test_a_follower_belongs_to_one_process_at_a_time(db: Database, events: EventLog) -> None:
    await appended(db, events, 2)
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(tx: Tx, events: Sequence[Recorded]) -> None:
        inside.set()
        await go_on.wait()

    first = asyncio.create_task(follow(db, Follower("reader", slow), 1))
    await inside.wait()
    seen = Seen()
    assert await follow(db, seen.follower, 10) is Turn.TAKEN
    go_on.set()
    assert await first is Turn.READ
    await read_all(db, seen.follower)
    assert len(seen.ids) == 1


async def test_counts_are_by_type(db: Database, events: EventLog) -> None:
    await db.run(lambda tx: events.append(tx, some(3, "a.done") + some(2, "b.done")))
    await read_all(db, counting(), 2)
    assert await db.run(counts) == {"a.done": 3, "b.done": 2}


async def test_the_metrics_tell_the_counts(db: Database, events: EventLog) -> None:
    """They were counted, and nobody could read them."""
    await db.run(lambda tx: events.append(tx, some(3, "a.done")))
    await read_all(db, counting())
    metrics = Metrics(process=False)
    await db.run(Followers(db, [], open_lines(io.StringIO(), db.clock), metrics=metrics)._measure)
    assert b'tabellion_events_recorded{type="a.done"} 3.0' in metrics.render()


async def test_lag_is_the_age_of_the_first_unread_event(db: Database, events: EventLog, clock: FakeClock) -> None:
    seen = Seen()
    await appended(db, events, 1)
    await read_all(db, seen.follower)
    assert [(lag.seconds, lag.events) for lag in await db.run(lags)] == [(0.0, 0)]
    await appended(db, events, 3)
    clock.advance(timedelta(seconds=40))
    assert [(lag.name, lag.seconds, lag.events) for lag in await db.run(lags)] == [("reader", 40.0, 3)]


async def test_the_horizon_names_who_holds_it(db: Database, events: EventLog) -> None:
    assert (await db.run(horizon)).blocker is None
    async with db.transaction() as open_tx:
        pid = await open_tx.value("select pg_backend_pid()")
        await events.append(open_tx, some(1))
        held = await db.run(horizon)
    assert held.blocker is not None
    assert held.blocker.pid == pid
    assert held.seconds >= 0
    assert str(held.blocker).startswith(f"process {pid} (tabellion, idle in transaction) in database")


async def test_followers_run_until_stopped_and_are_woken_by_the_bell(db: Database) -> None:
    bell, seen, arrived = Bell(), Seen(), asyncio.Event()
    log = EventLog(1, bell)

    async def handle(tx: Tx, events: Sequence[Recorded]) -> None:
        await seen.follower.handle(tx, events)
        tx.after_commit(arrived.set)

    lines = open_lines(io.StringIO(), db.clock)
    followers = Followers(db, [Follower("reader", handle)], lines, bell=bell, metrics=Metrics(process=False))
    running = asyncio.create_task(followers.run())
    given = await appended(db, log, 3)
    async with asyncio.timeout(30):
        await arrived.wait()
        await followers.stop()
        await running
    assert seen.ids == given


async def test_a_failing_follower_comes_right_up_to_the_event_it_cannot_take(db: Database, events: EventLog) -> None:
    """It neither passes the event nor keeps those before it waiting."""
    given = await appended(db, events, 5)
    handled: list[UUID] = []
    stuck = asyncio.Event()

    async def handle(tx: Tx, events: Sequence[Recorded]) -> None:
        if any(one.id == given[3] for one in events):
            if len(events) == 1:
                stuck.set()
            raise ZeroDivisionError
        tx.after_commit(lambda: handled.extend(one.id for one in events))

    followers = Followers(db, [Follower("reader", handle)], open_lines(io.StringIO(), db.clock))
    running = asyncio.create_task(followers.run())
    async with asyncio.timeout(30):
        await stuck.wait()
        await followers.stop()
        await running
    assert handled == given[:3]


# The law


class Interleaving:
    """Several open connections, driven step by step, and a follower that reads in between."""

    def __init__(self, db: Database, log: EventLog) -> None:
        self.db, self.log = db, log
        self.open: dict[int, tuple[AbstractAsyncContextManager[Tx], Tx]] = {}
        self.pending: dict[int, list[UUID]] = {}
        self.committed: set[UUID] = set()
        self.seen = Seen(str(ids.new()), from_start=False)

    async def begin(self, who: int) -> None:
        if who not in self.open:
            context = self.db.transaction(limit=60)
            self.open[who] = (context, await context.__aenter__())
            self.pending[who] = []

    async def touch(self, who: int) -> None:
        """Get a transaction id now, and append later."""
        await self.begin(who)
        await self.open[who][1].value("select pg_current_xact_id()")

    async def insert(self, who: int) -> None:
        await self.begin(who)
        given = some(2)
        await self.log.append(self.open[who][1], given)
        self.pending[who] += [one.id for one in given]

    async def commit(self, who: int) -> None:
        if who in self.open:
            context, _ = self.open.pop(who)
            await context.__aexit__(None, None, None)
            self.committed.update(self.pending.pop(who))

    async def rollback(self, who: int) -> None:
        if who in self.open:
            context, _ = self.open.pop(who)
            self.pending.pop(who)
            with suppress(ZeroDivisionError):
                await context.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)

    async def read(self, who: int) -> None:
        await follow(self.db, self.seen.follower, 1 + who)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["begin", "touch", "insert", "insert", "commit", "commit", "rollback", "read", "read"]),
            st.integers(0, 3),
        ),
        min_size=4,
        max_size=40,
    )
)
async def test_no_interleaving_makes_a_follower_skip_or_repeat_an_event(
    db: Database, events: EventLog, steps: list[tuple[str, int]]
) -> None:
    world = Interleaving(db, events)
    await world.read(0)
    for name, who in steps:
        await getattr(world, name)(who)
    for who in list(world.open):
        await world.rollback(who)
    await read_all(db, world.seen.follower)
    cursors = [one.cursor for one in world.seen.events]
    assert cursors == sorted(set(cursors)), "in order of (txid, position), none twice"
    assert set(world.seen.ids) == world.committed, "none skipped, none that was rolled back"
