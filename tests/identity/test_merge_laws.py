"""Merge then split is identity, for whatever was said before; and what was said in between follows the stated rule."""

import itertools
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabellion.app.wiring import Hub
from tabellion.consent.types import Method, Rank
from tabellion.core.ids import WorkspaceId
from tabellion.recipients import indexed_store
from tabellion.recipients.settings import RecipientSettings
from tabellion.recipients.traits import indexed
from tabellion.recipients.types import Profile

from .people import People, email, fresh

NUMBERS = itertools.count()
"""Drawn at random, two people of one side had the same number now and then."""
SAID = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["granted", "granted", "withdrawn", "denied", "objected"]),
    st.sampled_from(["email", "sms", "*"]),
    st.sampled_from(["marketing", "transactional", "security", "*"]),
    st.sampled_from([Rank.PERSON, Rank.PERSON, Rank.SECRET_KEY]),
    st.booleans(),
)
HAS = st.tuples(
    st.sets(st.sampled_from(["mail", "more", "phone", "crm"]), min_size=1),
    st.sampled_from([None, "de", "en"]),
    st.dictionaries(
        st.sampled_from("abc"), st.one_of(st.booleans(), st.dictionaries(st.sampled_from("xy"), st.integers(0, 1)))
    ),
)
POSTGRES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def people(hub: Hub, workspace_id: WorkspaceId) -> People:
    return People(hub, workspace_id)


async def make(people: People, has: Sequence[Any]) -> UUID:
    kinds, locale, traits = has
    mark = fresh()
    phone = f"+1202555{1000 + next(NUMBERS) % 9000}"
    values = {"mail": f"{mark}@x.org", "more": f"m{mark}@x.org", "phone": phone}
    return await people.person(
        *(values.get(kind, f"crm-{mark}") for kind in sorted(kinds)), locale=locale, traits=traits
    )


async def speak(people: People, persons: Sequence[UUID], said: Sequence[Any]) -> None:
    """Say what can be said: a grant needs an address of its channel, and names one."""
    for who, decision, channel, purpose, rank, by_address in said:
        person = persons[who % len(persons)]
        known = [one for one in (await people.read(person)).identifiers if one.kind in ("email", "phone")]
        fitting = [one for one in known if channel == "*" or (channel == "email") == (one.kind == "email")]
        if decision == "granted":
            if channel == "*" or purpose == "*" or not fitting:
                continue
            to: Any = email(fitting[0].value) if fitting[0].kind == "email" else person
            if to is person and len(fitting) > 1:
                continue
        else:
            to = (
                email(known[0].value)
                if by_address and known and known[0].kind == "email" and channel != "sms"
                else person
            )
        await people.say(decision, to, channel, purpose, rank=rank)


@POSTGRES
@given(HAS, HAS, st.lists(SAID, max_size=5))
async def test_merge_then_split_is_identity(people: People, one: Any, other: Any, said: Any) -> None:
    persons = [await make(people, one), await make(people, other)]
    await speak(people, persons, said)
    before = [await people.state(each) for each in persons]
    merge = await people.merge(*persons)
    merged = await people.verdicts(persons[0])
    for _, _, _, verdicts in before:
        for place, (verdict, sendable) in verdicts.items():
            assert merged[place][1] <= sendable, f"{place}: {verdict} became {merged[place]}"
    await people.split(persons[0], merge.id)
    assert [await people.state(each) for each in persons] == before


@POSTGRES
@given(HAS, HAS, HAS, st.lists(SAID, max_size=5), st.booleans())
async def test_brothers_part_in_any_order(people: People, a: Any, b: Any, c: Any, said: Any, first: bool) -> None:
    """A later brother's merge says an earlier one's restrictions again: these must go with the earlier one."""
    persons = [await make(people, one) for one in (a, b, c)]
    await speak(people, persons, said)
    before = [await people.state(each) for each in persons]
    merges = [await people.merge(persons[0], persons[1]), await people.merge(persons[0], persons[2])]
    if merges[0].into_id != merges[1].into_id or first:
        merges.reverse()
    for merge in merges:
        await people.split(merge.into_id, merge.id)
    assert [await people.state(each) for each in persons] == before
    assert not [row for row in await people.entries("merge") if row[3]], "no statement of a merge outlives it"


@POSTGRES
@given(
    HAS,
    HAS,
    st.lists(SAID, max_size=3),
    st.sampled_from(["email", "sms", "*"]),
    st.sampled_from(["marketing", "transactional", "*"]),
)
async def test_a_restriction_of_the_person_in_between_holds_for_both(
    people: People, one: Any, other: Any, said: Any, channel: str, purpose: str
) -> None:
    persons = [await make(people, one), await make(people, other)]
    await speak(people, persons, said)
    merge = await people.merge(*persons)
    await people.say("withdrawn", persons[0], channel, purpose)
    await people.split(persons[1], merge.id)
    for each in persons:
        for (address, on, why), (verdict, _) in (await people.verdicts(each)).items():
            reached = channel in ("*", on) and (why == purpose or (purpose == "*" and why != "security"))
            assert verdict == "denied" or not reached, f"{address} {on} {why}: {verdict}"


async def test_a_grant_in_between_goes_with_its_identifier(people: People) -> None:
    ann, anna = await people.person("ann@x.org", "+12025550111"), await people.person("anna@x.org")
    await people.say("withdrawn", anna, purpose="transactional")
    merge = await people.merge(ann, anna)
    await people.say("withdrawn", ann)
    assert await people.verdict(ann, "anna@x.org") == "denied"
    await people.say("granted", email("anna@x.org"))
    assert await people.verdict(ann, "anna@x.org") == "allowed"
    await people.split(ann, merge.id)
    assert await people.verdict(anna, "anna@x.org") == "allowed", (
        "it lifted the withdrawal, and lifts the copy of it too"
    )
    assert await people.verdict(anna, "anna@x.org", purpose="transactional") == "denied", "her own, from before"
    assert await people.verdict(ann, "ann@x.org") == "denied", "the withdrawal stays where it was said"
    assert await people.verdict(ann, "ann@x.org", purpose="transactional") == "unknown"


