"""Merge, split and identity as a client sees them."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Role
from tabellion.app.routes import build
from tabellion.app.wiring import Hub
from tabellion.core.config import Settings

Client = Callable[[Role], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def client(hub: Hub) -> Client:
    db, asgi = hub.around.db, build(hub, Settings()).asgi
    workspace = await db.run(lambda tx: create_workspace(tx, "acme"))

    async def make(role: Role) -> httpx.AsyncClient:
        _, secret = await db.run(lambda tx: create_key(tx, workspace, "live", role))
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=asgi), base_url="http://hub", headers=headers)

    return make


async def made(http: httpx.AsyncClient, *addresses: str) -> str:
    body = {"identifiers": [{"kind": "email", "value": one} for one in addresses]}
    recipient: str = (await http.post("/v1/recipients", json=body)).json()["id"]
    return recipient


async def test_merge_explain_split(client: Client) -> None:
    http = await client(Role.OWNER)
    ann, anna = await made(http, "ann@x.org", "a@x.org"), await made(http, "anna@x.org")
    body = {"from": {"email": "anna@x.org"}, "reason": "support call"}
    answers = [
        await http.post(f"/v1/recipients/{ann}/merge", json=body, headers={"Idempotency-Key": "k"}) for _ in "ab"
    ]
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[1].headers["idempotent-replay"] == "true"
    merge = answers[0].json()
    assert answers[1].json() == merge
    assert (merge["id"], merge["from"], merge["into"]) == (ann, anna, ann)
    told = (await http.get(f"/v1/recipients/{anna}/identity")).json()
    assert (told["id"], told["ids"]) == (ann, [ann, anna])
    assert {one["value"] for one in told["identifiers"]} == {"ann@x.org", "a@x.org", "anna@x.org"}
    [one] = told["merges"]
    shown = {name: one[name] for name in ("merge_id", "from", "into", "rule", "reason", "undone", "undone_at")}
    assert shown == {
        "merge_id": merge["merge_id"], "from": anna, "into": ann, "rule": "requested", "reason": "support call",
        "undone": False, "undone_at": None,
    }  # fmt: skip
    assert one["actor"].startswith("key_")
    assert one["evidence"]["winner"] == "most_identifiers"
    split = await http.post(f"/v1/recipients/{ann}/split", json={"merge_id": merge["merge_id"]})
    assert (split.status_code, split.json()["from"]) == (200, anna)
    assert (await http.get(f"/v1/recipients/{anna}")).json()["id"] == anna
    assert (await http.get(f"/v1/recipients/{anna}/identity")).json()["merges"][0]["undone"] is True


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"from": "rcp_01h2xcejqtf2nbrexx3vqjhp41", "reason": "x"}, 404, "recipient_not_found"),
        ({"from": {"email": "ann@x.org"}, "reason": "x"}, 409, "same_recipient"),
        ({"from": {"email": "no address"}, "reason": "x"}, 422, "invalid_identifier"),
        ({"from": {"email": "ann@x.org"}}, 422, "invalid_request"),
        ({"from": {"email": "ann@x.org"}, "reason": "x", "into": 1}, 422, "invalid_request"),
    ],
)
async def test_what_cannot_be_merged(client: Client, body: Any, status: int, code: str) -> None:
    http = await client(Role.OWNER)
    answer = await http.post(f"/v1/recipients/{await made(http, 'ann@x.org')}/merge", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_a_key_that_only_reads_may_ask_why_and_change_nothing(client: Client) -> None:
    ann = await made(await client(Role.OWNER), "ann@x.org")
    http = await client(Role.READONLY)
    assert (await http.get(f"/v1/recipients/{ann}/identity")).status_code == 200
    merge = await http.post(f"/v1/recipients/{ann}/merge", json={"from": {"email": "b@x.org"}, "reason": "x"})
    split = await http.post(f"/v1/recipients/{ann}/split", json={"merge_id": "mrg_01h2xcejqtf2nbrexx3vqjhp41"})
    assert [one.json()["code"] for one in (merge, split)] == ["scope_missing"] * 2
