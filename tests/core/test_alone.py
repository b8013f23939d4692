from collections.abc import AsyncIterator

import asyncpg
import pytest

from tabellion.core.alone import Alone


@pytest.fixture
async def rivals(database_url: str) -> AsyncIterator[list[Alone]]:
    made = [Alone(database_url, 4711) for _ in range(2)]
    yield made
    for one in made:
        one.end()


async def test_one_has_it_until_it_ends(rivals: list[Alone]):
    one, two = rivals
    assert [await one.mine(), await two.mine(), await one.mine(), await two.mine()] == [True, False, True, False]
    one.end()
    while not await two.mine():  # the server notices a moment later
        pass
    assert not await one.mine()


async def test_whoever_lost_the_connection_lost_the_lock(rivals: list[Alone], server, database_url: str):
    one, two = rivals
    assert await one.mine()
    admin = await asyncpg.connect(server.postgres.admin_url())
    await admin.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tabellion alone'"
    )
    await admin.close()
    while not await two.mine():
        pass
    assert not await one.mine()
    two.end()


async def test_without_a_database_nobody_has_it():
    assert not await Alone("postgresql://nobody@127.0.0.1:1/nothing", 4711).mine()
