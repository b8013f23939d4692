"""Authentication: who a key belongs to, how long it is believed, how its uses are counted."""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from tabellion.access import store
from tabellion.access.keyring import IDLE, LIFE, KeyRing
from tabellion.access.rules import SCOPES, key_text
from tabellion.access.service import create_key, find_key, list_keys, revoke_key, rotate_key
from tabellion.access.types import UNBOUNDED, KeyOptions, Role, Workspace
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.errors import Forbidden, Unauthorized, Unavailable

NewRing = Callable[[], KeyRing]


async def made(db: Database, workspace: Workspace, options: KeyOptions = UNBOUNDED, mode="live"):
    key, secret = await db.run(lambda tx: create_key(tx, workspace, mode, Role.DEVELOPER, options))
    return key, secret.reveal()


async def code_of(ring: KeyRing, token: str, address: str | None = None) -> str:
    """The code a token is refused with; empty where it is taken."""
    try:
        await ring.caller(token, address)
    except Unauthorized as refused:
        return refused.code
    return ""


async def test_a_key_says_who_calls(db: Database, workspace: Workspace, new_ring: NewRing):
    key, token = await made(db, workspace, mode="test")
    caller = await new_ring().caller(token, None)
    assert (caller.workspace_id, caller.workspace, caller.mode) == (workspace.test, workspace.id, "test")
    assert (caller.key_id, caller.role, caller.actor) == (key.id, Role.DEVELOPER, key.shown)
    assert caller.scopes == SCOPES[Role.DEVELOPER]
    caller.require("messages:write")
    with pytest.raises(Forbidden) as refused:
        caller.require("keys:write")
    assert refused.value.code == "scope_missing"


async def test_what_is_not_a_key_of_ours_is_refused(db: Database, workspace: Workspace, new_ring: NewRing):
    key, token = await made(db, workspace)
    ring = new_ring()
    wrong = [
        "", "x", token[:-1], token + "x", token.replace("live", "test"), "é" * 77, "tbl_live_" + "\0" * 80,
        key_text("live", ids.new(), os.urandom(32)),  # well formed, unknown
        key_text("live", key.id, os.urandom(32)),  # a known id with another secret
        key_text("pub", key.id, os.urandom(32)),
    ]  # fmt: skip
    assert {await code_of(ring, text) for text in wrong} == {"invalid_key"}
    assert await code_of(ring, token) == ""
    assert {await code_of(ring, text) for text in wrong} == {"invalid_key"}


async def test_a_revoked_key_is_refused_everywhere_within_a_second(
    db: Database, workspace: Workspace, new_ring: NewRing, clock: FakeClock
):
    key, token = await made(db, workspace)
    here, elsewhere = new_ring(), new_ring()
    assert [await code_of(ring, token) for ring in (here, elsewhere)] == ["", ""]
    await db.run(lambda tx: revoke_key(tx, key))
    here.forget(key.id)
    assert await code_of(here, token) == "key_revoked"
    assert await code_of(elsewhere, token) == ""
    clock.advance(timedelta(seconds=LIFE))
    assert LIFE <= 1
    assert await code_of(elsewhere, token) == "key_revoked"


async def test_a_key_in_use_is_refused_within_a_second_too(
    db: Database, workspace: Workspace, new_ring: NewRing, clock: FakeClock
):
    """A busy key is read again beside the requests; that must not make it live longer."""
    key, token = await made(db, workspace)
    ring = new_ring()
    await ring.caller(token, None)
    await db.run(lambda tx: revoke_key(tx, key))
    for _ in range(8):
        await code_of(ring, token)
        clock.advance(timedelta(seconds=0.125))
    assert await code_of(ring, token) == "key_revoked"


async def test_age_counts_from_before_the_read(
    db: Database, workspace: Workspace, new_ring: NewRing, clock: FakeClock, monkeypatch
):
    """A read that is slow to return what it saw must not lengthen the second."""
    key, token = await made(db, workspace)
    ring = new_ring()
    real = store.keys_by_id

    async def slow(tx, key_ids):
        found = await real(tx, key_ids)
        clock.advance(timedelta(seconds=0.9))
        return found

    monkeypatch.setattr(store, "keys_by_id", slow)
    assert await code_of(ring, token) == ""
    monkeypatch.setattr(store, "keys_by_id", real)
    await db.run(lambda tx: revoke_key(tx, key))
    clock.advance(timedelta(seconds=0.1))
    assert await code_of(ring, token) == "key_revoked"


