"""Two tenants with equal data, ids and keys included, live as if each were alone: what they are told, and their rows.

First one lives alone. Then the other does the same, and must be told the same; then both go on, in turn, from things
that exist twice. Nobody's rows change but those of whom it was asked.
"""

import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tabellion.app.wiring import Surroundings
from tabellion.jobs.types import Lane

from .twins import SECRET, Twin, Twins, twins

EQUAL = {"Idempotency-Key": "equal"}
FORM = {"basis": "consent", "method": "form", "evidence": {"url": "https://example.org/signup"}}
NUMBER, MAIL, NOBODYS = "+12025550111", "ann@example.org", "nobody@example.org"


@pytest.fixture
async def world(
    surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Twins]:
    async with twins(surroundings, monkeypatch, of_one=getattr(request, "param", False)) as made:
        yield made


def ann(twin: Twin, *more: str) -> dict[str, Any]:
    mails = [{"kind": "email", "value": one} for one in (MAIL, *more)]
    named = [*mails, {"kind": "phone", "value": NUMBER}]
    return {"external_id": "ann", "identifiers": named, "traits": {"of": twin.word}, "locale": "en"}


def says(twin: Twin, decision: str, channel: str = "sms", **more: Any) -> dict[str, Any]:
    said = {"recipient": {"external_id": "ann"}, "channel": channel, "purpose": "marketing", "decision": decision}
    return said | {"source": twin.word, "method": "api"} | (FORM if decision == "granted" else {}) | more


def message(twin: Twin, text: str = "hello", channel: str = "sms", **more: Any) -> dict[str, Any]:
    route = {"steps": [{"channel": channel, "accounts": [twin.account]}]}
    return {
        "to": {"external_id": "ann"}, "purpose": "transactional", "content": {"text": f"{text} {twin.word}"},
        "tags": ["equal", twin.word], "metadata": {"of": twin.word}, "route": route, "guarantee": "at_least_once",
    } | more  # fmt: skip


def check(channel: str, purpose: str = "marketing", **recipient: str) -> dict[str, Any]:
    return {"recipient": recipient or {"external_id": "ann"}, "channel": channel, "purpose": purpose}


async def calls_back(world: Twins, twin: Twin, *events: dict[str, Any]) -> None:
    """What the vendor posts: byte for byte the same for both, signed with the same secret."""
    at = world.clock.now()
    body = json.dumps({"events": [event | {"at": at.isoformat()} for event in events]}).encode()
    stamp = str(int(at.timestamp()))
    signature = hmac.digest(SECRET.encode(), f"{stamp}.".encode() + body, "sha256").hex()
    headers = {"fake-timestamp": stamp, "fake-signature": signature}
    answer = await twin.client.post(f"/in/fake/{twin.account}", content=body, headers=headers)
    assert answer.status_code < 300, answer.text
    await world.work()


def inbound(text: str, number: int) -> dict[str, Any]:
    """A text message from Ann."""
    signal = {"signal": "stop"} if text == "STOP" else {}
    said = {"type": "inbound", "id": f"in-{number}", "channel": "sms", "from": NUMBER, "to": "+1", "text": text}
    return said | signal


async def last_vendor_id(twin: Twin, message_id: str) -> str:
    said = await twin.ask("GET", f"/v1/messages/{message_id}")
    vendor_id: str = said["steps"][-1]["attempts"][-1]["provider_message_id"]
    return vendor_id


async def look(twin: Twin) -> None:
    """Ask for everything there is."""
    for path in (
        "/v1/keys", "/v1/audit", "/v1/accounts", f"/v1/accounts/{twin.account}", "/v1/ledger/checkpoint",
        "/v1/ledger/key", "/v1/providers", "/v1/audit?limit=1", "/v1/accounts?limit=1", "/v1/keys?limit=1",
    ):  # fmt: skip
        await twin.ask("GET", path)
    people = (await twin.ask("GET", "/v1/recipients"))["data"]
    for query in ("limit=1", "email=ann@example.org", "phone=%2B12025550111", "external_id=ann", f"email={NOBODYS}"):
        await twin.ask("GET", f"/v1/recipients?{query}")
    sent = (await twin.ask("GET", "/v1/messages"))["data"]
    vendor = {await last_vendor_id(twin, one["id"]) for one in sent if one["status"] in ("sent", "delivered")}
    filters = ["tag=equal", f"tag={twin.word}", "status=sent", "status=suppressed", "channel=sms", "channel=email"]
    filters += ["purpose=marketing", "limit=1", *(f"provider_message_id={one}" for one in sorted(vendor))]
    for query in (*filters, *(f"recipient={one['id']}" for one in people)):
        await twin.ask("GET", f"/v1/messages?{query}")
    for one in people:
        await twin.ask("GET", f"/v1/recipients/{one['id']}")
        await twin.ask("GET", f"/v1/events?recipient={one['id']}")
    for one in sent:
        for part in ("", "/timeline", "/explain"):
            await twin.ask("GET", f"/v1/messages/{one['id']}{part}")
        await twin.ask("GET", f"/v1/events?message={one['id']}")
    await all_events(twin)
    for channel in ("sms", "email"):
        for recipient in ({"external_id": "ann"}, {"email": MAIL}, {"phone": NUMBER}, {"email": NOBODYS}):
            await twin.ask("POST", "/v1/consents/check", check(channel, **recipient))
            await twin.ask("POST", "/v1/consents/check", check(channel, "transactional", **recipient))


