"""The files that a copy of a log is made of, in the layout of C2SP tlog-tiles. Pure."""

from collections.abc import Iterator
from typing import Final

from tabellion.ledger import rules
from tabellion.ledger.paths import File

TOP: Final = 7
"""The highest level: a log of 256^8 entries has no tile above it."""


def name(file: File) -> str:
    """Where a file of a log lies in a copy of it, and what a client of tlog-tiles asks for."""
    digits = f"{file.index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    place = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    partial = f".p/{file.width}" if file.width < rules.TILE else ""
    return f"tile/{'entries' if file.level is None else file.level}/{place}{partial}"


def files(size: int, since: int = 0) -> Iterator[File]:
    """The bundles and tiles of the tree of a size, each bundle before its tile, the levels above last.

    Those that the tree of size `since` has in full are left out: they never change.
    """
    for index in range(since // rules.TILE, -(-size // rules.TILE)):
        width = rules.width(size, 0, index)
        yield File(None, index, width)
        yield File(0, index, width)
    for level in range(1, TOP + 1):
        index = (since >> 8 * level) // rules.TILE
        while width := rules.width(size, level, index):
            yield File(level, index, width)
            index += 1


def count(size: int, since: int = 0) -> int:
    """How many files those are, within one a level."""
    return 2 * (-(-size // rules.TILE) - since // rules.TILE)


def partial(size: int) -> Iterator[File]:
    """Those of the tree of a size that a larger tree may no longer need."""
    for level in range(TOP + 1):
        index = (size >> 8 * level) // rules.TILE
        width = rules.width(size, level, index)
        if 0 < width < rules.TILE:
            yield File(level, index, width)
            if level == 0:
                yield File(None, index, width)
