"""Resolving, alone and against others; locking."""

import asyncio
import random
from uuid import UUID

import pytest

from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, Invalid, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.recipients import rules
from tabellion.recipients.types import Kind, Named, NewRecipient, Ref, RefObject, Resolved, Upserted

from .conftest import Absorptions, Counting, Hub, wait_until_blocked


def emails(*names: str) -> list[Ref]:
    return [rules.ref(RefObject(email=f"{name}@example.org"), "/to") for name in names]


async def resolve(
    hub: Hub, workspace_id: WorkspaceId, refs: list[Ref], create: bool = True, address_only: bool = False
) -> list[Resolved]:
    """All of them, none refused."""
    found = await hub.db.run(
        lambda tx: hub.recipients.resolve(tx, workspace_id, refs, create, address_only=address_only)
    )
    assert all(isinstance(one, Resolved) for one in found), found
    return [one for one in found if isinstance(one, Resolved)]


async def count(hub: Hub, what: str) -> int:
    found: int = await hub.db.run(lambda tx: tx.value(f"select count(*) from {what}"))
    return found


async def test_units_that_name_one_new_address_share_its_recipient_in_the_order_given(
    hub: Hub, workspace_id: WorkspaceId
) -> None:
    found = await resolve(hub, workspace_id, emails("ann", "bob", "ANN", "ann", "eve"))
    ann, bob = found[0].recipient_id, found[1].recipient_id
    assert [one.recipient_id for one in found[:4]] == [ann, bob, ann, ann]
    assert [one.created for one in found] == [True, True, False, False, True]
    assert found[2].identifier is not None
    assert found[2].identifier.value == "ANN@example.org"
    assert await count(hub, "recipients") == 3
    assert await count(hub, "events where type = 'recipient.created'") == 3


async def test_a_number_at_a_glance_means_the_same_as_one_that_was_parsed(hub: Hub, workspace_id: WorkspaceId) -> None:
    """Unparsed until nobody has it: then it is normalised like any other, or refused."""
    normal, zero, none = "+442071838750", "+4402071838750", "+99912345678"
    asked = [RefObject(phone=one) for one in (zero, none, normal, "+44 20 7183 8750")]
    refs = [hub.recipients.glance(workspace_id, one, "/to") for one in asked]
    assert [one.written for one in refs] == [True, True, True, False]
    for create in (True, False):
        found = await hub.db.run(lambda tx, create=create: hub.recipients.resolve(tx, workspace_id, refs, create))
        wrong = found.pop(1)
        assert isinstance(wrong, Invalid)
        assert wrong.errors[0].pointer == "/to/phone"
        values = {one.identifier.value for one in found if isinstance(one, Resolved) and one.identifier}
        assert (len(found), values) == (3, {normal})
    assert await count(hub, "identifiers") == await count(hub, "recipients") == 1


async def test_a_known_address_id_or_external_id_resolves_to_its_recipient(
    hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions
) -> None:
    unit = NewRecipient((Named(Kind.EXTERNAL_ID, "crm-1"), Named(Kind.EMAIL, "ann@example.org", verified=True)))
    [made] = await hub.db.run(lambda tx: hub.recipients.upsert(tx, workspace_id, [unit], absorbed=absorbed))
    assert not isinstance(made, HubError)
    refs = [rules.ref(RefObject(external_id="crm-1"), ""), *emails("ann"), Ref(id=made.recipient_id)]
    found = await resolve(hub, workspace_id, refs, create=False)
    assert {one.recipient_id for one in found} == {made.recipient_id}
    assert found[1].identifier is not None
    assert found[1].identifier.verified_at is not None
    assert found[2].identifier is None


async def test_who_is_unknown_is_refused_in_place_and_stops_no_other(hub: Hub, workspace_id: WorkspaceId) -> None:
    refs = [Ref(id=ids.new()), *emails("ann"), rules.ref(RefObject(external_id="crm-1"), "/to")]
    found = await hub.db.run(lambda tx: hub.recipients.resolve(tx, workspace_id, refs, True))
    assert [type(one) for one in found] == [NotFound, Resolved, NotFound]
    nobody = await hub.db.run(lambda tx: hub.recipients.resolve(tx, workspace_id, emails("bob"), False))
    assert isinstance(nobody[0], NotFound)
    assert await count(hub, "recipients") == 1


async def test_an_address_only_recipient_is_hidden_from_lists_and_stays_so(hub: Hub, workspace_id: WorkspaceId) -> None:
    [hidden] = await resolve(hub, workspace_id, emails("ann"), address_only=True)
    assert hidden.address_only
    [again] = await resolve(hub, workspace_id, emails("ann"))
    assert (again.recipient_id, again.created, again.address_only) == (hidden.recipient_id, False, True)
    assert await hub.db.run(lambda tx: hub.recipients.page(tx, workspace_id, None, 50)) == []
    assert await count(hub, "events") == 0


