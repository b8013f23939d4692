"""Whoever edits the database behind the hub's back is found out by the files that the hub hands out, and by a key.

Each copy is made by the hub itself over the harmed rows, as an auditor would get it, and verified by key alone.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tabellion.access.service import create_workspace
from tabellion.admin.ledger_export import LedgerExport
from tabellion.app.wiring import Hub
from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger import merkle, note
from tabellion.ledger.merkle import Frontier
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.reading import Reading
from tabellion.ledger.rules import leaf_bytes
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Forked, Leaf
from tabellion.ledger.verifier.command import Asked, Believed
from tabellion.ledger.verifier.report import Report
from tabellion.privacy.certificates import Certificates

Make = Callable[[int], list[Leaf]]
SIZE = 600


@dataclass
class Audited:
    """A log, the auditor who got its key and a checkpoint in time, and copies made later."""

    db: Database
    ledger: Ledger
    export: LedgerExport
    side: WorkspaceId
    some_leaves: Make
    folder: Path
    key: str = ""
    kept: Path = Path()

    async def grow(self, count: int) -> None:
        for at in range(0, count, 256):
            leaves = self.some_leaves(min(256, count - at))
            await self.db.run(lambda tx, leaves=leaves: self.ledger.append(tx, self.side, leaves))  # type: ignore[misc]

    async def harm(self, *statements: str) -> None:
        async def work(tx: Tx) -> None:
            for one in statements:
                await tx.execute(one)

        await self.db.run(work)

    async def copy(self, name: str = "copy") -> Path:
        """As `GET /v1/ledger/export`, unpacked."""
        folder = self.folder / name
        copied = await self.export.begin(self.db, self.side, "consent", 0, "key_1")
        async for part in self.export.parts(self.db, copied):
            file = folder / part.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"".join([page.content async for page in part.pages]))
        return folder

    async def verified(self, *keys: str, **asked: Any) -> Report:
        folder = await self.copy(ids.show("x", ids.new()))
        return Asked(str(folder), Believed(keys or [self.key]), **asked).verify()

    async def codes(self, *keys: str, **asked: Any) -> list[str]:
        return [one.code for one in (await self.verified(*keys, **asked)).findings]

    async def checkpoint(self) -> str:
        async with self.db.transaction() as tx:
            return await self.ledger.checkpoint(tx, self.side)


@pytest.fixture
async def workspace_id(db: Database) -> WorkspaceId:
    """A side as workspaces have it: with an audit log beside the one that is harmed."""
    return (await db.run(lambda tx: create_workspace(tx, "fixture"))).live


@pytest.fixture
async def audited(
    db: Database, vault: Vault, ledger: Ledger, checkpoints: Checkpoints, workspace_id: WorkspaceId,
    some_leaves: Make, tmp_path: Path, hub: Hub,
) -> Audited:  # fmt: skip
    export = LedgerExport(Reading(ledger), checkpoints, Certificates(vault.outer), hub.notices)
    made = Audited(db, ledger, export, workspace_id, some_leaves, tmp_path / "copies")
    await made.grow(SIZE)
    await checkpoints.flush()
    async with db.transaction() as tx:
        made.key = (await ledger.verifier_keys(tx, workspace_id)).strip()
    made.kept = tmp_path / "kept"
    made.kept.write_text(await made.checkpoint())
    return made


async def test_what_nobody_touched_is_verified(audited: Audited) -> None:
    await audited.grow(200)
    report = await audited.verified(since=audited.kept)
    assert report.findings == []
    assert f"the log begins with the {SIZE} entries seen before" in report.holds
    assert any(line.startswith("all ") and "manifest" in line for line in report.holds)


async def test_keys_count_for_the_sizes_they_signed(audited: Audited, tmp_path: Path) -> None:
    """The log changed its key at 600. What the old one signs above that is forged, and before it is not."""
    old = await stolen(audited)
    async with audited.db.transaction() as tx:
        await audited.ledger.rotate_key(tx, audited.side)
    await audited.grow(100)
    copy = await audited.copy()
    listed = tmp_path / "keys.json"
    listed.write_bytes((copy / "keys.json").read_bytes())
    believed = Believed((), [listed])
    assert Asked(str(copy), believed, since=audited.kept).verify().findings == []
    tree = note.parse_checkpoint(note.parse((copy / "checkpoint").read_text()).text)
    (copy / "checkpoint").write_text(old.sign(tree.text()))
    found = Asked(str(copy), believed).verify().findings
    assert [one.code for one in found] == ["key_out_of_range"]
    assert f"sizes 0 to {SIZE}" in found[0].text


async def test_a_copy_is_of_the_moment_in_which_it_began(audited: Audited, tmp_path: Path) -> None:
    copied = await audited.export.begin(audited.db, audited.side, "consent", 0, "key_1")
    names = []
    async for part in audited.export.parts(audited.db, copied):
        file = tmp_path / "copy" / part.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join([page.content async for page in part.pages]))
        names.append(part.name)
        if len(names) % 3 == 0:
            await audited.grow(50)
    report = Asked(str(tmp_path / "copy"), Believed([audited.key]), since=audited.kept).verify()
    assert (report.findings, report.facts["size"]) == ([], SIZE)
    assert names.index("checkpoint") > max(at for at, name in enumerate(names) if name.startswith("tile/"))


FORGED = b'{"c":"' + b"A" * 43 + b'","d":"2026-11-21","type":"consent","v":1}'


async def test_a_changed_entry_is_named(audited: Audited) -> None:
    await audited.harm(f"update ledger_leaves set leaf = '{FORGED.decode()}' where index = 300")
    [found] = (await audited.verified()).findings
    assert (found.code, found.where) == ("entry_differs", {"first": 300, "last": 300})


async def test_a_dropped_entry_is_named(audited: Audited) -> None:
    """The others move up, and something stands in at the end, so that the number is right."""
    await audited.harm(
        "delete from ledger_leaves where index = 300",
        "update ledger_leaves set index = index + 9999 where index > 300",
        "update ledger_leaves set index = index - 10000 where index > 5000",
        "insert into ledger_leaves select workspace_id, log, generation, 599, gen_random_uuid(), leaf"
        " from ledger_leaves where log = 'consent' and index = 5",
    )
    [found] = (await audited.verified()).findings
    assert (found.code, found.where) == ("entry_differs", {"first": 300, "last": 300})


async def test_a_dropped_entry_that_leaves_a_gap_is_not_handed_out_at_all(audited: Audited) -> None:
    await audited.harm("delete from ledger_leaves where log = 'consent' and index = 300")
    with pytest.raises(Forked, match="has a gap at 300"):
        await audited.copy()


async def test_an_inserted_entry_is_named(audited: Audited) -> None:
    await audited.harm(
        "update ledger_leaves set index = index + 10001 where index >= 300",
        "update ledger_leaves set index = index - 10000 where index > 5000",
        "insert into ledger_leaves select workspace_id, log, generation, 300, gen_random_uuid(),"
        f" '{FORGED.decode()}' from ledger_leaves where log = 'consent' and index = 5",
    )
    [found] = (await audited.verified()).findings
    assert (found.code, found.where) == ("entry_differs", {"first": 300, "last": 300})


async def test_reordered_entries_are_named(audited: Audited) -> None:
    await audited.harm(
        "update ledger_leaves set index = 10000 where index = 300",
        "update ledger_leaves set index = 300 where index = 301",
        "update ledger_leaves set index = 301 where index = 10000",
    )
    [found] = (await audited.verified()).findings
    assert (found.code, found.where) == ("entry_differs", {"first": 300, "last": 300})


async def test_a_change_at_the_right_edge_where_tiles_are_made_anew_is_narrowed_down(audited: Audited) -> None:
    """Nothing stands there but the rows. An older copy names the very entry."""
    old = await audited.copy("old")
    await audited.harm(f"update ledger_leaves set leaf = '{FORGED.decode()}' where index = 555")
    found = (await audited.verified()).findings[0]
    assert (found.code, found.where) == ("entry_differs", {"first": 0, "last": 599})
    found = (await audited.verified(compare=str(old))).findings[0]
    assert (found.code, found.where) == ("entry_differs", {"first": 555, "last": 555})


async def test_a_changed_tile_is_named(audited: Audited) -> None:
    flipped = "set_byte(hashes, 32 * 9, get_byte(hashes, 32 * 9) # 1)"
    await audited.harm(f"update ledger_tiles set hashes = {flipped} where level = 0 and index = 1")
    [found] = (await audited.verified()).findings
    assert (found.code, found.where) == ("tile_differs", {"file": "tile/0/001", "hash": 9})


async def test_an_entry_changed_together_with_its_tiles_does_not_lead_to_the_signed_root(audited: Audited) -> None:
    await rebuild(audited, changed_at=300)
    [found] = (await audited.verified()).findings
    assert found.code == "entry_differs"
    found = (await audited.verified(since=audited.kept)).findings[0]
    assert found.code == "entry_differs"


async def rebuild(audited: Audited, changed_at: int, size: int = SIZE) -> Frontier:
    """Change an entry and make every tile and the frontier anew around it. The frontier."""
    async with audited.db.transaction() as tx:
        rows = await tx.rows(
            "select index, leaf from ledger_leaves where log = 'consent' and index < $1 order by index", size
        )
    leaves = [FORGED if row["index"] == changed_at else row["leaf"] for row in rows]
    hashes = [merkle.leaf_hash(one) for one in leaves]
    frontier = Frontier().extended(hashes)

    async def work(tx: Tx) -> None:
        await tx.execute("update ledger_leaves set leaf = $1 where log = 'consent' and index = $2", FORGED, changed_at)
        await tx.execute("delete from ledger_leaves where log = 'consent' and index >= $1", size)
        for tile in range(size // 256):
            row = hashes[tile * 256 : tile * 256 + 256]
            await tx.execute(
                "update ledger_tiles set hashes = $1, root = $2 where level = 0 and index = $3",
                b"".join(row), merkle.root(row), tile,
            )  # fmt: skip
        await tx.execute("delete from ledger_tiles where level = 0 and index >= $1", size // 256)
        await tx.execute(
            "update ledger_heads set frontier = $1, size = $2 where log = 'consent'", frontier.packed(), size
        )

    await audited.db.run(work)
    return frontier


async def test_a_rolled_back_head_is_told_by_the_checkpoint_kept(audited: Audited, folder: Path) -> None:
    """The older head was signed as well: by itself it is sound."""
    head = await audited.db.run(
        lambda tx: tx.row("select size, frontier, checkpoint from ledger_heads where log = 'consent'")
    )
    await audited.grow(300)
    await audited.export.checkpoints.flush()
    audited.kept.write_text(await audited.checkpoint())

    async def back(tx: Tx) -> None:
        assert head is not None
        await tx.execute(
            "update ledger_heads set size = $1, frontier = $2, checkpoint = $3 where log = 'consent'", *head
        )
        await tx.execute("delete from ledger_leaves where log = 'consent' and index >= $1", head["size"])
        await tx.execute("delete from ledger_tiles where level = 0 and index >= $1", head["size"] // 256)

    await audited.db.run(back)
    report = await audited.verified(since=audited.kept)
    assert {one.code for one in report.findings} == {"rolled_back"}
    assert f"it stands at {SIZE}, and the older checkpoint is of {SIZE + 300}" in report.findings[0].text
    assert await audited.codes() == ["rolled_back"], "the hub's own file beside the database tells, too"
    for file in folder.glob("*.checkpoint"):
        file.unlink()
    assert await audited.codes() == []
    assert await audited.codes(since=audited.kept) == ["rolled_back"]


async def stolen(audited: Audited) -> note.Signer:
    """The log's own key."""
    async with audited.db.transaction() as tx:
        row = await tx.row(
            "select origin, public_key, sealed from ledger_keys"
            " join ledger_heads using (workspace_id, log, generation, public_key) where log = 'consent'"
        )
    assert row is not None
    context = f"ledger:{row['origin']}:{row['public_key'].hex()}"
    return note.Signer.of(row["origin"], await audited.export.certificates.outer.unwrap(row["sealed"], context))


