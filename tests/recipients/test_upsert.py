"""Upserting and patching: whom a unit means, what it leaves behind, alone and against others."""

import asyncio
from typing import Any, cast
from uuid import UUID

import pytest
from msgspec import UNSET

from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError, Invalid, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.recipients import rules, store
from tabellion.recipients.store import Record
from tabellion.recipients.types import (
    IdentityConflict,
    Kind,
    Named,
    NewRecipient,
    Profile,
    Recipient,
    RefObject,
    Resolved,
    Upserted,
    VersionConflict,
)

from .conftest import Absorptions, Counting, Hub, wait_until_blocked

PHONE = "+431234567"


def person(
    email: str | None = None, phone: str | None = None, external_id: str | None = None, **profile: Any
) -> NewRecipient:
    named = [
        Named(kind, rules.normalise(kind, value))
        for kind, value in ((Kind.EXTERNAL_ID, external_id), (Kind.EMAIL, email), (Kind.PHONE, phone))
        if value
    ]
    return NewRecipient(tuple(named), Profile(**profile))


class People:
    """One process upserting into one workspace side."""

    def __init__(self, hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions) -> None:
        self.hub = hub
        self.workspace_id = workspace_id
        self.absorbed = absorbed

    async def upsert_in(self, tx: Tx, *units: NewRecipient) -> list[Upserted | HubError]:
        return await self.hub.recipients.upsert(tx, self.workspace_id, units, absorbed=self.absorbed)

    async def upsert(self, *units: NewRecipient) -> list[Upserted | HubError]:
        return await self.hub.db.run(lambda tx: self.upsert_in(tx, *units))

    async def one(self, unit: NewRecipient) -> Upserted:
        [answer] = await self.upsert(unit)
        assert isinstance(answer, Upserted), answer
        return answer

    async def read(self, recipient_id: UUID) -> Recipient:
        found = await self.hub.db.run(lambda tx: self.hub.recipients.read(tx, self.workspace_id, [recipient_id]))
        return found[recipient_id]

    async def hidden(self, email: str) -> UUID:
        """The address-only recipient of a new address."""
        ref = rules.ref(RefObject(email=email), "")
        resolve = self.hub.recipients.resolve
        [found] = await self.hub.db.run(lambda tx: resolve(tx, self.workspace_id, [ref], True, address_only=True))
        assert isinstance(found, Resolved)
        return found.recipient_id

    async def owner(self, email: str) -> UUID:
        ref = rules.ref(RefObject(email=email), "")
        [found] = await self.hub.db.run(lambda tx: self.hub.recipients.resolve(tx, self.workspace_id, [ref], False))
        assert isinstance(found, Resolved)
        return found.recipient_id

    async def count(self, what: str) -> int:
        found: int = await self.hub.db.run(lambda tx: tx.value(f"select count(*) from {what}"))
        return found

    async def events(self) -> list[str]:
        rows = await self.hub.db.run(lambda tx: tx.rows("select type from events order by position"))
        return [row["type"] for row in rows]


@pytest.fixture
def people(hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions) -> People:
    return People(hub, workspace_id, absorbed)


@pytest.fixture
def others(other_hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions) -> People:
    return People(other_hub, workspace_id, absorbed)


async def test_an_upsert_makes_a_recipient_and_the_next_one_finds_it(people: People) -> None:
    first = await people.one(person("Ann@example.org", PHONE, "crm-1", locale="de", traits={"plan": "pro"}))
    again = await people.one(person("ann@example.org"))
    assert first.created
    assert again == Upserted(first.recipient_id, False, 1)
    record = await people.read(first.recipient_id)
    assert (record.version, record.locale, record.traits) == (1, "de", {"plan": "pro"})
    assert {(one.kind, one.value) for one in record.identifiers} == {
        (Kind.EXTERNAL_ID, "crm-1"), (Kind.EMAIL, "Ann@example.org"), (Kind.PHONE, PHONE),
    }  # fmt: skip
    assert await people.events() == ["recipient.created"]


