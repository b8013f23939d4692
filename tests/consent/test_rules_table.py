"""The decision table of the law, cell by cell, and each sentence about time and ties."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec import structs

from tabellion.consent import rules
from tabellion.consent.types import (
    BUILT_IN,
    OLDEST,
    Basis,
    Decision,
    Incoming,
    Method,
    Outcome,
    Purpose,
    PurposeClass,
    Rank,
    Scope,
    Standing,
    Strength,
)

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
BEFORE, LATER = NOW - timedelta(days=2), NOW - timedelta(days=1)
ANN = UUID(int=1)
MAIL = b"ann@"
GRANT_ID, RESTRICTION_ID = UUID(int=10), UUID(int=11)
PURPOSES = {
    **BUILT_IN,
    "soft": Purpose("soft", "", PurposeClass.MARKETING, Basis.CONSENT, False, False, soft_opt_in=True),
}


def grant(rank: Rank = Rank.SECRET_KEY, at: datetime = BEFORE, **changes: object) -> Standing:
    base = Standing(
        GRANT_ID, 5, ANN, MAIL, False, "email", "marketing", Decision.GRANTED, Basis.CONSENT, Method.FORM, rank,
        Strength.NONE, at,
    )  # fmt: skip
    return structs.replace(base, **changes)


def restriction(strength: Strength = Strength.PLAIN, at: datetime = BEFORE, **changes: object) -> Standing:
    decision = Decision.OBJECTED if strength is Strength.FIRM else Decision.WITHDRAWN
    base = Standing(
        RESTRICTION_ID, 6, ANN, MAIL, True, "email", "marketing", decision, None, Method.API, Rank.SECRET_KEY, strength,
        at,
    )  # fmt: skip
    return structs.replace(base, **changes)


def granted(rank: Rank, at: datetime = LATER, **changes: object) -> Incoming:
    base = Incoming(
        Scope(ANN, MAIL, False, "email", "marketing"), Decision.GRANTED, Basis.CONSENT, Method.FORM, rank, at,
        complete=True,
    )  # fmt: skip
    return structs.replace(base, **changes)


def restricted(rank: Rank, at: datetime = NOW, **changes: object) -> Incoming:
    base = Incoming(
        Scope(ANN, MAIL, True, "email", "marketing"), Decision.WITHDRAWN, None, Method.API, rank, at, time_known=True
    )
    return structs.replace(base, **changes)


def decide(incoming: Incoming, *standing: Standing) -> Outcome:
    return rules.decide(incoming, standing, PURPOSES, NOW)


# row: a restriction of any rank


@pytest.mark.parametrize("rank", Rank)
def test_a_restriction_of_any_rank_applies_where_nothing_stands(rank: Rank) -> None:
    assert decide(restricted(rank)).applied


@pytest.mark.parametrize("rank", Rank)
def test_a_restriction_of_any_rank_ends_a_grant(rank: Rank) -> None:
    outcome = decide(restricted(rank), grant(Rank.PERSON))
    assert outcome.applied
    assert outcome.ends == {GRANT_ID}


@pytest.mark.parametrize("rank", Rank)
@pytest.mark.parametrize("strength", [Strength.PLAIN, Strength.FIRM])
def test_a_restriction_over_a_restriction_is_added(rank: Rank, strength: Strength) -> None:
    outcome = decide(restricted(rank), restriction(strength))
    assert outcome.applied
    says_it_too = strength is Strength.PLAIN and rank >= Rank.SECRET_KEY
    assert (RESTRICTION_ID in outcome.ends) == says_it_too, "a stronger one, or of more authority, stands next to it"


def test_a_restriction_known_to_be_older_than_a_secret_keys_grant_is_kept_but_not_applied() -> None:
    outcome = decide(restricted(Rank.IMPORT, at=BEFORE), grant(Rank.SECRET_KEY, at=LATER))
    assert (outcome.applied, outcome.reason) == (False, "newer_grant_stands")
    assert not outcome.ends


def test_a_restriction_of_unknown_time_applies_whatever_the_grant() -> None:
    outcome = decide(restricted(Rank.IMPORT, at=OLDEST, time_known=False), grant(Rank.PERSON, at=LATER))
    assert outcome.applied
    assert outcome.ends == {GRANT_ID}


def test_an_older_restriction_applies_over_an_assertion() -> None:
    asserted = grant(Rank.IMPORT, at=LATER, decision=Decision.ASSERTED)
    assert decide(restricted(Rank.IMPORT, at=BEFORE), asserted).ends == {GRANT_ID}


def test_an_older_restriction_applies_over_a_grant_that_has_expired() -> None:
    expired = grant(at=LATER, expires_at=NOW)
    assert decide(restricted(Rank.IMPORT, at=BEFORE), expired).ends == {GRANT_ID}


def test_an_older_but_wider_restriction_stands_and_the_newer_grant_lifts_it_for_itself() -> None:
    """As if they had come in the order of their times."""
    wide = restricted(Rank.IMPORT, at=BEFORE, scope=Scope(ANN, MAIL, True, "*", "*"))
    outcome = decide(wide, grant(at=LATER))
    assert outcome.applied
    assert (outcome.ends, outcome.survived) == (frozenset(), {GRANT_ID})


def test_an_older_restriction_still_ends_the_grants_that_are_older_than_it() -> None:
    other = grant(at=BEFORE - timedelta(days=1), id=UUID(int=12), identifier_hash=b"ann2@")
    outcome = decide(restricted(Rank.IMPORT, at=BEFORE), grant(at=LATER), other)
    assert outcome.applied
    assert (outcome.ends, outcome.survived) == ({other.id}, {GRANT_ID})


def test_a_tie_in_time_goes_to_the_restriction() -> None:
    assert decide(restricted(Rank.IMPORT, at=LATER), grant(at=LATER)).ends == {GRANT_ID}
    assert not decide(granted(Rank.PERSON, at=LATER), restriction(at=LATER)).applied
    assert not decide(granted(Rank.SECRET_KEY, at=LATER), restriction(at=LATER)).applied


# row: a grant of the person


def test_p3_applies_where_nothing_stands() -> None:
    assert decide(granted(Rank.PERSON)).applied


def test_p3_over_a_grant_newer_wins() -> None:
    assert decide(granted(Rank.PERSON, at=LATER), grant(at=BEFORE)).ends == {GRANT_ID}
    outcome = decide(granted(Rank.PERSON, at=BEFORE), grant(at=LATER))
    assert (outcome.applied, outcome.reason) == (False, "newer_grant_stands")


def test_p3_over_a_restriction_applies_if_newer() -> None:
    outcome = decide(granted(Rank.PERSON, at=LATER), restriction(at=BEFORE))
    assert (outcome.applied, outcome.lifts) == (True, {6})
    outcome = decide(granted(Rank.PERSON, at=BEFORE), restriction(at=LATER))
    assert (outcome.applied, outcome.reason) == (False, "newer_restriction_stands")


def test_p3_over_an_objection_applies_if_newer_and_of_the_same_scope() -> None:
    assert decide(granted(Rank.PERSON, at=LATER), restriction(Strength.FIRM, at=BEFORE)).lifts == {6}
    assert not decide(granted(Rank.PERSON, at=BEFORE), restriction(Strength.FIRM, at=LATER)).applied
    for wider in ({"purpose": "*"}, {"channel": "*"}, {"identifier_hash": b"another of hers"}):
        outcome = decide(granted(Rank.PERSON, at=LATER), restriction(Strength.FIRM, at=BEFORE, **wider))
        assert (outcome.applied, outcome.reason) == (False, "wider_objection_stands")


# row: a grant by secret key


def test_p2_applies_where_nothing_stands() -> None:
    assert decide(granted(Rank.SECRET_KEY, complete=False)).applied


def test_p2_over_a_grant_newer_wins() -> None:
    assert decide(granted(Rank.SECRET_KEY, at=LATER), grant(Rank.PERSON, at=BEFORE)).ends == {GRANT_ID}
    assert not decide(granted(Rank.SECRET_KEY, at=BEFORE), grant(Rank.PERSON, at=LATER)).applied


def test_p2_over_a_restriction_applies_if_newer_and_complete() -> None:
    assert decide(granted(Rank.SECRET_KEY, at=LATER), restriction(at=BEFORE)).lifts == {6}


@pytest.mark.parametrize(
    ("at", "complete", "reason"),
    [
        (LATER, False, "notice_or_evidence_incomplete"),
        (BEFORE - timedelta(days=1), True, "newer_restriction_stands"),
    ],
)
def test_p2_over_a_restriction_is_pending_otherwise(at: datetime, complete: bool, reason: str) -> None:
    outcome = decide(granted(Rank.SECRET_KEY, at=at, complete=complete), restriction(at=BEFORE))
    assert (outcome.decision, outcome.applied, outcome.reason) == (Decision.PENDING, False, reason)


def test_p2_over_an_objection_is_always_pending() -> None:
    outcome = decide(granted(Rank.SECRET_KEY), restriction(Strength.FIRM))
    assert (outcome.decision, outcome.applied, outcome.reason) == (Decision.PENDING, False, "objection_stands")


def test_an_objection_beside_a_withdrawal_decides_the_column() -> None:
    outcome = decide(granted(Rank.SECRET_KEY), restriction(), restriction(Strength.FIRM, id=UUID(int=13), ordinal=7))
    assert outcome.reason == "objection_stands"


def test_a_caller_may_ask_for_confirmation_first() -> None:
    outcome = decide(granted(Rank.SECRET_KEY, confirm=True))
    assert (outcome.decision, outcome.applied, outcome.reason) == (Decision.PENDING, False, "confirmation_requested")


# row: an imported grant


def test_p1_where_nothing_stands_is_an_assertion_that_counts_only_where_the_purpose_accepts_it() -> None:
    service = Scope(ANN, MAIL, False, "email", "transactional")
    outcome = decide(granted(Rank.IMPORT, scope=service))
    assert (outcome.decision, outcome.applied) == (Decision.ASSERTED, True)
    outcome = decide(granted(Rank.IMPORT))
    assert (outcome.decision, outcome.applied, outcome.reason) == (Decision.ASSERTED, False, "assertion_not_accepted")


def test_p1_without_source_notice_and_time_does_not_count() -> None:
    service = Scope(ANN, MAIL, False, "email", "transactional")
    outcome = decide(granted(Rank.IMPORT, scope=service, assertable=False))
    assert (outcome.applied, outcome.reason) == (False, "assertion_incomplete")


def test_p1_over_a_grant_newer_wins_and_the_rank_is_kept() -> None:
    outcome = decide(granted(Rank.IMPORT, at=LATER), grant(Rank.PERSON, at=BEFORE))
    assert (outcome.decision, outcome.applied, outcome.rank) == (Decision.GRANTED, True, Rank.PERSON)
    assert not decide(granted(Rank.IMPORT, at=BEFORE), grant(Rank.PERSON, at=LATER)).applied


@pytest.mark.parametrize("strength", [Strength.PLAIN, Strength.FIRM])
def test_p1_never_lifts_a_restriction(strength: Strength) -> None:
    outcome = decide(granted(Rank.IMPORT, at=NOW), restriction(strength))
    assert (outcome.decision, outcome.applied) == (Decision.GRANTED, False)
    assert outcome.reason in {"restriction_stands", "objection_stands"}


# row: a public key's grant, a trait


@pytest.mark.parametrize("incoming", [granted(Rank.PUBLIC_KEY), granted(Rank.SECRET_KEY, method=Method.TRAIT)])
@pytest.mark.parametrize("standing", [(), (grant(),), (restriction(),), (restriction(Strength.FIRM),)])
def test_p0_and_traits_never_grant(incoming: Incoming, standing: tuple[Standing, ...]) -> None:
    outcome = decide(incoming, *standing)
    assert outcome.ignored
    assert not outcome.applied


def test_a_trait_that_says_no_is_a_restriction() -> None:
    assert decide(restricted(Rank.IMPORT, method=Method.TRAIT), grant()).ends == {GRANT_ID}


# assertions


def test_an_assertion_never_lifts_a_restriction_and_never_displaces_a_grant() -> None:
    claim = granted(Rank.SECRET_KEY, decision=Decision.ASSERTED)
    assert decide(claim, restriction()).reason == "restriction_stands"
    assert decide(claim, grant()).reason == "grant_stands"


def test_soft_opt_in_counts_where_the_purpose_allows_it() -> None:
    claim = granted(Rank.SECRET_KEY, decision=Decision.ASSERTED, basis=Basis.SOFT_OPT_IN)
    assert decide(claim).reason == "assertion_not_accepted"
    assert decide(structs.replace(claim, scope=Scope(ANN, MAIL, False, "email", "soft"))).applied
    service = structs.replace(claim, scope=Scope(ANN, MAIL, False, "email", "transactional"))
    assert not decide(service).applied, "accepting assertions is not accepting soft opt-in"


# what a grant inherits


def test_a_renewed_grant_goes_on_lifting_what_the_old_one_lifted() -> None:
    lifting = grant(Rank.PERSON, at=LATER, lifts=frozenset({6}))
    outcome = decide(granted(Rank.SECRET_KEY, at=NOW, complete=False), restriction(), lifting)
    assert (outcome.applied, outcome.lifts, outcome.ends) == (True, {6}, {GRANT_ID})


def test_an_expired_grant_lifts_nothing_any_more() -> None:
    lifting = grant(Rank.PERSON, at=LATER, lifts=frozenset({6}), expires_at=NOW)
    outcome = decide(granted(Rank.SECRET_KEY, at=NOW, complete=False), restriction(), lifting)
    assert (outcome.decision, outcome.applied) == (Decision.PENDING, False)


def test_at_the_same_time_the_grant_that_ends_sooner_wins() -> None:
    forever, short = grant(at=LATER), grant(at=LATER, expires_at=NOW + timedelta(days=1))
    assert decide(granted(Rank.SECRET_KEY, expires_at=NOW + timedelta(days=1)), forever).applied
    assert not decide(granted(Rank.SECRET_KEY), short).applied
    assert decide(granted(Rank.SECRET_KEY), forever).applied, "the same again is no change for the worse"


# when a decision counts from


@pytest.mark.parametrize(
    ("decision", "method", "rank", "occurred_at", "expected"),
    [
        (Decision.WITHDRAWN, Method.FORM, Rank.SECRET_KEY, BEFORE, NOW),
        (Decision.WITHDRAWN, Method.KEYWORD, Rank.PERSON, BEFORE, NOW),
        (Decision.WITHDRAWN, Method.FORM, Rank.PUBLIC_KEY, BEFORE, NOW),
        (Decision.WITHDRAWN, Method.IMPORT, Rank.SECRET_KEY, BEFORE, BEFORE),
        (Decision.WITHDRAWN, Method.FORM, Rank.IMPORT, BEFORE, BEFORE),
        (Decision.WITHDRAWN, Method.FORM, Rank.IMPORT, None, OLDEST),
        (Decision.WITHDRAWN, Method.IMPORT, Rank.SECRET_KEY, NOW + timedelta(days=1), NOW),
        (Decision.GRANTED, Method.FORM, Rank.SECRET_KEY, BEFORE, BEFORE),
        (Decision.GRANTED, Method.FORM, Rank.PERSON, BEFORE, BEFORE),
        (Decision.GRANTED, Method.FORM, Rank.SECRET_KEY, None, NOW),
        (Decision.GRANTED, Method.SYNC, Rank.SECRET_KEY, None, OLDEST),
        (Decision.GRANTED, Method.FORM, Rank.IMPORT, None, OLDEST),
        (Decision.GRANTED, Method.FORM, Rank.SECRET_KEY, NOW + timedelta(minutes=4), NOW),
    ],
)
def test_effective_time(
    decision: Decision, method: Method, rank: Rank, occurred_at: datetime | None, expected: datetime
) -> None:
    assert rules.effective(decision, method, rank, occurred_at, NOW) == expected
