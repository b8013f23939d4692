"""Wake-ups within a process and between processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tabellion.core.db import Database
from tabellion.core.wake import Bell, carry, waken


def test_a_ring_wakes_those_who_listen_to_its_topic() -> None:
    bell = Bell()
    one, other, both = bell.listen("one"), bell.listen("other"), bell.listen("one", "other")
    bell.ring("one")
    assert [event.is_set() for event in (one, other, both)] == [True, False, True]


def test_who_has_left_is_not_woken() -> None:
    bell = Bell()
    event = bell.listen("one")
    bell.forget(event)
    bell.ring("one")
    assert not event.is_set()


async def test_rings_are_gathered_until_they_are_carried() -> None:
    bell = Bell()
    for topic in ("one", "other", "one"):
        bell.ring(topic)
    assert await bell.rung() == {"one", "other"}
    waiting = asyncio.create_task(bell.rung())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring("third")
    assert await waiting == {"third"}


async def test_waiting_ends_by_a_ring_or_by_time_and_clears_the_event() -> None:
    event = asyncio.Event()
    assert not await waken(event, 0)
    event.set()
    assert await waken(event, 60)
    assert not event.is_set()


@asynccontextmanager
async def carried(db: Database, url: str, *bells: Bell) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(carry(bell, url)) for bell in bells]
    try:
        async with asyncio.timeout(30):
            while await _notifiers(db) < len(bells):  # noqa: ASYNC110 - the server knows when they listen
                await asyncio.sleep(0.01)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _notifiers(db: Database) -> int:
    count: int = await db.run(
        lambda tx: tx.value(
            """
            select count(*) from pg_stat_activity
             where application_name = 'tabellion wake' and datname = current_database() and query ilike 'listen%'
            """
        )
    )
    return count


async def test_a_ring_reaches_the_other_processes_and_does_not_come_back(db: Database, database_url: str) -> None:
    here, there = Bell(), Bell()
    mine, theirs = here.listen("jobs.2"), there.listen("jobs.2")
    elsewhere = there.listen("events")
    async with carried(db, database_url, here, there), asyncio.timeout(30):
        here.ring("jobs.2")
        mine.clear()
        await theirs.wait()
        there.ring("answer")
        answered = here.listen("answer")
        await answered.wait()
    assert not mine.is_set()
    assert not elsewhere.is_set()


async def test_a_lost_connection_is_made_anew(db: Database, database_url: str) -> None:
    here, there = Bell(), Bell()
    theirs = there.listen("events")
    async with carried(db, database_url, here, there), asyncio.timeout(30):
        await db.run(
            lambda tx: tx.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tabellion wake'"
            )
        )
        while not await waken(theirs, 0.1):
            here.ring("events")
