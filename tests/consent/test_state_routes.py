"""What holds for a person now, every entry, and what schemes ask for."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tabellion.access.types import Role
from tabellion.consent.types import Scheme

from .conftest import Hub
from .http import World, opened

MAIL, NUMBER = "ann@example.org", "+12025550111"
GRANT: dict[str, Any] = {
    "recipient": {"email": MAIL}, "channel": "email", "purpose": "marketing", "decision": "granted",
    "basis": "consent", "method": "form", "source": "signup", "notice": {"id": "newsletter", "version": "3"},
    "evidence": {"url": "https://example.org/signup"},
}  # fmt: skip


@pytest.fixture
async def world(hub: Hub) -> AsyncIterator[World]:
    async with opened(hub) as made:
        yield made


@pytest.fixture
async def api(world: World) -> httpx.AsyncClient:
    return await world.client()


async def say(api: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await api.post("/v1/consents", json=GRANT | more)
    assert answer.status_code == 201, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def state(api: httpx.AsyncClient, person: str) -> dict[str, Any]:
    answer = await api.get(f"/v1/recipients/{person}/consents")
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def at(said: dict[str, Any], channel: str, purpose: str) -> dict[str, Any]:
    [one] = [one for one in said["consents"] if (one["channel"], one["purpose"]) == (channel, purpose)]
    found: dict[str, Any] = one
    return found


async def test_what_holds_is_said_for_each_channel_and_purpose(api: httpx.AsyncClient, world: World) -> None:
    until = (world.hub.clock.now() + timedelta(days=30)).isoformat()
    granted = await say(api, expires_at=until)
    said = await state(api, granted["recipient_id"])
    marketing = at(said, "email", "marketing")
    assert (marketing["verdict"], marketing["sendable"], marketing["chosen"]) == ("allowed", True, True)
    assert (marketing["identifier"], marketing["entries"]) == ({"kind": "email", "value": MAIL}, [granted["id"]])
    assert marketing["since"] == "2026-11-21T09:00:00.000Z"
    assert marketing["expires_at"] == "2026-12-21T09:00:00.000Z"
    assert at(said, "email", "transactional")["reason"] == "unknown_allowed"
    assert {one["channel"] for one in said["consents"]} == {"email"}, "of channels that reach them"
    [standing] = said["standing"]
    assert (standing["id"], standing["rank"]) == (granted["id"], "P2")
    assert standing["notice"] == {"id": "newsletter", "version": "3"}


async def test_what_waits_for_confirmation_waits_two_days(api: httpx.AsyncClient, world: World) -> None:
    pending = await say(api, confirm=True)
    person = pending["recipient_id"]
    waits = at(await state(api, person), "email", "marketing")["pending"]
    assert waits == {"id": pending["id"], "until": "2026-11-23T09:00:00.000Z"}
    world.hub.clock.advance(timedelta(hours=48))
    assert at(await state(api, person), "email", "marketing")["pending"] is None
    again = await say(api, confirm=True)
    assert at(await state(api, person), "email", "marketing")["pending"]["id"] == again["id"]
    await say(api, decision="denied", method="api")
    assert at(await state(api, person), "email", "marketing")["pending"] is None, "answered otherwise meanwhile"


async def test_restrictions_and_vendor_blocks_are_shown(api: httpx.AsyncClient, world: World) -> None:
    person = (await say(api, recipient={"phone": NUMBER}, channel="sms"))["recipient_id"]
    await world.hub.beside(world.side).stop(NUMBER)
    said = await state(api, person)
    stopped = at(said, "sms", "marketing")
    assert (stopped["verdict"], stopped["reason"]) == ("denied", "stop")
    assert said["vendor_blocks"] == [
        {"identifier": {"kind": "phone", "value": NUMBER}, "senders": ["+15005550006"]}
    ]  # fmt: skip
    narrow = await world.client(Role.DEVELOPER, scopes=frozenset({"consents:read"}))
    assert (await state(narrow, person))["vendor_blocks"][0]["identifier"] == {"kind": "phone"}


async def test_every_entry_is_listed_newest_first(api: httpx.AsyncClient) -> None:
    said = [await say(api), await say(api, decision="withdrawn", method="api"), await say(api)]
    path = f"/v1/recipients/{said[0]['recipient_id']}/consents/entries"
    page = (await api.get(f"{path}?limit=2")).json()
    rest = (await api.get(f"{path}?limit=2&cursor={page['next_cursor']}")).json()
    found = page["data"] + rest["data"]
    assert [one["id"] for one in found] == [one["id"] for one in reversed(said)]
    assert [one["standing"] for one in found] == [False, True, False]
    assert rest["next_cursor"] is None
    assert "record" not in found[0]


async def test_what_was_committed_is_disclosed_on_request_and_that_is_audited(
    api: httpx.AsyncClient, world: World
) -> None:
    granted = await say(api)
    one = (await api.get(f"/v1/consents/{granted['id']}?disclose=true")).json()
    assert one["record"]["evidence"] == GRANT["evidence"]
    assert one["record"]["identifier"] == {"kind": "email", "value": MAIL}
    path = f"/v1/recipients/{granted['recipient_id']}/consents/entries"
    [listed] = (await api.get(f"{path}?disclose=true")).json()["data"]
    assert listed == one
    rows = await world.rows("select target, detail from audit where workspace_id = $1 and action = 'consent.disclosed'")
    assert [(row["target"], row["detail"]["entries"]) for row in rows] == [
        (granted["recipient_id"], [granted["id"]])
    ] * 2  # fmt: skip
    narrow = await world.client(Role.DEVELOPER, scopes=frozenset({"consents:read"}))
    assert (await narrow.get(f"/v1/consents/{granted['id']}")).status_code == 200
    assert (await narrow.get(f"/v1/consents/{granted['id']}?disclose=true")).status_code == 403
    assert (await narrow.get(f"{path}?disclose=true")).status_code == 403


async def test_nobody_is_found_under_an_id_of_nobody(api: httpx.AsyncClient) -> None:
    for path in ("recipients/rcp_01h2xcejqtf2nbrexx3vqjhp41/consents", "consents/cns_01h2xcejqtf2nbrexx3vqjhp41"):
        assert (await api.get(f"/v1/{path}")).status_code == 404


async def test_schemes_are_described_with_the_evidence_they_ask_for(api: httpx.AsyncClient) -> None:
    said = (await api.get("/v1/consent-schemes")).json()
    found = {one["id"]: one for one in said["schemes"]}
    assert set(found) == set(Scheme)
    assert all(one["source"].startswith("https://") and one["law"] for one in found.values())
    assert set(found["tcpa_pewc"]["evidence"]) == {"seller", "disclosure", "signature"}
    assert said["methods"]["form"] == "url"
    assert set(said["bases"]) == {"legitimate_interest", "soft_opt_in"}
