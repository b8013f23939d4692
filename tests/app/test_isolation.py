"""Two tenants, and the two sides of one, have equal data and never see each other: on every route that there is."""

import asyncio
import hmac
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Mode, Role, Workspace
from tabellion.app.routes import App, build
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.db import Database
from tabellion.core.ids import WorkspaceId
from tabellion.jobs.engine import Engine, Options
from tabellion.jobs.types import Lane
from tabellion.privacy import proof_store as proofs
from tabellion.privacy.proof_store import HeldProof
from tabellion.recipients.types import Kind, Named, NewRecipient

from . import isolation_policies
from .twins import dump

ANN = {"external_id": "ann", "identifiers": [{"kind": "email", "value": "ann@example.org"},
                                             {"kind": "phone", "value": "+12025550111"}]}  # fmt: skip
GRANT = {
    "recipient": {"external_id": "ann"}, "channel": "sms", "purpose": "marketing", "decision": "granted",
    "basis": "consent", "method": "form", "source": "signup", "evidence": {"url": "https://example.org/signup"},
}  # fmt: skip
ASK = {"recipient": {"external_id": "ann"}, "channel": "sms", "purpose": "marketing"}
CONTENT = {"purpose": "transactional", "content": {"text": "Hello"}, "tags": ["equal"]}
SECRET = "the same with everyone"


@dataclass
class Side:
    """One side of a tenant, seen through a key of its own."""

    workspace: Workspace
    mode: Mode
    client: httpx.AsyncClient
    key: str
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def own(self) -> set[str]:
        """What tells it apart: none of it may be shown to another."""
        return {*self.ids.values(), self.key}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.client.request(method, path, json=body, headers=headers)

    async def made(self, path: str, body: Any, **headers: str) -> dict[str, Any]:
        answer = await self.call("POST", path, body, **headers)
        assert answer.status_code in (200, 201, 202), answer.text
        said: dict[str, Any] = answer.json()
        return said


@dataclass
class World:
    hub: Hub
    app: App
    sides: dict[str, Side]

    @property
    def db(self) -> Database:
        return self.hub.around.db

    async def work(self) -> None:
        """Do every job that is due."""
        around, performed = self.hub.around, asyncio.Event()
        engine = Engine(
            around.db, self.hub.kinds, around.log, around.bell, Options(slots=32), random.Random(7),
            performed=performed.set,
        )  # fmt: skip
        while await self.db.run(lambda tx: tx.value("select exists (select from jobs)")):
            await engine.claim(list(Lane), rescan=True)
            while engine.slots.held:
                performed.clear()
                await performed.wait()
            while engine.results:
                await engine.finish()
        await engine.slots.close()

    async def rows_of(self, side: Side) -> dict[str, list[str]]:
        """Everything the database holds of a side, by table."""
        return await self.db.run(lambda tx: dump(tx, side.workspace.side(side.mode)))


@pytest.fixture
async def world(surroundings: Surroundings) -> AsyncIterator[World]:
    """`acme` live and test, and `rival` test, with equal data."""
    hub = wire(replace(surroundings, private_networks=("127.0.0.0/8",)))
    made = World(hub, build(hub, Settings()), {})
    for name, modes in {"acme": ("live", "test"), "rival": ("test",)}.items():
        workspace = await made.db.run(lambda tx, name=name: create_workspace(tx, name))
        for mode in modes:
            made.sides[f"{name} {mode}"] = await open_side(made, workspace, mode)
    await made.work()
    for side in made.sides.values():
        await note_what_became(made, side)
    yield made
    for side in made.sides.values():
        await side.client.aclose()
    await made.app.drain()
    await hub.close()


