"""Positions as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core.errors import HubError
from tabellion.events.types import START, Cursor

cursors = st.builds(Cursor, st.integers(0, 65535), st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 63) - 1))


@given(cursors, cursors)
def test_text_sorts_as_the_log_does(one: Cursor, other: Cursor) -> None:
    assert (one < other) == (one.shown() < other.shown())


@given(cursors)
def test_text_is_read_back(cursor: Cursor) -> None:
    assert Cursor.read(cursor.shown()) == cursor


@pytest.mark.parametrize("text", ["", "x", START.shown() + "0", START.shown()[:-1] + "g", "f" * 36, "-" * 36, "é" * 36])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(HubError) as refused:
        Cursor.read(text)
    assert (refused.value.status, refused.value.code) == (400, "invalid_cursor")