async def test_a_forked_log_is_told_by_the_checkpoint_kept(audited: Audited, folder: Path) -> None:
    """Whoever has the log's own key, too, and signs another history with it."""
    frontier = await rebuild(audited, changed_at=300)
    signer = await stolen(audited)
    signed = signer.sign(note.Checkpoint(signer.name, SIZE, frontier.root()).text())
    await audited.db.run(lambda tx: tx.execute("update ledger_heads set checkpoint = $1 where log = 'consent'", signed))
    assert await audited.codes() == ["forked"], "the hub's own file beside the database tells"
    for file in folder.glob("*.checkpoint"):
        file.unlink()
    assert await audited.codes() == []
    assert await audited.codes(since=audited.kept) == ["forked"]


async def test_a_forged_signature_is_refused(audited: Audited) -> None:
    """Whoever has the database and not the log's key."""
    frontier = await rebuild(audited, changed_at=300)
    origin = (await audited.checkpoint()).partition("\n")[0]
    own = note.Signer.new(origin)
    signed = own.sign(note.Checkpoint(origin, SIZE, frontier.root()).text())
    await audited.db.run(lambda tx: tx.execute("update ledger_heads set checkpoint = $1 where log = 'consent'", signed))
    assert await audited.codes() == ["signature_missing"]
    await audited.db.run(
        lambda tx: tx.execute("update ledger_keys set public_key = $1 where log = 'consent'", own.verifier.public_key)
    )
    copy = await audited.copy("with keys of its own")
    assert own.verifier.line() in (copy / "keys.txt").read_text()
    assert await audited.codes() == ["signature_missing"], "keys that lie in the copy are not believed"
    text, line = (await audited.checkpoint()).split("\n\n")
    real = note.parse(audited.kept.read_text()).signatures[0].line()
    await audited.db.run(
        lambda tx: tx.execute("update ledger_heads set checkpoint = $1 where log = 'consent'", f"{text}\n\n{real}")
    )
    assert line != real
    assert await audited.codes() == ["signature_wrong"]


