"""Anonymous to known, devices that change hands, shared ones, and refreshed tokens: with consent, over everything."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tabellion.app.wiring import Hub
from tabellion.consent.questions import Question
from tabellion.core.errors import HubError, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.identity.types import Rule
from tabellion.providers.base import Channel
from tabellion.recipients.settings import RecipientSettings, SharedDevice
from tabellion.recipients.types import (
    Device,
    Health,
    Kind,
    Named,
    NewRecipient,
    Permission,
    Platform,
    Profile,
    PushProvider,
    Ref,
    Resolved,
    SharedIdentifier,
    Upserted,
)

from .people import APP, People, browser, crm, mail, push, token

PHONE, TABLET, NEWER = "token-of-the-phone", "token-of-the-tablet", "token-of-the-phone-now"


@pytest.fixture
def people(hub: Hub, workspace_id: WorkspaceId) -> People:
    return People(hub, workspace_id)


async def says(people: People, person: UUID, value: str, purpose: str = "marketing") -> tuple[str, bool]:
    """What a gate would say of a push to a token of a person."""
    one = (await people.owns(person))[value]
    asked = Question(people.side, person, one.hash, one.kind, Channel.PUSH, purpose, health=one.health)
    [verdict] = await people.run(lambda tx: people.hub.consent.verdicts(tx, [asked]))
    return verdict.verdict, verdict.sendable


async def resolves(people: People, ref: Ref) -> UUID | None:
    [found] = await people.run(lambda tx: people.hub.recipients.resolve(tx, people.side, [ref], False))
    return found.recipient_id if isinstance(found, Resolved) else None


async def set_(people: People, settings: RecipientSettings) -> None:
    await people.run(lambda tx: people.hub.recipients.settings.set(tx, people.side, settings))


# anonymous to known


async def test_an_anonymous_visitor_who_identifies_becomes_part_of_the_person(people: People) -> None:
    ann = await people.one(crm("ann"), mail("ann@x.org"))
    visitor = await people.person_of(browser("b-1"), traits={"campaign": "spring", "plan": "none"})
    await people.patch(ann, traits={"plan": "pro"})
    assert await people.one(crm("ann"), browser("b-1")) == ann
    assert set(await people.owns(ann)) == {"ann", "ann@x.org", "b-1"}
    assert (await people.read(visitor)).id == ann, "its id finds the person"
    assert (await people.read(ann)).traits == {"campaign": "spring", "plan": "pro"}
    [told] = (await people.explain(ann)).merges
    assert (told.merge.rule, told.merge.actor, told.merge.from_id) == (Rule.ANONYMOUS_TO_KNOWN, "key_1", visitor)
    [(_, about, data)] = await people.events("recipient.merged")
    assert (about, data["reason"]) == (ann, "anonymous_to_known")
    await people.split(ann, told.merge.id)
    assert set(await people.owns(visitor)) == {"b-1"}
    assert (await people.read(ann)).traits == {"plan": "pro"}


async def test_the_first_account_of_a_browser_is_its_visitor_s(people: People) -> None:
    visitor = await people.one(browser("b-1"))
    assert await people.one(crm("ann"), browser("b-1")) == visitor
    assert await people.one(mail("ann@x.org"), browser("b-1")) == visitor


async def test_two_anonymous_ids_named_together_are_one_visitor(people: People) -> None:
    one, other = await people.one(browser("b-1")), await people.one(token(PHONE))
    assert await people.one(browser("b-1"), token(PHONE)) in (one, other)
    assert await resolves(people, Ref(kind=Kind.ANONYMOUS, value="b-1")) == await resolves(people, push(PHONE))


async def test_what_was_restricted_anonymously_is_restricted_for_the_person(people: People) -> None:
    ann = await people.one(crm("ann"), mail("ann@x.org"), token(TABLET))
    visitor = await people.one(token(PHONE))
    await people.say("granted", push(TABLET), "push")
    await people.say("withdrawn", visitor, "push")
    await people.one(crm("ann"), token(PHONE))
    assert await says(people, ann, PHONE) == await says(people, ann, TABLET) == ("denied", False)


async def test_a_unit_that_would_be_too_much_leaves_all_as_it_was(people: People) -> None:
    await set_(people, RecipientSettings(limits={"device": 1}))
    ann, visitor = await people.one(crm("ann"), token(TABLET)), await people.one(token(PHONE))
    [refused] = await people.upsert([crm("ann"), token(PHONE), mail("ann@x.org")])
    assert isinstance(refused, HubError)
    assert refused.code == "too_many_identifiers"
    assert (set(await people.owns(ann)), set(await people.owns(visitor))) == ({"ann", TABLET}, {PHONE})
    assert await resolves(people, Ref(kind=Kind.EMAIL, value="ann@x.org")) is None


async def test_a_unit_with_too_much_of_a_kind_takes_no_token(people: People) -> None:
    """What the token has nothing to do with refuses it as well: the one who had the token keeps it, and its grant."""
    await set_(people, RecipientSettings(limits={"email": 1}))
    ann, bob = await people.one(crm("ann"), mail("ann@x.org")), await people.one(crm("bob"), token(PHONE))
    await people.say("granted", push(PHONE), "push")
    [refused] = await people.upsert([crm("ann"), mail("anna@x.org"), token(PHONE)])
    assert isinstance(refused, HubError)
    assert refused.code == "too_many_identifiers"
    assert (set(await people.owns(ann)), set(await people.owns(bob))) == ({"ann", "ann@x.org"}, {"bob", PHONE})
    assert await says(people, bob, PHONE) == ("allowed", True)
    assert await people.events("identifier.released") == []


async def test_traits_that_are_too_much_under_authority_take_no_token(people: People) -> None:
    """What the source would clear, and may not, counts: the refusal comes before anything changed hands."""
    await set_(people, RecipientSettings(authority={"bio": ["crm", "web"]}))
    bob, absorbed = await people.one(crm("bob"), token(PHONE)), people.hub.identity.absorbed

    async def says_of_ann(source: str, *unit: Named, **traits: object) -> Upserted | HubError:
        new = [NewRecipient((crm("ann"), *unit), Profile(traits=traits))]
        upsert = people.hub.recipients.upsert
        [one] = await people.run(lambda tx: upsert(tx, people.side, new, absorbed=absorbed, source=source))
        return one  # type: ignore[no-any-return]

    await says_of_ann("crm", bio="b" * 20_000)
    refused = await says_of_ann("web", token(PHONE), bio=None, essay="e" * 20_000)
    assert isinstance(refused, HubError)
    assert refused.code == "traits_too_large"
    assert set(await people.owns(bob)) == {"bob", PHONE}


async def test_a_visitor_does_not_say_what_a_higher_source_says_there_is_not(people: People) -> None:
    """The say of a source, be it that there is nothing, stands when somebody anonymous becomes the person."""
    await set_(people, RecipientSettings(authority={"plan": ["crm", "web"], "locale": ["crm", "web"]}))
    upsert, absorbed = people.hub.recipients.upsert, people.hub.identity.absorbed

    async def says_(source: str, *unit: Named, **profile: Any) -> UUID:
        new = [NewRecipient(unit, Profile(**profile))]
        [one] = await people.run(lambda tx: upsert(tx, people.side, new, absorbed=absorbed, source=source))
        return one.recipient_id  # type: ignore[no-any-return]

    ann = await says_("crm", crm("ann"), locale=None, traits={"plan": None})
    await says_("web", browser("b-1"), locale="de", traits={"plan": "pro", "campaign": "spring"})
    await people.one(crm("ann"), browser("b-1"))
    one = await people.read(ann)
    assert (one.locale, one.traits) == (None, {"campaign": "spring"})
    assert one.owners == {"plan": "crm", "locale": "crm"}
    [told] = (await people.explain(ann)).merges
    await people.split(ann, told.merge.id)
    assert (await people.read(ann)).owners == {"plan": "crm", "locale": "crm"}


async def test_nobody_makes_two_visitors_one_without_proof(people: People) -> None:
    """Whoever guesses a visitor's id and has a public key ties nobody to it."""
    one, other = await people.one(browser("b-1"), token(PHONE)), await people.one(browser("b-2"))
    upsert, absorbed = people.hub.recipients.upsert, people.hub.identity.absorbed
    for unit in ((browser("b-1"), browser("b-2"), token(TABLET)), (browser("b-2"), token(NEWER, replaces=PHONE))):
        new = [NewRecipient(unit, Profile(traits={"both": True}), unproven=True)]
        [made] = await people.run(lambda tx, new=new: upsert(tx, people.side, new, absorbed=absorbed))
        assert isinstance(made, Upserted)
    assert (set(await people.owns(one)), set(await people.owns(other))) == ({"b-1", PHONE}, {"b-2"})
    assert [(await people.read(each)).traits for each in (one, other)] == [{}, {}]
    assert (await people.owns(one))[PHONE].health is Health.OK
    assert [await resolves(people, push(each)) for each in (TABLET, NEWER)] == [None, None]
    assert await people.events("recipient.merged") == []


