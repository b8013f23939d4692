"""`/v1/events` over the real application."""

from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from tabellion.access.service import create_workspace
from tabellion.access.types import Workspace
from tabellion.admin import events as admin
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database, Tx
from tabellion.core.ids import MessageId, RecipientId, WorkspaceId
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Kind, Named, NewRecipient, Ref, Upserted

from .conftest import Routes, authorized


@pytest.fixture
def routes(recipients: Recipients) -> Routes:
    return lambda edge: admin.routes(edge, recipients)


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


async def no_absorption(tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId) -> None: ...


async def known(db: Database, recipients: Recipients, side: WorkspaceId, *named: tuple[Kind, str]) -> UUID:
    """The recipient of these identifiers."""
    unit = NewRecipient(tuple(Named(*one) for one in named))
    [made] = await db.run(lambda tx: recipients.upsert(tx, side, [unit], absorbed=no_absorption))
    assert isinstance(made, Upserted)
    return made.recipient_id


async def test_a_person_is_named_as_everywhere_and_shown_with_the_external_id(
    db: Database, client: httpx.AsyncClient, recipients: Recipients, workspace: Workspace
) -> None:
    """Events had the id alone, so whoever followed them had to ask for each person whom it was about."""
    phone, mail = (Kind.PHONE, "+12025550111"), (Kind.EMAIL, "bo@example.org")
    ann = await known(db, recipients, workspace.live, (Kind.EXTERNAL_ID, "crm-1"), phone)
    bo = await known(db, recipients, workspace.live, mail)
    await db.run(
        lambda tx: recipients.resolve(tx, workspace.test, [Ref(kind=Kind.EMAIL, value="bo@example.org")], True)
    )
    headers = await authorized(db, workspace)

    async def shown(**query: str) -> list[dict[str, object]]:
        page = await client.get("/v1/events", headers=headers, params=query)
        assert page.status_code == 200, page.text
        return [one["data"]["recipient"] for one in page.json()["data"] if one["type"] == "recipient.created"]

    is_ann = {"id": ids.show("rcp", ann), "external_id": "crm-1"}
    is_bo = {"id": ids.show("rcp", bo), "external_id": None}
    assert await shown() == [is_ann, is_bo]
    assert await shown(recipient='{"external_id": "crm-1"}') == [is_ann]
    assert await shown(recipient='{"phone": " 1 202 555 0111"}') == [is_ann], "a plus that was not encoded"
    assert await shown(recipient='{"email": "bo@example.org"}', type="recipient.*") == [is_bo]
    assert await shown(recipient='{"email": "nobody@example.org"}') == []


async def test_of_a_person_not_yet_known_a_poller_misses_nothing(
    db: Database, client: httpx.AsyncClient, recipients: Recipients, workspace: Workspace
) -> None:
    await known(db, recipients, workspace.live, (Kind.EXTERNAL_ID, "before"))
    headers = await authorized(db, workspace)
    start = (await client.get("/v1/events", headers=headers)).json()["next_cursor"]
    query = {"recipient": '{"external_id": "later"}', "after": start}
    assert (await client.get("/v1/events", headers=headers, params=query)).json() == {"data": [], "next_cursor": start}
    await known(db, recipients, workspace.live, (Kind.EXTERNAL_ID, "later"))
    assert (await client.get("/v1/events", headers=headers, params=query)).json()["data"] != []


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
    for wrong in (
        {"recipient": "ann"},
        {"recipient": ""},
        {"recipient": "{}"},
        {"limit": 501},
        {"limit": 0},
        {"cursor": "x"},
    ):
        answer = await client.get("/v1/events", headers=headers, params=wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter"), wrong
    assert (await client.get("/v1/events", headers=headers, params={"message": ""})).status_code == 404
    assert (await client.get("/v1/events", headers=headers, params={"after": ""})).status_code == 400
    assert (await client.get("/v1/events")).status_code == 401
