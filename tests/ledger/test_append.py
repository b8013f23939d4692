import asyncio
import base64
import hashlib
import random
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database, Tx, connect
from tabellion.core.errors import HubError, Invalid, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import merkle, note
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Appended, Leaf

Make = Callable[[int], list[Leaf]]
Hashes = Callable[[list[bytes]], bytes]


@pytest.fixture
async def second_db(database_url: str, clock: FakeClock) -> AsyncIterator[Database]:
    """Another process' connections to the same database."""
    database = await connect(database_url, clock, size=5)
    yield database
    await database.close()


async def append(
    db: Database, ledger: Ledger, side: WorkspaceId, leaves: list[Leaf], log: str = "consent"
) -> tuple[list[Appended], int]:
    return await db.run(lambda tx: ledger.append(tx, side, leaves, log))


async def entries(db: Database, side: WorkspaceId, log: str = "consent") -> list[bytes]:
    async with db.transaction() as tx:
        rows = await tx.rows(
            "select index, leaf from ledger_leaves where workspace_id = $1 and log = $2 order by index", side, log
        )
    assert [row["index"] for row in rows] == list(range(len(rows)))
    return [row["leaf"] for row in rows]


async def head(db: Database, ledger: Ledger, side: WorkspaceId, log: str = "consent") -> note.Checkpoint:
    async with db.transaction() as tx:
        keys = (await ledger.verifier_keys(tx, side, log)).splitlines()
        signed = await ledger.checkpoint(tx, side, log)
    return note.verify_checkpoint(signed, [note.parse_verifier(key) for key in keys])


async def test_a_new_log_has_a_signed_head_of_size_0(db: Database, ledger: Ledger, workspace_id: WorkspaceId) -> None:
    empty = await head(db, ledger, workspace_id)
    assert (empty.size, empty.root) == (0, hashlib.sha256(b"").digest())


async def test_appended_leaves_are_in_the_signed_tree(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make, mth: Hashes
) -> None:
    for count in (1, 3, 256, 2):
        before = (await head(db, ledger, workspace_id)).size
        appended, size = await append(db, ledger, workspace_id, some_leaves(count))
        stored = await entries(db, workspace_id)
        assert [one.index for one in appended] == list(range(before, size))
        assert [one.leaf_hash for one in appended] == [merkle.leaf_hash(leaf) for leaf in stored[before:]]
        now = await head(db, ledger, workspace_id)
        assert (now.size, now.root) == (size, mth(stored)) == (before + count, mth(stored))


async def test_a_checkpoint_verifies_with_a_few_lines_of_anybodys(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make, mth: Hashes
) -> None:
    await append(db, ledger, workspace_id, some_leaves(5))
    async with db.transaction() as tx:
        key, signed = await ledger.verifier_keys(tx, workspace_id), await ledger.checkpoint(tx, workspace_id)
    public = base64.b64decode(key.strip().split("+", 2)[2])[1:]
    text, _, signature = signed.partition("\n\n")
    Ed25519PublicKey.from_public_bytes(public).verify(
        base64.b64decode(signature.split()[2])[4:], (text + "\n").encode()
    )
    origin, size, root = text.split("\n")
    assert (origin, int(size)) == (key.split("+")[0], 5)
    assert base64.b64decode(root) == mth(await entries(db, workspace_id))


