"""Workspaces and keys, from creation to revocation; the audit table."""

from datetime import timedelta
from ipaddress import ip_network
from uuid import UUID

import asyncpg
import pytest

from tabellion.access.rules import ALL, SCOPES, key_hash, read_key
from tabellion.access.service import (
    audit,
    create_key,
    create_workspace,
    find_key,
    find_workspace,
    list_audit,
    list_keys,
    revoke_key,
    rotate_key,
)
from tabellion.access.types import KeyOptions, Role, Workspace
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.errors import Conflict, Forbidden, Invalid, NotFound


async def test_a_workspace_has_two_sides_and_is_found_by_name_and_id(db: Database, workspace: Workspace):
    assert len({workspace.id, workspace.live, workspace.test}) == 3
    async with db.transaction() as tx:
        for wanted in (workspace.id, ids.show("wsp", workspace.id), workspace.name):
            assert await find_workspace(tx, wanted) == workspace


@pytest.mark.parametrize("wanted", ["nobody", ids.new(), ids.show("wsp", UUID(int=7)), "", "wsp_nonsense"])
async def test_a_workspace_that_is_not_there_is_not_found(db: Database, workspace: Workspace, wanted):
    async with db.transaction() as tx:
        with pytest.raises(NotFound):
            await find_workspace(tx, wanted)


async def test_a_workspace_named_like_an_id_does_not_hide_the_real_one(db: Database, workspace: Workspace):
    shown = ids.show("wsp", workspace.id)
    await db.run(lambda tx: create_workspace(tx, shown))
    async with db.transaction() as tx:
        assert await find_workspace(tx, shown) == workspace


async def test_a_workspaces_name_is_taken_once(db: Database, workspace: Workspace):
    with pytest.raises(Conflict):
        await db.run(lambda tx: create_workspace(tx, " acme "))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201, "\0"])
async def test_a_workspaces_name_is_printable(db: Database, name):
    with pytest.raises(Invalid):
        await db.run(lambda tx: create_workspace(tx, name))


async def test_a_keys_secret_is_nowhere_in_the_database(db: Database, workspace: Workspace, database_url: str):
    key, secret = await db.run(lambda tx: create_key(tx, workspace, "live", Role.DEVELOPER))
    said = read_key(secret.reveal())
    assert said is not None
    assert (said.kind, said.key_id) == ("live", key.id)
    connection = await asyncpg.connect(database_url)
    tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
    for table in tables:
        for row in await connection.fetch(f'select t::text as all from "{table["tablename"]}" t'):
            assert secret.reveal()[36:79] not in row["all"]
    assert await connection.fetchval("select hash from api_keys") == key_hash(secret.reveal())
    await connection.close()


