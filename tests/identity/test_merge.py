"""Merge, split and the explained identity, on a wired hub."""

import asyncio
from typing import Any

import pytest

from tabellion.access.service import list_audit
from tabellion.app.wiring import Hub
from tabellion.core import ids
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.identity.types import Rule, Winner
from tabellion.recipients.types import Ref

from .people import People, email

ANN, ANNA, PHONE = "ann@example.org", "anna@example.org", "+12025550111"


@pytest.fixture
def people(hub: Hub, workspace_id: WorkspaceId) -> People:
    return People(hub, workspace_id)


async def refusal(work: Any) -> str:
    with pytest.raises(HubError) as caught:
        await work
    return caught.value.code


async def test_two_become_one_with_all_that_each_had(people: People) -> None:
    ann = await people.person(ANN, PHONE, traits={"plan": "pro"}, locale="de")
    anna = await people.person(ANNA, "crm-2", traits={"plan": "free", "city": "Graz"}, time_zone="Europe/Vienna")
    merge = await people.merge(anna, ann)
    one = await people.read(anna)
    assert (merge.into_id, merge.from_id) == (ann, anna), "both have two identifiers: the older goes on"
    assert one.id == ann
    assert {known.value for known in one.identifiers} == {ANN, PHONE, ANNA, "crm-2"}
    assert (one.traits, one.locale, one.time_zone) == ({"plan": "pro", "city": "Graz"}, "de", "Europe/Vienna")
    assert await people.read(ann) == one


async def test_of_two_external_ids_each_finds_the_person(people: People) -> None:
    """A person has one external_id: a second one was no reason to let duplicates of a CRM be two for ever."""
    ann, anna = await people.person(ANN, PHONE, "crm-1"), await people.person(ANNA, "crm-2")
    merge = await people.merge(ann, anna)
    told = await people.explain(anna)
    assert told.ids == [ann, anna]
    kept = {(one.identifier.value, one.recipient_id) for one in told.identifiers}
    assert kept == {(ANN, ann), (PHONE, ann), ("crm-1", ann), (ANNA, ann), ("crm-2", anna)}
    assert await people.person("crm-2", "new@example.org") == ann, "an upsert by either is about the person"
    assert await people.person("crm-1") == ann
    with pytest.raises(AssertionError, match="another external_id"):
        await people.person(ANN, "crm-3")
    await people.split(ann, merge.id)
    assert await people.person("crm-2") == anna


async def test_ids_of_whole_chains_find_the_root_and_part_in_order(people: People) -> None:
    one, two = await people.person("a@x.org"), await people.person("b@x.org")
    three = await people.person("c@x.org", PHONE)
    first = await people.merge(one, two)
    second = await people.merge(two, Ref(id=three))
    assert second.into_id == one, "two addresses each, and it is older"
    four = await people.person("d@x.org", "e@x.org", "f@x.org", "g@x.org", "h@x.org")
    third = await people.merge(one, four)
    assert (third.into_id, third.from_id) == (four, one)
    assert {(await people.read(each)).id for each in (one, two, three, four)} == {four}
    roots = await people.rows("select distinct merged_into from recipients where workspace_id = $1", people.side)
    assert [row["merged_into"] for row in roots] == [four]
    assert await refusal(people.split(four, first.id)) == "merged_further"
    await people.split(two, third.id)
    assert [(await people.read(each)).id for each in (one, two, three, four)] == [one, one, one, four]
    await people.split(one, first.id)
    assert [(await people.read(each)).id for each in (one, two, three)] == [one, two, one], "in any order of brothers"
    await people.split(one, second.id)
    assert {known.value for known in (await people.read(three)).identifiers} == {PHONE, "c@x.org"}


async def test_the_identity_says_why(people: People, clock: Any) -> None:
    ann, anna = await people.person(ANN, PHONE), await people.person(ANNA, locale="de", traits={"city": "Graz"})
    merge = await people.merge(ann, email(ANNA), "told support so")
    [told] = (await people.explain(anna)).merges
    assert told.evidence is not None
    assert (told.evidence.reason, told.evidence.winner) == ("told support so", Winner.MOST_IDENTIFIERS)
    assert told.evidence.identifiers == {ids.show("rcp", ann): ["email", "phone"], ids.show("rcp", anna): ["email"]}
    assert {tuple(path) for path in told.evidence.taken} == {("locale",), ("traits", "city")}
    assert (told.merge.rule, told.merge.actor, told.merge.undone_at) == (Rule.REQUESTED, "key_1", None)
    await people.split(ann, merge.id)
    for each in (ann, anna):
        [told] = (await people.explain(each)).merges
        assert (told.merge.undone_by, told.merge.undone_at) == ("key_1", clock.now())
    [row] = await people.rows("select sealed from merges")
    assert b"support" not in row["sealed"]


async def test_events_and_audit_say_that_and_no_address(people: People) -> None:
    ann, anna = await people.person(ANN, PHONE), await people.person(ANNA)
    merge = await people.merge(ann, anna, "she is ann@example.org")
    await people.split(ann, merge.id)
    audited = await people.run(lambda tx: list_audit(tx, people.side))
    assert [one.action for one in audited][:2] == ["recipient.split", "recipient.merged"]
    assert audited[0].actor == "key_1"
    events = await people.rows("select type, data from events where workspace_id = $1 order by position", people.side)
    told = {row["type"]: row["data"] for row in events}
    assert told["recipient.merged"]["merged"] == told["recipient.split"]["split"] == {"id": ids.show("rcp", anna)}
    assert "example.org" not in str(events) + str(audited)


