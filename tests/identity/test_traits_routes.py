"""Traits over HTTP: source, authority, types, provenance, search, and what follows from consent."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Role
from tabellion.app.routes import build
from tabellion.app.wiring import Hub
from tabellion.core.clock import FakeClock
from tabellion.core.config import Settings
from tabellion.recipients.indexing import SETTLES

MAIL = {"kind": "email", "value": "ann@example.org"}
FORM = {"basis": "consent", "method": "form", "source": "signup", "notice": {"id": "n", "version": "1"}}
FORM |= {"evidence": {"url": "https://example.org/signup"}}


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    workspace = await hub.around.db.run(lambda tx: create_workspace(tx, "acme"))
    _, secret = await hub.around.db.run(lambda tx: create_key(tx, workspace, "test", Role.OWNER))
    transport = httpx.ASGITransport(app=build(hub, Settings()).asgi)
    headers = {"Authorization": f"Bearer {secret.reveal()}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers) as opened:
        yield opened


async def ann(http: httpx.AsyncClient, **said: Any) -> Any:
    answer = await http.post("/v1/recipients", json={"identifiers": [MAIL], **said})
    assert answer.status_code < 300, answer.text
    return answer.json()


async def declare(http: httpx.AsyncClient, **settings: Any) -> Any:
    answer = await http.put("/v1/recipient-settings", json=settings)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_what_a_source_may_not_set_is_left_out_and_said(client: httpx.AsyncClient) -> None:
    await declare(client, authority={"name": ["crm", "billing"]})
    refused = [{"pointer": "/traits/name", "reason": "authority", "owner": "crm"}]
    made = await ann(client, source="crm", traits={"name": "Ann"})
    assert "ignored" not in made
    changed = await ann(client, source="billing", traits={"name": "A.", "plan": "pro"})
    assert changed["ignored"] == refused
    items = [{"identifiers": [MAIL], "traits": {"name": name}, "source": source} for source, name in
             (("web", "W."), ("crm", "Anna"), ("web", "W."))]  # fmt: skip
    entries = (await client.post("/v1/recipients/batch", json={"items": items})).json()["data"]
    assert [one.get("ignored") for one in entries] == [refused, None, refused]
    path = f"/v1/recipients/{made['id']}"
    patched = (await client.patch(path, json={"traits": {"name": None, "n": 1}, "source": "billing"})).json()
    assert (patched["ignored"], patched["traits"]["name"], patched["traits"]["n"]) == (refused, "Anna", 1)
    assert "ignored" not in (await client.get(path)).json()
    events = (await client.get("/v1/events?type=recipient.field_refused")).json()["data"]
    assert [one["data"]["source"] for one in events] == ["billing", "web", "web", "billing"]


async def test_an_item_is_replayed_with_what_was_left_out_of_it(client: httpx.AsyncClient) -> None:
    await declare(client, authority={"name": ["crm"]})
    item = {"identifiers": [MAIL], "traits": {"name": "A."}, "idempotency_key": "one"}
    first, again = [
        (await client.post("/v1/recipients/batch", json={"items": [item]})).json()["data"] for _ in range(2)
    ]
    assert first == again
    assert first[0]["ignored"]


async def test_provenance_says_where_each_field_comes_from(client: httpx.AsyncClient, hub: Hub) -> None:
    await declare(client, authority={"name": ["crm"]})
    made = await ann(client, source="crm", traits={"name": "Ann", "plan": "pro"}, locale="de")
    path = f"/v1/recipients/{made['id']}"
    await client.patch(path, json={"traits": {"plan": "free"}})
    said = (await client.get(f"{path}?provenance=1")).json()["provenance"]
    assert said.keys() == {"/locale", "/traits/name", "/traits/plan"}
    assert {at: (one["source"], one["owner"]) for at, one in said.items()} == {
        "/locale": ("crm", None),
        "/traits/name": ("crm", "crm"),
        "/traits/plan": ("api", None),
    }
    assert {one["actor"].partition("_")[0] for one in said.values()} == {"key"}
    assert "provenance" not in (await client.get(path)).json()
    at = "2026-11-21T09:00:00.000Z"
    assert (await client.get(f"{path}?provenance=1&as_of={at}")).status_code == 400


async def test_a_trait_of_another_type_is_refused_at_its_place(client: httpx.AsyncClient) -> None:
    await declare(client, trait_types={"age": "integer", "a/b": "date"})
    for said, pointer in (({"age": "42"}, "/traits/age"), ({"a/b": 1}, "/traits/a~1b")):
        body = {"identifiers": [MAIL], "traits": said}
        answer = await client.post("/v1/recipients", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "trait_type_wrong")
        assert answer.json()["errors"][0]["pointer"] == pointer
        [item] = (await client.post("/v1/recipients/batch", json={"items": [body]})).json()["data"]
        assert item["error"]["errors"][0]["pointer"] == f"/items/0{pointer}"
    made = await ann(client, traits={"age": 42, "a/b": None, "free": "42"})
    patched = await client.patch(f"/v1/recipients/{made['id']}", json={"traits": {"age": 4.5}})
    assert patched.json()["code"] == "trait_type_wrong"


async def test_recipients_are_found_by_a_trait_once_it_is_indexed(
    client: httpx.AsyncClient, hub: Hub, clock: FakeClock
) -> None:
    made = [
        (await ann(client, identifiers=[{"kind": "email", "value": f"p{n}@example.org"}], traits={"plan": "a:b"}))["id"]
        for n in range(3)
    ]
    unknown = await client.get("/v1/recipients?trait=plan:a:b")
    assert (unknown.status_code, unknown.json()["code"]) == (400, "trait_not_indexed")
    assert (await declare(client, indexed_traits=["plan"]))["indexing"] == {"plan": "building"}
    early = await client.get("/v1/recipients?trait=plan:a:b")
    assert (early.status_code, early.json()["code"]) == (409, "index_building")
    clock.advance(SETTLES)
    await hub.indexes.advance(hub.around.db)
    assert (await client.get("/v1/recipient-settings")).json()["indexing"] == {"plan": "ready"}
    first = (await client.get("/v1/recipients?trait=plan:a:b&limit=2")).json()
    second = (await client.get(f"/v1/recipients?trait=plan:a:b&limit=2&cursor={first['next_cursor']}")).json()
    assert [one["id"] for one in (*first["data"], *second["data"])] == made[::-1]
    assert second["next_cursor"] is None
    for wrong in ("trait=plan", "trait=plan:x&email=ann@example.org"):
        assert (await client.get(f"/v1/recipients?{wrong}")).status_code == 400, wrong


async def test_what_follows_from_consent_is_shown_and_not_set(client: httpx.AsyncClient) -> None:
    path = f"/v1/recipients/{(await ann(client, traits={'plan': 'pro'}))['id']}"
    assert (await client.get(path)).json()["traits"] == {"plan": "pro", "email_subscribed_status": "did-not-subscribe"}
    grant = {
        "recipient": {"email": "ann@example.org"},
        "channel": "email",
        "purpose": "marketing",
        "decision": "granted",
    }
    assert (await client.post("/v1/consents", json=grant | FORM)).status_code == 201
    listed = (await client.get("/v1/recipients?include=contact_state")).json()["data"]
    found = (await client.get("/v1/recipients?email=ann@example.org&include=contact_state")).json()["data"]
    for query in ("", "?email=ann@example.org"):
        assert (await client.get(f"/v1/recipients{query}")).json()["data"][0]["traits"] == {"plan": "pro"}
    assert (await client.get("/v1/recipients?include=everything")).status_code == 400
    patched = (await client.patch(path, json={})).json()
    for one in (*listed, *found, patched, (await client.get(path)).json()):
        assert one["traits"] == {"plan": "pro", "email_subscribed_status": "subscribed"}
    for answer in (
        await client.patch(path, json={"traits": {"email_subscribed_status": "unsubscribed"}}),
        await client.post("/v1/recipients", json={"identifiers": [MAIL], "traits": {"sms_opt_in_date": None}}),
        await client.put("/v1/recipient-settings", json={"indexed_traits": ["email_subscribed_status"]}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "trait_read_only")


@pytest.mark.parametrize(
    "wrong",
    [
        {"authority": {"name": []}},
        {"authority": {"name": ["C R M"]}},
        {"nulls": {"crm": "maybe"}},
        {"trait_types": {"age": "int"}},
        {"indexed_traits": ["a:b"]},
        {"indexed_traits": [f"t{n}" for n in range(21)]},
    ],
)
async def test_settings_that_are_none_are_refused(client: httpx.AsyncClient, wrong: object) -> None:
    assert (await client.put("/v1/recipient-settings", json=wrong)).status_code == 422


@pytest.mark.parametrize("source", ["", "C R M", "x" * 65, "CRM"])
async def test_a_source_that_is_none_is_refused(client: httpx.AsyncClient, source: str) -> None:
    answer = await client.post("/v1/recipients", json={"identifiers": [MAIL], "source": source})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/source")


async def test_a_source_stands_in_history_and_on_new_identifiers(client: httpx.AsyncClient) -> None:
    path = f"/v1/recipients/{(await ann(client, source='crm'))['id']}"
    await client.patch(path, json={"locale": "de", "source": "billing"})
    entries = (await client.get(f"{path}/history")).json()["data"]
    assert [one["source"] for one in entries] == ["billing", "crm"]
    assert (await client.get(path)).json()["identifiers"][0]["source"] == "crm"
