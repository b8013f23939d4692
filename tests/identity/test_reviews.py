"""The review queue on a wired hub: what opens an item, what a decision does, and what it never does."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from tests.consent.conftest import publish

from tabellion.access.service import list_audit
from tabellion.app.wiring import Hub
from tabellion.consent.types import Decision, Method, Rank
from tabellion.core import ids
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.identity.review_types import (
    Decided,
    Grant,
    Identities,
    Review,
    ReviewKind,
    ReviewStale,
    ReviewState,
    Told,
)
from tabellion.identity.types import Rule
from tabellion.recipients.types import IdentityConflict, NewRecipient, Profile, Upserted

from .people import People, crm, email, named, token

ANN, ANNA, PHONE = "ann@example.org", "anna@example.org", "+12025550111"
SOURCE = "import:people.csv"


@dataclass
class Desk(People):
    """People, and those who decide about them."""

    async def brings(self, *units: NewRecipient) -> list[Upserted | HubError]:
        found: list[Upserted | HubError] = await self.run(
            lambda tx: self.hub.intake.upsert(tx, self.side, units, source=SOURCE, actor="command_line")
        )
        return found

    async def items(self, state: ReviewState | None = None, kind: ReviewKind | None = None) -> list[Review]:
        found: list[Review] = await self.run(lambda tx: self.hub.queue.page(tx, self.side, state, kind, None, 100))
        return found

    async def told(self, review_id: UUID) -> Told:
        found: Told = await self.run(lambda tx: self.hub.queue.read(tx, self.side, review_id))
        return found

    async def accept(self, review_id: UUID, reason: str | None = None) -> Decided | ReviewStale:
        done: Decided | ReviewStale = await self.run(
            lambda tx: self.hub.reviews.accept(tx, self.side, review_id, "key_2", reason)
        )
        return done

    async def reject(self, review_id: UUID, reason: str | None = None) -> Review:
        done: Review = await self.run(lambda tx: self.hub.reviews.reject(tx, self.side, review_id, "key_2", reason))
        return done

    async def two(self) -> tuple[UUID, UUID]:
        """Ann by her address, and by her number, as two recipients."""
        return await self.person(ANN, "crm-1", traits={"plan": "pro"}), await self.person(PHONE)

    async def happened(self) -> list[str]:
        rows = await self.rows("select type from events where type like 'review.%' order by position")
        return [row["type"] for row in rows]

    async def erase(self, person: UUID) -> None:
        """Destroy a person's key, as an erasure does."""
        await self.rows(
            "update subject_keys set destroyed_at = now(), wrapped = null where workspace_id = $1 and subject_id = $2"
            " returning 1",
            self.side, person,
        )  # fmt: skip
        self.hub.around.vault.forget(self.side, person)


@pytest.fixture
async def desk(hub: Hub, workspace_id: WorkspaceId) -> Desk:
    await publish(hub.around.db, workspace_id, "n", "1")
    return Desk(hub, workspace_id)


def unit(*values: str, **profile: Any) -> NewRecipient:
    return NewRecipient(tuple(named(value) for value in values), Profile(**profile))


async def refusal(work: Any) -> str:
    with pytest.raises(HubError) as caught:
        await work
    return caught.value.code


# an identity conflict


async def test_a_conflict_on_intake_opens_an_item_that_the_refusal_names(desk: Desk) -> None:
    ann, phone = await desk.two()
    new, refused = await desk.brings(unit("new@example.org"), unit(ANN, PHONE, locale="de", traits={"city": "Graz"}))
    [item] = await desk.items()
    assert isinstance(new, Upserted), "the others get in"
    assert isinstance(refused, IdentityConflict)
    assert ids.show("rev", item.id) in refused.detail
    assert (item.kind, item.state, item.source, item.seen) == ("identity_conflict", "open", SOURCE, 1)
    assert set(item.recipients) == {ann, phone}
    evidence = (await desk.told(item.id)).evidence
    assert isinstance(evidence, Identities)
    by_id = {one.id: one for one in evidence.candidates}
    first, second = by_id[ids.show("rcp", ann)], by_id[ids.show("rcp", phone)]
    assert (first.external_id, first.identifiers, first.claimed, first.sources) == (
        "crm-1", ["email", "external_id"], ["email"], ["api"],
    )  # fmt: skip
    assert (second.external_id, second.claimed, second.created_at) == (None, ["phone"], desk.clock.now())
    assert evidence.brought == unit(ANN, PHONE, locale="de", traits={"city": "Graz"})
    assert (await desk.read(ann)).traits == {"plan": "pro"}, "nothing was applied"
    assert await desk.happened() == ["review.opened"]
    [row] = await desk.rows("select evidence from reviews")
    assert b"ann" not in row["evidence"]


