"""Cells that no spreadsheet runs, and what they were before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.consent.suppressions.rules import neutral, plain

CELLS = st.text(alphabet="'=+-@\t\ra1", max_size=8)


@given(st.one_of(CELLS, st.text(max_size=30)))
def test_a_cell_comes_back_as_it_was(cell: str) -> None:
    assert plain(neutral(cell)) == cell


@given(st.one_of(CELLS, st.text(max_size=30)))
def test_no_cell_begins_as_a_formula_does(cell: str) -> None:
    assert not neutral(cell).startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("cell", ["ann@example.org", "'quoted'", "o'neil@example.org", ""])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert neutral(cell) == plain(cell) == cell
