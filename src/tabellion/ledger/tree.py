"""A log's tree read from its rows: hashes of ranges, the tiles an append fills, tiles and bundles as served.

Full tiles are stored once and never change: a row has all that a proof needs of one. Everything else, the right edge
of the tree, is made from leaf rows and from the roots of full tiles: at most 255 rows a level.
"""

from collections.abc import Sequence

from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.ledger import merkle, rules, store
from tabellion.ledger.merkle import Range
from tabellion.ledger.types import Forked, Head, LogId, Span, Tile

Place = tuple[int, int]
"""Level and index of a node."""
Nodes = dict[Place, bytes]


async def range_hashes(tx: Tx, log: LogId, ranges: Sequence[Range]) -> list[bytes]:
    """The Merkle hash of each range, from full tiles and at most 255 rows a level of the tree."""
    spans = [[rules.span(part) for part in merkle.peaks(*one)] for one in ranges]
    nodes = await _nodes(tx, log, {place for one in spans for span in one for place in _places(span)})
    return [merkle.join([merkle.root(_in_order(log, nodes, span)) for span in one]) for one in spans]


async def filled_tiles(tx: Tx, head: Head, hashes: Sequence[bytes]) -> list[Tile]:
    """The tiles that appending leaves with these hashes fills: at most one a level, from the leaves up."""
    start = head.size - head.size % rules.TILE
    missing = start + rules.TILE - head.size
    if len(hashes) < missing:
        return []
    row = [*await _level(tx, head.log, Span(0, start, head.size)), *hashes[:missing]]
    made = [_tile(0, start // rules.TILE, row)]
    while (last := made[-1]).index % rules.TILE == rules.TILE - 1:
        below = Span(last.level + 1, last.index + 1 - rules.TILE, last.index)
        row = [*await _level(tx, head.log, below), last.root]
        made.append(_tile(last.level + 1, last.index // rules.TILE, row))
    return made


async def tile(tx: Tx, log: LogId, size: int, level: int, index: int, width: int) -> bytes:
    """The first `width` hashes of a tile of the tree of this size. NotFound where the tree is not that wide."""
    _require(size, level, index, width)
    if rules.width(size, level, index) == rules.TILE and (full := await store.tile(tx, log, level, index)):
        return full[: width * merkle.HASH_SIZE]
    first = index * rules.TILE
    return b"".join(await _level(tx, log, Span(level, first, first + width)))


async def bundle(tx: Tx, log: LogId, size: int, index: int, width: int) -> bytes:
    """The first `width` entries of a bundle of the tree of this size, each after its length in two bytes."""
    _require(size, 0, index, width)
    first = index * rules.TILE
    entries = await store.leaves(tx, log, range(first, first + width))
    return b"".join(len(entries[at]).to_bytes(2, "big") + entries[at] for at in sorted(entries))


async def _level(tx: Tx, log: LogId, span: Span) -> list[bytes]:
    """The nodes of a span in a tile that is not full."""
    if span.first == span.past:
        return []
    return _in_order(log, await _edge(tx, log, set(_places(span))), span)


async def _nodes(tx: Tx, log: LogId, wanted: set[Place]) -> Nodes:
    """All nodes of these places that there are: with one statement for full tiles, two for the tree's right edge."""
    tiles = await store.tiles(tx, log, sorted({(level, index // rules.TILE) for level, index in wanted}))
    nodes = {
        (level, index): _cut(tiles[level, index // rules.TILE], index % rules.TILE)
        for level, index in wanted
        if (level, index // rules.TILE) in tiles
    }
    return nodes | await _edge(tx, log, wanted - nodes.keys())


async def _edge(tx: Tx, log: LogId, wanted: set[Place]) -> Nodes:
    """The nodes of these places from the rows below them: leaves, and the roots of full tiles."""
    leaves = sorted(index for level, index in wanted if level == 0)
    roots = sorted((level - 1, index) for level, index in wanted if level)
    nodes: Nodes = {}
    if leaves:
        found = await store.leaves(tx, log, leaves)
        nodes |= {(0, index): merkle.leaf_hash(entry) for index, entry in found.items()}
    if roots:
        below = await store.tile_roots(tx, log, roots)
        nodes |= {(level + 1, index): root for (level, index), root in below.items()}
    return nodes


def _places(span: Span) -> list[Place]:
    return [(span.level, index) for index in range(span.first, span.past)]


def _cut(hashes: bytes, place: int) -> bytes:
    return hashes[place * merkle.HASH_SIZE : (place + 1) * merkle.HASH_SIZE]


def _in_order(log: LogId, nodes: Nodes, span: Span) -> list[bytes]:
    try:
        return [nodes[span.level, index] for index in range(span.first, span.past)]
    except KeyError as gap:
        raise Forked(
            f"log '{log.name}' of workspace side {log.workspace_id} has a gap at {gap}: entries were removed from the"
            " database; restore the newest backup"
        ) from None


def _tile(level: int, index: int, row: Sequence[bytes]) -> Tile:
    return Tile(level, index, b"".join(row), merkle.root(row))


def _require(size: int, level: int, index: int, width: int) -> None:
    if not (0 <= level < 8 and index >= 0 and 1 <= width <= rules.width(size, level, index)):
        raise NotFound("not_found", f"the tree of size {size} has no such tile")
