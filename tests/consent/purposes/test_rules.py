"""What purposes may say, what loosens one, and how old somebody is: pure."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tabellion.consent import rules as consent
from tabellion.consent.purposes.rules import STRICTNESS, age, loosened, measured, wrong
from tabellion.consent.purposes.types import PurposeSettings, duration
from tabellion.consent.questions import Inputs, Question
from tabellion.consent.types import (
    BUILT_IN,
    Basis,
    Decision,
    Method,
    OptOutScope,
    Purpose,
    PurposeClass,
    Purposes,
    QuietHours,
    Rank,
    Standing,
    Strength,
)
from tabellion.providers.base import Channel

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ANN = UUID(int=1)
TOP = Purpose("top", "", PurposeClass.SERVICE, Basis.CONTRACT, False, False)
ABOVE = Purpose("above", "", PurposeClass.SERVICE, Basis.CONTRACT, False, False, parent="top")
OTHER = Purpose("other", "", PurposeClass.SECURITY, Basis.CONTRACT, False, False)


def among(one: Purpose) -> Purposes:
    return {"top": TOP, "above": ABOVE, "other": OTHER, one.key: one}


purposes = st.builds(
    Purpose,
    key=st.just("news"),
    title=st.sampled_from(["News", "Neues"]),
    purpose_class=st.sampled_from(PurposeClass),
    basis=st.sampled_from(Basis),
    unknown_allowed=st.booleans(),
    accepts_asserted=st.booleans(),
    soft_opt_in=st.booleans(),
    parent=st.sampled_from([None, "top", "above", "other"]),
    consent_ttl=st.sampled_from([None, timedelta(days=10), timedelta(days=30)]),
    brand=st.sampled_from([None, "shoes"]),
    min_age=st.sampled_from([None, 16, 18]),
    quiet_hours=st.sampled_from([None, QuietHours(start="21:00", end="08:00")]),
    opt_out_scope=st.sampled_from(OptOutScope),
    archived=st.booleans(),
)


FIELDS = (
    "purpose_class", "basis", "unknown_allowed", "accepts_asserted", "soft_opt_in", "parent", "consent_ttl", "brand",
    "min_age", "quiet_hours", "opt_out_scope", "archived",
)  # fmt: skip


@st.composite
def changes(draw: st.DrawFn) -> tuple[Purpose, Purpose]:
    """A purpose, and what it becomes: one to three fields of it are another's."""
    before, other = draw(purposes), draw(purposes)
    fields = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3, unique=True))
    return before, replace(before, **{field: getattr(other, field) for field in fields})


def entry(**said: Any) -> Standing:
    usual = {
        "id": UUID(int=said["ordinal"]), "recipient_id": ANN, "identifier_hash": b"a", "person_scope": False,
        "channel": "email", "purpose": "news", "decision": Decision.GRANTED, "basis": Basis.CONSENT,
        "method": Method.FORM, "rank": Rank.SECRET_KEY, "strength": Strength.NONE, "effective_at": NOW,
    }  # fmt: skip
    return Standing(**usual | said)


grants = st.builds(
    lambda days, decision, basis: entry(
        ordinal=1, effective_at=NOW - timedelta(days=days), decision=decision, basis=basis
    ),
    st.sampled_from([0, 5, 15, 50]),
    st.sampled_from([Decision.GRANTED, Decision.ASSERTED]),
    st.sampled_from([Basis.CONSENT, Basis.SOFT_OPT_IN]),
)
restrictions = st.builds(
    lambda purpose, index: entry(
        ordinal=index, purpose=purpose, decision=Decision.WITHDRAWN, strength=Strength.PLAIN, person_scope=True
    ),
    st.sampled_from(["news", "top", "above", "other", "*"]),
    st.just(2),
)
states = st.builds(lambda *some: [one for one in some if one], st.none() | grants, st.none() | restrictions)
years = st.none() | st.sampled_from([10, 16, 17, 18])


def sendable(known: Purposes, standing: list[Standing], years_: int | None) -> bool:
    """Whether it would be sent, ages looked up as the service does."""
    purpose = known["news"]
    inputs = Inputs(
        under_age=purpose.min_age is not None and years_ is not None and years_ < purpose.min_age,
        age_unknown=purpose.min_age is not None and years_ is None,
    )
    question = Question(UUID(int=9), ANN, b"a", None, Channel.EMAIL, "news")
    return consent.verdict(question, standing, purpose, consent.line(known, "news"), NOW, inputs).sendable


