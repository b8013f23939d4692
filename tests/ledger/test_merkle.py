import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.ledger import merkle
from tabellion.ledger.merkle import Frontier

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "merkle.json"
LEAVES = st.lists(st.binary(max_size=4), min_size=1, max_size=80)


def cases(kind: str) -> list[Any]:
    if not VECTORS.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"{VECTORS} is not here"))]
    found = json.loads(VECTORS.read_text())["cases"]
    return [pytest.param(case, id=name) for name, case in found.items() if name.startswith(f"{kind}/")]


def unb64(values: list[str] | None) -> list[bytes]:
    return [base64.b64decode(value) for value in values or []]


@pytest.mark.parametrize("case", cases("inclusion"))
def test_published_inclusion_cases(case: dict[str, Any]) -> None:
    leaf, root = unb64([case["leafHash"], case["root"]])
    accepted = merkle.verify_inclusion(case["leafIdx"], case["treeSize"], leaf, unb64(case["proof"]), root)
    assert accepted is not case["wantErr"]


@pytest.mark.parametrize("case", cases("consistency"))
def test_published_consistency_cases(case: dict[str, Any]) -> None:
    old_root, new_root = unb64([case["root1"], case["root2"]])
    proof = unb64(case["proof"])
    accepted = merkle.verify_consistency(case["size1"], case["size2"], old_root, new_root, proof)
    assert accepted is not case["wantErr"]


# RFC 9162, section 2.1, as it is written there: recursive, over the entries themselves.


def sha(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(d: list[bytes]) -> bytes:
    if not d:
        return sha(b"")
    if len(d) == 1:
        return sha(b"\x00" + d[0])
    k = split(len(d))
    return sha(b"\x01" + mth(d[:k]) + mth(d[k:]))


def inclusion_path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = split(len(d))
    if m < k:
        return [*inclusion_path(m, d[:k]), mth(d[k:])]
    return [*inclusion_path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: list[bytes], known: bool) -> list[bytes]:
    if m == len(d):
        return [] if known else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], known), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


@given(LEAVES)
def test_the_root_is_that_of_the_rfc(entries: list[bytes]) -> None:
    assert merkle.root([merkle.leaf_hash(one) for one in entries]) == mth(entries)


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == sha(b"") == merkle.EMPTY


@given(LEAVES, st.data())
def test_growing_in_any_steps_gives_the_same_tree(entries: list[bytes], data: st.DataObject) -> None:
    hashes = [merkle.leaf_hash(one) for one in entries]
    cut = data.draw(st.integers(0, len(entries)))
    first = Frontier().extended(hashes[:cut])
    assert first.root() == mth(entries[:cut])
    stored = Frontier.unpacked(first.size, first.packed())
    assert stored.extended(hashes[cut:]) == Frontier().extended(hashes)


@given(st.integers(0, 300), st.integers(1, 64))
def test_a_frontier_of_another_size_is_refused(size: int, more: int) -> None:
    packed = Frontier().extended([sha(b"x")] * size).packed()
    other = size + more
    if other.bit_count() != size.bit_count():
        with pytest.raises(ValueError, match="frontier"):
            Frontier.unpacked(other, packed)


@given(LEAVES, st.data())
def test_an_inclusion_proof_is_that_of_the_rfc_and_verifies(entries: list[bytes], data: st.DataObject) -> None:
    hashes = [merkle.leaf_hash(one) for one in entries]
    index = data.draw(st.integers(0, len(entries) - 1))
    proof = merkle.path(hashes, merkle.inclusion_ranges(index, len(entries)))
    assert proof == inclusion_path(index, entries)
    assert merkle.verify_inclusion(index, len(entries), hashes[index], proof, mth(entries))


@given(LEAVES, st.data())
def test_a_consistency_proof_is_that_of_the_rfc_and_verifies(entries: list[bytes], data: st.DataObject) -> None:
    hashes = [merkle.leaf_hash(one) for one in entries]
    old = data.draw(st.integers(1, len(entries)))
    proof = merkle.path(hashes, merkle.consistency_ranges(old, len(entries)))
    assert proof == subproof(old, entries, True)
    assert merkle.verify_consistency(old, len(entries), mth(entries[:old]), mth(entries), proof)


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=2, max_size=80, unique=True), st.data())
def test_a_proof_holds_for_nothing_else(entries: list[bytes], data: st.DataObject) -> None:
    """For no other leaf, index, root; not with a hash changed, dropped or added."""
    hashes, root, size = [merkle.leaf_hash(one) for one in entries], mth(entries), len(entries)
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda one: one != index))
    proof = inclusion_path(index, entries)
    assert not merkle.verify_inclusion(index, size, hashes[other], proof, root)
    assert not merkle.verify_inclusion(other, size, hashes[index], proof, root)
    assert not merkle.verify_inclusion(index, size, hashes[index], proof, mth(entries[:-1]))
    for wrong in spoiled(proof, data):
        assert not merkle.verify_inclusion(index, size, hashes[index], wrong, root)


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=2, max_size=80, unique=True), st.data())
def test_a_tree_that_was_rewritten_is_not_consistent(entries: list[bytes], data: st.DataObject) -> None:
    size = len(entries)
    old = data.draw(st.integers(1, size - 1))
    place = data.draw(st.integers(0, old - 1))
    rewritten = [*entries[:place], b"other", *entries[place + 1 :]]
    honest = mth(entries[:old])
    assert not merkle.verify_consistency(old, size, honest, mth(rewritten), subproof(old, rewritten, True))
    for wrong in spoiled(subproof(old, entries, True), data):
        assert not merkle.verify_consistency(old, size, honest, mth(entries), wrong)


def spoiled(proof: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    place = data.draw(st.integers(0, len(proof) - 1))
    flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
    return [
        [*proof[:place], flipped, *proof[place + 1 :]],
        [*proof[:place], *proof[place + 1 :]],
        [*proof[:place], b"", *proof[place + 1 :]],
        [*proof, proof[place]],
        [proof[place], *proof],
    ]


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (4, 3)])
def test_no_proof_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion_ranges(index, size)
    assert not merkle.verify_inclusion(index, size, sha(b""), [], sha(b""))


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 1), (-1, 1), (2, 1)])
def test_no_consistency_from_nothing_or_backwards(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="consistency"):
        merkle.consistency_ranges(old, new)
    assert not merkle.verify_consistency(old, new, sha(b""), sha(b""), [])


@given(st.integers(2, 2**50), st.data())
def test_proofs_of_huge_trees_stay_short(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    ranges = merkle.inclusion_ranges(index, size)
    assert len(ranges) <= 51
    assert sum(end - start for start, end in ranges) == size - 1
    assert all(len(merkle.peaks(*one)) <= 51 for one in ranges)
