"""`/v1/consents/batch` and `/v1/consents/check/batch`."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tabellion.access.types import Role

from .conftest import Hub
from .http import World, opened

GRANT: dict[str, Any] = {
    "channel": "email", "purpose": "marketing", "decision": "granted", "basis": "consent", "method": "form",
    "source": "signup", "notice": {"id": "newsletter", "version": "3"}, "evidence": {"url": "https://example.org"},
}  # fmt: skip
ANN = {"email": "ann@example.org"}


@pytest.fixture
async def world(hub: Hub) -> AsyncIterator[World]:
    async with opened(hub) as made:
        yield made


@pytest.fixture
async def api(world: World) -> httpx.AsyncClient:
    return await world.client()


def item(number: int, **more: Any) -> dict[str, Any]:
    return GRANT | {"recipient": {"email": f"p{number}@example.org"}} | more


async def record(api: httpx.AsyncClient, items: list[dict[str, Any]], **headers: str) -> list[dict[str, Any]]:
    answer = await api.post("/v1/consents/batch", json={"items": items}, headers=headers)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def test_every_item_has_its_answer_in_order_and_none_stops_another(api: httpx.AsyncClient) -> None:
    items = [item(number) for number in range(600)]
    items[3] = item(3, basis=None)
    items[300] = item(300, decision="pending")
    items[400] = item(400, recipient={"external_id": "nobody"})
    items[500] = item(500, recipient={"email": "no address"})
    said = await record(api, items)
    assert [one["index"] for one in said] == list(range(600))
    statuses = {one["index"]: one["status"] for one in said if one["status"] != 201}
    assert statuses == {3: 422, 300: 422, 400: 404, 500: 422}
    assert said[3]["error"]["errors"][0]["pointer"] == "/items/3/basis"
    assert said[500]["error"]["errors"][0]["pointer"].startswith("/items/500/recipient")
    assert sorted(one["log_index"] for one in said if one["status"] == 201) == list(range(596))
    assert {one["tree_size"] for one in said if one["status"] == 201} == {255, 508, 596}, "256 a transaction"
    assert said[0]["id"].startswith("cns_")


async def test_decisions_about_one_person_apply_in_their_order(api: httpx.AsyncClient) -> None:
    """Also where they lie in different transactions."""
    items = [item(number, recipient=ANN) if number in (0, 299) else item(number) for number in range(300)]
    items[299]["decision"] = "withdrawn"
    await record(api, items)
    question = {"recipient": ANN, "channel": "email", "purpose": "marketing"}
    assert (await api.post("/v1/consents/check", json=question)).json()["verdict"] == "denied"


async def test_an_items_own_key_makes_it_once(api: httpx.AsyncClient) -> None:
    first = await record(api, [item(1, idempotency_key="a"), item(1, idempotency_key="a"), item(2)])
    assert first[0]["id"] == first[1]["id"]
    again = await record(api, [item(3), item(1, idempotency_key="a"), item(9, idempotency_key="a")])
    assert (again[1]["id"], again[1]["index"]) == (first[0]["id"], 1)
    assert (again[2]["status"], again[2]["error"]["code"]) == (409, "idempotency_key_reused")


async def test_a_requests_key_makes_each_item_once(api: httpx.AsyncClient, world: World) -> None:
    items = [item(number) for number in range(260)]
    first = await record(api, items, **{"Idempotency-Key": "k"})
    answer = await api.post("/v1/consents/batch", json={"items": items}, headers={"Idempotency-Key": "k"})
    assert answer.json()["data"] == first
    assert answer.headers["idempotent-replay"] == "true"
    other = await api.post("/v1/consents/batch", json={"items": items[:2]}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len(await world.rows("select from consent_entries where workspace_id = $1")) == 260


async def test_a_batch_has_at_most_a_thousand_and_takes_no_public_key(api: httpx.AsyncClient, world: World) -> None:
    assert (await api.post("/v1/consents/batch", json={"items": []})).status_code == 422
    assert (await api.post("/v1/consents/batch", json={"items": [item(1)] * 1001})).status_code == 422
    public = await world.client(Role.PUBLIC, source="shop")
    assert (await public.post("/v1/consents/batch", json={"items": [item(1)]})).status_code == 403


async def test_questions_are_answered_as_one_by_one(api: httpx.AsyncClient) -> None:
    await record(api, [item(1), item(2), item(2, decision="withdrawn"), item(3, recipient=ANN)])
    person = (await record(api, [item(3, recipient=ANN)]))[0]["recipient_id"]
    asked: list[dict[str, Any]] = [
        {"recipient": one, "channel": channel, "purpose": purpose}
        for one in ({"email": "p1@example.org"}, {"email": "p2@example.org"}, {"email": "new@example.org"}, ANN, person)
        for channel in ("email", "sms")
        for purpose in ("marketing", "transactional")
    ]
    asked.append({"recipient": person, "identifier": {"kind": "email", "value": "ann@example.org"},
                  "channel": "email", "purpose": "marketing"})  # fmt: skip
    wrong = [
        {"recipient": {"external_id": "nobody"}, "channel": "email", "purpose": "marketing"},
        {"recipient": ANN, "channel": "email", "purpose": "nothing"},
        {"recipient": {"email": "no address"}, "channel": "email", "purpose": "marketing"},
    ]
    answer = await api.post("/v1/consents/check/batch", json={"items": asked + wrong})
    said = answer.json()["data"]
    assert [one["status"] for one in said] == [200] * len(asked) + [404, 422, 422]
    assert said[-1]["error"]["errors"][0]["pointer"].startswith(f"/items/{len(asked) + 2}/recipient")
    for one, question in zip(said, asked, strict=False):
        alone = (await api.post("/v1/consents/check", json=question)).json()
        assert {name: one[name] for name in alone} == alone, question
