"""What is audited is a row and an entry of the log, in the transaction that does it, or nothing happens."""

import asyncio
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest

from tabellion.access import store
from tabellion.access.service import audit, create_key, create_workspace, list_audit
from tabellion.access.trail import AUDIT, earlier, entry_key, leaf, record
from tabellion.access.types import AuditEntry, AuditFilter, Role, Workspace
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.crypto import b64url, sha256
from tabellion.core.db import Database, Tx
from tabellion.core.errors import Conflict
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.rules import MOST_LEAVES
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Forked, Leaf


@pytest.fixture
def ledger(vault: Vault, checkpoints: Checkpoints, install_id: UUID) -> Ledger:
    """As another process has it."""
    return Ledger(vault, checkpoints, install_id)


async def entries(db: Database, side: WorkspaceId, log: str = AUDIT) -> list[tuple[int, UUID, bytes]]:
    rows = await db.run(
        lambda tx: tx.rows(
            "select index, entry_id, leaf from ledger_leaves where workspace_id = $1 and log = $2 order by index",
            side, log,
        )
    )  # fmt: skip
    return [tuple(row) for row in rows]


async def listed(db: Database, side: WorkspaceId, **wanted: object) -> list[AuditEntry]:
    """Oldest first."""
    filtered = AuditFilter(**wanted)  # type: ignore[arg-type]
    return (await db.run(lambda tx: list_audit(tx, side, filtered, 500)))[::-1]


async def note(db: Database, side: WorkspaceId, action: str = "thing.done", **detail: object) -> None:
    await db.run(lambda tx: audit(tx, side, "key_x", action, "thing", detail))


async def test_each_entry_commits_to_its_whole_row(
    db: Database, workspace: Workspace, vault: Vault, ledger: Ledger
) -> None:
    """Recomputed from the row with nothing but the key: HMAC-SHA256 of the canonical record."""
    await note(db, workspace.live, names=["é", "b"], number=3, on=True, nothing=None)
    rows, logged = await listed(db, workspace.live), await entries(db, workspace.live)
    origin = await db.run(lambda tx: ledger.origin(tx, workspace.live, AUDIT))
    assert [(one.generation, one.log_index, one.id) for one in rows] == [(1, index, id) for index, id, _ in logged]
    key = await db.run(lambda tx: vault.workspace(tx, workspace.live, AUDIT))
    for row, (_, _, stands) in zip(rows, logged, strict=True):
        commitment = entry_key(key, row).hash(record(row, origin))
        day = row.at.date().isoformat()
        assert msgspec.json.decode(stands) == {"v": 1, "type": "audit", "c": b64url(commitment), "d": day}
    said = msgspec.json.decode(record(rows[-1], origin))
    assert said == {
        "v": 1, "id": ids.show("aud", rows[-1].id), "log": origin, "at": "2026-11-21T09:00:00.000000Z",
        "actor": "key_x", "action": "thing.done", "target": "thing",
        "detail": {"names": ["é", "b"], "number": 3, "on": True, "nothing": None},
    }  # fmt: skip


async def test_keys_of_entries_are_of_one_entry_and_one_side(db: Database, workspace: Workspace, vault: Vault) -> None:
    one = AuditEntry(ids.new(), db.clock.now(), "a", "b", "c", {})
    other = AuditEntry(ids.new(), one.at, "a", "b", "c", {})
    live = await db.run(lambda tx: vault.workspace(tx, workspace.live, AUDIT))
    test = await db.run(lambda tx: vault.workspace(tx, workspace.test, AUDIT))
    assert len({entry_key(key, entry).raw() for key in (live, test) for entry in (one, other)} | {live.raw()}) == 5


async def test_what_is_undone_leaves_neither_row_nor_entry(db: Database, workspace: Workspace) -> None:
    before = await entries(db, workspace.live)

    async def fails(tx: Tx) -> None:
        await audit(tx, workspace.live, "key_x", "thing.done", "thing", {})
        raise Conflict("no", "no")

    with pytest.raises(Conflict):
        await db.run(fails)
    assert await entries(db, workspace.live) == before
    assert len(await listed(db, workspace.live)) == len(before)


@pytest.mark.parametrize("detail", [{"rate": 1.5}, {"deep": [{"bytes": b"x"}]}])
async def test_a_detail_that_no_canonical_json_says_alike_is_a_mistake(
    db: Database, workspace: Workspace, detail: dict[str, object]
) -> None:
    with pytest.raises(TypeError, match="an audit entry's detail"):
        await db.run(lambda tx: audit(tx, workspace.live, "key_x", "thing.done", "thing", detail))


async def test_a_transaction_may_audit_more_than_one_append_takes(db: Database, workspace: Workspace) -> None:
    async def many(tx: Tx) -> None:
        for number in range(2 * MOST_LEAVES + 44):
            await audit(tx, workspace.test, "key_x", "thing.done", str(number), {})

    await db.run(many)
    rows = await listed(db, workspace.test)
    logged = await entries(db, workspace.test)
    assert [index for index, _, _ in logged] == list(range(556))
    stored = await db.run(lambda tx: store.logged_audit(tx, workspace.test, 1, range(556)))
    assert [stored[index].target for index in range(556)] == [str(number) for number in range(556)]
    assert [id for _, id, _ in logged] == [stored[index].id for index in range(556)]
    assert len(rows) == 500, "a page"