async def test_a_database_too_slow_to_be_believed_is_unavailable(
    db: Database, workspace: Workspace, new_ring: NewRing, clock: FakeClock, monkeypatch
):
    _, token = await made(db, workspace)
    real = store.keys_by_id

    async def slow(tx, key_ids):
        clock.advance(timedelta(seconds=2))
        return await real(tx, key_ids)

    monkeypatch.setattr(store, "keys_by_id", slow)
    with pytest.raises(Unavailable):
        await new_ring().caller(token, None)


async def test_one_statement_reads_again_all_that_is_due(
    db: Database, workspace: Workspace, new_ring: NewRing, clock: FakeClock, monkeypatch
):
    tokens = [(await made(db, workspace))[1] for _ in range(5)]
    ring = new_ring()
    for token in tokens:
        await ring.caller(token, None)
    asked = []
    real = store.keys_by_id

    async def counting(tx, key_ids):
        asked.append(len(list(key_ids)))
        return await real(tx, key_ids)

    monkeypatch.setattr(store, "keys_by_id", counting)
    clock.advance(timedelta(seconds=LIFE))
    await asyncio.gather(*(ring.caller(token, None) for token in tokens * 20))
    assert asked == [5]


async def test_made_up_ids_cost_one_read_a_second(
    db: Database, workspace: Workspace, new_ring: NewRing, clock: FakeClock, monkeypatch
):
    token = key_text("live", ids.new(), os.urandom(32))
    ring, reads = new_ring(), []
    real = store.keys_by_id

    async def counting(tx, key_ids):
        reads.append(1)
        return await real(tx, key_ids)

    monkeypatch.setattr(store, "keys_by_id", counting)
    for _ in range(10):
        await code_of(ring, token)
    assert len(reads) == 1
    clock.advance(timedelta(seconds=LIFE))
    await code_of(ring, token)
    assert len(reads) == 2


async def test_a_key_made_after_its_id_was_tried_works(db: Database, workspace: Workspace, new_ring: NewRing):
    ring = new_ring()
    await code_of(ring, key_text("live", ids.new(), os.urandom(32)))
    _, token = await made(db, workspace)
    assert await code_of(ring, token) == ""


async def test_a_key_ends_when_it_expires_not_a_second_later(
    db: Database, workspace: Workspace, new_ring: NewRing, clock: FakeClock
):
    _, token = await made(db, workspace, KeyOptions(expires_at=clock.now() + timedelta(seconds=0.4)))
    ring = new_ring()
    assert await code_of(ring, token) == ""
    clock.advance(timedelta(seconds=0.4))
    assert await code_of(ring, token) == "key_expired"


async def test_a_rotated_key_works_for_its_grace_period(
    db: Database, workspace: Workspace, new_ring: NewRing, clock: FakeClock
):
    key, old = await made(db, workspace)
    _, new = await db.run(lambda tx: rotate_key(tx, key, timedelta(hours=1)))
    ring = new_ring()
    assert [await code_of(ring, token) for token in (old, new.reveal())] == ["", ""]
    clock.advance(timedelta(hours=1))
    assert [await code_of(ring, token) for token in (old, new.reveal())] == ["key_rotated", ""]


async def test_a_key_bound_to_networks_is_refused_from_elsewhere(db: Database, workspace: Workspace, new_ring: NewRing):
    _, token = await made(db, workspace, KeyOptions(networks=(ip_network("203.0.113.0/24"),)))
    ring = new_ring()
    assert [await code_of(ring, token, address) for address in ("203.0.113.9", "198.51.100.1", None)] == [
        "", "address_not_allowed", "address_not_allowed",
    ]  # fmt: skip


async def uses(db: Database) -> list[tuple[datetime, int, datetime]]:
    async with db.transaction() as tx:
        rows = await tx.rows("select hour, uses, last_used_at from api_key_usage order by hour")
    return [tuple(row.values()) for row in rows]


