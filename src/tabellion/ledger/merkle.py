"""Merkle trees of RFC 9162, section 2.1: hashes, growth, proofs. Values in, values out, standard library only.

A tree over entries D[0:n] is never held whole. Growth needs its *frontier* (the roots of the perfect subtrees it is
made of), a proof needs the hashes of some *ranges* of leaves; whoever stores the tree knows how to get those.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

HASH_SIZE: Final = 32
EMPTY: Final = sha256(b"").digest()
"""The root of the tree with no leaf."""

Range = tuple[int, int]
"""Leaves from the first number up to, not including, the second."""


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def join(peaks: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees given left to right, each smaller than the one before it."""
    if not peaks:
        return EMPTY
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that is needed to grow a tree: its size and one hash for each one-bit of the size, largest subtree first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def extended(self, hashes: Iterable[bytes]) -> "Frontier":
        """The frontier after appending leaves with these hashes."""
        size, peaks = self.size, list(self.peaks)
        for hashed in hashes:
            node, carry = hashed, size
            while carry & 1:
                node = node_hash(peaks.pop(), node)
                carry >>= 1
            peaks.append(node)
            size += 1
        return Frontier(size, tuple(peaks))

    def root(self) -> bytes:
        return join(self.peaks)

    def packed(self) -> bytes:
        return b"".join(self.peaks)

    @classmethod
    def unpacked(cls, size: int, packed: bytes) -> "Frontier":
        if len(packed) != HASH_SIZE * size.bit_count():
            raise ValueError(f"a frontier of size {size} does not have {len(packed)} bytes")
        return cls(size, tuple(packed[at : at + HASH_SIZE] for at in range(0, len(packed), HASH_SIZE)))


def root(hashes: Iterable[bytes]) -> bytes:
    """The root of the tree over leaves with these hashes."""
    return Frontier().extended(hashes).root()


def peaks(start: int, end: int) -> list[Range]:
    """The perfect subtrees that D[start:end] is made of, largest first; `join` of their hashes is the range's hash.

    Holds for ranges that start at a multiple of their largest subtree, as those from 0 and those in proofs do.
    """
    found = []
    while start < end:
        width = 1 << ((end - start).bit_length() - 1)
        found.append((start, start + width))
        start += width
    return found


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges whose hashes prove that the leaf at index is in the tree of this size, from the leaf up."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of size {size} has no leaf {index}")
    start, end, found = 0, size, []
    while end - start > 1:
        middle = _middle(start, end)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    return found[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The ranges whose hashes prove that the tree of size new begins with the tree of size old."""
    if not 0 < old <= new:
        raise ValueError(f"there is no consistency proof from size {old} to size {new}")
    start, end, found = 0, new, []
    while end != old:
        middle = _middle(start, end)
        if old <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    if start:
        found.append((start, end))
    return found[::-1]


def path(hashes: Sequence[bytes], ranges: Iterable[Range]) -> list[bytes]:
    """The hashes of ranges, from all leaf hashes of a tree."""
    return [root(hashes[start:end]) for start, end in ranges]


def verify_inclusion(index: int, size: int, hashed: bytes, proof: Sequence[bytes], expected_root: bytes) -> bool:
    """Whether proof shows that the leaf with this hash is at index in the tree of this size and root (2.1.3.2)."""
    if not 0 <= index < size or not _all_hashes([hashed, *proof]):
        return False
    left, last, node = index, size - 1, hashed
    for sibling in proof:
        if last == 0:
            return False
        if left & 1 or left == last:
            node = node_hash(sibling, node)
            left, last = _to_left_edge(left, last)
        else:
            node = node_hash(node, sibling)
        left, last = left >> 1, last >> 1
    return last == 0 and node == expected_root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether proof shows that the tree of size new and root new_root begins with the other (2.1.4.2).

    A proof from the empty tree would show nothing and is refused.
    """
    if not 0 < old <= new or not _all_hashes(proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    steps = list(proof) if old & (old - 1) else [old_root, *proof]
    return bool(steps) and _fold_consistency(old - 1, new - 1, steps) == (old_root, new_root)


def _fold_consistency(left: int, last: int, steps: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The old and the new root that the steps lead to, or None where they are too many or too few."""
    while left & 1:
        left, last = left >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return None
        if left & 1 or left == last:
            before, after = node_hash(step, before), node_hash(step, after)
            left, last = _to_left_edge(left, last)
        else:
            after = node_hash(after, step)
        left, last = left >> 1, last >> 1
    return (before, after) if last == 0 else None


def _to_left_edge(left: int, last: int) -> tuple[int, int]:
    """Up along the right border to the level where the node is a right child, or is the first one."""
    while left and not left & 1:
        left, last = left >> 1, last >> 1
    return left, last


def _middle(start: int, end: int) -> int:
    """Where RFC 9162 splits D[start:end]: after the largest power of two smaller than its length."""
    return start + (1 << ((end - start - 1).bit_length() - 1))


def _all_hashes(values: Sequence[bytes]) -> bool:
    return all(len(value) == HASH_SIZE for value in values)
