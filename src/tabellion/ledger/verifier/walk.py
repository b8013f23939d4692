"""A log recomputed from its entries, bundle after bundle, beside what its tiles state and what others have seen.

Holds one row of at most 256 hashes and a frontier for each level, however large the log is.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tabellion.ledger import merkle
from tabellion.ledger.merkle import EMPTY, HASH_SIZE, Frontier
from tabellion.ledger.verifier.report import Refuted
from tabellion.ledger.verifier.source import TILE, Source, path, tile

LEAF: Final = re.compile(rb'\{"c":"[A-Za-z0-9_-]{43}","d":"[0-9]{4}-[0-9]{2}-[0-9]{2}","type":"[a-z_]{1,32}","v":1\}')
"""An entry: a commitment, a day, a type, and nothing else that could say more."""
MOST_LEAF: Final = 256
HEIGHT: Final = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where what is stated and what the entries lead to part."""

    level: int
    index: int
    """Of the node on its level."""

    @property
    def leaves(self) -> tuple[int, int]:
        unit = 1 << HEIGHT * self.level
        return self.index * unit, (self.index + 1) * unit


@dataclass(slots=True)
class Level:
    """One level of the tree: the row that is being filled, and the roots of the full tiles before it."""

    row: list[bytes] = field(default_factory=list)
    full: Frontier = field(default_factory=Frontier)


@dataclass(frozen=True, slots=True)
class Other:
    """Another copy of the log, and how many entries it has."""

    source: Source
    size: int


