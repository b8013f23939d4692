"""What is done to the audit table or its log past the hub is found, and named."""

import asyncio
from uuid import UUID

import pytest

from tabellion.access import store, trail_check
from tabellion.access.service import audit
from tabellion.access.trail import AUDIT, Trail
from tabellion.access.trail_check import SHOWN, Check, Compared, Difference, Kind
from tabellion.access.types import AuditEntry, Workspace
from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger


@pytest.fixture
def side(workspace: Workspace) -> WorkspaceId:
    return workspace.test


@pytest.fixture
def ledger(vault: Vault, checkpoints: Checkpoints, install_id: UUID) -> Ledger:
    return Ledger(vault, checkpoints, install_id)


@pytest.fixture
def check(db: Database, vault: Vault, ledger: Ledger, side: WorkspaceId, monkeypatch: pytest.MonkeyPatch) -> Check:
    monkeypatch.setattr(trail_check, "PAGE", 7)
    return Check(db, Trail(vault, ledger), ledger, side)


async def note(db: Database, side: WorkspaceId, times: int = 1) -> None:
    async def work(tx: Tx) -> None:
        for number in range(times):
            await audit(tx, side, "key_x", "thing.done", f"thing {number}", {"n": number})

    await db.run(work)


async def do(db: Database, statement: str, *args: object) -> None:
    """Behind the hub's back."""
    await db.run(lambda tx: tx.execute(statement, *args))


def named(found: Compared) -> list[tuple[Kind, int | None]]:
    return [(one.kind, one.log_index) for one in found.differences]


async def test_a_table_that_nobody_touched_differs_in_nothing(db: Database, side: WorkspaceId, check: Check) -> None:
    await note(db, side, 30)
    await note(db, side)
    assert await check.run() == Compared(entries=31)