async def test_two_workspaces_share_nothing(hub: Hub, workspace_id: WorkspaceId) -> None:
    other = WorkspaceId(ids.new())
    [mine] = await resolve(hub, workspace_id, emails("ann"))
    [theirs] = await resolve(hub, other, emails("ann"))
    assert mine.recipient_id != theirs.recipient_id
    assert mine.identifier is not None
    assert theirs.identifier is not None
    assert mine.identifier.hash != theirs.identifier.hash
    crossed = await hub.db.run(lambda tx: hub.recipients.resolve(tx, other, [Ref(id=mine.recipient_id)], True))
    assert isinstance(crossed[0], NotFound)
    pair = (other, mine.recipient_id)
    assert await hub.db.run(lambda tx: hub.recipients.lock(tx, [pair], skip_locked=False)) == {}
    assert await hub.db.run(lambda tx: hub.recipients.identifiers(tx, [pair])) == {pair: []}
    assert await hub.db.run(lambda tx: hub.recipients.read(tx, other, [mine.recipient_id])) == {}


async def test_256_known_addresses_take_one_statement(hub: Hub, workspace_id: WorkspaceId) -> None:
    refs = emails(*(f"ann{number}" for number in range(256)))
    await resolve(hub, workspace_id, refs)
    async with hub.db.transaction() as tx:
        counting = Counting(tx)
        await hub.recipients.resolve(counting, workspace_id, refs, True)  # type: ignore[arg-type]
    assert len(counting.statements) == 1


async def test_256_new_addresses_take_a_handful_of_statements(hub: Hub, workspace_id: WorkspaceId) -> None:
    await resolve(hub, workspace_id, emails("first"))
    refs = emails(*(f"ann{number}" for number in range(256)))
    async with hub.db.transaction() as tx:
        counting = Counting(tx)
        await hub.recipients.resolve(counting, workspace_id, refs, True)  # type: ignore[arg-type]
    ours = [one for one in counting.statements if "subject_keys" not in one and "insert into events" not in one]
    assert len(ours) == 2
    assert len(counting.statements) <= 6


async def test_processes_that_name_the_same_new_addresses_agree(
    hub: Hub, other_hub: Hub, workspace_id: WorkspaceId
) -> None:
    """Each in an order of its own, from two pools: no deadlock, no error, one recipient an address."""
    names = [f"ann{number}" for number in range(60)]
    shuffle = random.Random(7)

    async def one(process: Hub) -> dict[str, UUID]:
        order = shuffle.sample(names, 40)
        async with process.db.transaction() as tx:  # no second try: a deadlock would show
            found = await process.recipients.resolve(tx, workspace_id, emails(*order), True)
        return {
            name: person.recipient_id for name, person in zip(order, found, strict=True) if isinstance(person, Resolved)
        }

    answers = await asyncio.gather(*(one(process) for _ in range(6) for process in (hub, other_hub)))
    agreed: dict[str, set[UUID]] = {}
    for answer in answers:
        for name, person in answer.items():
            agreed.setdefault(name, set()).add(person)
    assert all(len(people) == 1 for people in agreed.values())
    assert await count(hub, "recipients") == len(agreed)
    assert await count(hub, "identifiers") == len(agreed)
    assert await count(hub, "events where type = 'recipient.created'") == len(agreed)


async def test_an_address_another_transaction_is_making_is_waited_for(
    hub: Hub, other_hub: Hub, workspace_id: WorkspaceId
) -> None:
    await resolve(hub, workspace_id, emails("first"))
    async with hub.db.transaction() as tx:
        [ours] = await hub.recipients.resolve(tx, workspace_id, emails("ann"), True)
        waiting = asyncio.create_task(resolve(other_hub, workspace_id, emails("bob", "ann")))
        await wait_until_blocked(hub)
    theirs = await waiting
    assert isinstance(ours, Resolved)
    assert (theirs[1].recipient_id, theirs[1].created) == (ours.recipient_id, False)
    assert theirs[0].created


async def test_new_addresses_are_taken_in_one_order_however_they_are_named(
    hub: Hub, other_hub: Hub, workspace_id: WorkspaceId
) -> None:
    """Both stop at an address a third makes: in the order named, each would hold what the other needs next."""
    await resolve(hub, workspace_id, emails("first"))

    async def make(process: Hub, *names: str) -> None:
        async with process.db.transaction() as tx:  # no second try: a deadlock would show
            await process.recipients.resolve(tx, workspace_id, emails(*names), True)

    async with hub.db.transaction() as tx:
        await hub.recipients.resolve(tx, workspace_id, emails("middle"), True)
        both = asyncio.gather(make(hub, "ann", "middle", "bob"), make(other_hub, "bob", "middle", "ann"))
        await wait_until_blocked(hub, 2)
    await both
    assert await count(hub, "recipients") == 4


# locking


async def merge(tx: Tx, workspace_id: WorkspaceId, from_id: UUID, into_id: UUID) -> None:
    await tx.execute(
        "update recipients set merged_into = $3 where workspace_id = $1 and id = $2", workspace_id, from_id, into_id
    )


