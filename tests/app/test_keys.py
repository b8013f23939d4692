"""Keys and the audit table over HTTP."""

from typing import Any

import httpx
import pytest

from tabellion.access.service import create_workspace
from tabellion.access.types import Role, Workspace
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database

PROBLEM = "application/problem+json"


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem a response is, checked for its form."""
    assert response.headers["content-type"] == PROBLEM
    said: dict[str, Any] = response.json()
    assert said["status"] == response.status_code
    assert said["type"] == "urn:tabellion:problem:" + said["code"]
    assert set(said) <= {"type", "title", "status", "code", "detail", "errors"}
    assert "Traceback" not in response.text
    return said


async def test_a_key_is_made_shown_once_used_rotated_and_revoked(hub, new_secret, clock: FakeClock):
    async with hub.client(await new_secret(Role.ADMIN)) as client:
        body = {"role": "developer", "name": "shop", "networks": ["203.0.113.9"], "rate_limit": 100}
        made = (await client.post("/v1/keys", json=body)).json()
        assert (made["networks"], made["active"], made["mode"]) == (["203.0.113.9/32"], True, "live")
        assert made["created_at"] == "2026-11-21T09:00:00.000Z"
        rotated = await client.post(f"/v1/keys/{made['id']}/rotate", json={"grace_seconds": 0})
        assert rotated.status_code == 201
        new = rotated.json()
        async with hub.client(made["key"]) as old, hub.client(new["key"]) as fresh:
            assert problem(await old.get("/v1/hot"))["code"] == "key_rotated"
            assert (await fresh.get("/v1/hot")).status_code == 200
            for _ in range(2):
                gone = await client.delete(f"/v1/keys/{new['id']}")
                assert (gone.status_code, gone.content) == (204, b"")
            assert problem(await fresh.get("/v1/hot"))["code"] == "key_revoked"
        listed = (await client.get("/v1/keys")).json()["data"]
        assert [(one["id"], one["active"]) for one in listed[:2]] == [(new["id"], False), (made["id"], False)]
        assert listed[1]["replaced_by"] == new["id"]
        assert "key" not in listed[0]
        actions = [one["action"] for one in (await client.get("/v1/audit")).json()["data"]]
        assert actions[:3] == ["key.revoked", "key.rotated", "key.created"]


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/keys/{id}/rotate"])
async def test_a_secret_is_not_shown_again(hub, new_secret, path):
    async with hub.client(await new_secret(Role.OWNER)) as client:
        made = (await client.post("/v1/keys", json={"role": "readonly"})).json()
        body = {"role": "readonly"} if path == "/v1/keys" else {}
        sent = {"json": body, "headers": {"Idempotency-Key": "k"}}
        first = await client.post(path.format(id=made["id"]), **sent)
        second = await client.post(path.format(id=made["id"]), **sent)
    assert first.status_code == 201
    assert (second.status_code, problem(second)["code"]) == (409, "secret_already_shown")
    assert second.headers["idempotent-replay"] == "true"
    assert first.json()["key"] not in second.text


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.OWNER, Role.ADMIN, Role.PUBLIC)])
async def test_only_owner_and_admin_handle_keys(hub, new_secret, role):
    async with hub.client(await new_secret(role)) as client:
        some = ids.show("key", ids.new())
        for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("POST", f"/v1/keys/{some}/rotate"),
                             ("DELETE", f"/v1/keys/{some}")):  # fmt: skip
            assert (await client.request(method, path)).status_code == 403


async def test_an_admin_cannot_become_owner(hub, new_secret):
    owner = await new_secret(Role.OWNER)
    async with hub.client(owner) as client:
        [key] = [one for one in (await client.get("/v1/keys")).json()["data"] if one["role"] == "owner"]
    async with hub.client(await new_secret(Role.ADMIN)) as client:
        assert (await client.post("/v1/keys", json={"role": "owner"})).status_code == 403
        assert (await client.post(f"/v1/keys/{key['id']}/rotate", json={})).status_code == 403
        assert (await client.delete(f"/v1/keys/{key['id']}")).status_code == 403


@pytest.mark.parametrize(
    ("body", "place"),
    [({"role": "god"}, "/role"), ({"role": "developer", "scopes": ["keys:write"]}, "/scopes/0"),
     ({"role": "developer", "networks": ["10.0.0.0/8", "nonsense"]}, "/networks/1"),
     ({"role": "developer", "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
     ({"role": "developer", "expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
     ({"role": "developer", "rate_limit": 0}, "/rate_limit"), ({"role": "developer", "name": ""}, "/name")],
)  # fmt: skip
async def test_a_wrong_key_is_pointed_at(hub, new_secret, body, place):
    async with hub.client(await new_secret(Role.OWNER)) as client:
        response = await client.post("/v1/keys", json=body)
    assert response.status_code == 422
    assert [one["pointer"] for one in problem(response)["errors"]] == [place]


async def test_lists_are_read_page_by_page(hub, new_secret):
    async with hub.client(await new_secret(Role.OWNER)) as client:
        for _ in range(4):
            await client.post("/v1/keys", json={"role": "readonly"})
        for path in ("/v1/keys", "/v1/audit"):
            everything = [one["id"] for one in (await client.get(path)).json()["data"]]
            found, query = [], "?limit=2"
            while query:
                page = (await client.get(path + query)).json()
                found += [one["id"] for one in page["data"]]
                query = f"?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
            assert found == everything
            assert len(everything) >= 5
            for wrong in ("limit=0", "limit=501", "cursor=x", "cursor=" + "%20" * 22):
                assert (await client.get(f"{path}?{wrong}")).status_code == 400


async def test_two_tenants_with_equal_data_never_see_each_other(hub, db: Database, workspace: Workspace, new_secret):
    other = await db.run(lambda tx: create_workspace(tx, "rival"))
    secrets = {
        (one.name, mode): await new_secret(Role.OWNER, mode, of=one)
        for one in (workspace, other)
        for mode in ("live", "test")
    }
    made = {}
    for owner, secret in secrets.items():
        async with hub.client(secret) as client:
            headers = {"Idempotency-Key": "same"}
            made[owner] = (await client.post("/v1/keys", json={"role": "readonly"}, headers=headers)).json()["id"]
    assert len(set(made.values())) == 4
    for owner, secret in secrets.items():
        async with hub.client(secret) as client:
            for path in ("/v1/keys", "/v1/audit"):
                text = (await client.get(path)).text
                assert made[owner] in text
                assert not [one for whose, one in made.items() if whose != owner and one in text]
            for whose, foreign in made.items():
                if whose != owner:
                    assert (await client.delete(f"/v1/keys/{foreign}")).status_code == 404
                    assert (await client.post(f"/v1/keys/{foreign}/rotate", json={})).status_code == 404