async def test_the_api_opens_no_item(desk: Desk) -> None:
    await desk.two()
    with pytest.raises(AssertionError, match="belong to"):
        await desk.person(ANN, PHONE)
    assert await desk.items() == []


async def test_the_same_conflict_is_one_item_that_counts(desk: Desk) -> None:
    await desk.two()
    await desk.brings(unit(ANN, PHONE))
    desk.clock.advance(timedelta(days=1))
    await desk.brings(unit(PHONE, ANN, locale="de"), unit(ANN, PHONE, locale="fr"))
    [item] = await desk.items()
    assert (item.seen, item.last_seen_at) == (3, desk.clock.now())
    evidence = (await desk.told(item.id)).evidence
    assert isinstance(evidence, Identities)
    assert evidence.brought.profile.locale == "fr", "what came last is what would be applied"
    assert await desk.happened() == ["review.opened"]


async def test_accepting_makes_them_one_and_applies_what_was_brought(desk: Desk) -> None:
    ann, phone = await desk.two()
    await desk.brings(unit(ANN, PHONE, "new@example.org", locale="de", traits={"city": "Graz"}))
    [item] = await desk.items()
    done = await desk.accept(item.id, "same number on paper")
    assert isinstance(done, Decided)
    one = await desk.read(phone)
    assert one.id == (await desk.read(ann)).id == done.recipient_id
    assert {known.value for known in one.identifiers} == {ANN, PHONE, "crm-1", "new@example.org"}
    assert (one.locale, one.traits) == ("de", {"plan": "pro", "city": "Graz"})
    [merge] = (await desk.explain(ann)).merges
    assert merge.evidence is not None
    assert (merge.merge.id, merge.merge.rule, merge.merge.actor) == (done.merges[0], Rule.REVIEW, "key_2")
    assert merge.evidence.reason == "same number on paper"
    told = await desk.told(item.id)
    assert (told.review.state, told.review.decided_by, told.reason) == ("accepted", "key_2", "same number on paper")
    audited = await desk.run(lambda tx: list_audit(tx, desk.side))
    assert {"review.accepted", "recipient.merged"} <= {one.action for one in audited}
    assert "example.org" not in str(audited)
    assert await desk.happened() == ["review.opened", "review.accepted"]
    await desk.split(ann, merge.merge.id)
    [refused] = await desk.brings(unit(ANN, PHONE))
    assert isinstance(refused, IdentityConflict), "taken back, it is in conflict again"
    assert [one.state for one in await desk.items()] == ["open", "accepted"]


async def test_a_second_external_id_finds_the_person_once_accepted(desk: Desk) -> None:
    ann = await desk.person(ANN, "crm-1")
    await desk.brings(unit(ANN, "crm-2", traits={"plan": "free"}))
    [item] = await desk.items()
    evidence = (await desk.told(item.id)).evidence
    assert isinstance(evidence, Identities)
    assert [(one.id, one.external_id) for one in evidence.candidates] == [
        (ids.show("rcp", ann), "crm-1"),
        (None, "crm-2"),
    ]
    await desk.accept(item.id)
    assert await desk.person("crm-2") == await desk.person("crm-1") == ann
    assert (await desk.read(ann)).traits == {"plan": "free"}
    [again] = await desk.brings(unit(ANN, "crm-2"))
    assert isinstance(again, Upserted)


