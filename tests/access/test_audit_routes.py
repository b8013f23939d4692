"""`/v1/audit` over the real application: lists, one entry, and a receipt that is checked with the log's key alone."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tabellion.access import store
from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import AuditEntry, Role, Workspace
from tabellion.app.routes import build
from tabellion.app.wiring import Hub
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.crypto import Key, b64url, canonical
from tabellion.ledger import merkle, note


@pytest.fixture
async def workspace(hub: Hub) -> Workspace:
    return await hub.around.db.run(lambda tx: create_workspace(tx, "acme"))


@pytest.fixture
async def client(hub: Hub, workspace: Workspace) -> AsyncIterator[httpx.AsyncClient]:
    _, secret = await hub.around.db.run(lambda tx: create_key(tx, workspace, "test", Role.ADMIN))
    transport = httpx.ASGITransport(app=build(hub, Settings()).asgi)
    headers = {"Authorization": f"Bearer {secret.reveal()}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers) as opened:
        yield opened


async def listed(client: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    answer = await client.get(f"/v1/audit{query}")
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def test_a_list_says_where_each_entry_stands_and_has_filters_and_pages(client: httpx.AsyncClient) -> None:
    for role in ("readonly", "developer", "readonly"):
        await client.post("/v1/keys", json={"role": role})
    await client.put("/v1/retention", json={"content": 30})
    everything = await listed(client)
    assert [one["action"] for one in everything] == ["retention.set", *["key.created"] * 4]
    assert [one["log_index"] for one in everything] == [4, 3, 2, 1, 0]
    actor, target = everything[0]["actor"], everything[2]["target"]
    assert await listed(client, f"?actor={actor}") == everything[:4]
    assert await listed(client, "?actor=command_line") == everything[4:]
    assert await listed(client, "?action=retention.set") == everything[:1]
    assert await listed(client, f"?target={target}") == [everything[2]]
    assert await listed(client, "?from=2026-11-21T09:00:00Z") == everything
    assert await listed(client, "?to=2026-11-21T09:00:00Z") == []
    first = (await client.get("/v1/audit?action=key.created&limit=3")).json()
    second = (await client.get(f"/v1/audit?action=key.created&limit=3&cursor={first['next_cursor']}")).json()
    assert (first["data"], second["data"], second["next_cursor"]) == (everything[1:4], everything[4:], None)
    for wrong in (
        "?from=yesterday",
        "?who=x",
        "?from=2026-11-21",
        "?to=2026-11-21T09:00:00",
        "?from=0",
        "?from=0001-01-01T00:00:00%2B23:00",
        "?to=2026-13-01T00:00:00Z",
    ):
        assert (await client.get(f"/v1/audit{wrong}")).status_code == 400, wrong


async def test_one_entry_is_read_by_its_id(client: httpx.AsyncClient) -> None:
    [made] = await listed(client)
    assert (await client.get(f"/v1/audit/{made['id']}")).json() == made
    for unknown in (ids.show("aud", ids.new()), "aud_x", ids.show("key", ids.new())):
        for path in (unknown, f"{unknown}/receipt"):
            assert (await client.get(f"/v1/audit/{path}")).status_code == 404


async def test_a_receipt_is_checked_with_the_key_of_the_log_alone(client: httpx.AsyncClient) -> None:
    """The record's HMAC under the disclosed key is the commitment in the leaf, and the leaf is in the signed tree."""
    for _ in range(4):
        await client.post("/v1/keys", json={"role": "readonly"})
    vkey = (await client.get("/v1/ledger/audit/key")).text.strip()
    one = (await listed(client))[2]
    answer = await client.get(f"/v1/audit/{one['id']}/receipt")
    assert answer.headers["content-disposition"] == f'inline; filename="{one["id"]}.tlog-proof"'
    proof, _, checkpoint = answer.text.partition("\n\n")
    kind, extra, index, *path = proof.split("\n")
    assert (kind, index) == ("c2sp.org/tlog-proof@v1", f"index {one['log_index']}")
    told = json.loads(base64.b64decode(extra.removeprefix("extra ")))
    record = told["record"]
    assert {name: record[name] for name in ("id", "actor", "action", "target", "detail")} == {
        name: one[name] for name in ("id", "actor", "action", "target", "detail")
    }
    commitment = Key(base64.b64decode(told["key"])).hash(canonical(record))
    leaf = canonical({"v": 1, "type": "audit", "c": b64url(commitment), "d": record["at"][:10]})
    signed = note.verify_checkpoint(checkpoint, [note.parse_verifier(vkey)])
    assert signed.origin == record["log"]
    hashes = [base64.b64decode(one) for one in path]
    assert merkle.verify_inclusion(one["log_index"], signed.size, merkle.leaf_hash(leaf), hashes, signed.root)


async def test_what_was_audited_before_there_was_a_log_has_no_receipt(
    hub: Hub, workspace: Workspace, client: httpx.AsyncClient
) -> None:
    old = AuditEntry(ids.new(), hub.around.clock.now(), "key_1", "old.thing", "x", {})
    await hub.around.db.run(lambda tx: store.insert_audit(tx, workspace.test, [old]))
    shown = ids.show("aud", old.id)
    assert (await client.get(f"/v1/audit/{shown}")).json()["log_index"] is None
    refused = await client.get(f"/v1/audit/{shown}/receipt")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_in_log")


async def test_only_a_key_with_the_scope_reads_what_was_audited(
    hub: Hub, workspace: Workspace, client: httpx.AsyncClient
) -> None:
    [made] = await listed(client)
    _, secret = await hub.around.db.run(lambda tx: create_key(tx, workspace, "test", Role.DEVELOPER))
    client.headers["Authorization"] = f"Bearer {secret.reveal()}"
    for path in ("", f"/{made['id']}", f"/{made['id']}/receipt"):
        assert (await client.get(f"/v1/audit{path}")).json()["code"] == "scope_missing", path