async def test_a_user_token_s_account_is_not_the_one_whose_browser_is_named(people: People) -> None:
    """The token vouches for the user; that the browser is theirs the page says, and anybody could."""
    ann = await people.one(mail("ann@x.org"), browser("b-1"))
    upsert, absorbed = people.hub.recipients.upsert, people.hub.identity.absorbed
    new = [NewRecipient((crm("eve"), browser("b-1")), vouched=True)]
    [made] = await people.run(lambda tx: upsert(tx, people.side, new, absorbed=absorbed))
    assert isinstance(made, Upserted)
    assert (made.recipient_id != ann, made.created) == (True, True)
    assert (set(await people.owns(ann)), set(await people.owns(made.recipient_id))) == ({"ann@x.org", "b-1"}, {"eve"})


# devices that change hands


async def test_a_token_goes_to_whoever_identified_last_and_grants_end(people: People) -> None:
    bob = await people.one(crm("bob"), token(PHONE))
    granted = await people.say("granted", push(PHONE), "push")
    assert await says(people, bob, PHONE) == ("allowed", True)
    ann = await people.one(crm("ann"), mail("ann@x.org"))
    assert await people.one(crm("ann"), token(PHONE)) == ann
    assert (set(await people.owns(bob)), set(await people.owns(ann))) == ({"bob"}, {"ann", "ann@x.org", PHONE})
    assert await says(people, ann, PHONE) == ("unknown", False)
    assert await people.entries("identifier_released") == [(bob, "expired", "marketing", False)]
    assert (await people.explain(ann)).merges == []
    told = await people.events("identifier.released", "identifier.added")
    assert [(word, about) for word, about, _ in told] == [("identifier.released", bob), ("identifier.added", ann)]
    assert told[0][2]["reason"] == "device_moved"
    assert granted.id is not None