async def test_another_log_under_the_place_of_this_one_is_refused(audited: Audited) -> None:
    async with audited.db.transaction() as tx:
        await audited.ledger.append(tx, audited.side, audited.some_leaves(5), "audit")
        other = await audited.ledger.checkpoint(tx, audited.side, "audit")
    await audited.db.run(lambda tx: tx.execute("update ledger_heads set checkpoint = $1 where log = 'consent'", other))
    found = (await audited.verified()).findings
    assert [one.code for one in found] == ["origin_wrong"]


Process = Callable[[], Ledger]


async def test_a_restored_dump_appends_nothing_until_the_successor_and_that_one_verifies(
    audited: Audited, other_process: Process, checkpoints: Checkpoints, grown_back: Callable[[], Awaitable[None]]
) -> None:
    last = audited.kept
    await grown_back()
    process = other_process()
    with pytest.raises(Forked):
        await audited.db.run(lambda tx: process.append(tx, audited.side, audited.some_leaves(1)))
    await audited.db.run(lambda tx: process.succeed(tx, audited.side))
    await audited.db.run(lambda tx: process.append(tx, audited.side, audited.some_leaves(20)))
    await checkpoints.flush()
    async with audited.db.transaction() as tx:
        keys = (await process.verifier_keys(tx, audited.side)).splitlines()
    report = await audited.verified(*keys, previous=last)
    assert (report.findings, report.facts["size"]) == ([], 21)
    assert f"the first entry commits to the checkpoint at {SIZE} of {keys[0].partition('+')[0]}" in report.holds
    copy = await audited.copy("successor")
    assert (copy / "previous").read_text() == last.read_text()
    before = Asked(str(copy / "generations/1"), Believed(keys), since=last).verify()
    assert [one.code for one in before.findings] == ["rolled_back"], "what is left of the log before, and what was lost"


