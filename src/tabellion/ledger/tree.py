"""A log's tree read from its rows: hashes of ranges, the tiles an append fills, tiles and bundles as served.

Full tiles are stored once and never change. Everything else, the right edge of the tree, is made from leaf rows and
from the roots of full tiles: at most 255 rows a level.
"""

from collections.abc import Iterable, Sequence

from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.ledger import merkle, rules, store
from tabellion.ledger.merkle import Range
from tabellion.ledger.types import Forked, Head, LogId, Span, Tile

Nodes = dict[tuple[int, int], bytes]
"""By level and index."""


async def range_hashes(tx: Tx, log: LogId, ranges: Sequence[Range]) -> list[bytes]:
    """The Merkle hash of each range, from at most 255 rows a level of the tree."""
    spans = [[rules.span(part) for part in merkle.peaks(*one)] for one in ranges]
    nodes = await _nodes(tx, log, [span for one in spans for span in one])
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
    if width == rules.TILE and (full := await store.tile(tx, log, level, index)):
        return full
    first = index * rules.TILE
    return b"".join(await _level(tx, log, Span(level, first, first + width)))


async def bundle(tx: Tx, log: LogId, size: int, index: int, width: int) -> bytes:
    """The first `width` entries of a bundle of the tree of this size, each after its length in two bytes."""
    _require(size, 0, index, width)
    first = index * rules.TILE
    entries = await store.leaves(tx, log, range(first, first + width))
    return b"".join(len(entries[at]).to_bytes(2, "big") + entries[at] for at in sorted(entries))


async def _level(tx: Tx, log: LogId, span: Span) -> list[bytes]:
    if span.first == span.past:
        return []
    return _in_order(log, await _nodes(tx, log, [span]), span)


async def _nodes(tx: Tx, log: LogId, spans: Iterable[Span]) -> Nodes:
    """All nodes of the spans that there are rows for, with one statement a level."""
    wanted: dict[int, set[int]] = {}
    for span in spans:
        wanted.setdefault(span.level, set()).update(range(span.first, span.past))
    nodes: Nodes = {}
    for level, indexes in wanted.items():
        found = (
            await _leaf_hashes(tx, log, sorted(indexes))
            if level == 0
            else (await store.tile_roots(tx, log, level - 1, sorted(indexes)))
        )
        nodes |= {(level, index): node for index, node in found.items()}
    return nodes


async def _leaf_hashes(tx: Tx, log: LogId, indexes: Sequence[int]) -> dict[int, bytes]:
    return {index: merkle.leaf_hash(entry) for index, entry in (await store.leaves(tx, log, indexes)).items()}


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