async def test_the_ledger_says_why(people: People) -> None:
    ann, anna = await people.person("ann@x.org", "+12025550111"), await people.person("anna@x.org")
    await people.say("granted", email("ann@x.org"))
    await people.say("withdrawn", anna)
    merge = await people.merge(ann, anna)
    assert await people.verdict(ann, "ann@x.org") == "denied"
    assert await people.entries("merge") == [(ann, "withdrawn", "marketing", True)]
    await people.split(ann, merge.id)
    assert await people.entries("merge") == [(ann, "withdrawn", "marketing", False)]
    assert await people.entries("split") == [(ann, "expired", "marketing", False)]
    assert (await people.verdict(ann, "ann@x.org"), await people.verdict(anna, "anna@x.org")) == ("allowed", "denied")
    heads = "select sum(size) from ledger_heads where log = 'consent'"
    size = f"select ({heads}) = (select count(*) from consent_entries) as same"
    assert (await people.rows(size))[0]["same"]


async def test_an_objection_keeps_its_firmness(people: People) -> None:
    """A complaint is firm by its method: said again by a merge, it must not become something a key can lift."""
    ann, anna = await people.person("ann@x.org", "+12025550111"), await people.person("anna@x.org")
    await people.say("objected", anna, method=Method.COMPLAINT)
    await people.merge(ann, anna)
    kept = await people.say("granted", email("ann@x.org"), rank=Rank.SECRET_KEY)
    assert (kept.applied, kept.reason) == (False, "objection_stands")


async def test_a_brother_takes_his_restriction_with_him(people: People) -> None:
    """A later brother's merge had said the restriction again: that kept denying the person it was never said by."""
    one, other = await people.person("a@x.org", "b@x.org", "+12025550111"), await people.person("c@x.org")
    third = await people.person("d@x.org")
    await people.say("withdrawn", other, purpose="transactional")
    first, second = await people.merge(one, other), await people.merge(one, third)
    assert {await people.verdict(one, known, purpose="transactional") for known in ("a@x.org", "d@x.org")} == {"denied"}
    await people.split(one, first.id)
    assert {await people.verdict(one, known, purpose="transactional") for known in ("a@x.org", "d@x.org")} == {
        "unknown"
    }
    assert await people.verdict(other, "c@x.org", purpose="transactional") == "denied"
    await people.split(one, second.id)
    assert await people.verdict(third, "d@x.org", purpose="transactional") == "unknown"


SAYS = st.tuples(st.sampled_from(["crm", "billing"]), st.sampled_from(["name", "plan", "free"]), st.integers(0, 2))
DECLARED = RecipientSettings(authority={"name": ["crm", "billing"]}, indexed_traits=["name", "plan"])


async def say(people: People, person: UUID, source: str, **traits: Any) -> None:
    patch, change = people.hub.recipients.patch, Profile(traits=traits)
    await people.run(lambda tx: patch(tx, people.side, person, change, source=source))


async def found(people: People, person: UUID) -> Any:
    """What is plain of a person, which is what stands, and who has the say."""
    rows = await people.rows(
        "select name, value from recipient_traits where workspace_id = $1 and recipient_id = $2 order by name",
        people.side, person,
    )  # fmt: skip
    one = await people.read(person)
    plain = {name: text for name in ("name", "plan") if (text := indexed(one.traits.get(name))) is not None}
    assert {row["name"]: row["value"] for row in rows} == plain
    return plain, dict(one.owners)


@POSTGRES
@given(HAS, HAS, st.lists(SAYS, max_size=3), st.lists(SAYS, max_size=3))
async def test_what_one_is_found_by_and_who_has_the_say_part_again(
    people: People, one: Any, other: Any, mine: Any, theirs: Any
) -> None:
    """Both move with a merge as traits do, and a search finds no one who is part of another."""
    await people.run(lambda tx: people.hub.recipients.settings.set(tx, people.side, DECLARED))
    persons = [await make(people, each) for each in (one, other)]
    for person, said in zip(persons, (mine, theirs), strict=True):
        for source, name, value in said:
            await say(people, person, source, **{name: value})
    before = [await found(people, each) for each in persons]
    merge = await people.merge(*persons)
    into = await people.read(persons[0])
    for name, value in ((name, value) for name in ("name", "plan") for value in ("0", "1", "2")):
        async with people.hub.around.db.transaction() as tx:
            held = await indexed_store.find(tx, people.side, name, value, None, 500)
        assert (into.id in held) == (indexed(into.traits.get(name)) == value)
        assert merge.from_id not in held
    assert all(name in into.traits for name in into.owners), "no owner without what it owns"
    await people.split(persons[0], merge.id)
    assert [await found(people, each) for each in persons] == before


async def test_a_value_that_was_changed_since_keeps_its_owner(people: People) -> None:
    await people.run(lambda tx: people.hub.recipients.settings.set(tx, people.side, DECLARED))
    ann, anna = await people.person("ann@x.org", "+12025550111"), await people.person("anna@x.org")
    await say(people, anna, "billing", name="A.")
    merge = await people.merge(ann, anna)
    await say(people, ann, "billing", name="Ann")
    await people.split(ann, merge.id)
    assert [(one.traits, one.owners) for one in (await people.read(ann), await people.read(anna))] == [
        ({"name": "Ann"}, {"name": "billing"}),
        ({"name": "A."}, {"name": "billing"}),
    ]
