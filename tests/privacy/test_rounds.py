"""Rounds of retention on a whole hub: events, whole days, what a legal hold protects, and what is told of it."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from tabellion.access.types import Role
from tabellion.core import ids
from tabellion.core.clock import FakeClock, SystemClock
from tabellion.core.db import Tx
from tabellion.core.errors import Overloaded
from tabellion.core.ids import WorkspaceId
from tabellion.events import keeping, store
from tabellion.events.followers import Turn, counting, follow
from tabellion.events.service import ensure_partitions
from tabellion.events.types import Cursor, Event, Old
from tabellion.privacy import days, rounds
from tabellion.privacy.types import Applied

from .conftest import Client, World, mail

ANN = "ann@example.org"
BOB = "bob@example.org"
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> FakeClock:
    """At today: what is old is told by ids, and ids are made by the system's clock."""
    return FakeClock(SystemClock().now())


async def read_all(world: World) -> None:
    """Every follower has read everything."""
    while await follow(world.db, counting(), 500) is Turn.READ:
        pass


async def append(world: World, *types: str, **about: Any) -> None:
    events = [Event(world.side, one, {}, **about) for one in types]
    await world.db.run(lambda tx: world.hub.around.events.append(tx, events))


async def types(world: World) -> list[str]:
    found = await world.rows("select type from events where workspace_id = $1 order by position", world.side)
    return [row["type"] for row in found if row["type"] != "retention.applied"]


async def applied(world: World) -> Applied:
    """What a round ended on the test side."""
    await read_all(world)
    await world.hub.rounds.apply(world.db)
    standing = await world.db.run(lambda tx: world.hub.retention.read(tx, world.side))
    assert standing.last_round is not None
    assert standing.last_round.at == world.clock.now()
    return standing.last_round.ended


async def keep(world: World, api: Client, **policy: int | None) -> None:
    answer = await (await api(Role.COMPLIANCE)).put("/v1/retention", json=policy)
    assert answer.status_code == 200, answer.text


async def hold(world: World, api: Client, email: str) -> str:
    client = await api(Role.COMPLIANCE)
    made = await client.post("/v1/legal-holds", json={"recipient": {"email": email}, "reason": "case 12"})
    return str(made.json()["id"])


async def release(api: Client, hold_id: str) -> None:
    assert (await (await api(Role.COMPLIANCE)).delete(f"/v1/legal-holds/{hold_id}")).status_code == 204


# Events


async def test_events_end_in_time_in_batches_and_not_before_they_are_read(
    world: World, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "BATCH", 2)
    await keep(world, api, events=100)
    await append(world, *(f"a.b{number}" for number in range(5)))
    world.clock.advance(99 * DAY)
    await append(world, "young.one")
    world.clock.advance(2 * DAY)
    assert (await world.hub.rounds.apply(world.db)).events == 0, "nobody follows, so nobody has read them"
    await follow(world.db, counting(), 3)
    assert (await world.hub.rounds.apply(world.db)).events == 3
    assert await types(world) == ["a.b3", "a.b4", "young.one"]
    said = next(line for line in world.lines.getvalue().splitlines() if "retention_held_back" in line)
    assert '"by":"counts"' in said
    assert (await applied(world)).events == 2
    assert await types(world) == ["young.one"]


async def test_events_are_kept_for_ever_where_the_side_says_so(world: World, api: Client) -> None:
    await keep(world, api, events=None)
    await append(world, "a.b")
    world.clock.advance(4000 * DAY)
    assert await applied(world) == Applied()
    assert "a.b" in await types(world)


async def test_the_timeline_of_a_message_stays_until_it_is_final(world: World, api: Client) -> None:
    """What is explained of a message of next year must not begin in the midst of it."""
    await keep(world, api, events=10)
    open_ = await world.send(ANN, mail(), send_at=world.clock.now() + 300 * DAY)
    await append(world, "a.b")
    world.clock.advance(11 * DAY)
    await applied(world)
    assert await types(world) == ["message.queued"] == await world.happened(open_)
    await world.execute("update messages set final = true")
    assert (await applied(world)).events == 1


# Days


async def partitions(world: World) -> list[date]:
    return await world.db.run(store.partitions)


