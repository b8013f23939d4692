"""The files of a copy: those that the tree of its size has, under the names of tlog-tiles, as the verifier asks."""

import pytest

from tabellion.ledger import layout
from tabellion.ledger.paths import File
from tabellion.ledger.verifier.source import path


@pytest.mark.parametrize("index", [0, 7, 999, 1000, 67, 1_234_067, 999_999_999])
@pytest.mark.parametrize("width", [1, 255, 256])
def test_names_are_those_that_the_verifier_asks_for(index: int, width: int) -> None:
    assert layout.name(File(None, index, width)) == path("entries", index, width)
    assert layout.name(File(2, index, width)) == path(2, index, width)


def test_a_tree_of_70000_has_the_files_that_the_specification_counts() -> None:
    """The example of C2SP tlog-tiles: 273 full tiles of level 0 and one of width 112, two of level 1, one above."""
    found = list(layout.files(70_000))
    assert [sum(one.level == level for one in found) for level in (None, 0, 1, 2, 3)] == [274, 274, 2, 1, 0]
    assert [one.width for one in found if one.level == 1] == [256, 17]
    assert File(0, 273, 112) in found


@pytest.mark.parametrize("since", [0, 1, 255, 256, 600, 65_536, 69_999, 70_000])
def test_what_an_earlier_copy_has_in_full_is_left_out_and_nothing_else(since: int) -> None:
    earlier, later = set(layout.files(since)), set(layout.files(70_000))
    assert set(layout.files(70_000, since)) == later - {one for one in earlier if one.width == 256}
    assert set(layout.partial(since)) == {one for one in earlier if one.width < 256}
