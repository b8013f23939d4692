"""Merkle trees of RFC 9162, section 2.1, once more: by its recursive definitions, and by nothing of ours.

https://www.rfc-editor.org/rfc/rfc9162#section-2.1 (read 2026-11-28). Slow and plain: it is there to be believed. To
verify is to run the same recursion backwards, so that it shares no arithmetic with the iterative algorithms of
2.1.3.2 and 2.1.4.2 that it judges.
"""

from collections.abc import Sequence
from hashlib import sha256


def leaf(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def largest_power_below(n: int) -> int:
    """k: the largest power of two smaller than n, that is k < n <= 2k."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


class Tree:
    """MTH, PATH and SUBPROOF over entries D. Hashes of D[a:b] are remembered."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self._entries = entries
        self._known: dict[tuple[int, int], bytes] = {}

    def mth(self, a: int, b: int) -> bytes:
        if a == b:
            return sha256().digest()
        found = self._known.get((a, b))
        if found is None:
            if b - a == 1:
                found = leaf(self._entries[a])
            else:
                k = largest_power_below(b - a)
                found = node(self.mth(a, a + k), self.mth(a + k, b))
            self._known[a, b] = found
        return found

    def path(self, m: int, a: int, b: int) -> list[bytes]:
        """PATH(m, D[a:b])."""
        n = b - a
        if n == 1:
            return []
        k = largest_power_below(n)
        if m < k:
            return [*self.path(m, a, a + k), self.mth(a + k, b)]
        return [*self.path(m - k, a + k, b), self.mth(a, a + k)]

    def subproof(self, m: int, a: int, b: int, complete: bool) -> list[bytes]:
        """SUBPROOF(m, D[a:b], b); PROOF(m, D_n) is SUBPROOF(m, D_n, true)."""
        n = b - a
        if m == n:
            return [] if complete else [self.mth(a, b)]
        k = largest_power_below(n)
        if m <= k:
            return [*self.subproof(m, a, a + k, complete), self.mth(a + k, b)]
        return [*self.subproof(m - k, a + k, b, False), self.mth(a, a + k)]


class Malformed(Exception):
    """A proof that is too long or too short for its tree."""


def includes(m: int, n: int, hashed: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether proof is one that the leaf with this hash is number m of the n under root."""
    try:
        return 0 <= m < n and _are_hashes(hashed, *proof) and _root_from_path(m, n, hashed, proof) == root
    except Malformed:
        return False


def _root_from_path(m: int, n: int, hashed: bytes, proof: Sequence[bytes]) -> bytes:
    """MTH(D_n), of which PATH(m, D_n) and the leaf are known."""
    if n == 1:
        _require(not proof)
        return hashed
    _require(proof)
    *below, sibling = proof
    k = largest_power_below(n)
    if m < k:
        return node(_root_from_path(m, k, hashed, below), sibling)
    return node(sibling, _root_from_path(m - k, n - k, hashed, below))


def extends(m: int, n: int, old: bytes, new: bytes, proof: Sequence[bytes]) -> bool:
    """Whether proof is one that the n entries under new begin with the m under old."""
    try:
        return 0 < m <= n and _are_hashes(*proof) and _roots_from_proof(m, n, old, True, proof) == (old, new)
    except Malformed:
        return False


def _roots_from_proof(m: int, n: int, old: bytes, complete: bool, proof: Sequence[bytes]) -> tuple[bytes, bytes]:
    """MTH(D_m) and MTH(D_n), of which SUBPROOF(m, D_n, complete) is known, and the first by itself where complete."""
    if m == n:
        _require(len(proof) == (0 if complete else 1))
        return (old, old) if complete else (proof[0], proof[0])
    _require(proof)
    *below, sibling = proof
    k = largest_power_below(n)
    if m <= k:
        before, after = _roots_from_proof(m, k, old, complete, below)
        return before, node(after, sibling)
    before, after = _roots_from_proof(m - k, n - k, old, False, below)
    return node(sibling, before), node(sibling, after)


def _are_hashes(*values: bytes) -> bool:
    return all(len(one) == sha256().digest_size for one in values)


def _require(holds: object) -> None:
    if not holds:
        raise Malformed