async def open_side(world: World, workspace: Workspace, mode: Mode) -> Side:
    key, secret = await world.db.run(lambda tx: create_key(tx, workspace, mode, Role.OWNER))
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=world.app.asgi, client=("127.0.0.1", 1)),
        base_url="http://127.0.0.1",
        headers={"Authorization": f"Bearer {secret.reveal()}"},
    )
    side = Side(workspace, mode, client, secret.reveal(), {"key": key.shown})
    vendor = {"secret": SECRET, "behaviour": "silent", "base_url": f"{world.hub.around.simulator.http}/sim/fake"}
    account = await side.made("/v1/accounts", {"provider": "fake", "settings": vendor})
    person = await side.made("/v1/recipients", ANN, **{"Idempotency-Key": "equal"})
    consent = await side.made("/v1/consents", GRANT, **{"Idempotency-Key": "equal"})
    route = {"steps": [{"channel": "sms", "accounts": [account["id"]]}]}
    review = await conflict(world, workspace.side(mode))
    message = await side.made("/v1/messages", {"to": {"external_id": "ann"}, **CONTENT, "route": route})
    hold = await side.made("/v1/legal-holds", {"recipient": {"external_id": "ann"}, "reason": "equal"})
    order = {"type": "export", "recipient": {"external_id": "ann"}, "verified_by": "equal"}
    regulation = await side.made("/v1/regulations", order)
    proof = HeldProof(ids.new(), ids.new(), ids.new(), 0, "marketing", b"equal", *[world.hub.around.clock.now()] * 2)
    await world.db.run(lambda tx: proofs.insert(tx, workspace.side(mode), [proof]))
    named = await side.call("PUT", "/v1/brands/shoes", {"name": key.shown, "default": True})
    assert named.status_code == 200, named.text
    await side.made("/v1/purposes", {"key": "equal", "title": key.shown})
    token_key = await side.made("/v1/user-token-keys", {"algorithm": "HS256"})
    opening = await side.made(f"/v1/proofs/{ids.show('prf', proof.id)}/openings", {"reason": "equal"})
    side.ids |= {
        "hold": hold["id"],
        "regulation": regulation["id"],
        "proof": ids.show("prf", proof.id),
        "opening": opening["id"],
        "token_key": token_key["id"],
        "token_secret": token_key["secret"],
        "account": account["id"],
        "recipient": person["id"],
        "consent": consent["id"],
        "message": message["id"],
        "review": review,
    }
    return side


async def conflict(world: World, side: WorkspaceId) -> str:
    """What an import brought that is for people to decide: Ann has another external_id."""
    unit = NewRecipient((Named(Kind.EMAIL, "ann@example.org"), Named(Kind.EXTERNAL_ID, "anna")))
    intake, queue = world.hub.intake, world.hub.queue
    await world.db.run(lambda tx: intake.upsert(tx, side, [unit], source="import:equal.csv", actor="command_line"))
    [one] = await world.db.run(lambda tx: queue.page(tx, side, None, None, None, 2))
    return ids.show("rev", one.id)


async def note_what_became(world: World, side: Side) -> None:
    """The ids that the hub gave meanwhile, from the rows themselves: a route might give another's for its own."""
    message = (await side.call("GET", f"/v1/messages/{side.ids['message']}")).json()
    [attempt] = message["steps"][0]["attempts"]
    assert (message["status"], attempt["account_id"]) == ("sent", side.ids["account"])
    side.ids |= {"attempt": attempt["id"], "vendor": attempt["provider_message_id"]}
    events = (await side.call("GET", "/v1/events")).json()["data"]
    side.ids["position"] = events[0]["position"]
    side.ids["origin"] = (await side.call("GET", "/v1/ledger/checkpoint")).text.splitlines()[0]
    rows = await world.rows_of(side)
    for table, prefix in {"accounts": "acc", "audit": "aud", "events": "evt", "api_keys": "key"}.items():
        shown = [ids.show(prefix, UUID(json.loads(row)["id"])) for row in rows[table]]
        side.ids |= {f"{table} {number}": one for number, one in enumerate(shown)}


# what is tried


@dataclass
class Attack:
    """One side asks for what another has."""

    world: World
    mine: Side
    theirs: Side

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        """The answer, in which nothing of theirs stands but what the request itself named."""
        answer = await self.mine.call(method, path, body, **headers)
        said, named = answer.text, path + json.dumps(body)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {said}"
        leaked = {one for one in self.theirs.own - self.mine.own if one in said and one not in named}
        assert not leaked, f"{method} {path} shows {leaked}"
        return answer.json() if "json" in answer.headers.get("content-type", "") and said else said

    async def listed(self, path: str) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = (await self.ask("GET", path))["data"]
        return data


Case = Callable[[Attack], Awaitable[None]]
CASES: dict[tuple[str, str], Case] = {}


def case(method: str, path: str) -> Callable[[Case], Case]:
    def add(one: Case) -> Case:
        CASES[method, path] = one
        return one

    return add


def refuses(method: str, path: str, named: str, body: Any = None) -> None:
    """A route about one thing: theirs is not found, and what is mine is."""

    async def tried(attack: Attack) -> None:
        asked = path.replace("{" + named + "_id}", attack.theirs.ids[named])
        assert (await attack.ask(method, asked, body, 404))["status"] == 404

    CASES[method, path] = tried


