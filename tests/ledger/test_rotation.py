"""A log whose signing key is replaced: who signs what, what still counts, what other processes do, and the drill."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tabellion.core.clock import FakeClock
from tabellion.core.db import Database, Tx, connect
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger import merkle, note, store
from tabellion.ledger.copying import copy_log
from tabellion.ledger.drills import accepted, rehearse
from tabellion.ledger.note import Checkpoint, Verifier
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf, VerifierKey

from .conftest import INSTALL

if TYPE_CHECKING:
    from tests.conftest import Server

Make = Callable[[int], list[Leaf]]


@pytest.fixture
def side(workspace_id: WorkspaceId) -> WorkspaceId:
    return workspace_id


async def append(db: Database, ledger: Ledger, side: WorkspaceId, leaves: list[Leaf]) -> str:
    """The signed head after it."""
    await db.run(lambda tx: ledger.append(tx, side, leaves))
    return await checkpoint(db, ledger, side)


async def checkpoint(db: Database, ledger: Ledger, side: WorkspaceId) -> str:
    return await db.run(lambda tx: ledger.checkpoint(tx, side))


async def rotate(db: Database, ledger: Ledger, side: WorkspaceId) -> list[VerifierKey]:
    return await db.run(lambda tx: ledger.rotate_key(tx, side))


def signed_by(signed: str, key: VerifierKey) -> bool:
    try:
        note.verify_checkpoint(signed, [Verifier(key.origin, key.public_key)])
    except note.BadNote:
        return False
    return True


async def test_a_new_key_signs_from_the_present_size_on(
    db: Database, ledger: Ledger, checkpoints: Checkpoints, side: WorkspaceId, some_leaves: Make
) -> None:
    before = await append(db, ledger, side, some_leaves(5))
    old, new = await rotate(db, ledger, side)
    assert [(one.from_size, one.to_size) for one in (old, new)] == [(0, 5), (5, None)]
    assert (old.retired_at is not None, new.retired_at) == (True, None)
    same = await checkpoint(db, ledger, side)
    assert same.partition("\n\n")[0] == before.partition("\n\n")[0]
    assert [signed_by(same, one) for one in (old, new)] == [False, True]
    after = await append(db, ledger, side, some_leaves(2))
    assert [signed_by(after, one) for one in (old, new)] == [False, True]
    assert [signed_by(before, one) for one in (old, new)] == [True, False]
    await checkpoints.flush()
    assert [one for one in await db.run(ledger.verify_heads) if one.origin == old.origin] == []


async def test_every_key_stays_published_with_its_sizes(
    db: Database, ledger: Ledger, side: WorkspaceId, some_leaves: Make
) -> None:
    """Twice at one size, and on an empty log: no key's place in the order depends on luck."""
    await rotate(db, ledger, side)
    await append(db, ledger, side, some_leaves(200))
    await rotate(db, ledger, side)
    keys = await rotate(db, ledger, side)
    assert [(one.from_size, one.to_size) for one in keys] == [(0, 0), (0, 200), (200, 200), (200, None)]
    assert len({one.public_key for one in keys}) == 4
    assert keys == await db.run(lambda tx: ledger.keys(tx, side))
    lines = (await db.run(lambda tx: ledger.verifier_keys(tx, side))).splitlines()
    assert lines == [Verifier(one.origin, one.public_key).line() for one in keys]
    last = await append(db, ledger, side, some_leaves(1))
    assert [signed_by(last, one) for one in keys] == [False, False, False, True]


async def test_the_tree_is_one_across_keys(db: Database, ledger: Ledger, side: WorkspaceId, some_leaves: Make) -> None:
    before = note.parse_checkpoint(note.parse(await append(db, ledger, side, some_leaves(5))).text)
    await rotate(db, ledger, side)
    after = note.parse_checkpoint(note.parse(await append(db, ledger, side, some_leaves(256))).text)
    proof = await db.run(lambda tx: ledger.consistency_proof(tx, side, before.size, after.size))
    assert merkle.verify_consistency(5, 261, before.root, after.root, proof)


async def test_the_old_private_key_is_gone(db: Database, ledger: Ledger, side: WorkspaceId, some_leaves: Make) -> None:
    await append(db, ledger, side, some_leaves(1))
    old, new = await rotate(db, ledger, side)
    rows = await db.run(
        lambda tx: tx.rows("select public_key, sealed is null as gone from ledger_keys where log = 'consent'")
    )
    assert {row["public_key"]: row["gone"] for row in rows} == {old.public_key: True, new.public_key: False}
    log = (await db.run(lambda tx: store.open_head(tx, side, "consent"))).log  # type: ignore[union-attr]
    assert await db.run(lambda tx: store.sealed_key(tx, log, old.public_key)) is None


async def test_a_process_that_knew_the_old_key_signs_with_the_new_one(
    db: Database, ledger: Ledger, side: WorkspaceId, some_leaves: Make, other_process: Callable[[], Ledger]
) -> None:
    other = other_process()
    await append(db, other, side, some_leaves(1))
    keys = await rotate(db, ledger, side)
    signed = await append(db, other, side, some_leaves(1))
    assert [signed_by(signed, one) for one in keys] == [False, True]