@pytest.mark.parametrize("before", [0, 1, 254, 255, 256])
@pytest.mark.parametrize("count", [1, 2, 255, 256])
async def test_a_tile_is_stored_when_it_is_full_and_not_before(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make, before: int, count: int
) -> None:
    if before:
        await append(db, ledger, workspace_id, some_leaves(before))
    _, size = await append(db, ledger, workspace_id, some_leaves(count))
    hashes = [merkle.leaf_hash(leaf) for leaf in await entries(db, workspace_id)]
    async with db.transaction() as tx:
        tiles = await tx.rows("select level, index, hashes, root from ledger_tiles order by level, index")
    expected = [(0, n, hashes[n * 256 : n * 256 + 256]) for n in range(size // 256)]
    assert [(one["level"], one["index"], one["hashes"]) for one in tiles] == [
        (level, n, b"".join(row)) for level, n, row in expected
    ]
    assert [one["root"] for one in tiles] == [merkle.root(row) for _, _, row in expected]


async def test_tiles_of_every_level_are_those_of_the_specification(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make, mth: Hashes
) -> None:
    """Across 65,536 leaves, where the first tile of level 1 fills: tiles against MTH over the entries themselves."""
    async with db.transaction(60) as tx:
        for _ in range(257):
            _, size = await ledger.append(tx, workspace_id, some_leaves(256 if _ else 100))
    stored = await entries(db, workspace_id)
    assert size == len(stored) == 65_636

    async def served(level: int, index: int, width: int) -> bytes:
        return await db.run(lambda tx: ledger.tile(tx, workspace_id, level, index, width))

    bottoms = [mth(stored[at : at + 256]) for at in range(0, 65_536, 256)]
    assert await served(1, 0, 256) == b"".join(bottoms)
    assert await served(1, 0, 255) == b"".join(bottoms[:-1])
    assert await served(2, 0, 1) == mth(stored[:65_536])
    for index, width in ((255, 256), (256, 100), (256, 1)):
        row = stored[index * 256 : index * 256 + width]
        assert await served(0, index, width) == b"".join(mth([one]) for one in row)
    async with db.transaction() as tx:
        count = await tx.value("select count(*) from ledger_tiles")
        assert await ledger.verify_heads(tx) == []
        proofs = {at: await ledger.inclusion_proof(tx, workspace_id, at, size) for at in (0, 65_535, 65_536, 65_635)}
    assert count == 257
    root = (await head(db, ledger, workspace_id)).root
    assert root == mth(stored)
    for index, proof in proofs.items():
        assert merkle.verify_inclusion(index, size, merkle.leaf_hash(stored[index]), proof, root)


@pytest.mark.parametrize(
    ("level", "index", "width"), [(0, 0, 4), (0, 1, 1), (1, 0, 1), (0, 0, 0), (-1, 0, 1), (0, -1, 1)]
)
async def test_a_tile_wider_than_the_tree_is_not_found(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make, level: int, index: int, width: int
) -> None:
    await append(db, ledger, workspace_id, some_leaves(3))
    with pytest.raises(NotFound):
        await db.run(lambda tx: ledger.tile(tx, workspace_id, level, index, width))


async def test_a_bundle_holds_the_entries_each_after_its_length(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make
) -> None:
    await append(db, ledger, workspace_id, some_leaves(256))
    await append(db, ledger, workspace_id, some_leaves(3))
    stored = await entries(db, workspace_id)
    full = await db.run(lambda tx: ledger.bundle(tx, workspace_id, 0))
    partial = await db.run(lambda tx: ledger.bundle(tx, workspace_id, 1, 3))
    assert full + partial == b"".join(len(one).to_bytes(2, "big") + one for one in stored)


async def test_proofs_from_rows_verify(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make, mth: Hashes
) -> None:
    for count in (200, 256, 144):
        await append(db, ledger, workspace_id, some_leaves(count))
    stored = await entries(db, workspace_id)
    chance = random.Random(1)
    for _ in range(20):
        old, new = sorted(chance.choices(range(1, 601), k=2))
        index = chance.randrange(new)
        async with db.transaction() as tx:
            inclusion = await ledger.inclusion_proof(tx, workspace_id, index, new)
            consistency = await ledger.consistency_proof(tx, workspace_id, old, new)
        leaf = merkle.leaf_hash(stored[index])
        assert merkle.verify_inclusion(index, new, leaf, inclusion, mth(stored[:new]))
        assert merkle.verify_consistency(old, new, mth(stored[:old]), mth(stored[:new]), consistency)


async def test_there_is_no_proof_about_a_tree_not_yet_grown(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make
) -> None:
    await append(db, ledger, workspace_id, some_leaves(3))
    with pytest.raises(Invalid):
        await db.run(lambda tx: ledger.inclusion_proof(tx, workspace_id, 1, 4))
    with pytest.raises(Invalid):
        await db.run(lambda tx: ledger.consistency_proof(tx, workspace_id, 0, 3))


async def test_processes_that_append_at_once_never_fork(
    db: Database,
    second_db: Database,
    ledger: Ledger,
    other_process: Callable[[], Ledger],
    workspace_id: WorkspaceId,
    some_leaves: Make,
    mth: Hashes,
) -> None:
    """Two processes make the log and grow it: every signed head anyone was given is a start of the final tree."""
    other, chance = other_process(), random.Random(2)
    heads: list[note.Checkpoint] = []

    async def one(database: Database, process: Ledger, count: int) -> list[int]:
        async with database.transaction() as tx:
            appended, size = await process.append(tx, workspace_id, some_leaves(count))
            signed = await process.checkpoint(tx, workspace_id)
        heads.append(note.parse_checkpoint(note.parse(signed).text))
        assert heads[-1].size == size
        return [one.index for one in appended]

    works = [one(*chance.choice([(db, ledger), (second_db, other)]), chance.randrange(1, 60)) for _ in range(40)]
    indexes = [index for given in await asyncio.gather(*works) for index in given]
    stored = await entries(db, workspace_id)
    assert sorted(indexes) == list(range(len(stored)))
    assert len({one.size for one in heads}) == len(heads) == 40
    assert all(one.root == mth(stored[: one.size]) for one in heads)


async def test_a_rolled_back_append_leaves_nothing(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make, mth: Hashes
) -> None:
    """Whether the log existed before or not. The next append takes the same place, under a key that is stored."""

    async def fail(count: int) -> None:
        async with db.transaction() as tx:
            await ledger.append(tx, workspace_id, some_leaves(count))
            raise RuntimeError("the caller thinks better of it")

    for before in (0, 250):
        with pytest.raises(RuntimeError):
            await fail(256)
        assert len(await entries(db, workspace_id)) == before
        async with db.transaction() as tx:
            assert await tx.value("select count(*) from ledger_tiles") == 0
        appended, size = await append(db, ledger, workspace_id, some_leaves(250))
        assert appended[0].index == before
        now = await head(db, ledger, workspace_id)
        assert (now.size, now.root) == (size, mth(await entries(db, workspace_id)))


async def test_one_entry_is_appended_once(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make
) -> None:
    leaves = some_leaves(2)
    await append(db, ledger, workspace_id, leaves)
    with pytest.raises(asyncpg.UniqueViolationError, match="ledger_leaves_entry"):
        await append(db, ledger, workspace_id, [*some_leaves(1), leaves[0]])
    assert (await head(db, ledger, workspace_id)).size == 2


@pytest.mark.parametrize("count", [0, 257])
async def test_a_batch_out_of_bounds_is_refused(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make, count: int
) -> None:
    with pytest.raises(HubError) as refused:
        await append(db, ledger, workspace_id, some_leaves(count))
    assert refused.value.code == "ledger_batch_size"


async def test_workspaces_and_logs_stand_apart(db: Database, ledger: Ledger, some_leaves: Make) -> None:
    """Equal entries of two workspaces: each log has its own name, key and indexes; no other's checkpoint verifies."""
    leaves = some_leaves(3)
    sides = [WorkspaceId(ids.new()), WorkspaceId(ids.new())]
    for side in sides:
        assert [one.index for one in (await append(db, ledger, side, leaves))[0]] == [0, 1, 2]
    await append(db, ledger, sides[0], some_leaves(1), "audit")
    async with db.transaction() as tx:
        logs = [(sides[0], "consent"), (sides[1], "consent"), (sides[0], "audit")]
        keys = [note.parse_verifier((await ledger.verifier_keys(tx, *log)).strip()) for log in logs]
        signed = [await ledger.checkpoint(tx, *log) for log in logs]
    assert len({key.name for key in keys}) == len({key.public_key for key in keys}) == 3
    assert all(key.name.split("/")[1] == "0192f1c00000700080000000" + "0000abcd" for key in keys)
    assert all(key.name.endswith("/1") for key in keys)
    for place, key in enumerate(keys):
        for other, one in enumerate(signed):
            if place == other:
                assert note.verify_checkpoint(one, [key]).size in (1, 3)
            else:
                with pytest.raises(note.BadNote):
                    note.verify_checkpoint(one, [key])


async def test_the_signing_key_is_stored_sealed_only(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make, other_process: Callable[[], Ledger]
) -> None:
    """Sealed for its log: another process opens it; in another log's row it does not open."""
    other_side = WorkspaceId(ids.new())
    await append(db, ledger, workspace_id, some_leaves(1))
    await append(db, ledger, other_side, some_leaves(1))
    await append(db, other_process(), workspace_id, some_leaves(1))
    swap = """
        update ledger_keys as mine set sealed = other.sealed
          from ledger_keys as other where mine.workspace_id = $1 and other.workspace_id = $2
    """
    await db.run(lambda tx: tx.execute(swap, workspace_id, other_side))
    with pytest.raises(HubError) as refused:
        await append(db, other_process(), workspace_id, some_leaves(1))
    assert refused.value.code == "unreadable"


async def test_the_origin_is_the_first_line_of_the_checkpoint(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId
) -> None:
    origin = await db.run(lambda tx: ledger.origin(tx, workspace_id))
    assert (await head(db, ledger, workspace_id)).origin == origin


async def test_a_transaction_appends_to_the_audit_log_last_and_to_sides_in_their_order(
    db: Database, ledger: Ledger, some_leaves: Make
) -> None:
    """Two transactions that lock heads in different orders wait for each other."""
    low, high = sorted(WorkspaceId(ids.new()) for _ in range(2))

    async def work(tx: Tx, places: list[tuple[WorkspaceId, str]]) -> None:
        for side, log in places:
            await ledger.append(tx, side, some_leaves(1), log)

    await db.run(lambda tx: work(tx, [(low, "consent"), (high, "consent"), (low, "audit"), (high, "audit")]))
    for wrong in ([(low, "audit"), (low, "consent")], [(high, "consent"), (low, "consent")],
                  [(low, "audit"), (high, "consent")]):  # fmt: skip
        with pytest.raises(AssertionError, match="out of order"):
            await db.run(lambda tx, wrong=wrong: work(tx, wrong))