def shows_nothing(path: str) -> None:
    """A route about the process, not about anybody's data."""

    async def tried(attack: Attack) -> None:
        await attack.ask("GET", path)

    CASES["GET", path] = tried


for _path in (
    "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/v1/providers", "/.well-known/jwks.json",
):  # fmt: skip
    shows_nothing(_path)
refuses("POST", "/v1/keys/{key_id}/rotate", "key", {"grace_seconds": 0})
refuses("DELETE", "/v1/keys/{key_id}", "key")
refuses("GET", "/v1/keys/{key_id}", "key")
refuses("DELETE", "/v1/user-token-keys/{token_key_id}", "token_key")
refuses("GET", "/v1/accounts/{account_id}", "account")
refuses("PATCH", "/v1/accounts/{account_id}", "account", {"weight": 7})
refuses("DELETE", "/v1/accounts/{account_id}", "account")
refuses("GET", "/v1/recipients/{recipient_id}", "recipient")
refuses("GET", "/v1/recipients/{recipient_id}/history", "recipient")
refuses("GET", "/v1/recipients/{recipient_id}/timeline", "recipient")
refuses("PATCH", "/v1/recipients/{recipient_id}", "recipient", {"traits": {"mine": True}})
refuses("GET", "/v1/recipients/{recipient_id}/identity", "recipient")
refuses("POST", "/v1/recipients/{recipient_id}/merge", "recipient", {"from": {"external_id": "ann"}, "reason": "mine"})
refuses("POST", "/v1/recipients/{recipient_id}/split", "recipient", {"merge_id": "mrg_01h2xcejqtf2nbrexx3vqjhp41"})
refuses("DELETE", "/v1/recipients/{recipient_id}", "recipient")
refuses("GET", "/v1/regulations/{regulation_id}", "regulation")
refuses("DELETE", "/v1/regulations/{regulation_id}", "regulation")
refuses("POST", "/v1/regulations/{regulation_id}/approve", "regulation")
refuses("POST", "/v1/regulations/{regulation_id}/systems/{system}", "regulation", {"note": "mine"})
refuses("GET", "/v1/regulations/{regulation_id}/certificate", "regulation")
refuses("GET", "/v1/regulations/{regulation_id}/export", "regulation")
refuses("GET", "/v1/regulations/{regulation_id}/document", "regulation")
refuses("DELETE", "/v1/legal-holds/{hold_id}", "hold")
refuses("POST", "/v1/proofs/{proof_id}/openings", "proof", {"reason": "mine"})
refuses("POST", "/v1/proof-openings/{opening_id}/approve", "opening")
refuses("GET", "/v1/proof-openings/{opening_id}", "opening")
refuses("GET", "/v1/reviews/{review_id}", "review")
refuses("POST", "/v1/reviews/{review_id}/accept", "review", {})
refuses("POST", "/v1/reviews/{review_id}/reject", "review", {})
refuses("GET", "/v1/messages/{message_id}", "message")
refuses("GET", "/v1/messages/{message_id}/timeline", "message")
refuses("GET", "/v1/messages/{message_id}/explain", "message")


@case("GET", "/v1/keys")
async def keys(attack: Attack) -> None:
    assert attack.mine.ids["key"] in {one["id"] for one in await attack.listed("/v1/keys?limit=500")}


@case("POST", "/v1/keys")
async def new_key(attack: Attack) -> None:
    made = await attack.ask("POST", "/v1/keys", {"role": "readonly"}, 201)
    attack.mine.client.headers["Authorization"] = f"Bearer {made['key']}"
    assert attack.mine.ids["message"] in {one["id"] for one in await attack.listed("/v1/messages")}
    attack.mine.client.headers["Authorization"] = f"Bearer {attack.mine.key}"


@case("GET", "/v1/user-token-keys")
async def token_keys(attack: Attack) -> None:
    assert attack.mine.ids["token_key"] in {one["id"] for one in await attack.listed("/v1/user-token-keys?limit=500")}


@case("POST", "/v1/user-token-keys")
async def new_token_key(attack: Attack) -> None:
    assert (await attack.ask("POST", "/v1/user-token-keys", {}, 201))["secret"]


@case("GET", "/v1/audit")
async def audit(attack: Attack) -> None:
    assert {one["id"] for one in await attack.listed("/v1/audit?limit=500")} >= {attack.mine.ids["audit 0"]}