async def test_what_happened_in_between_stays_with_the_winner(people: People) -> None:
    ann, anna = await people.person(ANN, PHONE), await people.person(ANNA, traits={"city": "Graz", "plan": "free"})
    merge = await people.merge(ann, anna)
    await people.person(ANNA, "new@example.org", traits={"city": "Linz", "shoe": "42"}, locale="en")
    await people.split(ann, merge.id)
    after, other = await people.read(ann), await people.read(anna)
    assert {known.value for known in after.identifiers} == {ANN, PHONE, "new@example.org"}
    assert (after.traits, after.locale) == ({"city": "Linz", "shoe": "42"}, "en"), (
        "the plan went back, the rest was said since"
    )
    assert [known.value for known in other.identifiers] == [ANNA]
    assert (other.traits, other.locale) == ({"city": "Graz", "plan": "free"}, None)


async def test_refusals(people: People) -> None:
    ann, anna = await people.person(ANN, PHONE), await people.person(ANNA)
    assert await refusal(people.merge(ann, email(ANN))) == "same_recipient"
    assert await refusal(people.merge(ann, email("nobody@example.org"))) == "recipient_not_found"
    assert await refusal(people.merge(ann, ids.new())) == "recipient_not_found"
    merge = await people.merge(ann, anna)
    assert await refusal(people.merge(ann, anna)) == "same_recipient"
    bob = await people.person("bob@example.org")
    assert await refusal(people.split(bob, merge.id)) == "merge_not_found"
    assert await refusal(people.split(ann, ids.new())) == "merge_not_found"
    await people.split(ann, merge.id)
    assert await refusal(people.split(ann, merge.id)) == "merge_undone"
    for address in ("x@example.org", "y@example.org"):
        await people.say("withdrawn", email(address))
    assert await refusal(people.merge(email("x@example.org"), email("y@example.org"))) == "address_only"  # type: ignore[arg-type]
    large = await people.person("l@example.org", "m@example.org", traits={"a": "x" * 20_000})
    larger = await people.person("n@example.org", traits={"b": "x" * 20_000})
    assert await refusal(people.merge(large, larger)) == "traits_too_large"


async def test_an_attached_address_is_a_merge_that_can_be_told_and_taken_back(people: People) -> None:
    """Every merge is recorded, also the one an upsert makes by itself."""
    bob = await people.person("bob@example.org")
    await people.say("withdrawn", email("b2@example.org"))
    assert await people.person("bob@example.org", "b2@example.org") == bob
    told = await people.explain(bob)
    [one] = told.merges
    assert (one.merge.rule, one.merge.actor, len(told.ids)) == (Rule.ADDRESS_ATTACHED, "hub", 2)
    assert await people.verdict(bob, "b2@example.org") == "denied"
    await people.split(bob, one.merge.id)
    [gone] = [each for each in told.ids if each != bob]
    back = await people.read(gone)
    assert (back.address_only, [known.value for known in back.identifiers]) == (True, ["b2@example.org"])
    assert (await people.verdicts(gone))["b2@example.org", "email", "marketing"] == ("denied", False)


async def test_merging_at_once_from_both_sides_makes_one_merge(people: People) -> None:
    pairs = [(await people.person(f"a{n}@x.org"), await people.person(f"b{n}@x.org")) for n in range(4)]
    done = await asyncio.gather(
        *(people.merge(*pair) for pair in pairs),
        *(people.merge(*pair[::-1]) for pair in pairs),
        *(people.person(f"b{n}@x.org", f"c{n}@x.org") for n in range(4)),
        return_exceptions=True,
    )
    refused = [one.code for one in done if isinstance(one, HubError)]
    assert refused == ["same_recipient"] * 4
    assert not [one for one in done if isinstance(one, Exception) and not isinstance(one, HubError)]
    for n, (one, other) in enumerate(pairs):
        found = await people.read(other)
        assert found.id == (await people.read(one)).id
        assert {known.value for known in found.identifiers} == {f"a{n}@x.org", f"b{n}@x.org", f"c{n}@x.org"}


async def test_history_shows_who_each_was(people: People) -> None:
    ann, anna = await people.person(ANN, PHONE), await people.person(ANNA, locale="de")
    merge = await people.merge(ann, anna)
    await people.split(ann, merge.id)
    rows = await people.rows(
        "select recipient_id, version, source, actor, merged_into from recipient_versions where workspace_id = $1"
        " and version > 1 order by recipient_id, version",
        people.side,
    )
    told = [tuple(row) for row in rows]
    assert told == [
        (ann, 2, "merge", "key_1", None),
        (ann, 3, "split", "key_1", None),
        (anna, 2, "merge", "key_1", ann),
        (anna, 3, "split", "key_1", anna),
    ]


async def test_another_side_is_another_world(people: People, hub: Hub) -> None:
    ann, anna = await people.person(ANN, PHONE), await people.person(ANNA)
    merge = await people.merge(ann, anna)
    elsewhere = People(hub, WorkspaceId(ids.new()))
    assert await refusal(elsewhere.merge(ann, anna)) == "recipient_not_found"
    assert await refusal(elsewhere.split(ann, merge.id)) == "recipient_not_found"
    assert await refusal(elsewhere.explain(ann)) == "recipient_not_found"
