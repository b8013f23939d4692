"""`/v1/events` over the real application."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from tabellion.access.edge import Edge
from tabellion.access.keyring import KeyRing
from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Mode, Role, Workspace
from tabellion.admin import events as admin
from tabellion.app.http import create_app
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.ids import MessageId, RecipientId
from tabellion.core.log import stderr_log
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog, open_log
from tabellion.events.types import Event


@pytest.fixture
async def log(db: Database) -> EventLog:
    return await open_log(db)


@pytest.fixture
async def client(db: Database, vault: Vault, clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    keys = KeyRing(db)
    edge = Edge(db, keys, vault, stderr_log(clock, "error"), Metrics(process=False))
    transport = httpx.ASGITransport(app=create_app(edge, admin.routes(edge)))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.example") as opened:
        yield opened
    await keys.close()


@pytest.fixture
async def workspace(db: Database) -> Workspace:
    return await db.run(lambda tx: create_workspace(tx, "acme"))


async def authorized(
    db: Database, workspace: Workspace, mode: Mode = "live", role: Role = Role.READONLY
) -> dict[str, str]:
    _, secret = await db.run(lambda tx: create_key(tx, workspace, mode, role))
    return {"Authorization": f"Bearer {secret.reveal()}"}


async def test_an_event_has_the_shape_of_the_contract(
    db: Database, client: httpx.AsyncClient, log: EventLog, workspace: Workspace, clock: FakeClock
) -> None:
    occurred = clock.now() - timedelta(minutes=5)
    event = Event(workspace.live, "message.delivered", {"channel": "sms"}, occurred_at=occurred)
    await db.run(lambda tx: log.append(tx, [event]))
    answer = await client.get("/v1/events", headers=await authorized(db, workspace))
    assert answer.status_code == 200
    body = answer.json()
    (shown,) = body["data"]
    assert shown.pop("position") == body["next_cursor"]
    assert shown.pop("api_version")
    assert shown == {
        "id": ids.show("evt", event.id),
        "type": "message.delivered",
        "timestamp": "2026-11-21T09:00:00.000Z",
        "mode": "live",
        "workspace_id": ids.show("wsp", workspace.id),
        "data": {"channel": "sms", "occurred_at": "2026-11-21T08:55:00.000Z"},
    }


async def test_a_poller_goes_through_the_log_and_waits_at_its_end(
    db: Database, client: httpx.AsyncClient, log: EventLog, workspace: Workspace
) -> None:
    headers = await authorized(db, workspace)
    empty = (await client.get("/v1/events", headers=headers)).json()
    assert empty == {"data": [], "next_cursor": None}
    await db.run(lambda tx: log.append(tx, [Event(workspace.live, f"a.n{n}", {}) for n in range(5)]))
    seen: list[str] = []
    after: str | None = None
    for size in (2, 2, 1, 0, 0):
        query = {"limit": 2} | ({"after": after} if after else {})
        page = (await client.get("/v1/events", headers=headers, params=query)).json()
        assert len(page["data"]) == size
        assert after is None or page["next_cursor"] >= after
        seen += [one["type"] for one in page["data"]]
        after = page["next_cursor"]
    assert seen == [f"a.n{n}" for n in range(5)]


async def test_events_are_filtered_by_type_recipient_and_message(
    db: Database, client: httpx.AsyncClient, log: EventLog, workspace: Workspace
) -> None:
    ann, hello = RecipientId(ids.new()), MessageId(ids.new())
    given = [
        Event(workspace.live, "message.sent", {}, recipient_id=ann, message_id=hello),
        Event(workspace.live, "consent.granted", {}, recipient_id=ann),
        Event(workspace.live, "message.sent", {}),
    ]
    await db.run(lambda tx: log.append(tx, given))
    headers = await authorized(db, workspace)
    for query, count in (
        ({"type": "message.*"}, 2),
        ({"recipient": ids.show("rcp", ann)}, 2),
        ({"message": ids.show("msg", hello)}, 1),
        ({"type": "consent.granted", "recipient": ids.show("rcp", ann)}, 1),
        ({"message": ids.show("msg", ids.new())}, 0),
    ):
        page = (await client.get("/v1/events", headers=headers, params=query)).json()
        assert len(page["data"]) == count, query


async def test_no_side_sees_another_sides_events(
    db: Database, client: httpx.AsyncClient, log: EventLog, workspace: Workspace
) -> None:
    other = await db.run(lambda tx: create_workspace(tx, "other"))
    message = MessageId(ids.new())
    await db.run(lambda tx: log.append(tx, [Event(workspace.live, "message.sent", {}, message_id=message)]))
    for headers in (await authorized(db, workspace, "test"), await authorized(db, other)):
        for query in ({}, {"message": ids.show("msg", message)}, {"type": "message.sent"}):
            assert (await client.get("/v1/events", headers=headers, params=query)).json()["data"] == []


async def test_wrong_questions_are_refused(db: Database, client: httpx.AsyncClient, workspace: Workspace) -> None:
    headers = await authorized(db, workspace)
    refused = await client.get("/v1/events", headers=headers, params={"after": "soon"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_cursor")
    assert (await client.get("/v1/events", headers=headers, params={"recipient": "ann"})).status_code == 404
    assert (await client.get("/v1/events", headers=headers, params={"limit": 501})).status_code in (400, 422)
    assert (await client.get("/v1/events")).status_code == 401