async def test_a_day_that_no_side_keeps_is_dropped_whole(
    world: World, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(world, api, events=100)
    await append(world, "a.b", "c.d")
    today = world.clock.now().date()
    world.clock.advance(101 * DAY)
    await append(world, "young.one")
    assert (await applied(world)).events == 2, "by the side: the other one keeps its events for longer"
    assert today not in await partitions(world), "it holds nothing any more"
    await append(world, "e.f", "g.h")
    await world.db.run(ensure_partitions)
    today = world.clock.now().date()
    world.clock.advance(402 * DAY)
    await append(world, "younger.one")

    async def one_by_one(tx: Tx, side: UUID, after: Cursor, page: Sequence[Old], *_: object) -> int:
        assert not page, "what a day held was deleted row by row"
        return 0

    monkeypatch.setattr(keeping, "end", one_by_one)
    assert (await applied(world)).events == 4, "with that of the round before"
    assert today not in await partitions(world)
    assert await types(world) == ["younger.one"]


async def test_a_day_is_not_dropped_whole_while_a_message_of_then_is_open(
    world: World, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days, "BATCH", 2)
    sent = [await world.send(ANN, mail(), send_at=world.clock.now() + 500 * DAY) for _ in range(5)]
    today = world.clock.now().date()
    await world.execute("update messages set final = id <> $1", sent[3])
    world.clock.advance(403 * DAY)
    assert (await applied(world)).events == 5, "with that the person was made"
    assert await types(world) == ["message.queued"]
    assert today in await partitions(world)
    await world.execute("update messages set final = true")
    assert (await applied(world)).events == 1
    assert today not in await partitions(world)


async def test_two_rounds_at_once_do_no_harm(world: World, api: Client) -> None:
    await world.person(ANN)
    await keep(world, api, recipients=100)
    await append(world, *(f"a.b{number}" for number in range(5)))
    today = world.clock.now().date()
    world.clock.advance(403 * DAY)
    await read_all(world)
    both = await asyncio.gather(*(world.hub.rounds.apply(world.db) for _ in range(3)))
    assert sum(one.events for one in both) == 6
    assert sum(one.recipients for one in both) == 1
    assert today not in await partitions(world)


async def test_a_day_that_is_being_read_goes_with_a_later_round(world: World) -> None:
    today = world.clock.now().date()
    world.clock.advance(403 * DAY)
    await read_all(world)
    async with world.db.transaction() as reader:
        await reader.rows("select 1 from events")
        await world.hub.rounds.apply(world.db)
    assert today in await partitions(world)
    assert "retention_waits" in world.lines.getvalue()
    await world.hub.rounds.apply(world.db)
    assert today not in await partitions(world)


# Legal holds


async def test_a_legal_hold_keeps_what_messages_said_and_their_events(world: World, api: Client) -> None:
    await keep(world, api, content=10, events=10)
    for email in (ANN, BOB):
        await world.send(email, mail())
    await world.execute("update messages set final = true")
    held = await hold(world, api, ANN)
    world.clock.advance(11 * DAY)
    assert (await applied(world)).contents == 1
    assert set(await types(world)) == {"recipient.created", "message.queued", "legal_hold.set"}
    people = await world.rows("select distinct recipient_id from events where recipient_id is not null")
    saying = await world.rows("select recipient_id from messages where octet_length(content) > 0")
    assert people == saying
    assert len(saying) == 1
    await release(api, held)
    done = await applied(world)
    assert (done.contents, done.events) == (1, 3)


async def test_a_legal_hold_keeps_the_callbacks_about_the_person(
    world: World, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "BATCH", 2)
    ann, bob = await world.person(ANN), await world.person(BOB)
    held = await hold(world, api, ANN)
    for person in (ann, ann, ann, bob, None, bob, ann):
        await callback(world, person)
    world.clock.advance(91 * DAY)
    assert (await applied(world)).callbacks == 3
    left = await world.rows("select recipient_id from callbacks")
    assert [row["recipient_id"] for row in left] == [ann] * 4
    await release(api, held)
    assert (await applied(world)).callbacks == 4


async def callback(world: World, person: UUID | None) -> None:
    await world.execute(
        """
        insert into callbacks (workspace_id, id, account_id, provider, received_at, digest, state, raw, recipient_id)
        values ($1, $2, $2, 'twilio', now(), decode(md5($2::uuid::text), 'hex'), 'normalised', 'raw', $3)
        """,
        world.side, ids.new(), person,
    )  # fmt: skip


async def test_no_day_is_dropped_whole_under_a_legal_hold(world: World, api: Client) -> None:
    """It would take the held person's events along."""
    await world.person(ANN)
    await world.person(BOB)
    await hold(world, api, ANN)
    today = world.clock.now().date()
    world.clock.advance(403 * DAY)
    assert (await applied(world)).events >= 1
    assert await types(world) == ["recipient.created", "legal_hold.set"]
    assert today in await partitions(world)


# What is told


async def test_a_side_that_fails_keeps_no_other_from_its_round(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that takes no entries on one side would have ended retention on all that come after it."""
    first, second = sorted((world.workspace.live, world.workspace.test))
    forget = world.hub.webhooks.forget

    async def fails(tx: Tx, side: WorkspaceId, *more: Any) -> int:
        if side == first:
            raise Overloaded("too much")
        return await forget(tx, side, *more)

    monkeypatch.setattr(type(world.hub.webhooks), "forget", lambda _, *given: fails(*given))
    await world.hub.rounds.apply(world.db)
    told = [await world.db.run(lambda tx, one=one: world.hub.retention.read(tx, one)) for one in (first, second)]  # type: ignore[misc]
    assert [one.last_round is None for one in told] == [True, False]
    assert "retention_failed" in world.lines.getvalue()


async def test_the_last_round_is_told(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    assert (await client.get("/v1/retention")).json()["last_round"] is None
    await callback(world, None)
    world.clock.advance(91 * DAY)
    await applied(world)
    ended = {"callbacks": 1, "contents": 0, "events": 0, "recipients": 0, "proofs": 0}
    last = (await client.get("/v1/retention")).json()["last_round"]
    assert {name: last[name] for name in ended} == ended
    [told] = await world.rows("select data from events where type = 'retention.applied'")
    assert told["data"] == ended
    await applied(world)
    assert (await client.get("/v1/retention")).json()["last_round"]["callbacks"] == 0
    assert len(await world.rows("select 1 from events where type = 'retention.applied'")) == 1