@case("GET", "/v1/accounts")
async def accounts(attack: Attack) -> None:
    assert attack.mine.ids["account"] in {one["id"] for one in await attack.listed("/v1/accounts?limit=500")}


@case("POST", "/v1/accounts")
async def new_account(attack: Attack) -> None:
    settings = {"secret": SECRET, "base_url": f"{attack.world.hub.around.simulator.http}/sim/fake"}
    await attack.ask("POST", "/v1/accounts", {"provider": "fake", "settings": settings}, 201)


@case("GET", "/v1/events")
async def events(attack: Attack) -> None:
    theirs = attack.theirs.ids
    assert {one["id"] for one in await attack.listed("/v1/events?limit=500")} >= {attack.mine.ids["events 0"]}
    assert await attack.listed(f"/v1/events?recipient={theirs['recipient']}") == []
    assert await attack.listed(f"/v1/events?message={theirs['message']}") == []
    await attack.listed(f"/v1/events?after={theirs['position']}")


@case("GET", "/v1/ledger/checkpoint")
async def checkpoint(attack: Attack) -> None:
    assert attack.mine.ids["origin"] in await attack.ask("GET", "/v1/ledger/checkpoint")


@case("GET", "/v1/ledger/key")
async def verifier_key(attack: Attack) -> None:
    assert attack.mine.ids["origin"] in await attack.ask("GET", "/v1/ledger/key")


@case("POST", "/v1/recipients")
async def upsert(attack: Attack) -> None:
    made = await attack.ask("POST", "/v1/recipients", ANN | {"locale": "en"})
    assert (made["id"], made["created"]) == (attack.mine.ids["recipient"], False)


@case("POST", "/v1/recipients/batch")
async def upsert_many(attack: Attack) -> None:
    [made] = (await attack.ask("POST", "/v1/recipients/batch", {"items": [ANN]}))["data"]
    assert made["id"] == attack.mine.ids["recipient"]


@case("GET", "/v1/recipients")
async def recipients(attack: Attack) -> None:
    for query in ("limit=500", "email=ann@example.org", "phone=%2B12025550111", "external_id=ann"):
        [found] = await attack.listed(f"/v1/recipients?{query}")
        assert found["id"] == attack.mine.ids["recipient"]
    await attack.ask("GET", "/v1/recipients?trait=plan:pro", status=400)


@case("POST", "/v1/consents")
async def consent(attack: Attack) -> None:
    withdrawn = {name: GRANT[name] for name in ("channel", "purpose", "method", "source")} | {"decision": "withdrawn"}
    await attack.ask("POST", "/v1/consents", withdrawn | {"recipient": attack.theirs.ids["recipient"]}, 404)
    made = await attack.ask("POST", "/v1/consents", withdrawn | {"recipient": {"email": "ann@example.org"}}, 201)
    assert made["recipient_id"] == attack.mine.ids["recipient"]


@case("POST", "/v1/consents/check")
async def check(attack: Attack) -> None:
    await attack.ask("POST", "/v1/consents/check", ASK | {"recipient": attack.theirs.ids["recipient"]}, 404)
    assert (await attack.ask("POST", "/v1/consents/check", ASK))["verdict"]


@case("POST", "/v1/messages")
async def send(attack: Attack) -> None:
    await attack.ask("POST", "/v1/messages", CONTENT | {"to": attack.theirs.ids["recipient"]}, 404)
    route = {"steps": [{"channel": "sms", "accounts": [attack.theirs.ids["account"]]}]}
    refused = await attack.ask("POST", "/v1/messages", CONTENT | {"to": {"external_id": "ann"}, "route": route}, 422)
    assert refused["errors"][0]["pointer"] == "/route/steps/0/accounts/0"
    usual = await attack.ask("POST", "/v1/messages", CONTENT | {"to": {"phone": "+12025550111"}}, 202)
    await attack.world.work()
    assert (await attack.ask("GET", f"/v1/messages/{usual['id']}"))["status"] in ("sent", "delivered")


@case("GET", "/v1/messages")
async def messages(attack: Attack) -> None:
    theirs, mine = attack.theirs.ids, attack.mine.ids
    for query in ("limit=500", "tag=equal", "status=sent", "purpose=transactional", "channel=sms"):
        assert mine["message"] in {one["id"] for one in await attack.listed(f"/v1/messages?{query}")}
    assert await attack.listed(f"/v1/messages?recipient={theirs['recipient']}") == []
    assert await attack.listed(f"/v1/messages?provider_message_id={theirs['vendor']}") == []