async def test_a_new_account_on_a_device_takes_it_too(people: People) -> None:
    """Two people of a household: the second one's sign-up was a conflict."""
    bob = await people.one(crm("bob"), token(PHONE), browser("b-1"))
    ann = await people.one(crm("ann"), token(PHONE), browser("b-1"))
    assert ann != bob
    assert (set(await people.owns(bob)), set(await people.owns(ann))) == ({"bob", "b-1"}, {"ann", PHONE})
    assert await people.one(crm("ann"), token(PHONE), browser("b-1")) == ann, "and again changes nothing"
    assert (await people.read(ann)).version == 1


async def test_a_restriction_follows_the_token(people: People) -> None:
    await people.one(crm("bob"), token(PHONE))
    await people.say("withdrawn", push(PHONE), "push", identifier_only=True)
    ann = await people.one(crm("ann"), token(PHONE))
    assert await says(people, ann, PHONE) == ("denied", False)


async def test_history_tells_that_it_left_and_came(people: People) -> None:
    bob, ann = await people.one(crm("bob"), token(PHONE)), await people.one(crm("ann"))
    before = people.clock.now()
    people.clock.advance(timedelta(hours=1))
    await people.one(crm("ann"), token(PHONE))
    assert [(await people.read(one)).version for one in (bob, ann)] == [2, 2]
    for person, had, has in ((bob, {"bob", PHONE}, {"bob"}), (ann, {"ann"}, {"ann", PHONE})):
        assert set(await people.owns(person)) == has
        assert {one.value for one in (await people.as_of(person, before)).identifiers} == had


