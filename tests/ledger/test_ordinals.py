"""One number for an entry of a log and its successors: unique, in the order of recording, and read back."""

from hypothesis import given
from hypothesis import strategies as st

from tabellion.ledger import ordinals

generations = st.integers(1, 2**15 - 1)
indexes = st.integers(0, 2**48 - 1)


@given(generations, indexes)
def test_an_ordinal_says_generation_and_index_and_fits_the_database(generation: int, index: int) -> None:
    made = ordinals.ordinal(generation, index)
    assert (ordinals.generation(made), ordinals.index(made)) == (generation, index)
    assert 0 <= made < 2**63


@given(generations, indexes, generations, indexes)
def test_what_is_in_a_successor_comes_after_all_that_is_before_it(g: int, i: int, h: int, j: int) -> None:
    one, other = ordinals.ordinal(g, i), ordinals.ordinal(h, j)
    assert (one < other) == ((g, i) < (h, j))
    assert (one == other) == ((g, i) == (h, j))


@given(indexes)
def test_in_the_first_log_it_is_the_index_and_says_no_more(index: int) -> None:
    """Rows and stored answers from before there was a successor stay as they are."""
    assert ordinals.ordinal(1, index) == index
    assert ordinals.told(index) == {"log_index": index}


def test_a_later_log_is_named_as_addresses_name_it() -> None:
    assert ordinals.told(ordinals.ordinal(2, 0)) == {"log_index": 0, "log": "consent-2"}
    assert ordinals.told(ordinals.ordinal(12, 7)) == {"log_index": 7, "log": "consent-12"}
    assert ordinals.told(None) == {"log_index": None}
    assert [ordinals.named("audit", one) for one in (None, 1, 3)] == [None, None, "audit-3"]


def test_that_nothing_counts_for_a_person_is_before_everything() -> None:
    assert ordinals.ordinal(1, 0) > -1