async def test_decisions_come_before_what_is_audited_whatever_the_order_of_the_code(
    db: Database, workspace: Workspace, ledger: Ledger
) -> None:
    """And so for several sides: no two transactions lock heads in different orders."""
    sides = sorted([workspace.live, workspace.test])

    async def work(tx: Tx, turned: bool) -> None:
        for side in reversed(sides) if turned else sides:
            await audit(tx, side, "key_x", "thing.done", "thing", {})
        for side in sides:
            await ledger.append(tx, side, [Leaf(ids.new(), "consent", sha256(b"c"), tx.now.date())])

    await asyncio.gather(*(db.run(lambda tx, turned=bool(one % 2): work(tx, turned)) for one in range(12)))
    for side in sides:
        assert len(await entries(db, side, "consent")) == 12
        assert len([one for one in await listed(db, side) if one.action == "thing.done"]) == 12


async def test_many_begin_a_log_together(db: Database, workspace: Workspace) -> None:
    await asyncio.gather(*(note(db, workspace.test) for _ in range(8)))
    assert [index for index, _, _ in await entries(db, workspace.test)] == list(range(8))


async def test_a_log_that_lost_entries_refuses_what_would_be_audited_and_nothing_is_done(
    db: Database, workspace: Workspace
) -> None:
    for _ in range(3):
        await note(db, workspace.live)
    await db.run(
        lambda tx: tx.execute("update ledger_heads set size = 0, frontier = '' where log = 'audit'")
    )  # as in a dump from before
    keys = await db.run(lambda tx: tx.value("select count(*) from api_keys"))
    with pytest.raises(Forked) as refused:
        await db.run(lambda tx: create_key(tx, workspace, "live", Role.ADMIN))
    assert (refused.value.status, refused.value.code) == (503, "ledger_forked")
    assert await db.run(lambda tx: tx.value("select count(*) from api_keys")) == keys
    await db.run(lambda tx: create_key(tx, workspace, "test", Role.ADMIN))  # another side goes on


async def test_a_database_without_a_trail_audits_nothing_silently(database_url: str, db: Database) -> None:
    bare = Database(db._pool, db.clock)
    with pytest.raises(LookupError, match="without a Trail"):
        await bare.run(lambda tx: create_workspace(tx, "acme"))
    assert await db.run(lambda tx: tx.value("select count(*) from workspaces")) == 0


# what was audited before there was a log


async def before_the_log(db: Database, side: WorkspaceId, count: int) -> list[AuditEntry]:
    """Rows as they were written before the migration."""
    rows = [AuditEntry(ids.new(), db.clock.now(), "key_x", "old.thing", str(one), {}) for one in range(count)]
    await db.run(lambda tx: store.insert_audit(tx, side, rows))
    return rows


async def test_a_new_log_vouches_for_the_rows_that_are_older(db: Database, workspace: Workspace) -> None:
    old = await before_the_log(db, workspace.test, 2_500)
    await note(db, workspace.test)
    await note(db, workspace.test)
    first, began, second = (await listed(db, workspace.test))[-3:]
    assert [one.action for one in (first, began, second)] == ["thing.done", "audit.began", "thing.done"]
    assert [one.log_index for one in (first, began, second)] == [0, 1, 2]
    digest = sha256(b"".join(record(one) + b"\n" for one in old)).hex()
    assert began.detail == {"entries": 2_500, "sha256": digest}
    assert await db.run(lambda tx: earlier(tx, workspace.test)) == (2_500, digest)


async def test_a_side_without_older_rows_takes_none_over(db: Database, workspace: Workspace) -> None:
    assert [one.action for one in await listed(db, workspace.live)] == ["workspace.created"]


# filters


async def test_entries_are_found_by_who_what_whom_and_when(
    db: Database, workspace: Workspace, clock: FakeClock
) -> None:
    begun = clock.now()
    for actor, action, target in (("key_a", "x.done", "1"), ("key_b", "x.done", "2"), ("key_a", "y.done", "2")):
        clock.advance(timedelta(minutes=1))
        await db.run(lambda tx, a=actor, b=action, c=target: audit(tx, workspace.test, a, b, c, {}))
    side, now = workspace.test, db.clock.now()

    async def found(**wanted: object) -> list[str]:
        return [f"{one.actor} {one.action} {one.target}" for one in await listed(db, side, **wanted)]

    first, second, third = "key_a x.done 1", "key_b x.done 2", "key_a y.done 2"
    assert await found() == [first, second, third]
    assert await found(actor="key_a") == [first, third]
    assert await found(action="x.done") == [first, second]
    assert await found(target="2", actor="key_b") == [second]
    assert await found(since=now) == [third]
    assert await found(until=now) == [first, second]
    assert await found(since=begun, until=begun) == []


async def test_a_leaf_says_the_day_and_no_more(db: Database, vault: Vault, workspace: Workspace) -> None:
    key = await db.run(lambda tx: vault.workspace(tx, workspace.live, AUDIT))
    made = leaf(key, AuditEntry(ids.new(), db.clock.now(), "a", "b", "c", {}), "log")
    assert (made.type, made.day, len(made.commitment)) == ("audit", db.clock.now().date(), 32)
