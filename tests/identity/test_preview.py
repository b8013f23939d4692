"""What other settings would come to, over HTTP."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Role
from tabellion.app.routes import build
from tabellion.app.wiring import Hub
from tabellion.core.clock import FakeClock
from tabellion.core.config import Settings

ANDROID = {"platform": "android", "provider": "fcm"}
PATH = "/v1/recipient-settings/preview"


@pytest.fixture
async def client(hub: Hub) -> httpx.AsyncClient:
    return await opened(hub, Role.ADMIN)


async def opened(hub: Hub, role: Role) -> httpx.AsyncClient:
    workspace = await hub.around.db.run(lambda tx: create_workspace(tx, role.value))
    _, secret = await hub.around.db.run(lambda tx: create_key(tx, workspace, "test", role))
    transport = httpx.ASGITransport(app=build(hub, Settings()).asgi)
    headers = {"Authorization": f"Bearer {secret.reveal()}"}
    return httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers)


async def made(client: httpx.AsyncClient, *named: tuple[str, str]) -> str:
    identifiers = [
        {"kind": kind, "value": value} | ({"device": ANDROID} if kind == "device" else {})
        for kind, value in named
        if kind != "external_id"
    ]
    body = {"identifiers": identifiers} | {kind: value for kind, value in named if kind == "external_id"}
    answer = await client.post("/v1/recipients", json=body)
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["id"])


async def preview(client: httpx.AsyncClient, **wanted: Any) -> Any:
    answer = await client.post(PATH, json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_newly_blocked_values_are_found_as_what_they_are(client: httpx.AsyncClient) -> None:
    mail = await made(client, ("email", "Info@example.org"))
    crm = await made(client, ("external:crm", "GUEST"), ("email", "guest@example.org"))
    visitor = await made(client, ("anonymous", "guest"))
    phone = await made(client, ("phone", "+436601234567"))
    wanted = ["info@example.org", "Guest", "0660 1234567", "nobody@example.org"]
    said = (await preview(client, blocked_values=wanted, default_region="AT"))["blocked"]
    assert said == [
        {"value": "info@example.org", "kinds": ["email"], "recipients": 1, "ids": [mail]},
        {"value": "Guest", "kinds": ["anonymous", "external:crm"], "recipients": 2, "ids": sorted([crm, visitor])},
        {"value": "0660 1234567", "kinds": ["phone"], "recipients": 1, "ids": [phone]},
    ]
    await client.put("/v1/recipient-settings", json={"blocked_values": ["GUEST"]})
    said = (await preview(client, blocked_values=["guest", "INFO@example.org"]))["blocked"]
    assert [one["value"] for one in said] == ["INFO@example.org"], "what is blocked already changes nothing"


async def test_counts_say_what_other_limits_and_times_would_reach(client: httpx.AsyncClient, clock: FakeClock) -> None:
    await made(
        client, ("external_id", "a"), ("email", "a@x.org"), ("email", "b@x.org"), ("device", "token-of-the-phone")
    )
    await made(client, ("external_id", "b"), ("email", "c@x.org"), ("device", "token-of-the-phone"))
    clock.advance(timedelta(days=10))
    said = await preview(
        client, limits={"email": 1, "phone": 5}, shared_device={"people": 1, "days": 30}, stale_after_days=5
    )
    assert said["lowered"] == [
        {"kind": "email", "before": 10, "after": 1, "recipients": 1},
        {"kind": "phone", "before": 10, "after": 5, "recipients": 0},
    ]
    assert (said["shared"], said["stale"], said["complete"]) == (1, 1, True)
    said = await preview(client)
    assert (said["blocked"], said["lowered"], said["shared"], said["stale"]) == ([], [], 0, 0)


async def test_a_preview_changes_nothing(client: httpx.AsyncClient) -> None:
    await preview(client, blocked_values=["x"], limits={"email": 1}, stale_after_days=None)
    assert (await client.get("/v1/recipient-settings")).json()["updated_at"] is None


async def test_a_preview_of_what_cannot_be_set_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post(PATH, json={"limits": {"external_id": 2}})).status_code == 422


async def test_who_may_not_read_recipients_sees_no_preview(hub: Hub) -> None:
    ingest = await opened(hub, Role.INGEST)
    assert (await ingest.post(PATH, json={})).status_code == 403
