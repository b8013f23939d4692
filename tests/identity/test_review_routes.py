"""The review queue as a client sees it."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Role, Workspace
from tabellion.app.routes import build
from tabellion.app.wiring import Hub
from tabellion.core.config import Settings

from .people import email
from .test_reviews import ANN, PHONE, Desk, granted, unit

Client = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def workspace(hub: Hub) -> Workspace:
    return await hub.around.db.run(lambda tx: create_workspace(tx, "acme"))


@pytest.fixture
async def client(hub: Hub, workspace: Workspace) -> Client:
    db, asgi = hub.around.db, build(hub, Settings()).asgi

    async def make(role: Role = Role.OWNER, of: Workspace = workspace) -> httpx.AsyncClient:
        _, secret = await db.run(lambda tx: create_key(tx, of, "live", role))
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=asgi), base_url="http://hub", headers=headers)

    return make


@pytest.fixture
def desk(hub: Hub, workspace: Workspace) -> Desk:
    return Desk(hub, workspace.live)


async def opened(desk: Desk, http: httpx.AsyncClient) -> str:
    await desk.two()
    await desk.brings(unit(ANN, PHONE, traits={"city": "Graz"}))
    review: str = (await http.get("/v1/reviews")).json()["data"][0]["id"]
    return review


async def test_read_accept_and_again(desk: Desk, client: Client) -> None:
    http = await client()
    review = await opened(desk, http)
    shown = (await http.get(f"/v1/reviews/{review}")).json()
    assert (shown["id"], shown["kind"], shown["state"], shown["consent"]) == (review, "identity_conflict", "open", None)
    assert [one["claimed"] for one in shown["identity"]["candidates"]] in (
        [["email"], ["phone"]],
        [["phone"], ["email"]],
    )
    assert shown["identity"]["brought"]["profile"] == {"traits": {"city": "Graz"}}
    assert {"kind": "phone", "value": PHONE, "verified": False} in shown["identity"]["brought"]["identifiers"]
    assert "merges the candidates" in shown["accepting"]
    answers = [
        await http.post(f"/v1/reviews/{review}/accept", json={"reason": "paper"}, headers={"Idempotency-Key": "k"})
        for _ in "ab"
    ]
    assert [one.status_code for one in answers] == [200, 200], answers[0].text
    assert answers[1].headers["idempotent-replay"] == "true"
    done = answers[0].json()
    assert (done["state"], done["recorded"]) == ("accepted", None)
    one = (await http.get(f"/v1/recipients/{done['merged']['recipient_id']}")).json()
    assert {known["value"] for known in one["identifiers"]} == {ANN, PHONE}
    after = (await http.get(f"/v1/reviews/{review}")).json()
    assert (after["state"], after["reason"], after["accepting"]) == ("accepted", "paper", None)
    for word in ("accept", "reject"):
        again = await http.post(f"/v1/reviews/{review}/{word}", json={})
        assert (again.status_code, again.json()["code"]) == (409, "review_decided")


async def test_too_late_is_a_conflict_that_the_item_remembers(desk: Desk, client: Client) -> None:
    http = await client()
    review = await opened(desk, http)
    first, second = (await http.get(f"/v1/reviews/{review}")).json()["recipients"]
    await http.post(f"/v1/recipients/{first}/merge", json={"from": second, "reason": "by hand"})
    stale = await http.post(f"/v1/reviews/{review}/accept", json={}, headers={"Idempotency-Key": "k"})
    assert (stale.status_code, stale.json()["code"]) == (409, "review_stale"), stale.text
    assert stale.headers["content-type"] == "application/problem+json"
    assert (await http.get(f"/v1/reviews/{review}")).json()["state"] == "superseded"


async def test_lists_by_state_and_kind(desk: Desk, client: Client) -> None:
    http = await client()
    review = await opened(desk, http)
    await desk.say("objected", email(ANN))
    await granted(desk)
    rejected = await http.post(f"/v1/reviews/{review}/reject", json={"reason": "father and son"})
    assert (rejected.status_code, rejected.json()["state"]) == (200, "rejected")

    async def listed(query: str) -> list[str]:
        return [one["kind"] for one in (await http.get(f"/v1/reviews?{query}")).json()["data"]]

    assert await listed("") == ["consent_conflict", "identity_conflict"], "newest first"
    assert await listed("state=open") == await listed("kind=consent_conflict") == ["consent_conflict"]
    assert await listed("state=open&kind=identity_conflict") == []
    page = (await http.get("/v1/reviews?limit=1")).json()
    assert [one["kind"] for one in page["data"]] == ["consent_conflict"]
    assert await listed(f"limit=1&cursor={page['next_cursor']}") == ["identity_conflict"]
    assert (await http.get("/v1/reviews?state=closed")).status_code == 400


async def test_a_grant_is_shown_with_what_accepting_does(desk: Desk, client: Client) -> None:
    http = await client(Role.COMPLIANCE)
    await desk.person(ANN)
    await desk.say("objected", email(ANN))
    await granted(desk)
    [item] = (await http.get("/v1/reviews")).json()["data"]
    shown = (await http.get(f"/v1/reviews/{item['id']}")).json()
    assert shown["consent"]["identifier"] == {"kind": "email", "value": ANN, "verified": False}
    assert (shown["consent"]["refused_because"], shown["identity"]) == ("objection_stands", None)
    assert "by the person alone" in shown["accepting"]
    done = (await http.post(f"/v1/reviews/{item['id']}/accept", json={})).json()
    assert done["merged"] is None
    assert (done["recorded"]["decision"], done["recorded"]["applied"]) == ("pending", False)


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.READONLY])
async def test_who_may_only_read_decides_nothing(desk: Desk, client: Client, role: Role) -> None:
    review = await opened(desk, await client())
    http = await client(role)
    assert (await http.get(f"/v1/reviews/{review}")).status_code == 200
    answers = [await http.post(f"/v1/reviews/{review}/{word}", json={}) for word in ("accept", "reject")]
    assert [one.json()["code"] for one in answers] == ["scope_missing"] * 2
    ingest = await client(Role.INGEST)
    assert (await ingest.get("/v1/reviews")).json()["code"] == "scope_missing"


@pytest.mark.parametrize("body", [{"reason": ""}, {"reason": "x" * 501}, {"why": "x"}, []])
async def test_a_wrong_body_decides_nothing(desk: Desk, client: Client, body: Any) -> None:
    http = await client()
    review = await opened(desk, http)
    answer = await http.post(f"/v1/reviews/{review}/accept", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert (await http.get(f"/v1/reviews/{review}")).json()["state"] == "open"


async def test_another_tenant_finds_nothing(desk: Desk, client: Client, hub: Hub) -> None:
    review = await opened(desk, await client())
    rival = await hub.around.db.run(lambda tx: create_workspace(tx, "rival"))
    http = await client(of=rival)
    assert (await http.get("/v1/reviews")).json()["data"] == []
    answers = [await http.get(f"/v1/reviews/{review}")]
    answers += [await http.post(f"/v1/reviews/{review}/{word}", json={}) for word in ("accept", "reject")]
    assert [(one.status_code, one.json()["code"]) for one in answers] == [(404, "review_not_found")] * 3
