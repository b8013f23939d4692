"""What a public key may say of recipients: of browsers and devices; of people only with a token of theirs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from tabellion.access import user_tokens
from tabellion.access.service import create_key, find_workspace
from tabellion.access.types import KeyOptions, Role
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.vault import Vault

from .conftest import Client
from .test_kinds_routes import ENDPOINT, KEYS

TOKENS = [f"push-token-{number}-" + "a1B2" * 30 for number in range(3)]
TOKEN = {
    "kind": "device",
    "value": TOKENS[0],
    "device": {"platform": "ios", "provider": "fcm", "permission": "granted"},
}
VISITOR = {"kind": "anonymous", "value": "visitor-1"}
ANN = {"external_id": "ann", "identifiers": [{"kind": "email", "value": "ann@example.org"}], "traits": {"plan": "pro"}}
Post = Callable[..., Awaitable[httpx.Response]]
Sign = Callable[..., str]


@pytest.fixture
async def backend(client: Client) -> httpx.AsyncClient:
    return await client()


@pytest.fixture
async def page(client: Client, backend: httpx.AsyncClient, db: Database) -> AsyncIterator[Post]:
    """Posts a recipient with a public key: `token` is a user token."""
    workspace = await db.run(lambda tx: find_workspace(tx, "acme"))
    options = KeyOptions(source="shop-web", address_limit=1000)
    _, secret = await db.run(lambda tx: create_key(tx, workspace, "live", Role.PUBLIC, options))
    backend_headers = dict(backend.headers)
    caller = await client()

    async def post(body: Any, token: str | None = None, **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {secret.reveal()}", **headers}
        return await caller.post(
            "/v1/recipients", json=body, headers=sent | ({"Tabellion-User-Token": token} if token else {})
        )

    yield post
    assert backend_headers == dict(backend.headers)


@pytest.fixture
async def sign(backend: httpx.AsyncClient, db: Database, vault: Vault, clock: FakeClock) -> Sign:
    """Makes user tokens."""
    workspace = await db.run(lambda tx: find_workspace(tx, "acme"))
    key, secret = await db.run(lambda tx: user_tokens.create(tx, vault, workspace.live, None, "HS256", None, "key_1"))
    assert secret is not None

    def token(sub: str, **claims: Any) -> str:
        at = int(clock.now().timestamp())
        said = {"sub": sub, "aud": "tabellion", "iat": at, "exp": at + 900} | claims
        return jwt.encode({"alg": "HS256", "kid": key.shown}, said, OctKey.import_key(secret.reveal()), ["HS256"])

    return token


async def people(api: httpx.AsyncClient) -> list[dict[str, Any]]:
    return (await api.get("/v1/recipients")).json()["data"]


async def person(api: httpx.AsyncClient, kind: str, value: str) -> dict[str, Any]:
    [one] = (await api.get("/v1/recipients", params={"kind": kind, "value": value})).json()["data"]
    return one


def taken(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()) == (202, {"accepted": True})


async def test_a_visitor_is_noted_and_grows(page: Post, backend: httpx.AsyncClient):
    assert taken(await page({"identifiers": [VISITOR], "traits": {"seen": "shoes"}, "locale": "de-AT"}))
    assert taken(await page({"identifiers": [VISITOR, TOKEN], "traits": {"more": True}}))
    [one] = await people(backend)
    assert one["traits"] == {"seen": "shoes", "more": True}
    assert one["locale"] == "de-AT"
    assert {(known["kind"], known["source"]) for known in one["identifiers"]} == {
        ("anonymous", "shop-web"), ("device", "shop-web"),
    }  # fmt: skip
    [latest, _] = (await backend.get(f"/v1/recipients/{one['id']}/history")).json()["data"]
    assert latest["source"] == "shop-web"
    assert latest["actor"].startswith("key_")


@pytest.mark.parametrize(
    ("body", "places"),
    [({"external_id": "ann"}, ["/external_id"]),
     ({"external_id": "new", "identifiers": [VISITOR]}, ["/external_id"]),
     ({"identifiers": [VISITOR, {"kind": "email", "value": "ann@example.org"}]}, ["/identifiers/1/value"]),
     ({"identifiers": [{"kind": "email", "value": "new@example.org"}, {"kind": "phone", "value": "+436601234567"}]},
      ["/identifiers/0/value", "/identifiers/1/value"]),
     ({"identifiers": [{"kind": "whatsapp", "value": "+436601234567"}]}, ["/identifiers/0/value"]),
     ({"identifiers": [{"kind": "external:crm", "value": "1"}]}, ["/identifiers/0/value"]),
     ({"identifiers": [{"kind": "wallet", "value": "0x" + "5a" * 20}]}, ["/identifiers/0/value"])],
)  # fmt: skip
async def test_nobody_is_named_without_a_token(page: Post, backend: httpx.AsyncClient, body, places):
    await backend.post("/v1/recipients", json=ANN)
    answer = await page(body)
    assert (answer.status_code, answer.json()["code"]) == (403, "user_token_required")
    assert [one["pointer"] for one in answer.json()["errors"]] == places
    assert len(await people(backend)) == 1


async def test_it_proves_nothing(page: Post, sign: Sign, backend: httpx.AsyncClient):
    for token in (None, sign("ann", email="ann@example.org")):
        answer = await page({"identifiers": [VISITOR | {"verified": True}]}, token)
        assert (answer.status_code, answer.json()["code"]) == (403, "public_key_not_allowed")
        assert answer.json()["errors"][0]["pointer"] == "/identifiers/0/verified"
    assert await people(backend) == []


async def test_somebody_known_stays_as_they_are(page: Post, backend: httpx.AsyncClient, db: Database):
    """A visitor who signed in is a person: what everybody can write must not change them any more."""

    async def rows() -> list[Any]:
        sql = "select hash, recipient_id, value, health, platform, push_provider, app, permission from identifiers"
        return [tuple(row) for row in await db.run(lambda tx: tx.rows(f"{sql} order by hash"))]

    hook = {"kind": "webpush", "value": ENDPOINT, "keys": KEYS}
    known = [*ANN["identifiers"], VISITOR, TOKEN, hook]
    await backend.post("/v1/recipients", json=ANN | {"identifiers": known})
    before, stored = await person(backend, "email", "ann@example.org"), await rows()
    other, stranger = TOKEN | {"value": TOKENS[1]}, {"kind": "anonymous", "value": "visitor-2"}
    device = {"platform": "android", "provider": "apns", "app": "evil", "permission": "provisional"}
    for body in (
        {"identifiers": [VISITOR], "traits": {"plan": "free"}, "locale": "en", "time_zone": "Europe/Vienna"},
        {"identifiers": [VISITOR, other]},
        {"identifiers": [TOKEN, stranger], "traits": None},
        {"identifiers": [TOKEN | {"device": device}, hook | {"keys": KEYS | {"auth": "B" * 21 + "A"}}]},
        {"identifiers": [VISITOR, TOKEN | {"value": TOKENS[2], "device": TOKEN["device"] | {"replaces": TOKENS[0]}}]},
    ):
        assert taken(await page(body))
    assert await person(backend, "email", "ann@example.org") == before
    assert await rows() == stored
    assert taken(await page({"identifiers": [other, stranger]}))
    assert len(await people(backend)) == 2, "what was not attached is nobody's, and may be somebody else's"


async def test_a_device_that_shows_nothing_any_more_is_believed(page: Post, backend: httpx.AsyncClient):
    await backend.post("/v1/recipients", json=ANN | {"identifiers": [*ANN["identifiers"], TOKEN]})
    before = await person(backend, "device", TOKENS[0])
    said = {"platform": "android", "provider": "apns", "app": "other", "permission": "denied"}
    assert taken(await page({"identifiers": [TOKEN | {"device": said}], "traits": {"plan": "free"}}))
    after = await person(backend, "device", TOKENS[0])
    [device] = [one["device"] for one in after["identifiers"] if one["kind"] == "device"]
    assert device == {"platform": "ios", "provider": "fcm", "app": None, "permission": "denied"}
    assert (after["traits"], after["version"]) == (before["traits"], before["version"])
    granted = TOKEN | {"device": TOKEN["device"] | {"permission": "granted"}}
    assert taken(await page({"identifiers": [granted]}))
    [device] = [one["device"] for one in (await person(backend, "device", TOKENS[0]))["identifiers"] if "device" in one]
    assert device["permission"] == "denied"


async def test_two_visitors_are_not_made_one(page: Post, backend: httpx.AsyncClient):
    other = {"kind": "anonymous", "value": "visitor-2"}
    for one in (VISITOR, other):
        assert taken(await page({"identifiers": [one]}))
    assert taken(await page({"identifiers": [VISITOR, other], "traits": {"both": True}}))
    assert [one["traits"] for one in await people(backend)] == [{}, {}]


async def test_the_answer_tells_nothing_of_who_is_known(page: Post, sign: Sign, backend: httpx.AsyncClient):
    """Known or not, new or old, refused or done: the same answer to the byte, but for what differs in any two."""
    await backend.post("/v1/recipients", json=ANN | {"identifiers": [*ANN["identifiers"], VISITOR]})
    await backend.post("/v1/recipients", json={"external_id": "eve", "identifiers": [TOKEN]})
    answers = [
        await page({"identifiers": [{"kind": "anonymous", "value": "nobody"}]}),
        await page({"identifiers": [{"kind": "anonymous", "value": "nobody"}]}),
        await page({"identifiers": [VISITOR]}),
        await page({"identifiers": [VISITOR, TOKEN]}),
        await page({"identifiers": [TOKEN]}, **{"Idempotency-Key": "once"}),
        await page({}, sign("ann")),
        await page({}, sign("somebody-new")),
        await page(
            {"identifiers": [{"kind": "email", "value": "ann@example.org"}]}, sign("eve", email="ann@example.org")
        ),
        await page({"identifiers": [{"kind": "email", "value": "a@example.net"}]}, sign("eve", email="a@example.net")),
    ]
    volatile = {"request-id", "ratelimit-remaining"}
    seen = {
        (one.status_code, one.content, *sorted(pair for pair in one.headers.items() if pair[0] not in volatile))
        for one in answers
    }
    assert len(seen) == 1


async def test_a_user_with_a_token_says_their_own(page: Post, sign: Sign, backend: httpx.AsyncClient):
    mail, phone = {"kind": "email", "value": "ANN@example.org"}, {"kind": "phone", "value": "+43 660 1234567"}
    token = sign("ann", email="Ann@Example.org", phone="+436601234567")
    assert taken(await page({"external_id": "ann", "identifiers": [mail, VISITOR], "traits": {"size": 42}}, token))
    assert taken(await page({"identifiers": [phone, TOKEN], "traits": {"plan": "free"}}, token))
    [one] = await people(backend)
    assert (one["external_id"], one["traits"]) == ("ann", {"size": 42, "plan": "free"})
    assert {known["kind"] for known in one["identifiers"]} == {"email", "phone", "anonymous", "device"}
    assert not any(known["verified"] for known in one["identifiers"])


@pytest.mark.parametrize(
    ("body", "place"),
    [({"external_id": "eve"}, "/external_id"),
     ({"identifiers": [{"kind": "email", "value": "eve@example.org"}]}, "/identifiers/0/value"),
     ({"identifiers": [VISITOR, {"kind": "phone", "value": "+436601234568"}]}, "/identifiers/1/value"),
     ({"identifiers": [{"kind": "external:crm", "value": "ann"}]}, "/identifiers/0/value")],
)  # fmt: skip
async def test_a_token_vouches_for_nobody_else(page: Post, sign: Sign, backend: httpx.AsyncClient, body, place):
    answer = await page(body, sign("ann", email="ann@example.org", phone="+436601234567"))
    assert (answer.status_code, answer.json()["code"]) == (403, "user_token_mismatch")
    assert [one["pointer"] for one in answer.json()["errors"]] == [place]
    assert await people(backend) == []


async def test_an_address_of_somebody_else_is_not_taken_from_them(page: Post, sign: Sign, backend: httpx.AsyncClient):
    await backend.post("/v1/recipients", json=ANN)
    mail = {"kind": "email", "value": "ann@example.org"}
    assert taken(await page({"identifiers": [mail], "traits": {"plan": "mine"}}, sign("eve", email="ann@example.org")))
    one = await person(backend, "email", "ann@example.org")
    assert (one["external_id"], one["traits"]) == ("ann", {"plan": "pro"})


async def test_a_claim_that_is_no_address_is_told(page: Post, sign: Sign):
    answer = await page({}, sign("ann", email="nonsense"))
    assert (answer.status_code, answer.json()["code"]) == (401, "user_token_invalid")
    assert "email" in answer.json()["detail"]


async def test_what_is_wrong_with_a_request_by_itself_is_told(page: Post):
    assert (await page({})).json()["code"] == "identifier_required"
    assert (await page({"identifiers": [{"kind": "device", "value": "t"}]})).json()["code"] == "invalid_identifier"
    assert (await page({"identifiers": [VISITOR], "locale": "no language"})).json()["code"] == "invalid_locale"
    assert (await page({"identifiers": [VISITOR], "wrong": 1})).json()["code"] == "invalid_request"


@pytest.mark.parametrize(
    "trait", [{"birth_date": "1980-01-01"}, {"birthday": "1980-01-01"}, {"age": 40}, {"age": None}]
)
async def test_nobody_makes_themselves_old_enough(page: Post, sign: Sign, trait: dict[str, object]) -> None:
    """A browser could say its owner's age, and a purpose with a minimum age was sent for."""
    for token in (None, sign("ann", email="ann@example.org")):
        answer = await page({"identifiers": [VISITOR], "traits": trait}, token)
        assert (answer.status_code, answer.json()["code"]) == (403, "public_key_not_allowed")
        assert [one["pointer"] for one in answer.json()["errors"]] == [f"/traits/{next(iter(trait))}"]
    assert (await page({"identifiers": [VISITOR], "traits": {"seen": "shoes"}})).status_code == 202
