"""Idempotency keys, with real transactions side by side and connections killed between their steps."""

import asyncio
import os
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.access import store as tables
from tabellion.access.idempotency import (
    LIFE,
    Busy,
    Fresh,
    IdempotencyKey,
    Outcome,
    Replay,
    Reused,
    claim,
    identify,
    purge,
    store,
)
from tabellion.access.types import Workspace
from tabellion.core.clock import FakeClock
from tabellion.core.crypto import Key, sha256
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError, Unavailable

ANSWERS = Key.new()
ONE = identify("POST", "/v1/things", "one", b"{}")
SAME_KEY_OTHER_BODY = identify("POST", "/v1/things", "one", b'{"x":1}')
TWO = identify("POST", "/v1/things", "two", b"{}")


@pytest.fixture
async def side(workspace: Workspace):
    return workspace.live


async def claimed(db: Database, side, *keys: IdempotencyKey, key: Key = ANSWERS) -> list[Outcome]:
    """The outcomes of a claim in a transaction of its own, which stores nothing."""
    return await db.run(lambda tx: claim(tx, side, keys, key))


async def done(db: Database, side, *keys: IdempotencyKey, status: int = 201, body: bytes = b'{"id":1}') -> None:
    async def work(tx: Tx) -> None:
        assert await claim(tx, side, keys, ANSWERS) == [Fresh()] * len(keys)
        await store(tx, side, [(one, status, body) for one in keys], ANSWERS)

    await db.run(work)


@given(st.tuples(st.text(), st.text(), st.text(), st.binary(), st.binary()), st.integers(0, 4), st.data())
def test_requests_that_differ_anywhere_differ(request_, place, data):
    """Method, path and key tell requests apart; body and query tell whether they say the same."""
    method, path, key, body, query = request_
    changed = list(request_)
    changed[place] = data.draw(st.from_type(type(request_[place])).filter(lambda one: one != request_[place]))
    first, second = identify(method, path, key, body, query), identify(*changed)  # type: ignore[arg-type]
    if "\0" in "".join(request_[:3]) or "\0" in "".join(changed[:3]):  # type: ignore[arg-type]
        return  # cannot be in a request line or header
    assert (first.scope != second.scope) == (place < 3)
    if place == 3 and not query:
        assert first.body == sha256(body) != second.body


async def test_a_first_request_is_fresh_and_a_second_gets_its_answer(db: Database, side):
    await done(db, side, ONE, status=202, body=b'{"id":"msg_1"}')
    assert await claimed(db, side, ONE) == [Replay(202, b'{"id":"msg_1"}')]


async def test_the_same_key_with_another_body_is_refused(db: Database, side):
    await done(db, side, ONE)
    assert await claimed(db, side, SAME_KEY_OTHER_BODY) == [Reused()]


async def test_an_answer_that_was_not_stored_is_not_remembered(db: Database, side):
    """A 5xx or a refusal before execution leaves nothing: the next request is the first."""
    assert await claimed(db, side, ONE) == [Fresh()]
    assert await claimed(db, side, SAME_KEY_OTHER_BODY) == [Fresh()]
    assert await claimed(db, side, ONE) == [Fresh()]


async def test_keys_of_two_sides_and_two_workspaces_do_not_meet(
    db: Database, workspace: Workspace, other_workspace: Workspace
):
    await done(db, workspace.live, ONE)
    for side in (workspace.test, other_workspace.live, other_workspace.test):
        assert await claimed(db, side, ONE) == [Fresh()]


async def test_an_answer_lasts_a_day(db: Database, side, clock: FakeClock):
    await done(db, side, ONE, status=200)
    clock.advance(LIFE - timedelta(milliseconds=1))
    assert await claimed(db, side, ONE) == [Replay(200, b'{"id":1}')]
    clock.advance(timedelta(milliseconds=1))
    await done(db, side, SAME_KEY_OTHER_BODY, status=202)
    assert await claimed(db, side, SAME_KEY_OTHER_BODY, ONE) == [Replay(202, b'{"id":1}'), Reused()]


async def test_answers_are_sealed_for_their_key_and_side(db: Database, workspace: Workspace):
    body = b'{"email":"ann@example.org"}'
    await done(db, workspace.live, ONE, body=body)
    async with db.transaction() as tx:
        kept = (await tables.read_answers(tx, workspace.live, [ONE.scope]))[ONE.scope]
        assert kept.sealed is not None
        assert b"ann@" not in kept.sealed
        await tx.execute("update idempotency set workspace_id = $1", workspace.test)
    with pytest.raises(HubError):
        await claimed(db, workspace.test, ONE)
    with pytest.raises(HubError):
        await claimed(db, workspace.test, ONE, key=Key.new())


async def test_a_batch_keeps_the_order_of_its_keys(db: Database, side):
    keys = [identify("POST", "/v1/things", str(number), b"{}") for number in range(200)]
    await done(db, side, *keys[::3])
    outcomes = await claimed(db, side, *keys)
    assert [isinstance(one, Replay) for one in outcomes] == [number % 3 == 0 for number in range(200)]


@pytest.mark.parametrize("stored", [False, True])
async def test_a_key_named_twice_in_a_batch(db: Database, side, stored):
    if stored:
        await done(db, side, ONE)
    first = Replay(201, b'{"id":1}') if stored else Fresh()
    again = first if stored else Busy()
    assert await claimed(db, side, ONE, TWO, ONE, SAME_KEY_OTHER_BODY) == [first, Fresh(), again, Reused()]