async def test_the_past_shows_a_lost_token_as_its_owner_had_it(people: People) -> None:
    """What the next owner says of the device is not what the one before said."""
    bob = await people.one(crm("bob"), token(PHONE, permission=Permission.DENIED))
    before = await people.owns(bob)
    people.clock.advance(timedelta(minutes=1))
    at = people.clock.now() - timedelta(seconds=1)
    await people.one(crm("ann"), token(PHONE, permission=Permission.GRANTED))
    was = await people.as_of(bob, at)
    assert {one.value: one for one in was.identifiers} == before


async def test_a_token_goes_back_and_forth_within_one_batch(people: People) -> None:
    bob, ann, again = await people.upsert(
        [crm("bob"), token(PHONE)], [crm("ann"), token(PHONE)], [crm("bob"), token(PHONE)]
    )
    assert not isinstance(bob, HubError)
    assert not isinstance(ann, HubError)
    assert not isinstance(again, HubError)
    assert (set(await people.owns(bob.recipient_id)), set(await people.owns(ann.recipient_id))) == (
        {"bob", PHONE},
        {"ann"},
    )


async def test_what_a_device_alone_says_changes_no_owner(people: People) -> None:
    bob = await people.one(crm("bob"), browser("b-1"))
    ann = await people.one(crm("ann"), token(PHONE))
    assert await people.one(token(PHONE), browser("b-1")) == ann
    assert set(await people.owns(bob)) == {"bob", "b-1"}


# shared devices


async def test_a_device_of_too_many_names_nobody_any_more(people: People) -> None:
    await set_(people, RecipientSettings(shared_device=SharedDevice(people=2)))
    persons = [await people.one(crm(name), token(PHONE), browser("b-1")) for name in ("a", "b")]
    await people.say("granted", push(PHONE), "push")
    assert await resolves(people, push(PHONE)) == persons[1]
    third = await people.one(crm("c"), token(PHONE), browser("b-1"))
    assert set(await people.owns(third)) == {"c"}
    assert await resolves(people, push(PHONE)) is None
    kept = (await people.owns(persons[1]))[PHONE]
    assert (kept.health, kept.health_reason) == (Health.HELD, "shared")
    assert await says(people, persons[1], PHONE) == ("unknown", False)
    shared = await people.events("identifier.shared")
    assert [(about, data["kind"]) for _, about, data in shared] == [(persons[0], "anonymous"), (persons[1], "device")]
    [alone] = await people.upsert([token(PHONE)])
    assert isinstance(alone, SharedIdentifier)
    assert await people.one(crm("d"), token(PHONE), browser("b-1")) not in [*persons, third]
    assert len(await people.events("identifier.shared")) == 2, "said once"
    await people.run(lambda tx: people.hub.recipients.set_health(tx, people.side, [(kept.hash, Health.OK, None)]))
    assert (await people.owns(persons[1]))[PHONE].health is Health.HELD, "no vendor's word makes it one person's"


async def test_who_used_it_long_ago_does_not_count(people: People) -> None:
    await set_(people, RecipientSettings(shared_device=SharedDevice(people=2, days=7)))
    for name in ("a", "b", "c", "d"):
        last = await people.one(crm(name), token(PHONE))
        people.clock.advance(timedelta(days=5))
    assert await resolves(people, push(PHONE)) == last
    assert await people.events("identifier.shared") == []


async def test_a_shared_device_is_nobody_s_for_a_reference(people: People) -> None:
    await set_(people, RecipientSettings(shared_device=SharedDevice(people=1)))
    await people.one(crm("a"), token(PHONE))
    await people.one(crm("b"), token(PHONE))
    [found] = await people.run(lambda tx: people.hub.recipients.resolve(tx, people.side, [push(PHONE)], True))
    assert isinstance(found, NotFound)


# refreshed tokens