async def test_three_become_one(desk: Desk) -> None:
    people = [await desk.person(one) for one in (ANN, ANNA, PHONE)]
    await desk.brings(unit(ANN, ANNA, PHONE))
    [item] = await desk.items()
    done = await desk.accept(item.id)
    assert isinstance(done, Decided)
    assert len(done.merges) == 2
    assert {(await desk.read(one)).id for one in people} == {done.recipient_id}


async def test_whose_device_it_was_is_not_made_one_with_them(desk: Desk) -> None:
    """Two known persons are in conflict; a third one only used the device before."""
    ann, phone = await desk.two()
    bob = await desk.one(crm("bob"), token("token-of-the-phone"))
    brought = NewRecipient((named(ANN), named(PHONE), token("token-of-the-phone")))
    await desk.brings(brought)
    [item] = await desk.items()
    assert set(item.recipients) == {ann, phone}
    done = await desk.accept(item.id)
    assert isinstance(done, Decided)
    assert (await desk.read(bob)).id == bob
    assert set(await desk.owns(done.recipient_id)) == {"crm-1", ANN, PHONE, "token-of-the-phone"}


async def test_a_restricted_address_becomes_part_of_them(desk: Desk) -> None:
    """Who is known only by an address is nobody to merge with; the upsert takes them in as always."""
    await desk.two()
    await desk.say("withdrawn", email(ANNA))
    await desk.brings(unit(ANN, PHONE, ANNA))
    [item] = await desk.items()
    assert len(item.recipients) == 3
    done = await desk.accept(item.id)
    assert isinstance(done, Decided)
    assert len(done.merges) == 1
    assert await desk.verdict(done.recipient_id, ANNA) == "denied"
    assert await desk.verdict(done.recipient_id, ANN) == "unknown"


async def test_after_a_rejection_the_next_import_opens_nothing(desk: Desk) -> None:
    ann, phone = await desk.two()
    await desk.brings(unit(ANN, PHONE))
    [item] = await desk.items()
    rejected = await desk.reject(item.id, "father and son")
    [refused] = await desk.brings(unit(ANN, PHONE))
    assert isinstance(refused, IdentityConflict)
    assert f"{ids.show('rev', item.id)} rejected" in refused.detail
    [kept] = await desk.items()
    assert (kept.state, kept.seen, rejected.decided_by) == ("rejected", 2, "key_2")
    assert (await desk.told(item.id)).reason == "father and son"
    assert (await desk.read(ann)).id != (await desk.read(phone)).id
    assert await desk.happened() == ["review.opened", "review.rejected"]
    assert await refusal(desk.accept(item.id)) == await refusal(desk.reject(item.id)) == "review_decided"


async def test_another_conflict_of_the_same_people_is_another_item(desk: Desk) -> None:
    ann, _ = await desk.two()
    await desk.person(ANN, ANNA)
    await desk.brings(unit(ANN, PHONE))
    [item] = await desk.items()
    await desk.reject(item.id)
    await desk.brings(unit(ANNA, PHONE))
    assert len(await desk.items(ReviewState.OPEN)) == 1
    assert ann in (await desk.items())[0].recipients


# what changed meanwhile


async def test_who_was_merged_meanwhile_is_not_merged_again(desk: Desk) -> None:
    ann, phone = await desk.two()
    await desk.brings(unit(ANN, PHONE, traits={"old": True}))
    [item] = await desk.items()
    await desk.merge(ann, phone)
    assert isinstance(await desk.accept(item.id), ReviewStale)
    [stale] = await desk.items()
    assert (stale.state, stale.decided_by) == ("superseded", "hub")
    assert "old" not in (await desk.read(ann)).traits
    assert await refusal(desk.accept(item.id)) == "review_decided"
    assert (await desk.happened())[-1] == "review.superseded"


async def test_what_cannot_be_merged_stays_open(desk: Desk) -> None:
    await desk.person(*(f"a{n}@example.org" for n in range(9)), ANN)
    await desk.person(*(f"b{n}@example.org" for n in range(9)), PHONE)
    await desk.brings(unit(ANN, PHONE))
    [item] = await desk.items()
    assert await refusal(desk.accept(item.id)) == "too_many_identifiers"
    assert [one.state for one in await desk.items()] == ["open"]