async def test_while_one_executes_another_is_busy_and_does_not_wait(db: Database, side):
    async with db.transaction() as first, db.transaction() as second:
        assert await claim(first, side, [ONE, TWO], ANSWERS) == [Fresh(), Fresh()]
        three = identify("POST", "/v1/things", "three", b"{}")
        for rival in (ONE, SAME_KEY_OTHER_BODY):
            assert await claim(second, side, [rival, three], ANSWERS) == [Busy(), Fresh()]
        await store(first, side, [(ONE, 200, b"1"), (TWO, 200, b"2")], ANSWERS)
        assert (await claim(second, side, [ONE, TWO], ANSWERS)) == [Busy(), Busy()]
    assert await claimed(db, side, ONE, TWO) == [Replay(200, b"1"), Replay(200, b"2")]


async def test_claims_in_opposite_orders_do_not_deadlock(db: Database, side):
    keys = [identify("POST", "/v1/things", str(number), b"{}") for number in range(50)]
    executed: list[IdempotencyKey] = []

    async def run(order: Sequence[IdempotencyKey]) -> None:
        left = list(order)
        while left:
            left = await db.run(partial(batch, left=left))

    async def batch(tx: Tx, left: list[IdempotencyKey]) -> list[IdempotencyKey]:
        outcomes = await claim(tx, side, left, ANSWERS)
        fresh = [one for one, outcome in zip(left, outcomes, strict=True) if isinstance(outcome, Fresh)]
        await store(tx, side, [(one, 200, b"{}") for one in fresh], ANSWERS)
        executed.extend(fresh)
        return [one for one, outcome in zip(left, outcomes, strict=True) if isinstance(outcome, Busy)]

    await asyncio.gather(*(run(keys if number % 2 else keys[::-1]) for number in range(8)))
    assert sorted(one.scope for one in executed) == sorted(one.scope for one in keys)


async def test_a_hundred_equal_requests_execute_once(db: Database, side):
    executions = []

    async def request() -> Outcome:
        while True:
            outcome = await db.run(once)
            if not isinstance(outcome, Busy):
                return outcome

    async def once(tx: Tx) -> Outcome:
        [outcome] = await claim(tx, side, [ONE], ANSWERS)
        if isinstance(outcome, Fresh):
            executions.append(1)
            await store(tx, side, [(ONE, 201, b"answer")], ANSWERS)
        return outcome

    outcomes = await asyncio.gather(*(request() for _ in range(100)))
    assert len(executions) == 1
    assert sorted(map(type, outcomes), key=str) == [Fresh] + [Replay] * 99


@pytest.mark.parametrize("stored", [False, True])
async def test_a_connection_killed_before_commit_leaves_the_key_free(
    db: Database, side, database_url: str, stored: bool
):
    """Killed after the claim, or after the answer was stored but before the commit: nothing happened."""
    killer = await asyncpg.connect(database_url)
    with pytest.raises((Unavailable, asyncpg.PostgresError)):
        async with db.transaction() as tx:
            assert await claim(tx, side, [ONE], ANSWERS) == [Fresh()]
            if stored:
                await store(tx, side, [(ONE, 200, b"{}")], ANSWERS)
            assert await claimed(db, side, ONE) == [Busy()]
            await killer.execute("select pg_terminate_backend($1)", await tx.value("select pg_backend_pid()"))
            await tx.value("select 1")
    await killer.close()
    assert await claimed(db, side, SAME_KEY_OTHER_BODY) == [Fresh()]


async def test_storing_without_a_claim_is_a_fault(db: Database, side):
    with pytest.raises(HubError) as fault:
        await db.run(lambda tx: store(tx, side, [(ONE, 200, b"{}")], ANSWERS))
    assert fault.value.code == "not_claimed"


async def test_expired_answers_are_deleted_in_small_batches(db: Database, side, clock: FakeClock):
    old = [identify("POST", "/v1/things", str(number), b"{}") for number in range(25)]
    await done(db, side, *old)
    clock.advance(timedelta(hours=12))
    await done(db, side, ONE)
    assert await db.run(lambda tx: purge(tx)) == 0
    clock.advance(timedelta(hours=12))
    assert [await db.run(lambda tx: purge(tx, 10)) for _ in range(4)] == [10, 10, 5, 0]
    assert await claimed(db, side, ONE) == [Replay(201, b'{"id":1}')]


async def test_an_answer_deleted_while_it_is_claimed_again_is_asked_again(db: Database, side, clock: FakeClock):
    """Purge holds the expired row; the claim waits for it, and must not take a row that is gone for its own."""

    async def waiters(tx: Tx) -> int:
        count: int = await tx.value("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
        return count

    await done(db, side, ONE)
    clock.advance(LIFE)
    async with db.transaction() as tx:
        await purge(tx)
        waiting = asyncio.create_task(claimed(db, side, ONE))
        while not await db.run(waiters):  # noqa: ASYNC110 - the other side is in the database
            await asyncio.sleep(0)
    outcome = (await waiting)[0]
    assert outcome in (Fresh(), Busy())
    await done(db, side, ONE)


async def test_the_answers_body_may_be_anything(db: Database, side):
    body = os.urandom(100_000)
    await done(db, side, ONE, body=body)
    assert await claimed(db, side, ONE) == [Replay(201, body)]