@case("GET", "/v1/recipient-settings")
async def recipient_settings(attack: Attack) -> None:
    assert (await attack.ask("GET", "/v1/recipient-settings"))["settings"]["default_region"] is None


@case("PUT", "/v1/recipient-settings")
async def set_recipient_settings(attack: Attack) -> None:
    await attack.ask("PUT", "/v1/recipient-settings", {"default_region": "DE", "indexed_traits": ["plan"]})
    theirs = (await attack.theirs.call("GET", "/v1/recipient-settings")).json()
    assert (theirs["settings"]["default_region"], theirs["indexing"]) == (None, {})


@case("GET", "/v1/reviews")
async def reviews(attack: Attack) -> None:
    for query in ("limit=500", "state=open", "kind=identity_conflict"):
        [found] = await attack.listed(f"/v1/reviews?{query}")
        assert found["id"] == attack.mine.ids["review"]


@case("POST", "/v1/recipient-settings/preview")
async def preview_settings(attack: Attack) -> None:
    said = await attack.ask("POST", "/v1/recipient-settings/preview", {"blocked_values": ["ann@example.org"]})
    [blocked] = said["blocked"]
    assert blocked["ids"] == [attack.mine.ids["recipient"]]


@case("GET", "/v1/retention")
async def retention(attack: Attack) -> None:
    assert (await attack.ask("GET", "/v1/retention"))["callbacks"] == 90


@case("PUT", "/v1/retention")
async def set_retention(attack: Attack) -> None:
    await attack.ask("PUT", "/v1/retention", {"content": 7})
    assert (await attack.theirs.call("GET", "/v1/retention")).json()["content"] == 365


@case("GET", "/v1/regulations")
async def regulations(attack: Attack) -> None:
    assert [one["id"] for one in await attack.listed("/v1/regulations")] == [attack.mine.ids["regulation"]]
    assert await attack.listed(f"/v1/regulations?recipient={attack.theirs.ids['recipient']}") == []


@case("POST", "/v1/regulations")
async def new_regulation(attack: Attack) -> None:
    order = {"type": "restrict", "recipient": attack.theirs.ids["recipient"], "verified_by": "mine"}
    await attack.ask("POST", "/v1/regulations", order, 404)


@case("GET", "/v1/privacy-settings")
async def privacy_settings(attack: Attack) -> None:
    assert (await attack.ask("GET", "/v1/privacy-settings"))["settings"]["approvals"] == []


@case("PUT", "/v1/privacy-settings")
async def set_privacy_settings(attack: Attack) -> None:
    await attack.ask("PUT", "/v1/privacy-settings", {"approvals": ["erase"]})
    theirs = (await attack.theirs.call("GET", "/v1/privacy-settings")).json()
    assert theirs["settings"]["approvals"] == []


@case("GET", "/v1/legal-holds")
async def legal_holds(attack: Attack) -> None:
    assert [one["id"] for one in await attack.listed("/v1/legal-holds")] == [attack.mine.ids["hold"]]


@case("POST", "/v1/legal-holds")
async def new_legal_hold(attack: Attack) -> None:
    body = {"recipient": attack.theirs.ids["recipient"], "reason": "mine"}
    await attack.ask("POST", "/v1/legal-holds", body, 404)


@case("GET", "/v1/proofs")
async def held_proofs(attack: Attack) -> None:
    assert [one["id"] for one in await attack.listed("/v1/proofs")] == [attack.mine.ids["proof"]]


@case("GET", "/v1/search")
async def search(attack: Attack) -> None:
    theirs, mine = attack.theirs.ids, attack.mine.ids
    for text in ("ann", "ann@example.org", "%2B12025550111"):
        assert {one["id"] for one in await attack.listed(f"/v1/search?q={text}")} == {mine["recipient"]}
    for name in ("recipient", "message", "attempt", "vendor"):
        assert await attack.listed(f"/v1/search?q={theirs[name]}") == []