async def test_uses_are_counted_per_hour_and_by_every_process(
    db: Database, workspace: Workspace, new_ring: NewRing, clock: FakeClock
):
    _, token = await made(db, workspace)
    clock.moment = datetime(2026, 11, 21, 9, 58, tzinfo=UTC)
    one, other = new_ring(), new_ring()
    for ring in (one, one, other):
        await ring.caller(token, None)
    clock.advance(timedelta(seconds=10))
    await one.flush()
    await other.flush()
    await other.flush()
    clock.advance(timedelta(minutes=5))
    await one.caller(token, None)
    await one.close()
    nine, ten = datetime(2026, 11, 21, 9, tzinfo=UTC), datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert await uses(db) == [
        (nine, 3, nine + timedelta(minutes=58)),
        (ten, 1, ten + timedelta(minutes=3, seconds=10)),
    ]
    async with db.transaction() as tx:
        [key] = await list_keys(tx, workspace.live)
    assert key.last_used_at == ten + timedelta(minutes=3, seconds=10)


async def test_refused_requests_are_not_uses(db: Database, workspace: Workspace, new_ring: NewRing):
    key, token = await made(db, workspace)
    ring = new_ring()
    await ring.caller(token, None)
    for _ in range(3):
        await code_of(ring, key_text("live", key.id, os.urandom(32)))
    await ring.flush()
    assert [count for _, count, _ in await uses(db)] == [1]


async def test_uses_that_could_not_be_written_are_written_later(
    db: Database, workspace: Workspace, new_ring: NewRing, monkeypatch
):
    _, token = await made(db, workspace)
    ring = new_ring()
    await ring.caller(token, None)

    async def away(tx, rows):
        raise Unavailable("database_away", "away")

    with monkeypatch.context() as patch, pytest.raises(Unavailable):
        patch.setattr(store, "add_uses", away)
        await ring.flush()
    await ring.caller(token, None)
    await ring.flush()
    assert [count for _, count, _ in await uses(db)] == [2]


async def test_keys_nobody_uses_any_more_are_let_go_with_their_uses_written(
    db: Database, workspace: Workspace, new_ring: NewRing, clock: FakeClock
):
    _, idle = await made(db, workspace)
    _, busy = await made(db, workspace)
    ring = new_ring()
    await ring.caller(idle, None)
    clock.advance(timedelta(seconds=IDLE + 1))
    await ring.caller(busy, None)
    assert len(ring._held) == 2
    await ring.flush()
    clock.advance(timedelta(seconds=LIFE))
    await ring.caller(busy, None)
    assert len(ring._held) == 1
    assert sum(count for _, count, _ in await uses(db)) == 2


async def test_no_database_no_entry(db: Database, workspace: Workspace, clock: FakeClock, monkeypatch):
    """What was read may be used for its second; after that nobody gets in on old knowledge."""
    _, token = await made(db, workspace)
    ring = KeyRing(db)
    await ring.caller(token, None)

    async def away(tx, key_ids):
        raise ConnectionError("gone")

    monkeypatch.setattr(store, "keys_by_id", away)
    clock.advance(timedelta(seconds=LIFE - 0.1))
    assert await code_of(ring, token) == ""
    clock.advance(timedelta(seconds=0.1))
    with pytest.raises(Unavailable):
        await ring.caller(token, None)


async def test_a_waiting_request_that_is_cancelled_does_not_fail_the_others(
    db: Database, workspace: Workspace, new_ring: NewRing
):
    _, token = await made(db, workspace)
    ring = new_ring()
    first, second = (asyncio.create_task(ring.caller(token, None)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).workspace == workspace.id


async def test_two_workspaces_never_meet(
    db: Database, workspace: Workspace, other_workspace: Workspace, new_ring: NewRing
):
    ring = new_ring()
    for one in (workspace, other_workspace):
        for mode in ("live", "test"):
            key, token = await made(db, one, mode=mode)
            caller = await ring.caller(token, None)
            assert (caller.workspace_id, caller.workspace) == (one.side(mode), one.id)
            async with db.transaction() as tx:
                assert (await find_key(tx, key.id)).workspace_id == one.side(mode)