async def test_a_new_identifier_of_a_known_recipient_is_added(people: People) -> None:
    ann = await people.one(person("ann@example.org"))
    assert await people.one(person("ann@example.org", PHONE, "crm-1")) == Upserted(ann.recipient_id, False, 2)
    record = await people.read(ann.recipient_id)
    assert {one.kind for one in record.identifiers} == {Kind.EMAIL, Kind.PHONE, Kind.EXTERNAL_ID}
    assert record.version == 2
    assert await people.events() == ["recipient.created", "identifier.added", "identifier.added"]


async def test_traits_are_merged_and_fields_left_out_stay(people: People) -> None:
    ann = await people.one(person("ann@example.org", locale="de", traits={"plan": "pro", "city": {"zip": "1010"}}))
    await people.one(person("ann@example.org", time_zone="Europe/Vienna", traits={"plan": None, "city": {"name": "W"}}))
    record = await people.read(ann.recipient_id)
    assert record.traits == {"city": {"zip": "1010", "name": "W"}}
    assert (record.locale, record.time_zone, record.version) == ("de", "Europe/Vienna", 2)
    assert await people.events() == ["recipient.created", "recipient.updated"]


async def test_an_upsert_that_says_nothing_new_changes_no_version(people: People) -> None:
    unit = person("ann@example.org", locale="de", traits={"plan": "pro"})
    ann = await people.one(unit)
    await people.one(unit)
    assert (await people.read(ann.recipient_id)).version == 1
    assert await people.events() == ["recipient.created"]


async def test_verified_is_noted_once_and_never_taken_back(people: People) -> None:
    ann = await people.one(NewRecipient((Named(Kind.EMAIL, "ann@example.org"),)))
    [before] = (await people.read(ann.recipient_id)).identifiers
    await people.one(NewRecipient((Named(Kind.EMAIL, "ann@example.org", verified=True),)))
    await people.one(NewRecipient((Named(Kind.EMAIL, "ann@example.org", verified=False),)))
    [after] = (await people.read(ann.recipient_id)).identifiers
    assert before.verified_at is None
    assert after.verified_at is not None


async def test_two_recipients_matched_is_a_conflict_that_leaves_nothing_behind(people: People) -> None:
    ann, bob = await people.one(person("ann@example.org")), await people.one(person(phone=PHONE))
    [refusal] = await people.upsert(person("ann@example.org", PHONE, "crm-1", traits={"plan": "pro"}))
    assert isinstance(refusal, IdentityConflict)
    assert refusal.code == "identity_conflict"
    assert [len((await people.read(one.recipient_id)).identifiers) for one in (ann, bob)] == [1, 1]
    assert await people.count("identifiers") == 2


async def test_a_second_external_id_is_a_conflict(people: People) -> None:
    await people.one(person("ann@example.org", external_id="crm-1"))
    [refusal] = await people.upsert(person("ann@example.org", external_id="crm-2"))
    assert isinstance(refusal, IdentityConflict)


async def test_a_refused_unit_of_a_batch_stops_no_other_and_leaves_nothing(people: People) -> None:
    await people.one(person("ann@example.org"))
    await people.one(person(phone=PHONE))
    answers = await people.upsert(
        person("new1@example.org", external_id="crm-1"),
        person("ann@example.org", PHONE),
        person("huge@example.org", traits={"big": "x" * rules.TRAITS_SIZE}),
        person("new2@example.org"),
        person("ann@example.org", "+431234568", traits={"big": "x" * rules.TRAITS_SIZE}),
    )
    assert [type(one) for one in answers] == [Upserted, IdentityConflict, Invalid, Upserted, Invalid]
    assert await people.count("recipients") == 4
    assert await people.count("identifiers") == 5


async def test_units_of_a_batch_that_name_one_person_apply_in_order(people: People) -> None:
    answers = await people.upsert(
        person("ann@example.org", traits={"step": 1}),
        person("bob@example.org"),
        person("ann@example.org", PHONE, traits={"step": 2}),
        person(phone=PHONE, traits={"step": 3, "last": True}),
    )
    upserted = [one for one in answers if isinstance(one, Upserted)]
    assert [one.created for one in upserted] == [True, True, False, False]
    ann = upserted[0].recipient_id
    assert [one.recipient_id == ann for one in upserted] == [True, False, True, True]
    assert (await people.read(ann)).traits == {"step": 3, "last": True}