@dataclass
class Walk:
    """Recomputes a log of a size. What it finds is in its fields once `run` is over."""

    source: Source
    size: int
    marks: Sequence[int] = ()
    """The sizes at which the root of the tree is wanted."""
    other: Other | None = None
    disclosed: Mapping[int, bytes] = field(default_factory=dict)
    """Entries that are known from elsewhere."""
    told: Callable[[int], None] = lambda done: None
    roots: dict[int, bytes] = field(default_factory=dict, init=False)
    """At each mark, over the entries."""
    first: bytes = b""
    """The first entry."""
    differences: dict[int, Difference] = field(default_factory=dict, init=False)
    """By level, the first that a tile states otherwise than the entries lead to."""
    missing: list[str] = field(default_factory=list, init=False)
    """The first tile of each level that is not there."""
    odd: int | None = field(default=None, init=False)
    """The first entry that is not of the form of entries."""
    against_other: int | None = field(default=None, init=False)
    against_disclosed: int | None = field(default=None, init=False)
    _made: list[Level] = field(default_factory=list, init=False)
    """From the entries."""
    _stated: list[Level] = field(default_factory=list, init=False)
    """From the tiles."""

    def run(self) -> None:
        """Raises `Refuted` for a bundle that is missing or broken: nothing behind it can be recomputed."""
        wanted = sorted({one for one in self.marks if 0 < one <= self.size})
        self.roots |= {0: EMPTY}
        for number in range(-(-self.size // TILE)):
            width = min(TILE, self.size - number * TILE)
            entries = self._entries(number, width)
            self._look(number * TILE, entries)
            hashes = [merkle.leaf_hash(entry) for entry in entries]
            while wanted and wanted[0] <= number * TILE + width:
                self.roots[wanted[0]] = self._root_at(wanted[0], hashes[: wanted[0] - number * TILE])
                wanted.pop(0)
            self._climb(0, number, hashes)
            self.told(number * TILE + width)
        self._finish()

    def root(self) -> bytes:
        """Over the entries."""
        return merkle.join(_peaks(self._made, 0))

    def stated_root(self, level: int) -> bytes:
        """Over what tiles of this level state, and those below where the tree has no full tile."""
        return merkle.join(_peaks(self._stated, level))

    @property
    def levels(self) -> int:
        return len(self._stated)

    def _entries(self, number: int, width: int) -> list[bytes]:
        place = path("entries", number, width)
        bundle = tile(self.source, "entries", number, width, width * (MOST_LEAF + 2))
        if bundle is None:
            raise Refuted("bundle_missing", f"{place} is not there: entries from {number * TILE} on", file=place)
        entries = list(split(bundle))
        if len(entries) < width or sum(map(len, entries)) + 2 * len(entries) != len(bundle):
            index = number * TILE + len(entries)
            raise Refuted("entry_missing", f"{place} ends before entry {index} does", index=index, file=place)
        if len(entries) not in (width, TILE):
            index = number * TILE + width
            raise Refuted("entry_surplus", f"{place} holds an entry {index} that is not in the tree", index=index)
        return entries[:width]

    def _look(self, first: int, entries: Sequence[bytes]) -> None:
        """What can be said of entries without their hashes."""
        if first == 0:
            self.first = entries[0]
        if self.odd is None:
            form = LEAF.fullmatch
            self.odd = next((first + at for at, one in enumerate(entries) if not form(one)), None)
        if self.other is not None and self.against_other is None:
            self.against_other = self._compare(self.other, first, entries)
        if self.disclosed and self.against_disclosed is None:
            known = self.disclosed
            pairs = enumerate(entries, first)
            self.against_disclosed = next((at for at, one in pairs if known.get(at, one) != one), None)

    def _compare(self, other: Other, first: int, entries: Sequence[bytes]) -> int | None:
        width = min(TILE, other.size - first)
        if width <= 0:
            return None
        bundle = tile(other.source, "entries", first // TILE, width, width * (MOST_LEAF + 2))
        if bundle is None:
            raise Refuted("bundle_missing", f"the other copy lacks {path('entries', first // TILE, width)}")
        pairs = enumerate(zip(split(bundle), entries, strict=False), first)
        return next((at for at, (theirs, ours) in pairs if theirs != ours), None)

    def _climb(self, level: int, index: int, made: list[bytes]) -> None:
        """Compare a row with its tile. A full one becomes a node of the level above."""
        if level == len(self._made):
            self._made.append(Level())
            self._stated.append(Level())
        stated = self._tile(level, index, made)
        if len(made) < TILE:
            self._made[level].row, self._stated[level].row = made, stated
            return
        node = fold(made)
        self._add(self._made[level], node)
        self._add(self._stated[level], node if stated is made else fold(stated))
        above = self._rows(level + 1)
        above.append(node)
        if len(above) == TILE:
            self._climb(level + 1, index // TILE, above.copy())
            above.clear()

    def _rows(self, level: int) -> list[bytes]:
        """The nodes of a level that fill no tile yet."""
        if level == len(self._made):
            self._made.append(Level())
            self._stated.append(Level())
        return self._made[level].row

    def _tile(self, level: int, index: int, made: list[bytes]) -> list[bytes]:
        """What the tile states; the row itself where it states the same, or is not there."""
        width = len(made)
        place = path(level, index, width)
        said = tile(self.source, level, index, width, width * HASH_SIZE)
        if said is None:
            if all(one.split("/")[1] != str(level) for one in self.missing):
                self.missing.append(place)
            return made
        stated = [said[at : at + HASH_SIZE] for at in range(0, width * HASH_SIZE, HASH_SIZE)]
        if stated == made and len(said) in (width * HASH_SIZE, TILE * HASH_SIZE):
            return made
        pairs = enumerate(zip(stated, made, strict=True))
        first = next((at for at, (one, other) in pairs if one != other), width)
        self.differences.setdefault(level, Difference(level, index * TILE + first))
        return stated

    def _finish(self) -> None:
        """Compare the rows at the right edge of the upper levels."""
        for level in range(1, len(self._made)):
            row = self._made[level].row
            if row:
                index = (self.size >> HEIGHT * level) // TILE
                self._stated[level].row = self._tile(level, index, row)

    def _root_at(self, size: int, rest: Sequence[bytes]) -> bytes:
        """The root of the tree of this size, which ends in the bundle that begins with `rest`."""
        peaks = self._made[0].full.peaks if self._made else ()
        return merkle.join([*peaks, *Frontier().extended(rest).peaks])

    @staticmethod
    def _add(level: Level, node: bytes) -> None:
        level.full = level.full.extended([node])


def split(bundle: bytes) -> Iterator[bytes]:
    """The whole entries of a bundle, each after its length in two bytes."""
    at, end = 0, len(bundle)
    while at + 2 <= end:
        past = at + 2 + (bundle[at] << 8 | bundle[at + 1])
        if past > end:
            return
        yield bundle[at + 2 : past]
        at = past


def fold(row: list[bytes]) -> bytes:
    """The root over a full tile's hashes."""
    node = merkle.node_hash
    while len(row) > 1:
        row = [node(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def _peaks(levels: Sequence[Level], level: int) -> list[bytes]:
    """The perfect subtrees of the tree as this level states it: its full tiles, then the rows from it down."""
    if not levels:
        return []
    found = list(levels[level].full.peaks)
    for below in range(level, -1, -1):
        found += Frontier().extended(levels[below].row).peaks
    return found