async def all_events(twin: Twin) -> None:
    """Read the whole log, at once, by type, and by few."""
    await twin.ask("GET", "/v1/events?limit=500")
    await twin.ask("GET", "/v1/events?type=message.*&limit=500")
    after = ""
    while (page := await twin.ask("GET", f"/v1/events?limit=3{after}"))["data"]:
        after = f"&after={page['next_cursor']}"
        twin.own[page["next_cursor"]] = "further"


# what they do


async def begins(world: Twins, twin: Twin) -> None:
    """Ann comes, agrees, gets messages, takes some of it back and says STOP."""
    for _ in range(2):
        await twin.post("/v1/recipients", ann(twin), **EQUAL)
    bob = {"external_id": "bob", "identifiers": [{"kind": "email", "value": "bob@example.org"}]}
    await twin.post("/v1/recipients/batch", {"items": [bob | {"traits": {"of": twin.word}}]})
    for channel in ("sms", "email"):
        for _ in range(2):
            await twin.post("/v1/consents", says(twin, "granted", channel), **{"Idempotency-Key": channel})
    await twin.post("/v1/consents", says(twin, "withdrawn", "email", recipient={"email": NOBODYS}))
    for body in (message(twin), message(twin, "slow", "email"), message(twin, "other", purpose="marketing")):
        sent = await twin.post("/v1/messages", body, **{"Idempotency-Key": body["content"]["text"].split()[0]})
        await world.work()
    await calls_back(world, twin, {"message_id": await last_vendor_id(twin, sent["id"]), "state": "delivered"})
    await twin.post("/v1/messages", message(twin, "refuse", to={"external_id": "bob"}, channel="email"))
    await world.work()
    late = world.clock.now() + timedelta(hours=1)
    await twin.post("/v1/messages", message(twin, "later", send_at=late.isoformat()))
    await twin.ask("PATCH", f"/v1/accounts/{twin.account}", {"weight": 2, "limits": {"rate": 50}})


async def goes_on(world: Twins, twin: Twin) -> None:
    """Everything that is there changes."""
    people = (await twin.ask("GET", "/v1/recipients"))["data"]
    [ann_id] = [one["id"] for one in people if one["external_id"] == "ann"]
    sent = (await twin.ask("GET", "/v1/messages?status=sent"))["data"]
    await twin.ask("PATCH", f"/v1/recipients/{ann_id}", {"traits": {"more": twin.word}, "locale": "de"})
    old = (world.clock.now() - timedelta(days=9)).isoformat()
    imported = {"channel": "*", "method": "import", "occurred_at": old}
    await twin.post("/v1/consents", says(twin, "denied", **imported))
    await twin.ask("POST", "/v1/recipients", ann(twin, NOBODYS), **EQUAL)  # refused: the key is of another request
    await twin.post("/v1/recipients", ann(twin, NOBODYS))
    await twin.post("/v1/consents", says(twin, "withdrawn", "email"))
    await twin.post("/v1/consents", says(twin, "granted", "email", recipient={"email": MAIL}))
    for one in sent:
        await calls_back(world, twin, {"message_id": await last_vendor_id(twin, one["id"]), "state": "delivered"})
    world.clock.advance(timedelta(hours=2))
    await world.work()
    await calls_back(world, twin, inbound("hello", 1))
    await calls_back(world, twin, inbound("STOP", 2))
    await twin.post("/v1/messages", message(twin, "never", purpose="marketing"))
    await twin.post("/v1/messages", message(twin, "slow", "email"))
    await world.work()
    world.clock.advance(timedelta(hours=25))
    for _ in range(2):
        await twin.post("/v1/recipients", ann(twin), **EQUAL)
    await twin.ask("PATCH", f"/v1/accounts/{twin.account}", {"name": f"{twin.word} 2", "limits": {"rate": None}})


async def objects(world: Twins, twin: Twin) -> None:
    """Ann and Bob want nothing any more, whoever they are told to be."""
    for whom in ({"external_id": "ann"}, {"external_id": "bob"}, {"email": MAIL}, {"phone": NUMBER}):
        for channel in ("*", "sms", "email"):
            for purpose in ("*", "marketing", "transactional"):
                said = says(twin, "objected", channel, recipient=whom, purpose=purpose)
                await twin.post("/v1/consents", said)
    await twin.post("/v1/messages", message(twin, "never"))
    await world.work()


Told = tuple[str, int, Any]
Act = Callable[[Twins, Twin], Awaitable[None]]


