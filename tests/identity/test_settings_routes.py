"""`/v1/recipient-settings` over HTTP."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Role
from tabellion.app.routes import build
from tabellion.app.wiring import Hub
from tabellion.core.config import Settings


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    workspace = await hub.around.db.run(lambda tx: create_workspace(tx, "acme"))
    _, secret = await hub.around.db.run(lambda tx: create_key(tx, workspace, "test", Role.ADMIN))
    transport = httpx.ASGITransport(app=build(hub, Settings()).asgi)
    headers = {"Authorization": f"Bearer {secret.reveal()}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers) as opened:
        yield opened


async def test_settings_count_from_the_next_request_on_and_are_audited(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/recipient-settings")).json()["updated_at"] is None
    person = {"identifiers": [{"kind": "phone", "value": "0660 1234567"}]}
    assert (await client.post("/v1/recipients", json=person)).status_code == 422
    told = {"default_region": "AT", "blocked_values": ["n.n@example.org"]}
    answer = await client.put("/v1/recipient-settings", json=told)
    assert answer.status_code == 200
    assert told.items() <= answer.json()["settings"].items()
    assert (await client.post("/v1/recipients", json=person)).status_code == 201
    nobody = {"identifiers": [{"kind": "email", "value": "N.N@example.org"}]}
    assert (await client.post("/v1/recipients", json=nobody)).json()["code"] == "identifier_blocked"
    [entry] = [one for one in (await client.get("/v1/audit")).json()["data"] if one["action"].endswith("settings.set")]
    assert (entry["detail"]["default_region"], entry["detail"]["blocked_values"]) == ("AT", 1), (
        "an address is no detail"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"default_region": "at"},
        {"blocked_values": [""]},
        {"other": 1},
        [],
        {"priority": ["mail"]},
        {"priority": ["email", "email"]},
        {"limits": {"external_id": 2}},
        {"limits": {"email": 0}},
        {"shared_device": {"people": 0}},
        {"stale_after_days": 0},
    ],
)
async def test_settings_that_are_none_are_refused(client: httpx.AsyncClient, wrong: object) -> None:
    assert (await client.put("/v1/recipient-settings", json=wrong)).status_code == 422
