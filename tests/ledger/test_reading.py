"""Proofs and files out of the rows, in a tree of three tile levels and in every older one, against the definitions."""

import random
from collections.abc import Callable

import pytest

from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import rules, store
from tabellion.ledger.paths import File, LogName, parse_file
from tabellion.ledger.reading import Reading
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf, LogId, Shown

from . import rfc9162

Make = Callable[[int], list[Leaf]]
SIZE = 65_536 + 256 + 100


async def grown(db: Database, ledger: Ledger, side: WorkspaceId, some_leaves: Make) -> list[bytes]:
    """The entries of a log of SIZE."""
    async with db.transaction(120) as tx:
        for _ in range(257):
            await ledger.append(tx, side, some_leaves(256))
        await ledger.append(tx, side, some_leaves(100))
        return [leaf for _, leaf in await store.leaves_from(tx, LogId(side, "consent", 1), 0, SIZE)]


async def test_proofs_and_files_of_every_size_are_those_of_the_definitions(
    db: Database, ledger: Ledger, workspace_id: WorkspaceId, some_leaves: Make
) -> None:
    entries = await grown(db, ledger, workspace_id, some_leaves)
    assert len(entries) == SIZE
    tree, reading, dice = rfc9162.Tree(entries), Reading(ledger), random.Random(9162)
    near = [1, 2, 255, 256, 257, 511, 512, 65_280, 65_535, 65_536, 65_537, 65_791, 65_792, 65_793, SIZE - 1, SIZE]
    sizes = near + [dice.randint(1, SIZE) for _ in range(100)]
    async with db.transaction(120) as tx:
        now = await reading.open(tx, workspace_id, LogName("consent", None))
        assert (now.size, now.log.generation) == (SIZE, 1)
        for size in sizes:
            index, old = dice.randrange(size), dice.randint(1, size)
            assert await reading.inclusion(tx, now, index, size) == tree.path(index, 0, size), (index, size)
            assert await reading.consistency(tx, now, old, size) == tree.subproof(old, 0, size, True), (old, size)
            await _require_files(tx, reading, now, tree, size, dice)


async def _require_files(
    tx: Tx, reading: Reading, now: Shown, tree: rfc9162.Tree, size: int, dice: random.Random
) -> None:
    """The last tile of each level in the tree as it was at this size, and one before it."""
    then = Shown(now.log, size, "", witnessed=False)
    for level in range(3):
        unit, nodes = 256**level, size // 256**level
        for index in {max(0, nodes - 1) // 256, dice.randint(0, max(0, nodes - 1) // 256)}:
            width = rules.width(size, level, index)
            first = index * 256
            wanted = [tree.mth(at * unit, (at + 1) * unit) for at in range(first, first + width)]
            if width:
                assert await reading.file(tx, then, File(level, index, width)) == b"".join(wanted)
            if width < 256:
                with pytest.raises(HubError) as refused:
                    await reading.file(tx, then, File(level, index, width + 1))
                assert (refused.value.code, refused.value.status) == ("not_yet_published", 404)


def file_name(file: File) -> str:
    """What the specification calls a file."""
    digits = str(file.index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    index = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    partial = f".p/{file.width}" if file.width < 256 else ""
    return f"{'entries' if file.level is None else file.level}/{index}{partial}"


@pytest.mark.parametrize("index", [0, 7, 999, 1_000, 1_001, 999_999, 1_000_000, 1_234_067, 10**17])
@pytest.mark.parametrize("width", [1, 255, 256])
def test_a_file_is_read_under_the_name_it_is_given(index: int, width: int) -> None:
    for level in (None, 0, 1, 63):
        file = File(level, index, width)
        assert parse_file(file_name(file)) == file


def test_the_example_of_the_specification() -> None:
    assert file_name(File(0, 1_234_067)) == "0/x001/x234/067"