async def test_units_that_meet_only_through_a_stored_recipient_apply_in_order(people: People) -> None:
    ann = await people.one(person("ann@example.org", PHONE))
    await people.upsert(person("ann@example.org", traits={"n": 1}), person(phone=PHONE, traits={"n": 2}))
    record = await people.read(ann.recipient_id)
    assert (record.traits, record.version) == ({"n": 2}, 3)


async def test_a_thousand_units_go_in_one_transaction(people: People) -> None:
    units = [person(f"ann{number}@example.org", external_id=f"crm-{number}") for number in range(1000)]
    answers = await people.upsert(*units)
    assert all(isinstance(one, Upserted) and one.created for one in answers)
    assert await people.count("identifiers") == 2000


# address-only recipients


async def test_an_address_only_recipient_named_alone_becomes_full_in_place(people: People) -> None:
    hidden = await people.hidden("ann@example.org")
    assert await people.one(person("ann@example.org")) == Upserted(hidden, True, 2)
    assert not (await people.read(hidden)).address_only
    assert await people.events() == ["recipient.created"]


async def test_an_address_only_recipient_named_with_a_new_external_id_is_promoted_in_place(people: People) -> None:
    hidden = await people.hidden("ann@example.org")
    made = await people.one(person("ann@example.org", PHONE, "crm-1"))
    assert made == Upserted(hidden, True, 2)
    assert len((await people.read(hidden)).identifiers) == 3
    assert people.absorbed.seen == []


async def test_a_known_recipient_absorbs_the_address_only_one(people: People) -> None:
    hidden = await people.hidden("ann@example.org")
    ann = await people.one(person(external_id="crm-1"))
    assert await people.one(person("ann@example.org", external_id="crm-1")) == Upserted(ann.recipient_id, False, 2)
    assert people.absorbed.seen == [(hidden, ann.recipient_id)]
    assert await people.owner("ann@example.org") == ann.recipient_id
    record = await people.read(hidden)
    assert record.id == ann.recipient_id
    assert {one.value for one in record.identifiers} == {"crm-1", "ann@example.org"}
    assert await people.events() == ["recipient.created", "recipient.merged"]


async def test_absorbing_holds_both_rows_when_those_above_are_told(
    people: People, others: People, workspace_id: WorkspaceId
) -> None:
    hidden = await people.hidden("ann@example.org")
    ann = await people.one(person(external_id="crm-1"))
    pairs = [(workspace_id, hidden), (workspace_id, ann.recipient_id)]
    free: list[dict[tuple[UUID, UUID], UUID]] = []

    async def look(tx: Tx, workspace_id: WorkspaceId, from_id: UUID, to_id: UUID) -> None:
        lock = others.hub.recipients.lock
        free.append(await others.hub.db.run(lambda tx: lock(tx, pairs, skip_locked=True)))

    unit = person("ann@example.org", external_id="crm-1")
    upsert = people.hub.recipients.upsert
    await people.hub.db.run(lambda tx: upsert(tx, workspace_id, [unit], absorbed=look))
    assert free == [{}]


async def test_whoever_is_new_is_written_once(people: People) -> None:
    """Six statements for any number of them: they were inserted bare and updated, their keys looked for first."""
    await people.one(person("first@example.org"))
    units = [person(f"p{number}@example.org", traits={"plan": "pro"}, locale="de") for number in range(5)]
    async with people.hub.db.transaction() as tx:
        counting = Counting(tx)
        await people.upsert_in(cast(Tx, counting), *units)
    assert [one.split()[0] for one in counting.statements] == ["select"] + ["insert"] * 5


async def test_who_is_refused_is_not_made(people: People) -> None:
    refused, made = await people.upsert(
        person("ann@example.org", traits={"note": "x" * rules.TRAITS_SIZE}), person("ben@example.org")
    )
    assert isinstance(refused, HubError)
    assert isinstance(made, Upserted)
    assert await people.count("recipients") == await people.count("identifiers") == 1