async def lives(world: Twins, twin: Twin, act: Act, start: datetime, lay: Counter[int]) -> list[Told]:
    """What it is told while it does this."""
    async with world.life_of(twin, start, lay):
        await act(world, twin)
    return twin.heard()


async def sees(twin: Twin) -> list[Told]:
    await look(twin)
    return twin.heard()


@pytest.mark.parametrize("world", [False, True], ids=["two tenants", "two sides of one"], indirect=True)
async def test_each_lives_as_if_alone(world: Twins) -> None:
    north, south = world.both
    seen: list[Told] = []
    for act in (begins, goes_on):
        start, lay = world.clock.now(), world.dice.taken_up()
        souths = await world.rows_of(south)
        told = await lives(world, north, act, start, lay)
        require_unchanged(souths, await world.rows_of(south))
        seen = await sees(north)
        norths = await world.rows_of(north)
        require_same(await lives(world, south, act, start, lay), told)
        require_unchanged(norths, await world.rows_of(north))
        require_same(await sees(south), seen)
        require_same(await sees(north), seen)
        require_twins(norths, await world.rows_of(south))
    assert len(seen) > 60
    assert {one["status"] for _, _, one in seen if isinstance(one, dict) and "status" in one} >= {
        "sent",
        "delivered",
        "failed",
        "suppressed",
    }
    assert [request for request, status, _ in (*told, *seen) if status >= 400] == ["POST /v1/recipients"], told


def require_same(said: list[Told], alone: list[Told]) -> None:
    for mine, theirs in zip(said, alone, strict=True):
        assert mine[:2] == theirs[:2]
        assert [*_unlike(mine[2], theirs[2])] == [], mine[0]


def _unlike(one: Any, other: Any, at: str = "") -> Iterator[str]:
    """Where two answers differ, and in what."""
    match one, other:
        case dict(), dict():
            for key in one.keys() | other.keys():
                yield from _unlike(one.get(key), other.get(key), f"{at}/{key}")
        case list(), list() if len(one) == len(other):
            for index, (this, that) in enumerate(zip(one, other, strict=True)):
                yield from _unlike(this, that, f"{at}/{index}")
        case _:
            if one != other:
                yield f"{at}: {one} and {other}"


def require_unchanged(before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    assert {name: rows for name, rows in after.items() if rows != before[name]} == {}


def require_twins(north: dict[str, list[str]], south: dict[str, list[str]]) -> None:
    """That they are: in each table that can hold an id twice, the same ids stand."""
    for name, columns in EQUAL_IN.items():
        assert north[name], f"nothing in {name}"
        for column in columns:
            assert ids(north[name], column) == ids(south[name], column), f"{name}.{column}"


EQUAL_IN = {
    "recipients": ("id",), "identifiers": ("hash", "recipient_id"), "messages": ("id", "recipient_id"),
    "attempts": ("id", "message_id", "provider_message_id", "identifier"), "events": ("id", "message_id"),
    "consent_entries": ("id", "recipient_id", "identifier_hash", "log_index"), "callbacks": ("id",),
    "ledger_leaves": ("entry_id", "index"), "subject_keys": ("subject_id",), "idempotency": ("scope",),
}  # fmt: skip


def ids(rows: list[str], column: str) -> list[str]:
    """What stands in a column. The entries of audit logs begin with what differs: how each side came to be."""
    told = [json.loads(row) for row in rows]
    return sorted(str(one[column]) for one in told if one.get("log") != "audit")


async def test_what_one_has_come_to_is_not_held_against_the_other(world: Twins) -> None:
    """All is over with the one, who objects to everything, when the other begins."""
    north, south = world.both
    told = []
    for act in (begins, goes_on, objects):
        start, lay = world.clock.now(), world.dice.taken_up()
        told.append((act, start, lay, await lives(world, north, act, start, lay)))
    norths = await world.rows_of(north)
    for act, start, lay, said in told:
        require_same(await lives(world, south, act, start, lay), said)
    require_unchanged(norths, await world.rows_of(north))


@pytest.mark.parametrize("hanging", [0, 1])
async def test_what_hangs_at_one_is_not_named_to_the_other(world: Twins, hanging: int) -> None:
    """An attempt of the one is on its way, to the same person at the same address by the same ids."""
    start, lay = world.clock.now(), world.dice.taken_up()
    for twin in world.both:
        await lives(world, twin, begins, start, lay)
    twin, other = world.both[hanging], world.both[1 - hanging]
    await twin.post("/v1/messages", message(twin, "wait"))
    await world.engine.claim(list(Lane), rescan=True)
    for whom in ({"external_id": "ann"}, {"phone": NUMBER}):
        for one in (other, twin):
            said = await one.post("/v1/consents", says(one, "withdrawn", recipient=whom, purpose="transactional"))
            assert len(said["in_flight"]) == (one is twin), (one.word, whom)
    world.vendor.held.set()
    await world.finish()
