"""`alias`, as users of Segment expect it: two identifiers find one person."""

import pytest

from tabellion.app.wiring import Hub
from tabellion.core.ids import WorkspaceId
from tabellion.identity.types import Rule
from tabellion.recipients.types import IdentityConflict, Kind, Ref

from .people import People, browser, crm, mail


@pytest.fixture
def people(hub: Hub, workspace_id: WorkspaceId) -> People:
    return People(hub, workspace_id)


async def test_an_anonymous_id_becomes_a_user(people: People) -> None:
    visitor = await people.one(browser("b-1"))
    assert await people.alias(browser("b-1"), crm("ann")) == visitor, "nobody has the user id yet"
    assert set(await people.owns(visitor)) == {"b-1", "ann"}
    assert await people.alias(browser("b-1"), crm("ann")) == visitor, "and again changes nothing"


async def test_a_visitor_becomes_part_of_a_user_who_is_there(people: People) -> None:
    visitor, ann = await people.one(browser("b-1")), await people.one(crm("ann"))
    assert await people.alias(browser("b-1"), crm("ann")) == ann
    [told] = (await people.explain(visitor)).merges
    assert (told.merge.rule, told.merge.into_id) == (Rule.ANONYMOUS_TO_KNOWN, ann)


async def test_an_unknown_previous_id_becomes_an_identifier_of_the_user(people: People) -> None:
    ann = await people.one(crm("ann"))
    assert await people.alias(browser("b-1"), crm("ann")) == ann
    assert await people.alias(mail("ann@x.org"), crm("ann")) == ann
    assert set(await people.owns(ann)) == {"b-1", "ann@x.org", "ann"}


async def test_nobody_known_makes_one_who_has_both(people: People) -> None:
    made = await people.alias(browser("b-1"), crm("ann"))
    assert set(await people.owns(made)) == {"b-1", "ann"}


@pytest.mark.parametrize("known", [["old"], ["new"], []])
async def test_a_new_user_id_finds_whom_the_old_one_finds(people: People, known: list[str]) -> None:
    """A person has one external_id: the other one is kept beside it, and a split brings it back."""
    there = [await people.one(crm(one)) for one in known]
    person = await people.alias(crm("old"), crm("new"))
    assert there in ([person], [])
    for one in ("old", "new"):
        assert await people.one(crm(one)) == person
    assert await people.alias(crm("old"), crm("new")) == person
    [told] = (await people.explain(person)).merges
    assert told.merge.rule is Rule.ALIASED
    await people.split(person, told.merge.id)
    assert await people.one(crm("old")) != await people.one(crm("new"))


async def test_two_known_persons_are_a_conflict_that_leaves_nothing_behind(people: People) -> None:
    ann, bob = await people.one(crm("ann")), await people.one(mail("bob@x.org"))
    with pytest.raises(IdentityConflict) as refused:
        await people.alias(mail("bob@x.org"), crm("ann"))
    assert set(refused.value.recipients) == {ann, bob}
    assert (set(await people.owns(ann)), set(await people.owns(bob))) == ({"ann"}, {"bob@x.org"})


async def test_a_browser_of_another_user_is_a_conflict_too(people: People) -> None:
    bob = await people.one(crm("bob"), browser("b-1"))
    for name in ("ann", "cid"):
        with pytest.raises(IdentityConflict):
            await people.alias(browser("b-1"), crm(name))
        await people.one(crm("cid"))
    assert set(await people.owns(bob)) == {"bob", "b-1"}
    found = await people.run(
        lambda tx: people.hub.recipients.resolve(tx, people.side, [Ref(kind=Kind.EXTERNAL_ID, value="ann")], False)
    )
    assert isinstance(found[0], Exception), "nobody was made for it"


async def test_an_address_somebody_restricted_becomes_the_user_s(people: People) -> None:
    ann = await people.one(crm("ann"))
    await people.say("withdrawn", Ref(kind=Kind.EMAIL, value="ann@x.org"))
    assert await people.alias(mail("ann@x.org"), crm("ann")) == ann
    assert await people.verdict(ann, "ann@x.org") == "denied"