async def test_a_merge_reads_whom_it_merges_and_nobody_else(people: People) -> None:
    """It read all recipients of the workspace under the locks: no index led from a root to itself."""
    made = [ids.new() for _ in range(2000)]

    async def work(tx: Tx) -> int:
        born = [Record(one, 1, False, None, None, None, tx.now, tx.now, None, False) for one in made]
        await store.insert_recipients(tx, people.workspace_id, born)
        before = await tx.value(READ)
        await store.merge(tx, people.workspace_id, [(made[1], made[0])])
        read: int = await tx.value(READ) - before
        assert await store.merged(tx, people.workspace_id, made[:1]) == [(made[0], made[1])]
        return read

    assert await people.hub.db.run(work) < 20


READ = "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'recipients'"


async def test_merged_into_always_points_at_the_root(people: People) -> None:
    first, second = await people.hidden("a@example.org"), await people.hidden("b@example.org")
    both = NewRecipient((Named(Kind.EMAIL, "a@example.org"), Named(Kind.EMAIL, "b@example.org")))
    promoted = await people.one(both)
    assert promoted.recipient_id == min(first, second)
    assert people.absorbed.seen == [(max(first, second), min(first, second))]
    roots = await people.hub.db.run(
        lambda tx: tx.value(
            """
            select count(*) from recipients r
              join recipients root on root.workspace_id = r.workspace_id and root.id = r.merged_into
             where root.merged_into <> root.id
            """
        )
    )
    assert roots == 0


# against others


async def test_upserts_that_name_one_address_with_two_external_ids_have_one_winner(
    people: People, others: People
) -> None:
    answers = await asyncio.gather(
        *(
            process.upsert(person("ann@example.org", external_id=f"crm-{number}"))
            for number, process in enumerate([people, others] * 4)
        )
    )
    kinds = [type(one) for [one] in answers]
    assert kinds.count(Upserted) == 1
    assert kinds.count(IdentityConflict) == 7
    assert await people.count("recipients") == 1
    assert await people.count("identifiers") == 2


async def test_upserts_that_add_to_one_recipient_all_arrive(people: People, others: People) -> None:
    ann = await people.one(person(external_id="crm-1"))
    units = [person(f"ann{n}@example.org", external_id="crm-1", traits={f"t{n}": n}) for n in range(10)]
    answers = await asyncio.gather(
        *(process.upsert(unit) for process, unit in zip([people, others] * 5, units, strict=True))
    )
    assert {one.recipient_id for [one] in answers if isinstance(one, Upserted)} == {ann.recipient_id}
    record = await people.read(ann.recipient_id)
    assert record.traits == {f"t{n}": n for n in range(10)}
    assert (len(record.identifiers), record.version) == (11, 11)


async def test_two_external_ids_for_one_recipient_at_once_have_one_winner(people: People, others: People) -> None:
    await people.one(person("ann@example.org"))
    answers = await asyncio.gather(
        people.upsert(person("ann@example.org", external_id="crm-1")),
        others.upsert(person("ann@example.org", external_id="crm-2")),
    )
    assert sorted(type(one).__name__ for [one] in answers) == ["IdentityConflict", "Upserted"]
    assert await people.count("identifiers") == 2


async def test_who_loses_a_race_for_an_address_takes_back_the_rest_and_tries_again(
    people: People, others: People, workspace_id: WorkspaceId
) -> None:
    """The address becomes an address-only recipient meanwhile: the unit then absorbs or promotes it."""
    ref = rules.ref(RefObject(email="ann@example.org"), "")
    await people.one(person("first@example.org"))
    async with people.hub.db.transaction() as tx:
        [hidden] = await people.hub.recipients.resolve(tx, workspace_id, [ref], True, address_only=True)
        waiting = asyncio.create_task(others.upsert(person("ann@example.org", PHONE, "crm-1")))
        await wait_until_blocked(people.hub)
    assert isinstance(hidden, Resolved)
    assert await waiting == [Upserted(hidden.recipient_id, True, 2)]
    assert len((await people.read(hidden.recipient_id)).identifiers) == 3
    assert await people.count("recipients") == 2


async def test_an_upsert_that_waited_for_a_merge_goes_on_with_the_root(people: People, others: People) -> None:
    hidden = await people.hidden("ann@example.org")
    ann = await people.one(person(external_id="crm-1"))
    async with people.hub.db.transaction() as tx:
        await people.upsert_in(tx, person("ann@example.org", external_id="crm-1"))
        waiting = asyncio.create_task(others.upsert(person("ann@example.org", traits={"plan": "pro"})))
        await wait_until_blocked(people.hub)
    assert await waiting == [Upserted(ann.recipient_id, False, 3)]
    assert (await people.read(hidden)).traits == {"plan": "pro"}