async def test_of_two_who_accept_at_once_one_wins(desk: Desk) -> None:
    ann, _ = await desk.two()
    await desk.brings(unit(ANN, PHONE))
    [item] = await desk.items()
    answers = await asyncio.gather(*(desk.accept(item.id) for _ in range(3)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in answers) == ["Decided", "ReviewDecided", "ReviewDecided"]
    assert len((await desk.explain(ann)).merges) == 1


async def test_accept_and_reject_at_once_come_to_one_thing(desk: Desk) -> None:
    ann, phone = await desk.two()
    await desk.brings(unit(ANN, PHONE))
    [item] = await desk.items()
    answers = await asyncio.gather(desk.accept(item.id), desk.reject(item.id), return_exceptions=True)
    assert sum(isinstance(one, HubError) for one in answers) == 1
    [after] = await desk.items()
    merged = (await desk.read(ann)).id == (await desk.read(phone)).id
    assert merged is (after.state is ReviewState.ACCEPTED)


async def test_imports_at_once_open_one_item(desk: Desk) -> None:
    await desk.two()
    await asyncio.gather(*(desk.brings(unit(ANN, PHONE)) for _ in range(5)))
    [item] = await desk.items()
    assert item.seen == 5
    assert await desk.happened() == ["review.opened"]


async def test_whoever_is_erased_takes_the_evidence_along(desk: Desk) -> None:
    """Without the key of one of them nobody reads it, also where the row is still there, as in a backup."""
    ann, phone = await desk.two()
    await desk.brings(unit(ANN, PHONE), unit(ANN, "crm-2"))
    both = await desk.items()
    await desk.erase(phone)
    [concerned] = [one for one in both if phone in one.recipients]
    assert concerned.sealed is not None
    assert (await desk.told(concerned.id)).evidence is None
    assert isinstance(await desk.accept(concerned.id), ReviewStale)
    [other] = [one for one in both if phone not in one.recipients]
    assert (await desk.told(other.id)).evidence is not None
    assert ann in other.recipients


async def test_forgetting_empties_what_concerns_the_person_and_nothing_else(desk: Desk) -> None:
    ann, phone = await desk.two()
    await desk.brings(unit(ANN, PHONE), unit(ANN, "crm-2"))
    decided, *_ = [one for one in await desk.items() if phone not in one.recipients]
    await desk.reject(decided.id, "she is ann@example.org")
    await desk.run(lambda tx: desk.hub.queue.forget(tx, desk.side, [phone]))
    [item] = [one for one in await desk.items() if one.id != decided.id]
    assert (item.state, item.sealed, item.recipients, item.decided_by) == ("superseded", None, [ann], "hub")
    assert (await desk.told(decided.id)).reason == "she is ann@example.org"
    await desk.run(lambda tx: desk.hub.queue.forget(tx, desk.side, [ann]))
    told = await desk.told(decided.id)
    assert (told.review.state, told.evidence, told.reason) == ("rejected", None, None)
    assert [one.recipients for one in await desk.items()] == [[], []]


async def test_nobody_reads_or_decides_what_is_another_sides(desk: Desk, hub: Hub) -> None:
    await desk.two()
    await desk.brings(unit(ANN, PHONE))
    [item] = await desk.items()
    other = Desk(hub, WorkspaceId(ids.new()))
    assert await other.items() == []
    for work in (other.told(item.id), other.accept(item.id), other.reject(item.id)):
        assert await refusal(work) == "review_not_found"
    await other.run(lambda tx: hub.queue.forget(tx, other.side, item.recipients))
    assert (await desk.told(item.id)).evidence is not None


# a consent conflict


async def granted(desk: Desk, **more: Any) -> Any:
    """A source that nobody watches says that Ann agreed."""
    return await desk.say("granted", email(ANN), **{"rank": Rank.IMPORT, "source": "crm-sync"} | more)


async def items_of(desk: Desk) -> Sequence[Review]:
    return await desk.items(kind=ReviewKind.CONSENT_CONFLICT)


async def test_an_imported_grant_against_a_restriction_opens_an_item(desk: Desk) -> None:
    ann = await desk.person(ANN)
    await desk.say("withdrawn", email(ANN))
    refused = await granted(desk)
    await granted(desk)
    [item] = await items_of(desk)
    assert (refused.applied, item.seen, item.source, item.recipients) == (False, 2, "crm-sync", [ann])
    evidence = (await desk.told(item.id)).evidence
    assert isinstance(evidence, Grant)
    assert (evidence.value, evidence.channel, evidence.refused_because) == (ANN, "email", "restriction_stands")
    assert await desk.verdict(ann, ANN) == "denied"


@pytest.mark.parametrize(
    ("decision", "more"),
    [("granted", {"rank": Rank.SECRET_KEY}), ("withdrawn", {"rank": Rank.IMPORT}), ("granted", {"rank": Rank.PERSON})],
)
async def test_what_the_rules_decide_themselves_opens_none(desk: Desk, decision: str, more: dict[str, Any]) -> None:
    await desk.person(ANN)
    await desk.say("withdrawn", email(ANN))
    await desk.say(decision, email(ANN), **more)
    assert await items_of(desk) == []


async def test_accepting_lifts_a_plain_restriction_where_notice_and_evidence_are_complete(desk: Desk) -> None:
    ann = await desk.person(ANN)
    await desk.say("withdrawn", email(ANN))
    desk.clock.advance(timedelta(days=1))
    await granted(desk, occurred_at=desk.clock.now())
    [item] = await items_of(desk)
    done = await desk.accept(item.id)
    assert isinstance(done, Decided)
    assert (done.decision, done.applied) == (Decision.GRANTED, True)
    assert await desk.verdict(ann, ANN) == "allowed"
    rows = await desk.rows("select rank from consent_entries where applied and decision = 'granted'")
    assert [row["rank"] for row in rows] == [Rank.SECRET_KEY]
    assert [one.state for one in await items_of(desk)] == ["accepted"], "the grant that was recorded opens no other"


@pytest.mark.parametrize(
    ("restriction", "grant", "because"),
    [
        ({"decision": "objected"}, {}, "objection_stands"),
        ({"decision": "withdrawn", "method": Method.KEYWORD, "identifier_only": True}, {}, "objection_stands"),
        ({"decision": "objected", "method": Method.COMPLAINT}, {}, "objection_stands"),
        ({"decision": "withdrawn"}, {"notice": None}, "notice_or_evidence_incomplete"),
        ({"decision": "withdrawn"}, {"method": Method.IMPORT}, "newer_restriction_stands"),
    ],
)
async def test_accepting_lifts_nothing_that_the_rules_do_not(
    desk: Desk, restriction: dict[str, Any], grant: dict[str, Any], because: str
) -> None:
    """An objection, a complaint and a STOP are the person's own to take back, whoever decides here."""
    ann = await desk.person(ANN)
    await desk.say(**{"to": email(ANN)} | restriction)
    desk.clock.advance(timedelta(days=1))
    occurred = {} if grant.get("method") is Method.IMPORT else {"occurred_at": desk.clock.now()}
    await granted(desk, **occurred, **grant)
    [item] = await items_of(desk)
    done = await desk.accept(item.id)
    assert isinstance(done, Decided)
    assert (done.decision, done.applied, done.because) == (Decision.PENDING, False, because)
    assert await desk.verdict(ann, ANN) == "denied"


async def test_a_rejected_grant_opens_no_item_again(desk: Desk) -> None:
    await desk.person(ANN)
    await desk.say("objected", email(ANN))
    await granted(desk)
    [item] = await items_of(desk)
    await desk.reject(item.id)
    await granted(desk)
    assert [(one.state, one.seen) for one in await items_of(desk)] == [("rejected", 2)]


async def test_a_grant_for_an_address_that_went_elsewhere_is_stale(desk: Desk) -> None:
    ann, anna = await desk.person(ANN), await desk.person(ANNA, PHONE)
    merge = await desk.merge(anna, ann)
    await desk.say("withdrawn", email(ANN))
    await granted(desk)
    [item] = await items_of(desk)
    await desk.split(anna, merge.id)
    assert isinstance(await desk.accept(item.id), ReviewStale)
    assert [one.state for one in await items_of(desk)] == ["superseded"]
