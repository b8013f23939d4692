"""A log's tree read from its rows: hashes of ranges, the tiles an append fills, tiles and bundles as served.

Full tiles are stored once and never change: a row has all that a proof needs of one. Everything else, the right edge
of the tree, is made from leaf rows and from the roots of full tiles: at most 255 rows a level.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.ledger import merkle, rules, store
from tabellion.ledger.merkle import HASH_SIZE, Range
from tabellion.ledger.types import Forked, Head, LogId, Span, Tile

Place = tuple[int, int]
"""Level and index, of a tile."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """What was read for some spans."""

    full: Mapping[Place, bytes]
    """The hashes of full tiles."""
    roots: Mapping[Place, bytes]
    """Of full tiles: the nodes of the level above, where that one's tile is not full."""
    leaves: Mapping[int, bytes]


async def range_hashes(tx: Tx, log: LogId, ranges: Sequence[Range]) -> list[bytes]:
    """The Merkle hash of each range, from full tiles and at most 255 rows a level of the tree.

    The tree must reach to the end of each.
    """
    spans = [[rules.span(part) for part in merkle.peaks(*one)] for one in ranges]
    size = max((end for _, end in ranges), default=0)
    rows = await _read(tx, log, [span for one in spans for span in one], size)
    return [merkle.join([merkle.root(_nodes(log, rows, span)) for span in one]) for one in spans]


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
        return full[: width * HASH_SIZE]
    first = index * rules.TILE
    return b"".join(await _level(tx, log, Span(level, first, first + width)))


async def first_unlike(tx: Tx, head: Head, number: int) -> int | None:
    """The first entry of a full bundle that its tile, or the tree of the head, does not have; None: all are sound."""
    first = number * rules.TILE
    stored = await store.leaves(tx, head.log, range(first, first + rules.TILE))
    tile = await store.tile(tx, head.log, 0, number) or b""
    for at in range(rules.TILE):
        leaf = stored.get(first + at)
        if leaf is None or merkle.leaf_hash(leaf) != tile[at * HASH_SIZE : (at + 1) * HASH_SIZE]:
            return first + at
    proof = await range_hashes(tx, head.log, merkle.inclusion_ranges(first, head.size))
    sound = merkle.verify_inclusion(first, head.size, tile[:HASH_SIZE], proof, head.frontier.root())
    return None if sound else first


async def bundle(tx: Tx, log: LogId, size: int, index: int, width: int) -> bytes:
    """The first `width` entries of a bundle of the tree of this size, each after its length in two bytes."""
    _require(size, 0, index, width)
    first = index * rules.TILE
    entries = await store.leaves(tx, log, range(first, first + width))
    try:
        found = [entries[at] for at in range(first, first + width)]
    except KeyError as gap:
        raise _gap(log, gap) from None
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in found)


async def _level(tx: Tx, log: LogId, span: Span) -> list[bytes]:
    """The nodes of a span in a tile that is not full."""
    return _nodes(log, await _read(tx, log, [span], 0), span)


async def _read(tx: Tx, log: LogId, spans: Sequence[Span], size: int) -> _Rows:
    """What the spans, each of one tile, are made of: with one statement for tiles and one for leaves.

    Tiles that are full in the tree of this size are read whole.
    """
    full = {_tile_of(span) for span in spans if _is_full(span, size)}
    edge = [span for span in spans if not _is_full(span, size)]
    below = {(span.level - 1, index) for span in edge if span.level for index in range(span.first, span.past)}
    leaves = {index for span in edge if not span.level for index in range(span.first, span.past)}
    hashes, roots = await store.tiles(tx, log, sorted(full), sorted(below)) if full or below else ({}, {})
    return _Rows(hashes, roots, await store.leaves(tx, log, sorted(leaves)) if leaves else {})


def _nodes(log: LogId, rows: _Rows, span: Span) -> list[bytes]:
    try:
        if whole := rows.full.get(_tile_of(span)):
            start = span.first % rules.TILE * HASH_SIZE
            return [
                whole[at : at + HASH_SIZE]
                for at in range(start, start + (span.past - span.first) * HASH_SIZE, HASH_SIZE)
            ]
        if span.level:
            return [rows.roots[span.level - 1, index] for index in range(span.first, span.past)]
        return [merkle.leaf_hash(rows.leaves[index]) for index in range(span.first, span.past)]
    except KeyError as gap:
        raise _gap(log, gap) from None


def _gap(log: LogId, gap: KeyError) -> Forked:
    return Forked(
        f"log '{log.name}' of workspace side {log.workspace_id} has a gap at {gap}: entries were removed from the"
        " database; restore the newest backup"
    )


def _tile_of(span: Span) -> Place:
    return span.level, span.first // rules.TILE


def _is_full(span: Span, size: int) -> bool:
    return rules.width(size, *_tile_of(span)) == rules.TILE


def _tile(level: int, index: int, row: Sequence[bytes]) -> Tile:
    return Tile(level, index, b"".join(row), merkle.root(row))


def _require(size: int, level: int, index: int, width: int) -> None:
    if not (0 <= level < 8 and index >= 0 and 1 <= width <= rules.width(size, level, index)):
        raise NotFound("not_found", f"the tree of size {size} has no such tile")