@case("POST", "/in/{provider}/{account_id}")
async def callback(attack: Attack) -> None:
    """Signed as theirs would be, because the secret is the same: it is the account in the address that decides."""
    clock = attack.world.hub.around.clock
    stop = {"type": "inbound", "id": "in-1", "channel": "sms", "from": "+12025550111", "to": "+1", "text": "STOP",
            "signal": "stop"}  # fmt: skip
    events = [{"message_id": attack.theirs.ids["vendor"], "state": "delivered", "at": clock.now().isoformat()}, stop]
    body, stamp = json.dumps({"events": events}).encode(), str(int(clock.now().timestamp()))
    signature = hmac.digest(SECRET.encode(), f"{stamp}.".encode() + body, "sha256").hex()
    headers = {"fake-timestamp": stamp, "fake-signature": signature}
    mine = attack.mine.ids["account"]
    for address, status in ((f"/in/fake/{mine}", (200, 204)), (f"/in/twilio/{mine}", (404,))):
        answer = await attack.mine.client.post(address, content=body, headers=headers)
        assert answer.status_code in status, answer.text
    await attack.world.work()
    assert (await attack.ask("POST", "/v1/consents/check", ASK))["verdict"] == "denied", "mine was heard"


CASES |= isolation_policies.CASES


# the claims


RELATIONS = [("acme test", "rival test"), ("acme test", "acme live"), ("acme live", "acme test")]


@pytest.fixture(params=RELATIONS, ids=[" against ".join(pair) for pair in RELATIONS])
def attack(world: World, request: pytest.FixtureRequest) -> Attack:
    return Attack(world, *(world.sides[name] for name in request.param))


def every_route(app: App) -> set[tuple[str, str]]:
    litestar: Litestar = app.asgi.app
    routed = [route for route in litestar.routes if isinstance(route, HTTPRoute)]
    found = {(method, route.path_format) for route in routed for method in route.methods}
    return {one for one in found if one[0] != "OPTIONS" and not one[1].startswith("/-/framework")}


async def test_every_route_has_a_case(world):
    """A new route needs one: what it does when it is asked for what belongs to somebody else."""
    assert every_route(world.app) == set(CASES)


async def test_no_route_shows_or_changes_what_is_theirs(attack, subtests):
    before = await attack.world.rows_of(attack.theirs)
    assert {"messages", "attempts", "events", "ledger_leaves", "recipients", "api_keys"} <= set(before)
    for (method, path), tried in CASES.items():
        with subtests.test(f"{method} {path}"):
            await tried(attack)
    await attack.world.work()
    after = await attack.world.rows_of(attack.theirs)
    assert {name: rows for name, rows in after.items() if rows != before[name]} == {}


OPEN = {("POST", "/v1/recipients"), ("POST", "/v1/consents")}
"""What a public key may call."""


async def test_a_public_key_opens_two_routes_and_no_other(world):
    """A new route is closed to it until it says otherwise, and then has its own rules for what it may say."""
    acme = world.sides["acme test"]
    made = await acme.made("/v1/keys", {"role": "public", "source": "shop", "address_limit": 1000})
    before = await world.rows_of(acme)
    acme.client.headers["Authorization"] = f"Bearer {made['key']}"
    seen = {}
    for method, path in every_route(world.app) - OPEN:
        if path.startswith("/v1/"):
            answer = await acme.call(method, re.sub(r"{\w+}", acme.ids["recipient"], path), {})
            seen[method, path] = (answer.status_code, answer.json()["code"])
    assert len(seen) > 30
    assert set(seen.values()) == {(403, "public_key_not_allowed")}
    for _, path in OPEN:
        assert (await acme.call("POST", path, {})).status_code == 422
    assert await world.rows_of(acme) == before


async def test_an_idempotency_key_belongs_to_one_side(attack):
    """Nobody gets another's answer, nor a conflict with another's request."""
    for path, body in (
        ("/v1/recipients", {"external_id": "eve"}),
        ("/v1/messages", CONTENT | {"to": {"external_id": "ann"}}),
        ("/v1/keys", {"role": "readonly"}),
    ):
        theirs = await attack.theirs.call("POST", path, body, **{"Idempotency-Key": "once"})
        mine = await attack.mine.call("POST", path, body, **{"Idempotency-Key": "once"})
        assert mine.status_code == theirs.status_code
        assert "idempotent-replay" not in mine.headers
        assert mine.json()["id"] != theirs.json()["id"]
        # A day later both are forgotten, and one of them is used again.
        attack.world.hub.around.clock.advance(timedelta(hours=25))
        before = await attack.world.rows_of(attack.theirs)
        again = await attack.mine.call("POST", path, body, **{"Idempotency-Key": "once"})
        assert "idempotent-replay" not in again.headers
        assert await attack.world.rows_of(attack.theirs) == before


async def test_a_callback_with_the_id_of_nobody_is_not_found(world):
    [side, *_] = world.sides.values()
    for account in (ids.show("acc", ids.new()), "acc_", "x"):
        answer = await side.client.post(f"/in/fake/{account}", content=b"{}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
