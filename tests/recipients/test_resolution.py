"""Whom an upsert means: by strong identifiers, by weak ones, and by both."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.recipients.resolution import WEAK, Match, Owner, Policy, is_strong, match
from tabellion.recipients.types import IdentityConflict, Kind

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))
EMAIL, PHONE, EXTERNAL = Kind.EMAIL, Kind.PHONE, Kind.EXTERNAL_ID
DEVICE, WEBPUSH, ANONYMOUS = WEAK
CRM = Kind("external:crm")
KINDS = [EMAIL, PHONE, EXTERNAL, CRM, DEVICE, WEBPUSH, ANONYMOUS]


def has(id_: UUID, *named: Kind, holds: tuple[Kind, ...] = ()) -> Owner:
    return Owner(id_, False, frozenset(named), frozenset(holds) | frozenset(named))


def hidden(id_: UUID, *named: Kind) -> Owner:
    return Owner(id_, True, frozenset(named or (EMAIL,)))


def test_nobody_known_makes_a_recipient() -> None:
    assert match([], {EXTERNAL}) == Match(None)
    assert match([], {ANONYMOUS}) == Match(None)


def test_the_only_owner_is_meant() -> None:
    assert match([has(ONE, EMAIL)], {EXTERNAL}) == Match(ONE)
    assert match([has(ONE, EXTERNAL)], {EMAIL}) == Match(ONE)
    assert match([has(ONE, EMAIL, holds=(EXTERNAL,))], set()) == Match(ONE)


def test_two_recipients_or_two_external_ids_are_a_conflict() -> None:
    assert isinstance(match([has(ONE, EMAIL), has(TWO, PHONE)], set()), IdentityConflict)
    assert isinstance(match([has(ONE, EMAIL, holds=(EXTERNAL,))], {EXTERNAL}), IdentityConflict)


def test_a_conflict_names_first_whom_the_strongest_identifier_names() -> None:
    owners = [has(ONE, PHONE), has(TWO, EMAIL)]
    usual, other = match(owners, set()), match(owners, set(), Policy(priority=(PHONE,)))
    assert isinstance(usual, IdentityConflict)
    assert isinstance(other, IdentityConflict)
    assert (usual.recipients, other.recipients) == ((TWO, ONE), (ONE, TWO))


def test_an_address_only_recipient_is_promoted_in_place() -> None:
    assert match([hidden(ONE)], {EXTERNAL}) == Match(ONE, promote=True)
    assert match([hidden(TWO), hidden(ONE, PHONE)], set()) == Match(ONE, True, (TWO,))


def test_a_full_recipient_absorbs_address_only_ones() -> None:
    assert match([hidden(THREE), has(TWO, EXTERNAL), hidden(ONE)], set()) == Match(TWO, absorb=(ONE, THREE))


def test_who_was_anonymous_becomes_part_of_the_person_named() -> None:
    assert match([has(ONE, EXTERNAL), has(TWO, ANONYMOUS)], set()) == Match(ONE, joins=(TWO,))
    assert match([has(ONE, ANONYMOUS)], {EMAIL, EXTERNAL}) == Match(ONE), "and where nobody is known yet, the person"


def test_a_known_person_s_device_is_the_one_s_who_identifies_now() -> None:
    owners = [has(ONE, EXTERNAL), has(TWO, DEVICE, holds=(EMAIL,))]
    assert match(owners, set()) == Match(ONE, yields=(TWO,))


def test_a_new_account_on_a_known_person_s_device_is_another_person() -> None:
    """A shared browser: it was a conflict, and the second user could not sign up."""
    assert match([has(TWO, ANONYMOUS, holds=(EXTERNAL,))], {EXTERNAL}) == Match(None, yields=(TWO,))
    assert match([has(TWO, DEVICE, holds=(CRM,))], {CRM}) == Match(None, yields=(TWO,))
    assert match([hidden(ONE), has(TWO, DEVICE, holds=(CRM,))], {CRM}) == Match(ONE, True, yields=(TWO,))


def test_what_a_person_may_have_several_of_is_added_by_the_device_alone() -> None:
    assert match([has(TWO, DEVICE, holds=(EXTERNAL,))], {EMAIL}) == Match(TWO)
    assert match([has(TWO, DEVICE, holds=(EMAIL,))], {EXTERNAL}) == Match(TWO), "newsletter first, account later"
    one_mail = Policy(limits={EMAIL: 1})
    assert match([has(TWO, DEVICE, holds=(EMAIL,))], {EMAIL}, one_mail) == Match(None, yields=(TWO,))


def test_weak_identifiers_alone_mean_whom_the_one_that_says_most_names() -> None:
    owners = [has(ONE, ANONYMOUS, holds=(EMAIL,)), has(TWO, DEVICE, holds=(EMAIL,))]
    assert match(owners, set()) == Match(TWO), "and nothing changes hands: nobody identified"
    assert match(owners, set(), Policy(priority=(ANONYMOUS,))) == Match(ONE)
    even = [has(ONE, DEVICE, holds=(EMAIL,)), has(TWO, DEVICE, holds=(EMAIL,))]
    assert isinstance(match(even, set()), IdentityConflict)


def test_a_token_that_was_replaced_says_less_than_any_that_is_there() -> None:
    """It was a tie, and a conflict: of weak kinds there is none for what is gone."""
    gone = Owner(ONE, False, frozenset({DEVICE}), frozenset({DEVICE, EMAIL}), lesser=True)
    assert match([gone, has(TWO, DEVICE, holds=(EMAIL,))], set()) == Match(TWO)
    assert match([gone], {DEVICE}) == Match(ONE), "the app refreshed it, and names nobody"


def test_weak_kinds_never_come_before_strong_ones() -> None:
    policy = Policy(priority=(ANONYMOUS, CRM))
    assert sorted(KINDS, key=policy.rank) == [CRM, EXTERNAL, EMAIL, PHONE, ANONYMOUS, DEVICE, WEBPUSH]


OWNERS = st.lists(
    st.builds(
        lambda hides, named, holds: (hides, named, holds),
        st.booleans(),
        st.sets(st.sampled_from(KINDS), min_size=1, max_size=3),
        st.sets(st.sampled_from(KINDS), max_size=3),
    ),
    max_size=5,
).map(
    lambda some: [
        Owner(
            UUID(int=number), hides, frozenset({EMAIL} if hides else named), frozenset() if hides else frozenset(holds)
        )
        for number, (hides, named, holds) in enumerate(some)
    ]
)


@given(OWNERS, st.sets(st.sampled_from(KINDS), max_size=3))
def test_a_match_never_merges_two_known_persons(owners: list[Owner], new: set[Kind]) -> None:
    result = match(owners, new)
    known = {one.id for one in owners if not one.address_only and one.known}
    named_strongly = [one for one in owners if not one.address_only and one.strong]
    if isinstance(result, Match):
        become_one = {result.into, *result.absorb, *result.joins} - {None}
        assert len(become_one & known) <= 1
        assert known.isdisjoint(result.joins)
        assert known.isdisjoint(result.absorb)
        assert {one.id for one in named_strongly} <= {result.into}
        assert become_one | set(result.yields) <= {one.id for one in owners}
        assert become_one | set(result.yields) | known == {one.id for one in owners}, "nobody is forgotten"
        assert result.into not in result.yields
    else:
        assert len(known) > 1 or EXTERNAL in new


@given(OWNERS, st.sets(st.sampled_from(KINDS), max_size=3), st.randoms(use_true_random=False))
def test_a_match_does_not_depend_on_the_order_of_owners(owners: list[Owner], new: set[Kind], chance: object) -> None:
    shuffled = list(owners)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = match(owners, new), match(shuffled, new)
    if isinstance(one, Match):
        assert isinstance(other, Match)
        assert (one.into, one.promote, one.absorb) == (other.into, other.promote, other.absorb)
        assert (set(one.joins), set(one.yields)) == (set(other.joins), set(other.yields))
    else:
        assert isinstance(other, IdentityConflict)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_strong_or_weak(kind: Kind) -> None:
    assert is_strong(kind) is (kind not in (DEVICE, WEBPUSH, ANONYMOUS))