@pytest.fixture
def grown_back(audited: Audited) -> Callable[[], Awaitable[None]]:
    """The database as it was at 100 entries, with a head that was signed then."""

    async def back() -> None:
        async with audited.db.transaction() as tx:
            rows = await tx.rows("select leaf from ledger_leaves where log = 'consent' and index < 100 order by index")
        frontier = Frontier().extended(merkle.leaf_hash(row["leaf"]) for row in rows)
        signer = await stolen(audited)
        signed = signer.sign(note.Checkpoint(signer.name, 100, frontier.root()).text())

        async def work(tx: Tx) -> None:
            await tx.execute("delete from ledger_leaves where log = 'consent' and index >= 100")
            await tx.execute("delete from ledger_tiles")
            await tx.execute(
                "update ledger_heads set size = 100, frontier = $1, checkpoint = $2 where log = 'consent'",
                frontier.packed(),
                signed,
            )

        await audited.db.run(work)

    return back


def test_the_forged_entry_is_of_the_right_form(some_leaves: Make) -> None:
    assert len(FORGED) == len(leaf_bytes(some_leaves(1)[0]))


# what the hub's own process sees


HARMS = [
    f"update ledger_leaves set leaf = '{FORGED.decode()}' where index = 300",
    "delete from ledger_leaves where index = 300",
    r"update ledger_tiles set hashes = overlay(hashes placing '\x00' from 45 * 32) where level = 0 and index = 1",
]


@pytest.mark.parametrize("harm", HARMS)
async def test_doctors_sample_finds_what_the_heads_do_not_show(audited: Audited, harm: str) -> None:
    """A head is rebuilt from what full tiles lead to: an entry below one could be changed, and every head was right."""
    async with audited.db.transaction() as tx:
        problems, looked, full = await audited.ledger.sample(tx)
    assert (problems, looked, full) == ([], 2, 2)
    await audited.harm(harm)
    async with audited.db.transaction() as tx:
        assert await audited.ledger.verify_heads(tx) == []
        problems, _, _ = await audited.ledger.sample(tx)
        assert (await audited.ledger.sample(tx, most=1))[1:] == (1, 2)
    assert [(one.code, one.detail) for one in problems] == [("entry_differs", "entry 300 is not what the log signed")]