async def test_a_merged_recipient_resolves_to_and_locks_its_root(hub: Hub, workspace_id: WorkspaceId) -> None:
    ann, bob = (one.recipient_id for one in await resolve(hub, workspace_id, emails("ann", "bob")))
    await hub.db.run(lambda tx: merge(tx, workspace_id, bob, ann))
    [found] = await resolve(hub, workspace_id, [Ref(id=bob)])
    assert found.recipient_id == ann
    pairs = [(workspace_id, bob), (workspace_id, ann), (workspace_id, bob)]
    locked = await hub.db.run(lambda tx: hub.recipients.lock(tx, pairs, skip_locked=False))
    assert locked == {(workspace_id, bob): ann, (workspace_id, ann): ann}


async def test_a_recipient_that_somebody_holds_is_skipped_where_asked(
    hub: Hub, other_hub: Hub, workspace_id: WorkspaceId
) -> None:
    people = [(workspace_id, one.recipient_id) for one in await resolve(hub, workspace_id, emails("ann", "bob"))]
    async with hub.db.transaction() as tx:
        await hub.recipients.lock(tx, people[:1], skip_locked=False)
        free = await other_hub.db.run(lambda tx: other_hub.recipients.lock(tx, people, skip_locked=True))
    assert list(free) == people[1:]


async def test_a_lock_waited_for_shows_the_root_that_the_merge_left(
    hub: Hub, other_hub: Hub, workspace_id: WorkspaceId
) -> None:
    ann, bob = (one.recipient_id for one in await resolve(hub, workspace_id, emails("ann", "bob")))
    async with hub.db.transaction() as tx:
        await hub.recipients.lock(tx, [(workspace_id, ann), (workspace_id, bob)], skip_locked=False)
        await merge(tx, workspace_id, bob, ann)
        waiting = asyncio.create_task(
            other_hub.db.run(lambda tx: other_hub.recipients.lock(tx, [(workspace_id, bob)], skip_locked=False))
        )
        await wait_until_blocked(hub)
    assert await waiting == {(workspace_id, bob): ann}


async def test_an_insert_that_refers_to_a_locked_recipient_does_not_wait(
    hub: Hub, other_hub: Hub, workspace_id: WorkspaceId
) -> None:
    [ann] = await resolve(hub, workspace_id, emails("ann"))
    insert = """
        insert into identifiers (workspace_id, hash, kind, recipient_id, value, source, first_seen_at, last_seen_at)
        values ($1, $2, 'phone', $3, '', 'test', now(), now())
    """
    async with hub.db.transaction() as tx:
        await hub.recipients.lock(tx, [(workspace_id, ann.recipient_id)], skip_locked=False)
        await other_hub.db.run(lambda tx: tx.execute(insert, workspace_id, bytes(32), ann.recipient_id), limit=2.0)


async def test_an_erased_recipient_is_found_by_nobody(hub: Hub, workspace_id: WorkspaceId) -> None:
    [ann] = await resolve(hub, workspace_id, emails("ann"))
    erase = "update recipients set erased_at = now() where id = $1"
    await hub.db.run(lambda tx: tx.execute(erase, ann.recipient_id))
    found = await hub.db.run(lambda tx: hub.recipients.resolve(tx, workspace_id, [Ref(id=ann.recipient_id)], True))
    assert isinstance(found[0], NotFound)


@pytest.mark.parametrize("create", [True, False])
async def test_nothing_asked_is_nothing_answered(hub: Hub, workspace_id: WorkspaceId, create: bool) -> None:
    assert await resolve(hub, workspace_id, [], create) == []


async def test_external_ids_are_found_for_those_who_have_one(
    hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions
) -> None:
    async def made(tx: Tx) -> list[UUID]:
        units = [NewRecipient((Named(kind, value),)) for kind, value in (
            (Kind.EXTERNAL_ID, "crm-1"), (Kind.EMAIL, "bo@example.org"), (Kind.EXTERNAL_ID, "crm-2"),
        )]  # fmt: skip
        found = await hub.recipients.upsert(tx, workspace_id, units, absorbed=absorbed)
        return [one.recipient_id for one in found if isinstance(one, Upserted)]

    ann, bo, cy = await hub.db.run(made)
    asked = [ann, bo, cy, ids.new(), ann]
    found = await hub.db.run(lambda tx: hub.recipients.external_ids(tx, workspace_id, asked))
    assert found == {ann: "crm-1", cy: "crm-2"}
    other = WorkspaceId(ids.new())
    assert await hub.db.run(lambda tx: hub.recipients.external_ids(tx, other, asked)) == {}
    assert await hub.db.run(lambda tx: hub.recipients.external_ids(tx, workspace_id, [])) == {}


async def test_a_look_up_by_hash_is_a_probe_of_the_key_on_an_empty_table(hub: Hub, workspace_id: WorkspaceId) -> None:
    """Planned through the index by person, and kept that way, it read everybody of the workspace for each hash."""
    rows = await hub.db.run(
        lambda tx: tx.rows(
            f"""
            explain select recipient_id, source, verified_at, first_seen_at, last_seen_at, health, health_reason
                      from identifiers
                     where workspace_id = '{workspace_id}' and hash = '\\x01'
                     limit 1
            """
        )
    )
    plan = "\n".join(row[0] for row in rows)
    assert "using identifiers_pkey" in plan
    assert "Filter" not in plan