async def test_a_key_is_listed_as_it_was_made(db: Database, workspace: Workspace, clock: FakeClock):
    options = KeyOptions(
        scopes=frozenset({"messages:write"}),
        name="shop",
        expires_at=clock.now() + timedelta(days=1),
        networks=(ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")),
        rate_limit=50,
    )
    key, _ = await db.run(lambda tx: create_key(tx, workspace, "test", Role.DEVELOPER, options, actor="key_x"))
    async with db.transaction() as tx:
        assert await list_keys(tx, workspace.test) == [key]
        assert await list_keys(tx, workspace.live) == []
        assert await find_key(tx, key.id) == key
    assert (key.scopes, key.networks, key.created_by) == ({"messages:write"}, options.networks, "key_x")


async def test_keys_are_listed_newest_first_and_page_by_page(db: Database, workspace: Workspace):
    made = [(await db.run(lambda tx: create_key(tx, workspace, "live", Role.READONLY)))[0].id for _ in range(5)]
    async with db.transaction() as tx:
        first = await list_keys(tx, workspace.live, 2)
        rest = await list_keys(tx, workspace.live, 50, first[-1].id)
    assert [key.id for key in [*first, *rest]] == sorted(made, reverse=True)


async def test_a_key_must_expire_later_than_now(db: Database, workspace: Workspace, clock: FakeClock):
    with pytest.raises(Invalid):
        await db.run(lambda tx: create_key(tx, workspace, "live", Role.OWNER, KeyOptions(expires_at=clock.now())))


async def test_a_key_cannot_make_or_end_one_that_may_do_more(db: Database, workspace: Workspace):
    admin = SCOPES[Role.ADMIN]
    owner, _ = await db.run(lambda tx: create_key(tx, workspace, "live", Role.OWNER, giver=ALL))
    for attempt in (
        lambda tx: create_key(tx, workspace, "live", Role.OWNER, giver=admin),
        lambda tx: rotate_key(tx, owner, giver=admin),
        lambda tx: revoke_key(tx, owner, giver=admin),
    ):
        with pytest.raises(Forbidden):
            await db.run(attempt)
    async with db.transaction() as tx:
        assert await list_keys(tx, workspace.live) == [owner]


async def test_rotation_keeps_what_the_key_may_do_and_ends_the_old_one_later(
    db: Database, workspace: Workspace, clock: FakeClock
):
    options = KeyOptions(name="shop", expires_at=clock.now() + timedelta(days=10), rate_limit=7)
    old, _ = await db.run(lambda tx: create_key(tx, workspace, "live", Role.DEVELOPER, options))
    clock.advance(timedelta(days=4))
    new, secret = await db.run(lambda tx: rotate_key(tx, old, timedelta(hours=2), actor="key_x"))
    async with db.transaction() as tx:
        kept = await find_key(tx, old.id)
    assert (kept.replaced_by, kept.retires_at) == (new.id, clock.now() + timedelta(hours=2))
    assert (new.role, new.scopes, new.name, new.rate_limit) == (old.role, old.scopes, "shop", 7)
    assert new.expires_at == clock.now() + timedelta(days=10)
    assert (new.replaced_by, new.retires_at) == (None, None)
    said = read_key(secret.reveal())
    assert said is not None
    assert said.key_id == new.id


async def test_rotation_without_grace_ends_the_old_key_at_once(db: Database, workspace: Workspace, clock: FakeClock):
    old, _ = await db.run(lambda tx: create_key(tx, workspace, "live", Role.DEVELOPER))
    await db.run(lambda tx: rotate_key(tx, old, timedelta(0)))
    async with db.transaction() as tx:
        assert not (await find_key(tx, old.id)).active(clock.now())


async def test_a_key_is_rotated_once_and_only_while_it_works(db: Database, workspace: Workspace, clock: FakeClock):
    rotated, _ = await db.run(lambda tx: create_key(tx, workspace, "live", Role.DEVELOPER))
    await db.run(lambda tx: rotate_key(tx, rotated))
    revoked, _ = await db.run(lambda tx: create_key(tx, workspace, "live", Role.DEVELOPER))
    await db.run(lambda tx: revoke_key(tx, revoked))
    expiring = KeyOptions(expires_at=clock.now() + timedelta(hours=1))
    expired, _ = await db.run(lambda tx: create_key(tx, workspace, "live", Role.DEVELOPER, expiring))
    clock.advance(timedelta(hours=1))
    for key in (rotated, revoked, expired):
        with pytest.raises(Conflict):
            await db.run(lambda tx, key=key: rotate_key(tx, key))


@pytest.mark.parametrize("grace", [timedelta(seconds=-1), timedelta(days=31)])
async def test_a_grace_period_is_bounded(db: Database, workspace: Workspace, grace):
    key, _ = await db.run(lambda tx: create_key(tx, workspace, "live", Role.DEVELOPER))
    with pytest.raises(Invalid):
        await db.run(lambda tx: rotate_key(tx, key, grace))


async def test_a_key_is_not_found_from_another_side(db: Database, workspace: Workspace, other_workspace: Workspace):
    key, _ = await db.run(lambda tx: create_key(tx, workspace, "live", Role.DEVELOPER))
    async with db.transaction() as tx:
        for foreign in (workspace.test, other_workspace.live):
            with pytest.raises(NotFound):
                await find_key(tx, key.id, foreign)


async def test_what_is_done_to_keys_is_audited_without_secrets(db: Database, workspace: Workspace):
    key, secret = await db.run(lambda tx: create_key(tx, workspace, "live", Role.DEVELOPER, actor="key_a"))
    new, _ = await db.run(lambda tx: rotate_key(tx, key, actor="key_b"))
    await db.run(lambda tx: revoke_key(tx, new, actor="key_c"))
    async with db.transaction() as tx:
        revoked = await find_key(tx, new.id)
    await db.run(lambda tx: revoke_key(tx, revoked, actor="key_d"))
    async with db.transaction() as tx:
        entries = await list_audit(tx, workspace.live)
        assert await list_audit(tx, workspace.test) == []
    assert [(one.action, one.actor, one.target) for one in reversed(entries)] == [
        ("workspace.created", "command_line", ids.show("wsp", workspace.id)),
        ("key.created", "key_a", key.shown),
        ("key.rotated", "key_b", key.shown),
        ("key.revoked", "key_c", new.shown),
    ]
    assert secret.reveal() not in str(entries)


async def test_audit_goes_with_its_transaction(db: Database, workspace: Workspace):
    async def fails(tx):
        await audit(tx, workspace.live, "key_x", "thing.done", "thing", {"count": 1})
        raise Conflict("no", "no")

    with pytest.raises(Conflict):
        await db.run(fails)
    async with db.transaction() as tx:
        assert [one.action for one in await list_audit(tx, workspace.live)] == ["workspace.created"]


async def test_the_database_itself_refuses_an_unknown_role_and_a_second_live_side(db: Database, workspace: Workspace):
    with pytest.raises(asyncpg.UniqueViolationError):
        async with db.transaction() as tx:
            await tx.execute("insert into workspace_sides values ($1, $2, 'live')", ids.new(), workspace.id)
    await db.run(lambda tx: create_key(tx, workspace, "live", Role.OWNER))
    with pytest.raises(asyncpg.CheckViolationError):
        async with db.transaction() as tx:
            await tx.execute("update api_keys set role = 'god'")
