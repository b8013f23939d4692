"""The pure rules of merge and split, by their laws."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tabellion.identity.rules import filled, given_back, winner
from tabellion.identity.types import Winner
from tabellion.recipients.types import Identifier, Kind, Recipient

AT = datetime(2026, 11, 21, 9, tzinfo=UTC)
scalars = st.one_of(st.booleans(), st.integers(-2, 2), st.sampled_from(["a", "b"]), st.lists(st.integers(0, 1)))
names = st.sampled_from(["a", "b", "c"])
values = st.recursive(scalars, lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=8)
documents = st.fixed_dictionaries(
    {"traits": st.dictionaries(names, values, max_size=3)}, optional={"locale": st.sampled_from(["de", "en"])}
)


def person(number: int, identifiers: int = 1, *, minutes: int = 0, address_only: bool = False) -> Recipient:
    at = AT + timedelta(minutes=minutes)
    known = [
        Identifier(Kind.EMAIL, f"{number}.{one}@example.org", bytes(32), "api", AT, AT) for one in range(identifiers)
    ]
    return Recipient(UUID(int=number), 1, address_only, None, None, {}, known, at, at)


people = st.builds(person, st.integers(1, 5), st.integers(0, 2), minutes=st.integers(0, 2), address_only=st.booleans())


@given(documents, documents)
def test_what_was_taken_is_given_back_whole(into: dict[str, Any], from_: dict[str, Any]) -> None:
    merged, taken = filled(into, from_)
    assert given_back(merged, from_, taken) == into


@given(documents, documents)
def test_the_winner_keeps_all_it_had_and_lacks_nothing_the_other_had(
    into: dict[str, Any], from_: dict[str, Any]
) -> None:
    merged, _ = filled(into, from_)
    again, taken = filled(merged, from_)
    assert (again, taken) == (merged, [])
    assert filled(into, merged)[0] == merged


def test_what_was_changed_in_between_stays() -> None:
    into, from_ = (
        {"traits": {"plan": "pro"}},
        {"locale": "de", "traits": {"plan": "free", "home": {"city": "W", "zip": "1"}}},
    )
    merged, taken = filled(into, from_)
    assert merged == {"locale": "de", "traits": {"plan": "pro", "home": {"city": "W", "zip": "1"}}}
    merged["traits"]["home"] = {"city": "Graz", "zip": "1"}
    merged["locale"] = "en"
    assert given_back(merged, from_, taken) == {
        "locale": "en",
        "traits": {"plan": "pro", "home": {"city": "Graz", "zip": "1"}},
    }


def test_true_is_not_one() -> None:
    lender = {"traits": {"vip": True}}
    _, taken = filled({"traits": {}}, lender)
    assert given_back({"traits": {"vip": 1}}, lender, taken) == {"traits": {"vip": 1}}


@given(documents, documents, documents, st.booleans())
def test_two_give_back_in_any_order(
    into: dict[str, Any], one: dict[str, Any], other: dict[str, Any], first: bool
) -> None:
    """What one lent as an empty object and the other filled went back with neither."""
    merged, of_one = filled(into, one)
    merged, of_other = filled(merged, other)
    loans = [(one, of_one), (other, of_other)]
    for lender, taken in loans if first else reversed(loans):
        merged = given_back(merged, lender, taken)
    assert merged == into


@given(people, people)
def test_who_goes_on_does_not_depend_on_the_order(one: Recipient, other: Recipient) -> None:
    if one.id != other.id:
        assert winner(one, other) == winner(other, one)


def test_who_goes_on() -> None:
    assert winner(person(2, 2, minutes=9), person(1, 1))[::2] == (person(2, 2, minutes=9), Winner.MOST_IDENTIFIERS)
    assert winner(person(2), person(1, minutes=1))[::2] == (person(2), Winner.OLDEST)
    assert winner(person(2), person(1))[::2] == (person(1), Winner.SMALLER_ID)
    hidden = person(1, 5, address_only=True)
    assert winner(hidden, person(2))[::2] == (person(2), Winner.FULL_RECIPIENT)
