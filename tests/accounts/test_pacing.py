"""Departure clocks in the database, shared by all workers."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tabellion.access.types import Workspace
from tabellion.accounts import rules
from tabellion.accounts.service import Accounts
from tabellion.accounts.types import AccountPatch, Configured
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database, connect
from tabellion.core.ids import WorkspaceId

from .conftest import NewAccounts, caller, create

SECOND = timedelta(seconds=1)
Pair = tuple[WorkspaceId, object]


@pytest.fixture
async def other_db(db: Database, database_url: str, clock: FakeClock) -> AsyncIterator[Database]:
    database = await connect(database_url, clock, size=10)
    yield database
    await database.close()


@pytest.fixture
async def account(db: Database, accounts: Accounts, workspace: Workspace) -> Configured:
    return await create(db, accounts, caller(workspace))


async def reserve(
    db: Database, accounts: Accounts, workspace: Workspace, account: Configured, n: int
) -> list[datetime]:
    return await db.run(lambda tx: accounts.reserve(tx, [(workspace.live, account.id)] * n))


async def test_an_unpaced_account_departs_at_once_and_has_no_row(
    db: Database, accounts: Accounts, workspace: Workspace, account: Configured, clock: FakeClock
) -> None:
    assert await reserve(db, accounts, workspace, account, 100) == [clock.now()] * 100
    assert await db.run(lambda tx: tx.value("select count(*) from account_pacing")) == 0
    assert await db.run(lambda tx: accounts.reserve(tx, [])) == []


async def test_after_a_refusal_departures_are_paced_and_paused(
    db: Database, accounts: Accounts, workspace: Workspace, account: Configured, clock: FakeClock
) -> None:
    await db.run(lambda tx: accounts.throttled(tx, workspace.live, account.id, 3.0))
    times = await reserve(db, accounts, workspace, account, 3)
    apart = SECOND / rules.START_RATE
    assert times == [clock.now() + SECOND * 3 + apart * place for place in range(3)]
    assert await reserve(db, accounts, workspace, account, 1) == [times[-1] + apart]


async def test_accounts_of_one_batch_are_paced_each_by_its_own_clock(
    db: Database, accounts: Accounts, workspace: Workspace, account: Configured, clock: FakeClock
) -> None:
    free = await create(db, accounts, caller(workspace))
    await db.run(lambda tx: accounts.throttled(tx, workspace.live, account.id, None))
    pairs = [(workspace.live, one.id) for one in (account, free, account, free)]
    times = await db.run(lambda tx: accounts.reserve(tx, pairs))
    now = clock.now()
    assert times == [now, now, now + SECOND / rules.START_RATE, now]


async def test_workers_never_reserve_the_same_departure(
    db: Database, other_db: Database, new_accounts: NewAccounts, workspace: Workspace, account: Configured
) -> None:
    one, other = new_accounts(), new_accounts()
    await db.run(lambda tx: one.throttled(tx, workspace.live, account.id, None))
    answers = await asyncio.gather(
        *(reserve(place, of, workspace, account, 5) for _ in range(8) for place, of in ((db, one), (other_db, other)))
    )
    times = sorted(time for answer in answers for time in answer)
    assert len(times) == 80
    assert all(later - earlier >= SECOND / rules.START_RATE for earlier, later in pairwise(times))


async def test_the_first_refusals_at_once_make_one_clock(
    db: Database, other_db: Database, accounts: Accounts, workspace: Workspace, account: Configured
) -> None:
    await asyncio.gather(
        *(
            place.run(lambda tx: accounts.throttled(tx, workspace.live, account.id, 1.0))
            for _ in range(6)
            for place in (db, other_db)
        )
    )
    rates = await db.run(lambda tx: tx.rows("select rate from account_pacing"))
    assert [row["rate"] for row in rates] == [rules.START_RATE]


async def test_an_account_slows_down_and_grows_back_until_it_is_free(
    db: Database, accounts: Accounts, workspace: Workspace, account: Configured, clock: FakeClock
) -> None:
    pair = (workspace.live, account.id)

    async def rate() -> float | None:
        found: float | None = await db.run(lambda tx: tx.value("select rate from account_pacing"))
        return found

    await db.run(lambda tx: accounts.throttled(tx, *pair, None))
    clock.advance(SECOND)
    await db.run(lambda tx: accounts.throttled(tx, *pair, None))
    assert await rate() == rules.START_RATE / 2
    clock.advance(SECOND)
    for _ in range(3):
        await db.run(lambda tx: accounts.succeeded(tx, [pair, pair]))
    assert await rate() == rules.START_RATE / 2 + rules.GROWTH
    await db.run(lambda tx: tx.execute("update account_pacing set rate = $1", rules.FREE_RATE - 1))
    clock.advance(SECOND)
    await db.run(lambda tx: accounts.succeeded(tx, [pair]))
    assert await rate() is None


async def test_a_limit_paces_from_the_start_and_can_be_lifted(
    db: Database, accounts: Accounts, workspace: Workspace, clock: FakeClock
) -> None:
    by = caller(workspace)
    made = await create(db, accounts, by, rate=2.0)
    assert made.rate == 2.0
    assert await reserve(db, accounts, workspace, made, 2) == [clock.now(), clock.now() + SECOND / 2]
    lifted = await db.run(lambda tx: accounts.change(tx, by, made.id, AccountPatch(rate=None)))
    assert lifted.rate is None
    assert await reserve(db, accounts, workspace, made, 2) == [clock.now()] * 2
    raised = await db.run(lambda tx: accounts.change(tx, by, made.id, AccountPatch(rate=10.0)))
    assert raised.rate == 10.0
