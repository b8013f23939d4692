"""Transactions at the edge: committed, rolled back, retried, cut off, and told apart from a database that is away."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from tabellion.core.clock import FakeClock, SystemClock
from tabellion.core.db import TRIES, Database, Tx, columns, connect
from tabellion.core.errors import Conflict, Misconfigured, Overloaded, Unavailable
from tabellion.core.postgres import Postgres


@pytest.fixture(autouse=True)
async def numbers(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute("create table numbers (n int primary key, value int not null default 0)")


async def stored(db: Database) -> list[int]:
    async with db.transaction() as tx:
        return [row["n"] for row in await tx.rows("select n from numbers order by n")]


async def test_a_block_that_ends_well_is_durable(db: Database) -> None:
    async with db.transaction() as tx:
        assert await tx.execute("insert into numbers (n) values (1), (2)") == "INSERT 0 2"
        assert await tx.value("select count(*) from numbers") == 2
    assert await stored(db) == [1, 2]


async def test_a_block_that_raises_leaves_nothing_and_no_noise(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(Conflict):
        async with db.transaction() as tx:
            await tx.execute("insert into numbers (n) values (1)")
            raise Conflict("taken", "another one has it")
    assert await stored(db) == []
    assert not caplog.records


async def test_a_failed_statement_rolls_back_what_came_before(db: Database) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        async with db.transaction() as tx:
            await tx.execute("insert into numbers (n) values (1)")
            await tx.execute("insert into numbers (n) values (1)")
    assert await stored(db) == []


async def test_now_is_read_once(db: Database, clock: FakeClock) -> None:
    begun = clock.now()
    async with db.transaction() as tx:
        clock.advance(timedelta(minutes=1))
        assert tx.now == begun


async def test_every_transaction_reads_committed_whatever_the_database_prefers(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute("set session characteristics as transaction isolation level serializable")
    async with db.transaction() as tx:
        assert await tx.value("show transaction_isolation") == "read committed"


async def test_a_statement_sees_what_others_committed_since_the_last(db: Database) -> None:
    async with db.transaction() as tx:
        assert await tx.value("select count(*) from numbers") == 0
        async with db.transaction() as other:
            await other.execute("insert into numbers (n) values (1)")
        assert await tx.value("select count(*) from numbers") == 1


async def test_after_commit_runs_when_it_is_durable_and_only_then(db: Database) -> None:
    calls: list[str] = []
    async with db.transaction() as tx:
        tx.after_commit(lambda: calls.append("committed"))
        assert calls == []
    assert calls == ["committed"]
    with pytest.raises(Conflict):
        async with db.transaction() as tx:
            tx.after_commit(lambda: calls.append("rolled back"))
            raise Conflict("taken", "another one has it")
    assert calls == ["committed"]


async def test_before_commit_comes_last_and_once_with_all_it_was_given(db: Database) -> None:
    calls: list[tuple[str, list[int]]] = []

    async def second(tx: Tx, items: list[int]) -> None:
        calls.append(("second", items))

    async def first(tx: Tx, items: list[int]) -> None:
        calls.append(("first", items))
        await tx.execute("insert into numbers (n) select unnest($1::int[])", items)
        tx.before_commit(second, 8)

    async with db.transaction() as tx:
        for number in (3, 1, 2):
            tx.before_commit(first, number)
        tx.before_commit(second, 9)
        assert await tx.value("select count(*) from numbers") == 0
    assert calls == [("first", [3, 1, 2]), ("second", [9, 8])]
    assert await stored(db) == [1, 2, 3]


async def test_what_raises_before_the_commit_undoes_everything(db: Database) -> None:
    announced: list[str] = []

    async def refuse(tx: Tx, items: list[str]) -> None:
        raise Conflict("refused", "not like this")

    with pytest.raises(Conflict):
        async with db.transaction() as tx:
            await tx.execute("insert into numbers (n) values (1)")
            tx.after_commit(lambda: announced.append("committed"))
            tx.before_commit(refuse, "x")
    assert (await stored(db), announced) == ([], [])


async def test_a_block_that_raises_does_nothing_before_a_commit_that_does_not_come(db: Database) -> None:
    calls: list[str] = []

    async def note(tx: Tx, items: list[str]) -> None:
        calls.extend(items)

    with pytest.raises(Conflict):
        async with db.transaction() as tx:
            tx.before_commit(note, "x")
            raise Conflict("taken", "another one has it")
    assert calls == []


async def test_a_deadlock_before_the_commit_is_run_again_whole_with_what_the_second_run_gave(db: Database) -> None:
    runs: list[list[int]] = []

    async def unlucky(tx: Tx, items: list[int]) -> None:
        runs.append(items)
        if len(runs) < TRIES:
            await tx.execute("do $$ begin raise sqlstate '40P01'; end $$")
        await tx.execute("insert into numbers (n) select unnest($1::int[])", items)

    async def work(tx: Tx) -> None:
        tx.before_commit(unlucky, len(runs))

    await db.run(work)
    assert (runs, await stored(db)) == ([[0], [1], [2]], [2])


async def test_what_is_done_before_the_commit_counts_in_the_time_limit(db: Database) -> None:
    async def slow(tx: Tx, items: list[str]) -> None:
        await tx.execute("select pg_sleep(30)")

    with pytest.raises(Overloaded):
        async with db.transaction(limit=0.05) as tx:
            await tx.execute("insert into numbers (n) values (1)")
            tx.before_commit(slow, "x")
    assert await stored(db) == []


async def test_a_transaction_finds_what_the_database_was_given_by_its_kind(db: Database) -> None:
    class Clerk:
        pass

    async with db.transaction() as tx:
        with pytest.raises(LookupError, match="without a Clerk"):
            tx.provided(Clerk)
    clerk = Clerk()
    db.provide(clerk)
    async with db.transaction() as tx:
        assert tx.provided(Clerk) is clerk


async def test_locks_out_of_order_are_a_mistake_that_shows_at_once(db: Database) -> None:
    async with db.transaction() as tx:
        for place in (1, 3, 3, 1, 4):
            tx.locks("head", place)
        tx.locks("other", 0)
        with pytest.raises(AssertionError, match="out of order"):
            tx.locks("head", 2)


async def test_a_deadlock_is_run_again_whole(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute("insert into numbers (n) values (1), (2)")
    locked = {1: asyncio.Event(), 2: asyncio.Event()}
    runs: list[int] = []

    async def both(tx: Tx, first: int, second: int) -> None:
        runs.append(first)
        await tx.execute("update numbers set value = value + 1 where n = $1", first)
        locked[first].set()
        await locked[second].wait()
        await tx.execute("update numbers set value = value + 1 where n = $1", second)

    await asyncio.gather(db.run(lambda tx: both(tx, 1, 2)), db.run(lambda tx: both(tx, 2, 1)))
    async with db.transaction() as tx:
        assert [row["value"] for row in await tx.rows("select value from numbers")] == [2, 2]
    assert len(runs) == 3


async def test_work_that_always_deadlocks_gives_up(db: Database) -> None:
    runs: list[int] = []

    async def unlucky(tx: Tx) -> None:
        runs.append(1)
        await tx.execute("do $$ begin raise sqlstate '40P01'; end $$")

    with pytest.raises(asyncpg.DeadlockDetectedError):
        await db.run(unlucky)
    assert len(runs) == TRIES


async def test_other_errors_are_not_run_again(db: Database) -> None:
    runs: list[int] = []

    async def refused(tx: Tx) -> None:
        runs.append(1)
        raise Conflict("taken", "another one has it")

    with pytest.raises(Conflict):
        await db.run(refused)
    assert len(runs) == 1


async def test_the_watchdog_ends_a_statement_and_gives_the_connection_back(
    database_url: str, db: Database, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    narrow = await connect(database_url, clock, size=1)
    with pytest.raises(Overloaded) as refused:
        async with narrow.transaction(limit=0.05) as tx:
            await tx.execute("insert into numbers (n) values (1)")
            await tx.execute("select pg_sleep(1000)")
    assert isinstance(refused.value.__cause__, TimeoutError)
    async with narrow.transaction() as tx:
        assert await tx.value("select count(*) from numbers") == 0
        assert await tx.value("select count(*) from pg_stat_activity where query like 'select pg_sleep%'") == 0
    await narrow.close()
    assert not caplog.records


async def test_the_watchdog_covers_the_wait_for_a_connection(database_url: str, clock: FakeClock) -> None:
    narrow = await connect(database_url, clock, size=1)
    async with narrow.transaction():
        with pytest.raises(Overloaded):
            async with narrow.transaction(limit=0.05):
                raise AssertionError("there is only one connection")
    await narrow.close()


async def test_a_connection_that_ends_under_us_is_unavailable_and_the_next_is_fresh(db: Database) -> None:
    with pytest.raises(Unavailable):
        async with db.transaction() as tx:
            await tx.execute("insert into numbers (n) values (1)")
            await tx.value("select pg_terminate_backend(pg_backend_pid())")
    assert await stored(db) == []


async def test_a_connection_that_ends_before_the_commit_is_unavailable(db: Database) -> None:
    with pytest.raises(Unavailable):
        async with db.transaction() as tx:
            await tx.execute("insert into numbers (n) values (1)")
            pid = await tx.value("select pg_backend_pid()")
            async with db.transaction() as other:
                await other.value("select pg_terminate_backend($1, 5000)", pid)
    assert await stored(db) == []


async def test_a_server_that_is_gone_is_unavailable(tmp_path: Path, clock: FakeClock) -> None:
    settings = {"fsync": "off", "shared_buffers": "32MB"}
    server = Postgres(tmp_path / "data", clock=SystemClock(), settings=settings)
    db = await connect(await server.start(), clock)
    await server.stop()
    for _ in range(2):
        with pytest.raises(Unavailable, match="database does not answer"):
            async with db.transaction():
                raise AssertionError("nothing to run it on")
    with pytest.raises(Unavailable, match="check that it runs"):
        await connect(server.admin_url(), clock)
    await db.close()


@pytest.mark.parametrize("change", [("//tabellion@", "//nobody@"), ("/test_", "/missing_"), ("postgresql:", "mysql:")])
async def test_a_database_that_does_not_let_us_in_is_misconfigured(
    database_url: str, clock: FakeClock, change: tuple[str, str]
) -> None:
    with pytest.raises(Misconfigured, match="check its URL"):
        await connect(database_url.replace(*change), clock)


async def test_an_error_of_the_works_own_files_is_not_blamed_on_the_database(db: Database, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with db.transaction():
            (tmp_path / "missing").read_bytes()


async def test_a_wrong_call_is_not_blamed_on_the_database(db: Database) -> None:
    with pytest.raises(asyncpg.InterfaceError, match="expects 1 argument"):
        async with db.transaction() as tx:
            await tx.value("select $1::int", 1, 2)


async def test_json_goes_in_and_comes_out_as_values(db: Database) -> None:
    value = {"a": [1, "ü", None, True], "b": {}}
    async with db.transaction() as tx:
        assert await tx.value("select $1::jsonb", value) == value
        assert await tx.value("select $1::json", value) == value
        assert [r["v"] for r in await tx.rows("select unnest($1::jsonb[]) as v", [value, "x", 1])] == [value, "x", 1]


async def test_times_come_back_in_utc(db: Database) -> None:
    async with db.transaction() as tx:
        assert await tx.value("select $1::timestamptz", tx.now) == tx.now
        assert await tx.value("show timezone") == "UTC"


def test_columns_turns_rows_for_unnest() -> None:
    assert columns([(1, "a"), (2, "b")], 2) == [[1, 2], ["a", "b"]]
    assert columns([], 3) == [[], [], []]