# patching


async def patch(people: People, recipient_id: UUID, profile: Profile, expected: set[int] | None = None) -> Recipient:
    service, workspace_id = people.hub.recipients, people.workspace_id
    done = await people.hub.db.run(lambda tx: service.patch(tx, workspace_id, recipient_id, profile, expected))
    return done.recipient


async def test_a_patch_changes_what_it_names_and_raises_the_version(people: People) -> None:
    ann = await people.one(person("ann@example.org", locale="de", traits={"plan": "pro", "age": 7}))
    after = await patch(people, ann.recipient_id, Profile(locale=None, traits={"plan": None}), expected={1})
    assert (after.locale, after.traits, after.version) == (None, {"age": 7}, 2)
    same = await patch(people, ann.recipient_id, Profile(locale=UNSET, traits={"age": 7}))
    assert same.version == 2
    cleared = await patch(people, ann.recipient_id, Profile(traits=None))
    assert (cleared.traits, cleared.version) == ({}, 3)
    assert await people.events() == ["recipient.created", "recipient.updated", "recipient.updated"]


async def test_a_patch_of_another_version_is_refused(people: People) -> None:
    ann = await people.one(person("ann@example.org"))
    with pytest.raises(VersionConflict) as refusal:
        await patch(people, ann.recipient_id, Profile(locale="de"), expected={2})
    assert refusal.value.status == 412


async def test_a_patch_of_nobody_or_of_an_address_only_recipient_is_refused(people: People) -> None:
    with pytest.raises(NotFound):
        await patch(people, ids.new(), Profile(locale="de"))
    with pytest.raises(Conflict):
        await patch(people, await people.hidden("ann@example.org"), Profile(locale="de"))


async def test_pages_list_full_recipients_newest_first(people: People) -> None:
    made = [(await people.one(person(f"ann{number}@example.org"))).recipient_id for number in range(5)]
    await people.hidden("hidden@example.org")
    service, workspace_id = people.hub.recipients, people.workspace_id
    first = await people.hub.db.run(lambda tx: service.page(tx, workspace_id, None, 3))
    rest = await people.hub.db.run(lambda tx: service.page(tx, workspace_id, first[-1].id, 3))
    assert [one.id for one in [*first, *rest]] == sorted(made, reverse=True)


# what is at rest


async def test_no_address_or_trait_is_in_the_database_as_text(people: People) -> None:
    await people.hidden("hidden-person@example.org")
    ann = await people.one(person("ann-person@example.org", PHONE, "crm-person", traits={"nick": "trait-person"}))
    await people.one(person("hidden-person@example.org", external_id="crm-person"))
    await patch(people, ann.recipient_id, Profile(traits={"nick": "trait-person-2"}))
    stored = await everything(people.hub)
    for needle in ("person", PHONE.removeprefix("+")):
        assert not [place for place, text in stored if needle in text or needle.encode().hex() in text], needle
    assert any("example.org" in text for place, text in stored if place == "identifiers")


async def everything(hub: Hub) -> list[tuple[str, str]]:
    """Every row of every table as (table, text); bytes show as hex."""
    tables = "select tablename from pg_tables where schemaname = 'public'"
    found = []
    async with hub.db.transaction() as tx:
        for table in await tx.rows(tables):
            name = table["tablename"]
            found += [(name, row["text"]) for row in await tx.rows(f"select t::text as text from {name} t")]
    return found


async def test_a_sealed_value_moved_to_another_row_does_not_open(people: People) -> None:
    ann, bob = await people.one(person("ann@example.org")), await people.one(person("bob@example.org"))
    swap = """
        update identifiers set value = (select value from identifiers where recipient_id = $1) where recipient_id = $2
    """
    await people.hub.db.run(lambda tx: tx.execute(swap, ann.recipient_id, bob.recipient_id))
    with pytest.raises(HubError) as refusal:
        await people.read(bob.recipient_id)
    assert refusal.value.code == "unreadable"
