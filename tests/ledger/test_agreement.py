"""Our trees against an implementation of the RFC's definitions that shares nothing with them: 10,000 random trees."""

import json
import random
from base64 import b64decode
from collections.abc import Iterator

import pytest

from tabellion.ledger import merkle

from . import rfc9162
from .test_merkle import VECTORS

TREES = 10_000
PARTS = 4


def sizes(dice: random.Random) -> int:
    """Mostly small, often beside a power of two, where mistakes live."""
    if dice.random() < 0.5:
        return dice.randint(1, 40)
    return max(1, (1 << dice.randint(1, 8)) + dice.randint(-2, 2))


def spoiled(proof: list[bytes], dice: random.Random) -> Iterator[list[bytes]]:
    """The proof with a bit flipped, a hash dropped, doubled, swapped, put before or behind, and cut short."""
    stranger = dice.randbytes(32)
    yield [stranger, *proof]
    yield [*proof, stranger]
    if not proof:
        return
    at = dice.randrange(len(proof))
    flipped = bytearray(proof[at])
    flipped[dice.randrange(32)] ^= 1 << dice.randrange(8)
    yield [*proof[:at], bytes(flipped), *proof[at + 1 :]]
    yield [*proof[:at], *proof[at + 1 :]]
    yield [*proof[: at + 1], *proof[at:]]
    yield [*proof[:at], proof[at][:-1], *proof[at + 1 :]]
    if len(proof) > 1:
        yield [*proof[1:], proof[0]]


@pytest.mark.parametrize("part", range(PARTS))
def test_proofs_are_the_same_and_verify_alike(part: int) -> None:
    dice = random.Random(9162 + part)
    for _ in range(TREES // PARTS):
        size = sizes(dice)
        entries = [dice.randbytes(dice.randint(8, 12)) for _ in range(size)]
        tree, hashes = rfc9162.Tree(entries), [merkle.leaf_hash(one) for one in entries]
        root = tree.mth(0, size)
        assert merkle.root(hashes) == root
        _included(tree, hashes, root, dice)
        _extended(tree, hashes, root, dice)


def _included(tree: rfc9162.Tree, hashes: list[bytes], root: bytes, dice: random.Random) -> None:
    size, index = len(hashes), dice.randrange(len(hashes))
    proof = merkle.path(hashes, merkle.inclusion_ranges(index, size))
    assert proof == tree.path(index, 0, size)
    assert merkle.verify_inclusion(index, size, hashes[index], proof, root)
    assert rfc9162.includes(index, size, hashes[index], proof, root)
    for wrong in spoiled(proof, dice):
        assert not merkle.verify_inclusion(index, size, hashes[index], wrong, root)
        assert not rfc9162.includes(index, size, hashes[index], wrong, root)
    # Another index or size need not be refused, if the same hashes lead there: a checkpoint is what binds them.
    for other, more in (
        (dice.randrange(size + 1), size),
        (index, size + 1),
        (index, dice.randint(1, size)),
        (-1, size),
    ):
        said = merkle.verify_inclusion(other, more, hashes[index], proof, root)
        assert said == rfc9162.includes(other, more, hashes[index], proof, root)
        assert not said or other == index


def _extended(tree: rfc9162.Tree, hashes: list[bytes], root: bytes, dice: random.Random) -> None:
    size, old = len(hashes), dice.randint(1, len(hashes))
    before = tree.mth(0, old)
    proof = merkle.path(hashes, merkle.consistency_ranges(old, size))
    assert proof == tree.subproof(old, 0, size, True)
    assert merkle.verify_consistency(old, size, before, root, proof)
    assert rfc9162.extends(old, size, before, root, proof)
    other = tree.mth(0, old - 1)
    for first, last, wrong in [(other, root, proof), (before, other, proof),
                               *((before, root, one) for one in spoiled(proof, dice))]:  # fmt: skip
        assert not merkle.verify_consistency(old, size, first, last, wrong)
        assert not rfc9162.extends(old, size, first, last, wrong)
    for less, more in ((dice.randint(0, size + 1), size), (old, size + 1), (old, dice.randint(1, size)), (0, size)):
        said = merkle.verify_consistency(less, more, before, root, proof)
        assert said == rfc9162.extends(less, more, before, root, proof)


def test_the_other_implementation_passes_the_published_cases() -> None:
    """So that the two do not merely share a mistake."""
    if not VECTORS.exists():
        pytest.skip(f"{VECTORS} is not here")

    def unb64(values: list[str] | None) -> list[bytes]:
        return [b64decode(value) for value in values or []]

    wrong = []
    for name, case in json.loads(VECTORS.read_text())["cases"].items():
        kind, proof = name.partition("/")[0], unb64(case["proof"])
        if kind not in ("inclusion", "consistency"):
            continue
        if kind == "inclusion":
            leaf, root = unb64([case["leafHash"], case["root"]])
            said = rfc9162.includes(case["leafIdx"], case["treeSize"], leaf, proof, root)
        else:
            old, new = unb64([case["root1"], case["root2"]])
            said = rfc9162.extends(case["size1"], case["size2"], old, new, proof)
        if said is case["wantErr"]:
            wrong.append(name)
    assert wrong == []
