"""Idle recipients on a whole hub: who is erased by the policy, by which machinery, and who never is."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tabellion.access.types import Role
from tabellion.core import ids
from tabellion.events.followers import counting, follow
from tabellion.privacy import idle, rounds
from tabellion.recipients.types import Kind, Named, Profile, Resolved

from .conftest import MINUTE, Client, World, mail

ANN = "ann@example.org"
BOB = "bob@example.org"
DAY = timedelta(days=1)


@pytest.fixture
async def client(world: World, api: Client) -> httpx.AsyncClient:
    """Of a side that keeps nobody for longer than a hundred days after they were heard of."""
    opened = await api(Role.COMPLIANCE)
    assert (await opened.put("/v1/retention", json={"recipients": 100})).status_code == 200
    return opened


async def applied(world: World) -> int:
    """Whose erasure a round ordered."""
    await follow(world.db, counting(), 500)
    return (await world.hub.rounds.apply(world.db)).recipients


async def orders(client: httpx.AsyncClient) -> dict[str, Any]:
    """What was ordered, by the person, oldest first."""
    found = (await client.get("/v1/regulations?limit=100")).json()["data"]
    return {one["recipient_id"]: one for one in reversed(found)}


async def erased(world: World) -> set[UUID]:
    return {row["id"] for row in await world.rows("select id from recipients where erased_at is not null")}


async def people(world: World, count: int) -> list[UUID]:
    return [await world.person(f"p{number}@example.org") for number in range(count)]


async def test_whom_nobody_heard_of_for_so_long_is_erased_as_by_an_order(
    world: World, client: httpx.AsyncClient
) -> None:
    person = await world.person(ANN)
    world.clock.advance(99 * DAY)
    assert await applied(world) == 0
    world.clock.advance(2 * DAY)
    assert await applied(world) == 1
    assert await applied(world) == 0, "it is ordered already"
    await world.pass_time(2 * MINUTE)
    [order] = (await orders(client)).values()
    assert (order["type"], order["state"], order["recipient_id"]) == ("erase", "done", ids.show("rcp", person))
    assert (order["requested_by"], order["verified_by"]) == ("retention", "retention policy")
    assert await erased(world) == {person}
    assert (await client.get(f"/v1/regulations/{order['id']}/certificate")).status_code == 200
    [entry] = await world.hub.replay.erasure.journal.read()
    assert (entry.recipient_ids, entry.requested_by, len(entry.hashes)) == ([person], "retention", 1)
    audited = await world.rows("select actor, target from audit where action = 'regulation.created'")
    assert [tuple(row) for row in audited] == [("retention", order["id"])]


async def test_who_was_named_written_to_or_decided_stays(world: World, client: httpx.AsyncClient) -> None:
    named, written, decided, waiting, changed, gone = await people(world, 6)
    await world.send(waiting, mail())
    await world.execute("update messages set final = false, updated_at = '2000-01-01'")
    world.clock.advance(50 * DAY)
    await world.person("p0@example.org")
    await world.send(written, mail())
    await world.execute("update messages set final = true where recipient_id = $1", written)
    await world.decide(decided, "denied", "email")
    await client.patch(f"/v1/recipients/{ids.show('rcp', changed)}", json={"locale": "de"})
    world.clock.advance(51 * DAY)
    assert await applied(world) == 1
    assert list(await orders(client)) == [ids.show("rcp", gone)]
    world.clock.advance(50 * DAY)
    assert await applied(world) == 4, "all but who waits for a message"
    assert ids.show("rcp", waiting) not in await orders(client)
    assert ids.show("rcp", named) in await orders(client)


async def test_whom_an_order_is_about_or_a_legal_hold_protects_stays(world: World, client: httpx.AsyncClient) -> None:
    held, restricted, scheduled, _ = await people(world, 4)
    hold = {"recipient": {"id": ids.show("rcp", held)}, "reason": "case 12"}
    assert (await client.post("/v1/legal-holds", json=hold)).status_code == 201
    for type_, one in (("restrict", restricted), ("erase", scheduled)):
        ordered = {"type": type_, "recipient": {"id": ids.show("rcp", one)}, "verified_by": "ticket 1"}
        assert (await client.post("/v1/regulations", json=ordered)).status_code == 202
    world.clock.advance(101 * DAY)
    assert await applied(world) == 1
    await world.pass_time(2 * MINUTE)
    assert held not in await erased(world)
    assert restricted not in await erased(world)


async def test_who_is_merged_is_as_busy_as_any_part_of_them(
    world: World, api: Client, client: httpx.AsyncClient
) -> None:
    ann, bob = [ids.show("rcp", await world.person(one)) for one in (ANN, BOB)]
    merged = await (await api(Role.OWNER)).post(f"/v1/recipients/{ann}/merge", json={"from": bob, "reason": "one"})
    assert merged.status_code == 200, merged.text
    world.clock.advance(50 * DAY)
    await world.person(BOB)
    world.clock.advance(51 * DAY)
    assert await applied(world) == 0
    world.clock.advance(50 * DAY)
    assert await applied(world) == 1
    await world.pass_time(2 * MINUTE)
    assert len(await erased(world)) == 2


async def test_who_is_known_only_by_a_cookie_ends_and_who_only_by_a_refused_address_stays(
    world: World, client: httpx.AsyncClient
) -> None:
    unit = world.hub.recipients.unit(world.side, [(Named(Kind.ANONYMOUS, "cookie-1"), "/value")], Profile())
    people, absorbed, refs = world.hub.recipients, world.hub.consent.absorbed, [world.ref(BOB)]
    await world.db.run(lambda tx: people.upsert(tx, world.side, [unit], absorbed=absorbed))
    [hidden] = await world.db.run(lambda tx: people.resolve(tx, world.side, refs, True, address_only=True))
    assert isinstance(hidden, Resolved)
    world.clock.advance(101 * DAY)
    assert await applied(world) == 1
    await world.pass_time(2 * MINUTE)
    assert len(await erased(world)) == 1
    assert hidden.recipient_id not in await erased(world)


async def test_a_round_orders_so_many_and_the_next_goes_on_behind_them(
    world: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "ORDERS", 2)
    monkeypatch.setattr(idle, "PAGE", 3)
    everyone = await people(world, 7)
    world.clock.advance(101 * DAY)
    assert await applied(world) == 2
    assert await applied(world) == 0, "those two are not carried out yet"
    for expected in (2, 2, 1, 0):
        await world.pass_time(2 * MINUTE)
        assert await applied(world) == expected
    assert list(await orders(client)) == [ids.show("rcp", one) for one in everyone]
    assert await world.rows("select 1 from retention_marks where recipients_to is not null") == []


async def test_a_round_looks_through_so_many_and_the_next_goes_on_behind_them(
    world: World, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "PAGES", 1)
    monkeypatch.setattr(idle, "PAGE", 3)
    await people(world, 7)
    world.clock.advance(101 * DAY)
    assert [await applied(world) for _ in range(4)] == [3, 3, 1, 0]


async def test_somebody_who_cannot_be_read_keeps_nobody_else_from_the_round(
    world: World, client: httpx.AsyncClient
) -> None:
    """The walk would have stopped before them for ever."""
    first, second = await people(world, 2)
    await world.execute("update identifiers set value = 'broken' where recipient_id = $1", first)
    world.clock.advance(101 * DAY)
    assert await applied(world) == 1
    assert list(await orders(client)) == [ids.show("rcp", second)]
    assert "retention_failed" in world.lines.getvalue()


async def test_who_comes_back_before_the_erasure_is_spared(world: World, client: httpx.AsyncClient) -> None:
    await world.person(ANN)
    world.clock.advance(101 * DAY)
    assert await applied(world) == 1
    await world.person(ANN)
    await world.pass_time(2 * MINUTE)
    [order] = (await orders(client)).values()
    assert order["state"] == "cancelled"
    assert await erased(world) == set()
    asked = {"recipient": {"email": ANN}, "channel": "email", "purpose": "transactional"}
    assert (await client.post("/v1/consents/check", json=asked)).json()["sendable"] is True
    [told] = await world.rows("select data from events where type = 'regulation.cancelled'")
    assert told["data"]["reason"] == "recipient_not_idle"


async def test_where_erasures_need_a_second_key_those_of_the_policy_do_too(
    world: World, api: Client, client: httpx.AsyncClient
) -> None:
    """One key alone must not get everybody erased by setting a policy."""
    assert (await client.put("/v1/privacy-settings", json={"approvals": ["erase"]})).status_code == 200
    person = await world.person(ANN)
    world.clock.advance(101 * DAY)
    assert await applied(world) == 1
    await world.pass_time(2 * MINUTE)
    [order] = (await orders(client)).values()
    assert order["state"] == "awaiting_approval"
    approved = await client.post(f"/v1/regulations/{order['id']}/approve")
    assert approved.status_code == 200, approved.text
    await world.pass_time(2 * MINUTE)
    assert await erased(world) == {person}


async def test_nobody_is_erased_unless_a_side_says_so(world: World, api: Client) -> None:
    await world.person(ANN)
    world.clock.advance(4000 * DAY)
    assert await applied(world) == 0
    wrong = await (await api(Role.COMPLIANCE)).put("/v1/retention", json={"recipients": 29})
    assert wrong.status_code == 422