async def test_a_grant_follows_a_refreshed_token(people: People) -> None:
    ann = await people.one(crm("ann"), token(PHONE))
    given = await people.say("granted", push(PHONE), "push")
    await people.one(crm("ann"), token(NEWER, replaces=PHONE))
    assert await says(people, ann, NEWER) == ("allowed", True)
    assert await says(people, ann, PHONE) == ("unknown", False)
    assert (await people.owns(ann))[PHONE].health is Health.INVALID
    assert await people.entries("identifier_released") == [
        (ann, "expired", "marketing", False),
        (ann, "granted", "marketing", True),
    ]
    before = len(await people.events())
    await people.one(crm("ann"), token(NEWER, replaces=PHONE))
    assert len(await people.events()) == before, "said again at every start of the app, it says nothing more"
    assert given.id is not None


async def test_a_restriction_follows_a_refreshed_token_and_stays_lifted_where_it_was(people: People) -> None:
    ann = await people.one(crm("ann"), token(PHONE))
    await people.say("withdrawn", push(PHONE), "push", identifier_only=True)
    await people.say("withdrawn", push(PHONE), "push", purpose="transactional", identifier_only=True)
    await people.say("granted", push(PHONE), "push")
    await people.one(crm("ann"), token(NEWER, replaces=PHONE))
    assert await says(people, ann, NEWER) == ("allowed", True)
    assert await says(people, ann, NEWER, "transactional") == ("denied", False)
    await people.say("withdrawn", push(NEWER), "push")
    assert await says(people, ann, NEWER) == ("denied", False)
    bob = await people.one(crm("bob"), token(NEWER))
    assert await says(people, bob, NEWER, "transactional") == ("denied", False), "it is the device's from now on"


async def test_a_grant_does_not_follow_to_another_app(people: People) -> None:
    ann = await people.one(crm("ann"), token(PHONE))
    await people.say("granted", push(PHONE), "push")
    other = Device(Platform.ANDROID, PushProvider.FCM, "com.example.games")
    await people.one(crm("ann"), token(NEWER, replaces=PHONE, app=other))
    assert await says(people, ann, NEWER) == ("unknown", False)
    assert await people.entries("identifier_released") == [(ann, "expired", "marketing", False)]


async def test_what_was_said_about_the_new_token_already_stays(people: People) -> None:
    ann = await people.one(crm("ann"), token(PHONE), token(NEWER))
    await people.say("granted", push(PHONE), "push")
    await people.say("granted", push(NEWER), "push")
    await people.one(crm("ann"), token(NEWER, replaces=PHONE))
    assert await says(people, ann, NEWER) == ("allowed", True)
    await people.say("withdrawn", push(NEWER), "push")
    await people.one(crm("ann"), token(NEWER, replaces=PHONE))
    assert await says(people, ann, NEWER) == ("denied", False)


async def test_a_token_that_replaces_another_person_s_ends_that_one(people: People) -> None:
    bob = await people.one(crm("bob"), token(PHONE))
    await people.say("granted", push(PHONE), "push")
    await people.say("withdrawn", push(PHONE), "push", purpose="transactional", identifier_only=True)
    ann = await people.one(crm("ann"), token(NEWER, replaces=PHONE))
    assert ann != bob
    old = (await people.owns(bob))[PHONE]
    assert (old.health, old.health_reason) == (Health.INVALID, "replaced")
    assert await says(people, bob, PHONE) == ("unknown", False)
    assert await says(people, ann, NEWER) == ("unknown", False), "no grant goes to another person"
    assert await says(people, ann, NEWER, "transactional") == ("denied", False)


async def test_a_refreshed_token_named_alone_is_whose_the_old_one_was(people: People) -> None:
    bob = await people.one(crm("bob"), token(PHONE))
    assert await people.one(token(NEWER, replaces=PHONE)) == bob
    ann = await people.one(crm("ann"), token(TABLET))
    assert await people.one(token(TABLET, replaces=NEWER)) == ann, "no conflict, and nothing changes hands"
    assert (await people.owns(bob))[NEWER].health is Health.OK


async def test_a_token_that_replaces_a_visitor_s_makes_the_visitor_known(people: People) -> None:
    ann, visitor = await people.one(crm("ann")), await people.one(token(PHONE))
    assert await people.one(crm("ann"), token(NEWER, replaces=PHONE)) == ann
    assert (await people.read(visitor)).id == ann
    assert (await people.owns(ann))[PHONE].health_reason == "replaced"
    assert APP.app is not None