@settings(max_examples=500)
@given(changes(), states, years)
def test_what_is_not_loosened_sends_nothing_that_was_not_sent_before(change, standing, years_) -> None:
    before, after = change
    assume(not loosened(among(before), among(after), "news"))
    assert sendable(among(before), standing, years_) or not sendable(among(after), standing, years_)


@given(purposes)
def test_a_purpose_as_it_is_loosens_nothing(one) -> None:
    assert loosened(among(one), among(one), "news") == []
    assert loosened(among(one), among(replace(one, title="Other words")), "news") == []


@given(purposes, purposes)
def test_what_two_changes_do_not_loosen_one_does_not(one, other) -> None:
    """Nobody may get round the compliance role by two steps, or needs it for one where two would do without."""
    assume(one != replace(other, title=one.title))
    there, back = loosened(among(one), among(other), "news"), loosened(among(other), among(one), "news")
    assert there or back, "two purposes that ask for the same thing are one"


@given(purposes, purposes, purposes)
def test_what_is_loosened_on_the_way_is_loosened(first, second, third) -> None:
    whole = loosened(among(first), among(third), "news")
    steps = {
        *loosened(among(first), among(second), "news"),
        *loosened(among(second), among(third), "news"),
    }
    assert set(whole) <= steps


@pytest.mark.parametrize(
    ("field", "tight", "loose"),
    [
        ("class", {"purpose_class": PurposeClass.MARKETING}, {"purpose_class": PurposeClass.SERVICE}),
        ("basis", {"basis": Basis.CONSENT}, {"basis": Basis.LEGITIMATE_INTEREST}),
        ("unknown", {"unknown_allowed": False}, {"unknown_allowed": True}),
        ("accepts_asserted", {"accepts_asserted": False}, {"accepts_asserted": True}),
        ("soft_opt_in", {"soft_opt_in": False}, {"soft_opt_in": True}),
        ("min_age", {"min_age": 18}, {"min_age": 16}),
        ("min_age", {"min_age": 18}, {"min_age": None}),
        ("consent_ttl", {"consent_ttl": timedelta(days=1)}, {"consent_ttl": timedelta(days=2)}),
        ("consent_ttl", {"consent_ttl": timedelta(days=1)}, {"consent_ttl": None}),
        ("opt_out_scope", {"opt_out_scope": OptOutScope.BRAND}, {"opt_out_scope": OptOutScope.PURPOSE}),
        ("archived", {"archived": True}, {"archived": False}),
        ("quiet_hours", {"quiet_hours": QuietHours(start="21:00", end="08:00")}, {"quiet_hours": None}),
        ("parent", {"parent": "above"}, {"parent": "top"}),
        ("parent", {"parent": "top"}, {"parent": None}),
    ],
)
def test_each_field_is_loosened_one_way_and_tightened_the_other(field, tight, loose) -> None:
    usual = Purpose("news", "News", PurposeClass.MARKETING, Basis.CONSENT, False, False)
    tighter, looser = among(replace(usual, **tight)), among(replace(usual, **loose))
    assert loosened(tighter, looser, "news") == [field]
    assert loosened(looser, tighter, "news") == []


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("opt_out_scope", {"opt_out_scope": OptOutScope.BRAND}, {"opt_out_scope": OptOutScope.CLASS}),
        ("brand", {"brand": None}, {"brand": "shoes"}),
        ("parent", {"parent": "top"}, {"parent": "other"}),
    ],
)
def test_what_cannot_be_compared_is_loosened_both_ways(field, one, other) -> None:
    usual = Purpose("news", "News", PurposeClass.MARKETING, Basis.CONSENT, False, False)
    for before, after in ((one, other), (other, one)):
        assert loosened(among(replace(usual, **before)), among(replace(usual, **after)), "news") == [field]


def test_who_leaves_a_class_is_out_of_reach_of_opt_outs_from_it() -> None:
    """A stricter class was taken for tighter: an opt-out of scope class from the one it was of no longer reached it."""
    late = Purpose("late", "", PurposeClass.SERVICE, Basis.CONTRACT, False, False)
    orders = replace(late, key="orders", opt_out_scope=OptOutScope.CLASS)
    before = {**BUILT_IN, "late": late, "orders": orders}
    for one, fields in ((late, ["class"]), (orders, ["opt_out_scope"])):
        moved = replace(one, purpose_class=PurposeClass.MARKETING, basis=Basis.CONSENT)
        assert loosened(before, before | {one.key: moved}, one.key) == fields
    assert loosened(BUILT_IN | {"late": late}, BUILT_IN | {"late": replace(moved, key="late")}, "late") == []