async def test_of_a_side_that_nothing_was_audited_on_there_is_nothing_to_say(check: Check) -> None:
    assert await check.run() == Compared()


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'key_y'", "action = 'thing.undone'", "target = 'another thing'", """detail = '{"n": 17.0}'""",
        """detail = detail || '{"m": 1}'""", "at = at + interval '1 microsecond'", "at = at - interval '1 day'",
        "id = '0192f1c0-0000-7000-8000-00000000abcd'",
    ],
)  # fmt: skip
async def test_a_row_that_was_changed_is_named(db: Database, side: WorkspaceId, check: Check, change: str) -> None:
    await note(db, side, 30)
    await do(db, f"update audit set {change} where workspace_id = $1 and log_index = 17", side)
    found = await check.run()
    assert (found.entries, named(found)) == (30, [(Kind.CHANGED, 17)])
    [one] = found.differences
    assert (one.log or "").startswith("tabellion.log/")
    assert (one.id or "").startswith("aud_")


async def test_rows_that_changed_places_are_named(db: Database, side: WorkspaceId, check: Check) -> None:
    await note(db, side, 10)
    for one, other in ((3, -1), (4, 3), (-1, 4)):
        await do(db, "update audit set log_index = $3 where workspace_id = $1 and log_index = $2", side, one, other)
    assert named(await check.run()) == [(Kind.CHANGED, 3), (Kind.CHANGED, 4)]


async def test_a_row_that_was_deleted_is_named_by_its_entry(db: Database, side: WorkspaceId, check: Check) -> None:
    await note(db, side, 10)
    gone = (await db.run(lambda tx: store.logged_audit(tx, side, 1, [9])))[0]
    await do(db, "delete from audit where workspace_id = $1 and id = $2", side, gone.id)
    [one] = (await check.run()).differences
    assert (one.kind, one.log_index, one.id) == (Kind.MISSING, 9, ids.show("aud", gone.id))


@pytest.mark.parametrize(("generation", "index"), [(1, 10), (1, -1), (1, 10**9), (2, 3)])
async def test_a_row_that_was_inserted_is_named(
    db: Database, side: WorkspaceId, check: Check, generation: int, index: int
) -> None:
    await note(db, side, 10)
    forged = AuditEntry(ids.new(), db.clock.now(), "key_z", "x.done", "x", {}, generation, index)
    await db.run(lambda tx: store.insert_audit(tx, side, [forged]))
    [one] = (await check.run()).differences
    assert (one.kind, one.log_index, one.id) == (Kind.UNKNOWN, index, ids.show("aud", forged.id))


async def test_a_second_row_for_one_entry_is_named(db: Database, side: WorkspaceId, check: Check) -> None:
    """Whoever may insert rows may take away the index that keeps them apart."""
    await note(db, side, 10)
    await do(db, "drop index audit_log")
    forged = AuditEntry(ids.new(), db.clock.now(), "key_z", "x.done", "x", {}, 1, 4)
    await db.run(lambda tx: store.insert_audit(tx, side, [forged]))
    assert [(one.kind, one.log_index, one.id) for one in (await check.run()).differences] == [
        (Kind.UNKNOWN, 4, ids.show("aud", forged.id))
    ]


async def test_a_row_inserted_as_if_from_before_the_log_is_found(db: Database, side: WorkspaceId, check: Check) -> None:
    await note(db, side, 3)
    forged = AuditEntry(UUID(int=1), db.clock.now(), "key_z", "x.done", "x", {})
    await db.run(lambda tx: store.insert_audit(tx, side, [forged]))
    assert named(await check.run()) == [(Kind.UNKNOWN, None)]


@pytest.mark.parametrize("change", ["update audit set actor = 'key_y'", "delete from audit", "insert"])
async def test_rows_from_before_the_log_are_vouched_for_together(
    db: Database, side: WorkspaceId, check: Check, change: str
) -> None:
    old = [AuditEntry(ids.new(), db.clock.now(), "key_z", "x.done", str(one), {}) for one in range(5)]
    await db.run(lambda tx: store.insert_audit(tx, side, old))
    await note(db, side)
    await note(db, side)
    if change == "insert":
        more = AuditEntry(ids.new(), db.clock.now(), "key_z", "x.done", "x", {})
        await db.run(lambda tx: store.insert_audit(tx, side, [more]))
    else:
        await do(db, f"{change} where workspace_id = $1 and id = $2", side, old[2].id)
    found = await check.run()
    assert named(found) == [(Kind.CHANGED, None)]
    assert "it took over 5" in found.differences[0].detail


async def test_rows_from_before_the_log_that_nobody_touched_are_counted(
    db: Database, side: WorkspaceId, check: Check
) -> None:
    old = [AuditEntry(ids.new(), db.clock.now(), "key_z", "x.done", str(one), {}) for one in range(5)]
    await db.run(lambda tx: store.insert_audit(tx, side, old))
    await note(db, side)
    assert await check.run() == Compared(entries=2, earlier=5)


async def test_whoever_changes_an_entry_with_its_row_does_not_get_the_head_signed(
    db: Database, side: WorkspaceId, check: Check
) -> None:
    """Deleting both leaves a gap; putting another entry there leads to another root."""
    await note(db, side, 10)
    leaf = "select leaf from ledger_leaves where workspace_id = $1 and log = 'audit' and index = 3"
    await do(db, f"update ledger_leaves set leaf = ({leaf}) where workspace_id = $1 and index = 4", side)
    assert (Kind.LOG, None) in named(await check.run())


async def test_an_entry_that_was_deleted_with_its_row_is_found(db: Database, side: WorkspaceId, check: Check) -> None:
    await note(db, side, 10)
    await do(db, "delete from ledger_leaves where workspace_id = $1 and log = 'audit' and index = 4", side)
    await do(db, "delete from audit where workspace_id = $1 and log_index = 4", side)
    [one] = (await check.run()).differences
    assert (one.kind, "are gone" in one.detail) == (Kind.LOG, True)


async def test_a_tail_that_was_cut_off_is_found_by_the_checkpoint_outside(
    db: Database, side: WorkspaceId, vault: Vault, ledger: Ledger, checkpoints: Checkpoints, check: Check
) -> None:
    """Rows, entries and head as they were before: all in the database agrees, but more was published."""
    await note(db, side, 4)
    head = await db.run(lambda tx: tx.row("select * from ledger_heads where workspace_id = $1", side))
    await note(db, side, 3)
    signed = await db.run(lambda tx: ledger.checkpoint(tx, side, AUDIT))
    checkpoints.publish(await db.run(lambda tx: ledger.origin(tx, side, AUDIT)), 7, signed)
    await checkpoints.flush()
    assert head is not None
    await do(
        db,
        "update ledger_heads set size = $2, frontier = $3, checkpoint = $4 where workspace_id = $1",
        side, head["size"], head["frontier"], head["checkpoint"],
    )  # fmt: skip
    await do(db, "delete from ledger_leaves where workspace_id = $1 and index >= 4", side)
    await do(db, "delete from audit where workspace_id = $1 and log_index >= 4", side)
    [one] = (await check.run()).differences
    assert (one.kind, "published at 7" in one.detail) == (Kind.LOG, True)
    await db.run(lambda tx: ledger.succeed(tx, side, AUDIT))
    await note(db, side)
    again = Check(db, Trail(vault, ledger), ledger, side)
    assert await again.run() == Compared(entries=6, lost=3), "what was lost is known, the successor stands for it"


async def test_no_more_differences_are_named_than_are_read(db: Database, side: WorkspaceId, check: Check) -> None:
    await note(db, side, 100)
    await do(db, "update audit set actor = 'key_y' where workspace_id = $1", side)
    found = await check.run()
    assert (found.count, len(found.differences)) == (100, SHOWN)
    assert found.differences[0].log_index == 0


async def test_a_look_at_the_newest_finds_what_differs_there_and_nothing_older(
    db: Database, side: WorkspaceId, check: Check
) -> None:
    await note(db, side, 30)
    await do(db, "update audit set actor = 'key_y' where workspace_id = $1 and log_index in (2, 17)", side)
    await do(db, "delete from audit where workspace_id = $1 and log_index = 29", side)
    found = await check.newest(20)
    assert (found.entries, named(found)) == (20, [(Kind.CHANGED, 17), (Kind.MISSING, 29)])


async def test_a_look_at_the_newest_of_what_was_never_audited_says_nothing(check: Check) -> None:
    assert await check.newest(20) == Compared()


async def test_what_is_audited_meanwhile_does_no_harm(db: Database, side: WorkspaceId, check: Check) -> None:
    await note(db, side, 40)

    async def goes_on() -> None:
        for _ in range(20):
            await note(db, side)

    found, _ = await asyncio.gather(check.run(), goes_on())
    assert found.differences == list[Difference]()
    assert found.entries >= 40
