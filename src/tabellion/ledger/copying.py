"""A log put into another database as it stands, for rehearsing there what must not go wrong here."""

from collections.abc import Sequence
from typing import Final

from tabellion.core.db import Database
from tabellion.ledger import store
from tabellion.ledger.types import Head, LogId, SigningKey, Tile

PAGE: Final = 5_000
TILES: Final = 250


async def copy_log(source: Database, target: Database, head: Head) -> None:
    """Copy a log up to this head: its entries, its tiles, the key that signs it. What it was before is left out."""
    await _copy_head(source, target, head)
    for first in range(0, head.size, PAGE):
        await _copy_leaves(source, target, head.log, first, min(PAGE, head.size - first))
    last = Tile(0, -1, b"", b"")
    while tiles := await _tiles(source, head.log, last):
        last = tiles[-1]
        if within := [one for one in tiles if _is_within(one, head.size)]:
            await _put(target, head.log, within)


async def _copy_leaves(source: Database, target: Database, log: LogId, first: int, many: int) -> None:
    rows = await source.run(lambda tx: store.leaves_from(tx, log, first, many))
    await target.run(lambda tx: store.insert_leaves(tx, log, first, rows))


async def _tiles(source: Database, log: LogId, last: Tile) -> list[Tile]:
    return await source.run(lambda tx: store.tiles_from(tx, log, last.level, last.index, TILES))


async def _put(target: Database, log: LogId, tiles: Sequence[Tile]) -> None:
    await target.run(lambda tx: store.insert_tiles(tx, log, tiles))


async def _copy_head(source: Database, target: Database, head: Head) -> None:
    keys = await source.run(lambda tx: store.verifier_keys(tx, head.log.workspace_id, head.log.name))
    sealed = await source.run(lambda tx: store.sealed_key(tx, head.log, head.public_key))
    signing = [SigningKey(head.public_key, sealed or b"", one.from_size) for one in keys if one.to_size is None][-1]
    await target.run(
        lambda tx: store.insert_head(tx, head.log, head.origin, head.frontier, head.checkpoint, head.public_key)
    )
    await target.run(lambda tx: store.insert_key(tx, head.log, signing))


def _is_within(tile: Tile, size: int) -> bool:
    """Whether the tile was full when the log had this size: it may have grown since."""
    return (tile.index + 1) << 8 * (tile.level + 1) <= size
