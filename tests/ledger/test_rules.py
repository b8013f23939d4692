from datetime import date
from uuid import UUID, uuid4

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core.crypto import b64url
from tabellion.core.errors import Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import merkle, rules
from tabellion.ledger.types import Leaf, LogId

COMMITMENTS = st.binary(min_size=32, max_size=32)


@given(COMMITMENTS, st.dates(date(2026, 1, 1), date(2100, 1, 1)))
def test_a_leaf_is_canonical_json_of_four_members(commitment: bytes, day: date) -> None:
    leaf = rules.leaf_bytes(Leaf(uuid4(), "consent", commitment, day))
    written = rfc8785.dumps({"v": 1, "type": "consent", "c": b64url(commitment), "d": day.isoformat()})
    assert leaf == written


@given(COMMITMENTS, COMMITMENTS)
def test_leaves_differ_in_nothing_but_the_commitment(one: bytes, two: bytes) -> None:
    """Not in length either, and not by the entry id: two entries of one person look like those of two."""
    first, second = (rules.leaf_bytes(Leaf(uuid4(), "consent", made, date(2026, 11, 21))) for made in (one, two))
    assert first.replace(b64url(one).encode(), b"") == second.replace(b64url(two).encode(), b"")
    assert len(first) == len(second)


def test_a_leaf_in_full() -> None:
    leaf = Leaf(uuid4(), "consent", bytes(32), date(2026, 11, 21))
    assert rules.leaf_bytes(leaf) == b'{"c":"%s","d":"2026-11-21","type":"consent","v":1}' % (b"A" * 43)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_commitment_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32"):
        rules.leaf_bytes(Leaf(uuid4(), "consent", bytes(size), date(2026, 11, 21)))


@pytest.mark.parametrize("count", [0, 257])
def test_a_batch_has_1_to_256_leaves(count: int) -> None:
    with pytest.raises(Invalid):
        rules.check_batch([Leaf(uuid4(), "consent", bytes(32), date(2026, 11, 21))] * count)


def test_an_origin_names_installation_log_and_generation() -> None:
    install, side = UUID(int=0xABC), WorkspaceId(uuid4())
    name = rules.origin(install, LogId(side, "consent", 1))
    host, install_id, log_id, generation = name.split("/")
    assert (host, install_id, generation) == ("tabellion.log", install.hex, "1")
    assert len(log_id) == 32
    assert rules.origin(install, LogId(side, "consent", 2)) == f"{host}/{install_id}/{log_id}/2"
    others = {LogId(side, "audit", 1), LogId(WorkspaceId(uuid4()), "consent", 1)}
    assert name not in {rules.origin(install, log) for log in others}


@given(st.integers(0, 2**40), st.integers(0, 40))
def test_a_span_covers_its_subtree_with_at_most_128_nodes(index: int, height: int) -> None:
    start, end = index << height, (index + 1) << height
    level, first, past = rules.span((start, end))
    assert (first * 256**level, past * 256**level) == (start, end)
    assert past - first <= 128
    assert first // 256 == (past - 1) // 256


def test_tile_widths_of_the_specification() -> None:
    """The examples of C2SP tlog-tiles: trees of 70,000 and of 256 leaves."""
    assert [rules.width(70_000, 0, index) for index in (0, 272, 273, 274)] == [256, 256, 112, 0]
    assert [rules.width(70_000, 1, index) for index in (0, 1, 2)] == [256, 17, 0]
    assert [rules.width(70_000, level, 0) for level in (2, 3)] == [1, 0]
    assert [rules.width(256, level, 0) for level in (0, 1, 2)] == [256, 1, 0]


@given(st.integers(1, 2**40))
def test_a_root_needs_few_nodes_a_level(size: int) -> None:
    spans = [rules.span(part) for part in merkle.peaks(0, size)]
    for level in {one.level for one in spans}:
        assert sum(one.past - one.first for one in spans if one.level == level) <= 255