def test_a_new_purpose_is_measured_by_its_parent_or_by_marketing() -> None:
    receipts = Purpose("receipts", "", PurposeClass.SERVICE, Basis.CONTRACT, True, True)
    assert measured(BUILT_IN, replace(receipts, parent="transactional")) == []
    assert measured(BUILT_IN, receipts) == ["class", "basis", "unknown", "accepts_asserted"]
    news = Purpose("news", "", PurposeClass.MARKETING, Basis.CONSENT, False, False, brand="shoes", min_age=18)
    assert measured(BUILT_IN, news) == []
    assert measured({**BUILT_IN, "news": news}, replace(news, key="news.shoes", parent="news", min_age=16)) == [
        "min_age"
    ]


# what may be said


def codes(known: Purposes, key: str) -> list[str]:
    return [code for code, _, _ in wrong(known, key)]


@given(purposes)
def test_unknown_is_allowed_only_for_service_and_security_by_contract_or_law(one) -> None:
    said = "unknown_not_allowed" in codes(among(one), "news")
    asked_for = one.purpose_class in ("service", "security") and one.basis in ("contract", "legal_obligation")
    assert said is (one.unknown_allowed and not asked_for)


@given(purposes)
def test_a_childs_class_is_never_looser(one) -> None:
    said = "class_too_loose" in codes(among(one), "news")
    parent = among(one).get(one.parent or "")
    assert said is (parent is not None and STRICTNESS[one.purpose_class] < STRICTNESS[parent.purpose_class])


def test_a_class_stricter_than_that_of_a_child_is_refused() -> None:
    news = Purpose("news", "", PurposeClass.SERVICE, Basis.CONTRACT, False, False)
    below = replace(news, key="news.a", parent="news")
    known = {"news": replace(news, purpose_class=PurposeClass.MARKETING), "news.a": below}
    assert [(code, detail) for code, _, detail in wrong(known, "news")] == [
        ("class_too_loose", "stricter than that of news.a below it; change it first")
    ]
    assert codes({"news": news, "news.a": below}, "news") == []


@pytest.mark.parametrize("parent", ["news", "news.a"])
def test_a_tree_goes_nowhere_round(parent) -> None:
    news = Purpose("news", "", PurposeClass.MARKETING, Basis.CONSENT, False, False, parent=parent)
    known = {"news": news, "news.a": replace(news, key="news.a", parent="news")}
    assert codes(known, "news") == ["parent_cycle"]
    assert codes({"news": replace(news, parent="gone")}, "news") == ["parent_unknown"]


def test_an_opt_out_reaches_no_other_security_purpose() -> None:
    assert codes({"a": replace(OTHER, key="a", opt_out_scope=OptOutScope.CLASS)}, "a") == ["opt_out_scope_not_allowed"]


# durations and ages


@pytest.mark.parametrize(("text", "days"), [("P1Y", 365), ("P2M", 60), ("P3W", 21), ("P4D", 4), ("P1Y2M3W4D", 450)])
def test_a_duration_is_so_many_days(text, days) -> None:
    assert duration(text) == timedelta(days=days)
    said = PurposeSettings(title="A", purpose_class=PurposeClass.MARKETING, basis=Basis.CONSENT, consent_ttl=text)
    assert said.purpose("a").consent_ttl == timedelta(days=days)


@pytest.mark.parametrize(
    ("traits", "years"),
    [
        ({"birth_date": "2008-06-01"}, 17),
        ({"birth_date": "2008-05-31"}, 18),
        ({"birthday": "2008-05-31T23:00:00.000Z"}, 18),
        ({"birth_date": "1990-01-01", "birthday": "2020-01-01", "age": 3}, 36),
        ({"birth_date": "unknown", "age": 44}, 44),
        ({"age": 17.9}, 17),
        ({"age": "18"}, None),
        ({"age": True}, None),
        ({"age": -1}, None),
        ({"age": 900}, None),
        ({"age": float("nan")}, None),
        ({"birth_date": "1604-05-17"}, None),
        ({"birth_date": "2030-01-01"}, None),
        ({"birth_date": 1990}, None),
        ({"birth_date": None}, None),
        ({}, None),
    ],
)
def test_an_age_is_what_is_sure(traits, years) -> None:
    """The day of the birthday counts once it has begun everywhere: at noon UTC it has, on the day before it."""
    assert age(traits, NOW - timedelta(hours=1)) == years


@given(st.dates(date(1900, 1, 1), date(2026, 6, 1)), st.integers(0, 500))
@example(date(2008, 2, 29), 0)
def test_nobody_grows_younger(born, hours) -> None:
    said = {"birth_date": born.isoformat()}
    first, second = age(said, NOW), age(said, NOW + timedelta(hours=hours))
    assert second is not None
    assert first is None or first <= second
    assert second >= 0
