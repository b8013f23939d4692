"""`/v1/recipients/{id}/timeline`: one person's events in one list."""

from uuid import UUID

import httpx
import pytest

from tabellion.access.types import Role, Workspace
from tabellion.admin import timeline as admin
from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.ids import MessageId, RecipientId, WorkspaceId
from tabellion.events.service import EventLog
from tabellion.events.types import Cursor, Event, Recorded
from tabellion.recipients import rules
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Kind, Named, NewRecipient, RefObject, Resolved, Upserted

from .conftest import Routes, authorized


@pytest.fixture
def routes(recipients: Recipients) -> Routes:
    return lambda edge: admin.routes(edge, recipients)


async def no_absorption(tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId) -> None: ...


async def upserted(db: Database, recipients: Recipients, side: WorkspaceId, *emails: str) -> UUID:
    unit = NewRecipient(tuple(Named(Kind.EMAIL, one) for one in emails))
    [one] = await db.run(lambda tx: recipients.upsert(tx, side, [unit], absorbed=no_absorption))
    assert isinstance(one, Upserted)
    return one.recipient_id


async def test_a_timeline_joins_what_happened_in_order_with_those_merged(
    db: Database, client: httpx.AsyncClient, log: EventLog, recipients: Recipients, workspace: Workspace
) -> None:
    side = workspace.live
    person = await upserted(db, recipients, side, "ann2@example.org")
    ref = rules.ref(RefObject(email="ann@example.org"), "")
    [hidden] = await db.run(lambda tx: recipients.resolve(tx, side, [ref], True, address_only=True))
    assert isinstance(hidden, Resolved)
    consent = {"consent": {"purpose": "marketing", "channel": "email", "method": "one_click", "source": "ann's phone"}}
    stopped = Event(side, "consent.withdrawn", consent, recipient_id=hidden.recipient_id)
    await db.run(lambda tx: log.append(tx, [stopped]))
    await upserted(db, recipients, side, "ann@example.org", "ann2@example.org")
    await upserted(db, recipients, side, "bob@example.org")
    said = {"message": {"purpose": "transactional", "metadata": {"name": "Ann"}}, "channel": "email", "reason": None}
    sent = Event(side, "message.sent", said, recipient_id=person, message_id=MessageId(ids.new()))
    await db.run(lambda tx: log.append(tx, [sent]))
    headers = await authorized(db, workspace)
    path, cursor, found = f"/v1/recipients/{ids.show('rcp', person)}/timeline", "", []
    while True:
        page = (await client.get(f"{path}?limit=2{cursor}", headers=headers)).json()
        found += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [one["summary"] for one in found] == [
        "recipient created: email",
        "consent withdrawn: marketing, email, one_click",
        f"recipient merged: {ids.show('rcp', hidden.recipient_id)}, address_attached",
        "message sent: transactional, email",
    ]
    assert found[-1]["id"] == ids.show("evt", sent.id)
    assert found[-1].keys() >= {"type", "timestamp", "position", "mode", "workspace_id", "api_version", "data"}


async def test_a_full_page_leads_on(
    db: Database, client: httpx.AsyncClient, log: EventLog, recipients: Recipients, workspace: Workspace
) -> None:
    person = await upserted(db, recipients, workspace.live, "ann@example.org")
    page = (
        await client.get(
            f"/v1/recipients/{ids.show('rcp', person)}/timeline?limit=1", headers=await authorized(db, workspace)
        )
    ).json()
    assert [one["type"] for one in page["data"]] == ["recipient.created"]
    assert page["next_cursor"] == page["data"][0]["position"]


async def test_a_timeline_is_of_its_side_and_for_those_who_may_read(
    db: Database, client: httpx.AsyncClient, recipients: Recipients, workspace: Workspace
) -> None:
    person = await upserted(db, recipients, workspace.live, "ann@example.org")
    path = f"/v1/recipients/{ids.show('rcp', person)}/timeline"
    assert (await client.get(path, headers=await authorized(db, workspace, "test"))).status_code == 404
    assert (await client.get(path, headers=await authorized(db, workspace, role=Role.INGEST))).status_code == 403
    wrong = await client.get(f"{path}?cursor=x", headers=await authorized(db, workspace))
    assert wrong.status_code == 400


async def test_a_page_that_looked_through_all_it_may_leads_on_from_the_persons_own_event(
    db: Database,
    client: httpx.AsyncClient,
    log: EventLog,
    recipients: Recipients,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ended there: the last event looked through was the person's, and the page was short."""
    monkeypatch.setattr(admin, "THROUGH", 1)
    person = await upserted(db, recipients, workspace.live, "ann@example.org")
    types = ["message.sent", "message.delivered"]
    told = [Event(workspace.live, one, {}, recipient_id=person) for one in types]
    await db.run(lambda tx: log.append(tx, told))
    path, found, cursor = f"/v1/recipients/{ids.show('rcp', person)}/timeline?limit=50", [], ""
    headers = await authorized(db, workspace)
    while True:
        page = (await client.get(f"{path}{cursor}", headers=headers)).json()
        found += [one["type"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found[-2:] == types


@pytest.mark.parametrize(
    ("type_", "data", "summary"),
    [
        (
            "notice.served",
            {"notice": {"id": "newsletter"}, "served": {"version": "3", "language": "de", "means": "page"}},
            "notice served: newsletter, 3, de, page",
        ),
        ("attempt.bounced", {"attempt": {"provider": "smtp"}, "channel": "email", "reason": "x"},
         "attempt bounced: email, smtp, x"),
        ("identifier.invalid", {"kind": "email", "reason": "550 ann@example.org unknown"}, "identifier invalid: email"),
        ("recipient.updated", {"changed": ["locale", "traits"]}, "recipient updated: locale, traits"),
        ("consent.granted", {"consent": None}, "consent granted"),
        ("new.kind_of_thing", {"name": "Ann"}, "new kind of thing"),
    ],
)  # fmt: skip
def test_a_summary_names_nobody(db: Database, type_: str, data: dict[str, object], summary: str) -> None:
    now = db.clock.now()
    event = Recorded(Cursor(1, 1, 1), WorkspaceId(ids.new()), ids.new(), type_, now, now, None, None, data)
    assert admin.summary(event) == summary
