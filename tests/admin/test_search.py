"""`/v1/search` over the real application."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import KeyOptions, Mode, Role, Workspace
from tabellion.app.routes import build
from tabellion.app.wiring import Hub
from tabellion.core import ids
from tabellion.core.config import Settings

ANN = {
    "external_id": "crm-1",
    "identifiers": [{"kind": "email", "value": "ann@example.org"}, {"kind": "phone", "value": "+12025550111"}],
}
MAIL = {"to": {"external_id": "crm-1"}, "purpose": "transactional", "content": {"subject": "Hi", "text": "Hello"}}


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build(hub, Settings()).asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.example") as opened:
        yield opened


@pytest.fixture
async def workspace(hub: Hub) -> Workspace:
    return await hub.around.db.run(lambda tx: create_workspace(tx, "acme"))


async def key(hub: Hub, workspace: Workspace, *scopes: str, mode: Mode = "test") -> dict[str, str]:
    options = KeyOptions(scopes=frozenset(scopes)) if scopes else KeyOptions()
    _, secret = await hub.around.db.run(lambda tx: create_key(tx, workspace, mode, Role.ADMIN, options))
    return {"Authorization": f"Bearer {secret.reveal()}"}


async def test_one_string_finds_whom_and_what_it_names(
    hub: Hub, client: httpx.AsyncClient, workspace: Workspace
) -> None:
    ours = await key(hub, workspace)
    person = (await client.post("/v1/recipients", json=ANN, headers=ours)).json()["id"]
    message = (await client.post("/v1/messages", json=MAIL, headers=ours)).json()["id"]
    attempt, side = ids.new(), workspace.test
    await hub.around.db.run(
        lambda tx: tx.execute(
            """
            insert into attempts (workspace_id, id, message_id, recipient_id, step, purpose, channel, identifier,
                                  account_id, provider, state, decision, started_at, provider_message_id)
            select workspace_id, $3, id, recipient_id, 0, purpose, 'email', $4, $3, 'smtp', 'submitted', '{}', now(),
                   'vendor-7'
              from messages where workspace_id = $1 and id = $2
            """,
            side,
            ids.parse("msg", message),
            attempt,
            bytes(32),
        )
    )
    whom, what = ("recipient", person), ("message", message)
    for text, expected, named in (
        (person, whom, "id"),
        ("Ann@EXAMPLE.org".lower(), whom, "email"),
        ("+1 202 555 0111", whom, "phone"),
        (" 12025550111", whom, "phone"),
        ("crm-1", whom, "external_id"),
        (message, what, "id"),
        (ids.show("att", attempt), what, "id"),
        ("vendor-7", what, "provider_message_id"),
    ):
        found = (await client.get("/v1/search", params={"q": text}, headers=ours)).json()["data"]
        assert [(one["kind"], one["id"], one["found_by"]) for one in found] == [(*expected, named)], text
        assert (await client.get(found[0]["path"], headers=ours)).status_code == 200
    for mode, whose in (("live", workspace), ("test", await hub.around.db.run(lambda tx: create_workspace(tx, "b")))):
        theirs = await key(hub, whose, mode=mode)  # type: ignore[arg-type]
        for text in (person, "ann@example.org", "crm-1", message, ids.show("att", attempt), "vendor-7"):
            assert (await client.get("/v1/search", params={"q": text}, headers=theirs)).json() == {"data": []}


async def test_what_a_key_may_not_read_is_not_found_by_it(
    hub: Hub, client: httpx.AsyncClient, workspace: Workspace
) -> None:
    ours = await key(hub, workspace)
    await client.post("/v1/recipients", json=ANN, headers=ours)
    message = (await client.post("/v1/messages", json=MAIL, headers=ours)).json()["id"]
    only = await key(hub, workspace, "search:read", "messages:read")
    for text, found in (("crm-1", 0), ("ann@example.org", 0), (message, 1)):
        assert len((await client.get("/v1/search", params={"q": text}, headers=only)).json()["data"]) == found
    refused = await client.get("/v1/search", params={"q": "x"}, headers=await key(hub, workspace, "messages:read"))
    assert refused.status_code == 403


@pytest.mark.parametrize("text", ["nobody@", "+", "%", "msg_0", "x" * 512, "rcp_01k0000000e00000000000000a", "'"])
async def test_what_names_nothing_finds_nothing(
    hub: Hub, client: httpx.AsyncClient, workspace: Workspace, text: str
) -> None:
    answer = await client.get("/v1/search", params={"q": text}, headers=await key(hub, workspace))
    assert (answer.status_code, answer.json()) == (200, {"data": []})