async def test_a_rotation_among_appends_leaves_no_head_that_nobody_may_sign(
    db: Database,
    ledger: Ledger,
    checkpoints: Checkpoints,
    side: WorkspaceId,
    some_leaves: Make,
    other_process: Callable[[], Ledger],
) -> None:
    heads: list[str] = []

    async def grow(of: Ledger) -> None:
        for _ in range(10):

            async def work(tx: Tx) -> str:
                await of.append(tx, side, some_leaves(3))
                return await of.checkpoint(tx, side)

            heads.append(await db.run(work))

    async def turn() -> None:
        for _ in range(5):
            await rotate(db, ledger, side)

    await append(db, ledger, side, some_leaves(1))
    await asyncio.gather(grow(ledger), grow(other_process()), turn())
    keys = await db.run(lambda tx: ledger.keys(tx, side))
    assert (len(keys), len(heads)) == (6, 20)
    assert all(accepted(one, keys) for one in heads)
    await checkpoints.flush()
    assert await db.run(ledger.verify_heads) == []


async def test_another_sides_and_another_logs_key_stay(
    db: Database, ledger: Ledger, side: WorkspaceId, some_leaves: Make
) -> None:
    await append(db, ledger, side, some_leaves(1))
    await db.run(lambda tx: ledger.append(tx, side, some_leaves(1), "audit"))
    before = await db.run(lambda tx: ledger.keys(tx, side, "audit"))
    await rotate(db, ledger, side)
    assert await db.run(lambda tx: ledger.keys(tx, side, "audit")) == before


async def test_a_log_that_lost_entries_gets_no_new_key(
    db: Database, ledger: Ledger, side: WorkspaceId, some_leaves: Make
) -> None:
    """It would sign what the log must not go on from."""
    await append(db, ledger, side, some_leaves(3))
    await db.run(lambda tx: tx.execute("delete from ledger_leaves where index = 1"))
    await db.run(lambda tx: tx.execute("update ledger_heads set size = 1, frontier = $1", bytes(32)))
    with pytest.raises(HubError) as refused:
        await rotate(db, ledger, side)
    assert refused.value.code == "ledger_forked"


async def test_a_checkpoint_counts_only_within_its_keys_sizes(
    db: Database, ledger: Ledger, side: WorkspaceId, some_leaves: Make
) -> None:
    genuine = await append(db, ledger, side, some_leaves(5))
    stolen = await db.run(lambda tx: ledger.signer(tx, side))
    keys = await rotate(db, ledger, side)
    assert accepted(genuine, keys)
    for size, believed in ((4, True), (5, True), (6, False), (10**9, False)):
        forged = stolen.sign(Checkpoint(stolen.name, size, bytes(32)).text())
        assert accepted(forged, keys) is believed, size


# on a copy


@pytest.fixture
async def elsewhere(server: "Server", clock: FakeClock) -> AsyncIterator[Database]:
    url = await server.clone()
    database = await connect(url, clock, size=2)
    yield database
    await database.close()
    await server.drop(url)


@pytest.mark.parametrize("count", [0, 1, 256, 700])
async def test_a_copied_log_is_the_log(
    db: Database, ledger: Ledger, side: WorkspaceId, some_leaves: Make, elsewhere: Database, vault: Vault,
    tmp_path: Path, count: int,
) -> None:  # fmt: skip
    """It goes on where it was, and what the log has come to meanwhile is not in it."""
    await checkpoint(db, ledger, side)
    for at in range(0, count, 256):
        await append(db, ledger, side, some_leaves(min(256, count - at)))
    head = await db.run(lambda tx: store.open_head(tx, side, "consent"))
    assert head is not None
    for _ in range(2):
        await append(db, ledger, side, some_leaves(256))
    await copy_log(db, elsewhere, head)
    (tmp_path / "copy").mkdir()
    copied = Ledger(vault, Checkpoints(tmp_path / "copy"), INSTALL)
    assert await checkpoint(elsewhere, copied, side) == head.checkpoint
    assert {one.code for one in await elsewhere.run(copied.verify_heads)} <= {"checkpoint_missing"}
    await append(elsewhere, copied, side, some_leaves(256))
    assert {one.code for one in await elsewhere.run(copied.verify_heads)} <= {"checkpoint_missing"}


@pytest.mark.parametrize("count", [0, 1, 300])
async def test_the_drill_shows_what_a_thief_can_do(
    db: Database, ledger: Ledger, side: WorkspaceId, some_leaves: Make, count: int
) -> None:
    for at in range(0, count, 256):
        await append(db, ledger, side, some_leaves(min(256, count - at)))
    steps = await rehearse(db, ledger, side, "consent")
    assert [one for one in steps if not one.ok] == []
    names = ["rotated", "goes_on", "forged_above", "not_told", "consistent", "forged_below", "stands"]
    assert [one.name for one in steps] == [one for one in names if count or one not in ("consistent", "forged_below")]
