"""Public keys at the edge: made, bounded, refused; and who a user token says is there."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from tabellion.access.public import LARGEST
from tabellion.access.service import create_workspace
from tabellion.access.types import KeyOptions, Role, Workspace
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.errors import NotFound

from .problems import problem

SHOP = "https://shop.example"
OPTIONS = KeyOptions(source="shop-web", origins=(SHOP, "http://localhost:3000"))
THING = {"name": "x"}


@pytest.fixture
async def owner(new_secret) -> str:
    return await new_secret(Role.OWNER)


@pytest.fixture
async def public(new_secret) -> str:
    return await new_secret(Role.PUBLIC, options=OPTIONS)


async def user_token_key(hub, owner: str, **body: Any) -> dict[str, Any]:
    async with hub.client(owner) as client:
        made = await client.post("/v1/user-token-keys", json=body)
    assert made.status_code == 201, made.text
    said: dict[str, Any] = made.json()
    return said


def token(made: dict[str, Any], clock: FakeClock, **changes: Any) -> str:
    at = int(clock.now().timestamp())
    claims = {"sub": "crm-1", "aud": "tabellion", "iat": at, "exp": at + 900} | changes
    head = {"alg": "HS256", "kid": made["id"]}
    return jwt.encode(head, claims, OctKey.import_key(made["secret"]), algorithms=["HS256"])


async def say(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/v1/open", json=THING, headers=named)


# made


async def test_a_public_key_is_made_shown_read_listed_and_rotated(hub, owner):
    body = {
        "role": "public", "source": "shop-web", "origins": ["https://Shop.example:443", SHOP],
        "networks": ["203.0.113.9"], "rate_limit": 100, "address_limit": 5,
    }  # fmt: skip
    async with hub.client(owner) as client:
        made = (await client.post("/v1/keys", json=body)).json()
        assert made["key"].startswith("tbl_pub_")
        assert (made["role"], made["mode"], made["source"], made["origins"]) == ("public", "live", "shop-web", [SHOP])
        assert made["scopes"] == ["consents:write", "recipients:write"]
        rotated = (await client.post(f"/v1/keys/{made['id']}/rotate", json={"grace_seconds": 0})).json()
        assert rotated["key"].startswith("tbl_pub_")
        kept = ("role", "source", "origins", "networks", "rate_limit", "address_limit", "scopes", "name")
        assert {name: rotated[name] for name in kept} == {name: made[name] for name in kept}
        read = (await client.get(f"/v1/keys/{rotated['id']}")).json()
        assert read == {name: value for name, value in rotated.items() if name != "key"}
        assert read in (await client.get("/v1/keys")).json()["data"]
        assert problem(await client.get(f"/v1/keys/{ids.show('key', ids.new())}"))["code"] == "key_not_found"
        entry = (await client.get("/v1/audit")).json()["data"][1]
        assert (
            entry["detail"] | {"role": "public", "source": "shop-web", "networks": ["203.0.113.9/32"]}
            == entry["detail"]
        )
    async with hub.client(rotated["key"]) as client:
        assert (await say(client)).status_code == 202
    async with hub.client(rotated["key"], address="203.0.113.10") as client:
        refused = problem(await say(client))
        assert (refused["status"], refused["code"]) == (401, "address_not_allowed")
        assert "203.0.113.10" in refused["detail"]


@pytest.mark.parametrize(
    ("change", "place"),
    [({"source": ""}, "/source"), ({"source": None}, "/source"), ({"source": "x" * 65}, "/source"),
     ({"origins": [SHOP, "*"]}, "/origins/1"), ({"scopes": ["messages:write"]}, "/scopes/0"),
     ({"address_limit": 0}, "/address_limit"), ({"role": "ingest"}, "/source")],
)  # fmt: skip
async def test_a_wrong_public_key_is_pointed_at(hub, owner, change, place):
    async with hub.client(owner) as client:
        said = problem(await client.post("/v1/keys", json={"role": "public", "source": "shop"} | change))
    assert (said["status"], [one["pointer"] for one in said["errors"]]) == (422, [place])


# what it may


async def test_it_is_told_that_it_was_taken_and_nothing_else(hub, public, deed):
    async with hub.client(public) as client:
        answer = await say(client)
        assert (answer.status_code, answer.json()) == (202, {"accepted": True})
        assert deed.done == ["x"]
        for code, status in (("nobody", 404), ("taken", 409), ("too_many", 422)):
            deed.raises = NotFound(code, "rcp_1 is not there")
            deed.raises.status = status
            refused = await say(client, Idempotency_Key=code)
            again = await say(client, Idempotency_Key=code)
            assert [(one.status_code, one.content) for one in (refused, again)] == [(202, answer.content)] * 2
    assert {line.get("refused") for line in hub.logged() if "refused" in line} == {"nobody", "taken", "too_many"}


async def test_only_routes_that_say_so_take_it(hub, public, deed):
    routes = [
        ("GET", "/v1/hot", None), ("GET", f"/v1/hot/{ids.show('msg', ids.new())}", None), ("POST", "/v1/hot", THING),
        ("POST", "/v1/cold", THING), ("GET", "/v1/keys", None), ("POST", "/v1/keys", {"role": "public", "source": "x"}),
        ("GET", "/v1/audit", None), ("POST", "/v1/user-token-keys", {}), ("GET", "/v1/user-token-keys", None),
        ("GET", "/metrics", None), ("GET", "/docs", None),
    ]  # fmt: skip
    async with hub.client(public) as client:
        for method, path, body in routes:
            said = problem(await client.request(method, path, json=body))
            assert (path, said["status"], said["code"]) == (path, 403, "public_key_not_allowed")
    assert deed.done == []


async def test_a_test_sides_key_looks_the_same_and_stays_on_its_side(hub, new_secret, workspace, owner, clock):
    testing = await new_secret(Role.PUBLIC, "test", OPTIONS)
    assert testing.startswith("tbl_pub_")
    caller = await hub.edge.keys.caller(testing, None)
    assert (caller.workspace_id, caller.mode) == (workspace.test, "test")
    live = await user_token_key(hub, owner)
    async with hub.client(testing) as client:
        assert (await say(client)).status_code == 202
        refused = await say(client, Tabellion_User_Token=token(live, clock))
        assert (refused.status_code, problem(refused)["code"]) == (401, "user_token_invalid")


async def test_it_is_refused_everywhere_within_a_second_of_its_end(new_hub, public, owner, clock: FakeClock):
    here, elsewhere = new_hub(), new_hub()
    async with here.client(owner) as admin, here.client(public) as one, elsewhere.client(public) as other:
        assert [(await say(client)).status_code for client in (one, other)] == [202, 202]
        [key] = [key for key in (await admin.get("/v1/keys")).json()["data"] if key["role"] == "public"]
        await admin.delete(f"/v1/keys/{key['id']}")
        assert problem(await say(one))["code"] == "key_revoked"
        clock.advance(timedelta(seconds=1))
        assert problem(await say(other))["code"] == "key_revoked"


async def test_a_body_is_small(hub, public, owner):
    async with hub.client(public) as client, hub.client(owner) as backend:
        long = json.dumps({"name": "x"}) + " " * LARGEST
        sent = {"content": long, "headers": {"Content-Type": "application/json"}}
        refused = problem(await client.post("/v1/open", **sent))
        assert (refused["status"], refused["code"]) == (413, "body_too_large")
        assert str(LARGEST) in refused["detail"]

        async def in_parts():
            for start in range(0, len(long), 1000):
                yield long[start : start + 1000].encode()

        assert (await client.post("/v1/open", content=in_parts(), headers=sent["headers"])).status_code == 413
        assert (await backend.post("/v1/hot", **sent)).status_code == 201


async def test_an_idempotency_key_of_a_public_key_is_nobody_elses(hub, public, owner, new_secret, deed, clock):
    """Whoever guesses the backend's key neither reads its answer nor keeps it from being given."""
    other, made = await new_secret(Role.PUBLIC, options=OPTIONS), await user_token_key(hub, owner)
    async with hub.client(public) as one, hub.client(other) as another, hub.client(owner) as backend:
        assert [(await say(client, Idempotency_Key="k")).status_code for client in (one, another)] == [202, 202]
        answer = await backend.post("/v1/open", json={"name": "y"}, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 202, "the route under test answers so to all"
        users = [token(made, clock, sub=sub) for sub in ("crm-1", "crm-2", "crm-1")]
        replayed = [
            (await say(one, Idempotency_Key="k", Tabellion_User_Token=one_of)).headers.get("idempotent-replay")
            for one_of in users
        ]
    assert replayed == [None, None, "true"]
    assert deed.done == ["x", "x", "y", "x", "x"]


# where from


async def test_a_browser_must_come_from_a_listed_origin_and_an_app_from_none(hub, public):
    async with hub.client(public) as client:
        assert (await say(client)).status_code == 202
        listed = await say(client, Origin=SHOP)
        assert listed.status_code == 202
        assert listed.headers["access-control-allow-origin"] == SHOP
        assert "Origin" in listed.headers["vary"]
        assert "access-control-allow-credentials" not in listed.headers
        assert "Retry-After" in listed.headers["access-control-expose-headers"]
        for origin in (
            "https://evil.example",
            "null",
            SHOP + ".evil.example",
            SHOP + ":444",
            "http://shop.example",
            "",
            "*",
        ):
            refused = await say(client, Origin=origin)
            assert (origin, problem(refused)["code"]) == (origin, "origin_not_allowed")
            assert "access-control-allow-origin" not in refused.headers
        twice = [("Origin", SHOP), ("Origin", "https://evil.example")]
        refused = await client.post("/v1/open", json=THING, headers=twice)
        assert problem(refused)["code"] == "origin_not_allowed"


async def test_without_origins_no_browser_may_use_it(hub, new_secret):
    async with hub.client(await new_secret(Role.PUBLIC, options=KeyOptions(source="app"))) as client:
        assert (await say(client)).status_code == 202
        assert problem(await say(client, Origin=SHOP))["code"] == "origin_not_allowed"


async def test_a_page_may_read_a_refusal_too(hub, public):
    async with hub.client(public) as client:
        refused = await client.post("/v1/open", json={"wrong": 1}, headers={"Origin": SHOP})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (422, SHOP)
        away = await client.get("/v1/keys", headers={"Origin": SHOP})
        assert (problem(away)["code"], away.headers["access-control-allow-origin"]) == ("public_key_not_allowed", SHOP)


async def test_a_secret_key_opens_nothing_to_pages(hub, owner):
    async with hub.client(owner) as client:
        answer = await client.post("/v1/open", json=THING, headers={"Origin": SHOP})
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_preflight_is_the_same_for_everybody_and_only_where_a_page_may_write(hub):
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with hub.client() as client:
        answers = [
            await client.options("/v1/open", headers=asked | {"Origin": one}) for one in (SHOP, "https://evil.example")
        ]
        said = [{name: value for name, value in one.headers.items() if name != "request-id"} for one in answers]
        assert said[0] == said[1]
        assert said[0]["access-control-allow-origin"] == "*"
        assert said[0]["access-control-allow-methods"] == "POST"
        allowed = said[0]["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "content-type", "idempotency-key", "tabellion-user-token"} <= set(allowed)
        assert answers[0].status_code == 204
        for path in ("/v1/hot", "/v1/cold", "/v1/keys"):
            closed = await client.options(path, headers=asked)
            assert not [name for name in closed.headers if name.startswith("access-control")]


async def test_an_address_is_limited_by_itself(hub, new_secret, clock: FakeClock):
    options = KeyOptions(source="shop", origins=(SHOP,), address_limit=2)
    key = await new_secret(Role.PUBLIC, options=options)
    async with hub.client(key) as one, hub.client(key, address="198.51.100.7") as another:
        assert [(await say(one)).status_code for _ in range(5)] == [202] * 4 + [429]
        refused = await say(one, Origin=SHOP)
        assert problem(refused)["code"] == "rate_limited"
        assert refused.headers["retry-after"] == "1"
        assert (refused.headers["ratelimit-limit"], refused.headers["ratelimit-remaining"]) == ("4", "0")
        assert refused.headers["access-control-allow-origin"] == SHOP
        assert problem(await one.get("/v1/keys"))["status"] == 429, "what it may not do counts too"
        assert (await say(another)).status_code == 202
        clock.advance(timedelta(seconds=0.6))
        assert [(await say(one)).status_code for _ in range(2)] == [202, 429]


async def test_the_keys_own_limit_holds_over_all_addresses(hub, new_secret):
    options = KeyOptions(source="shop", rate_limit=3)
    key = await new_secret(Role.PUBLIC, options=options)
    seen = []
    for last in range(1, 6):
        async with hub.client(key, address=f"192.0.2.{last}") as client:
            seen.append((await say(client)).status_code)
    assert seen == [202] * 3 + [429] * 2


# user tokens


async def test_keys_of_user_tokens_are_made_shown_once_listed_and_revoked(hub, owner, public, clock, db: Database):
    made = await user_token_key(hub, owner, name="shop")
    assert (made["algorithm"], made["active"], made["public_key"]) == ("HS256", True, None)
    stored = await db.run(lambda tx: tx.row("select sealed, public_key from user_token_keys"))
    assert made["secret"].encode() not in stored["sealed"]
    async with hub.client(owner) as client, hub.client(public) as page:
        sent = {"json": {"name": "two"}, "headers": {"Idempotency-Key": "k"}}
        first, second = [await client.post("/v1/user-token-keys", **sent) for _ in range(2)]
        assert problem(second)["code"] == "secret_already_shown"
        listed = (await client.get("/v1/user-token-keys?limit=1")).json()
        assert [one["id"] for one in listed["data"]] == [first.json()["id"]]
        following = (await client.get(f"/v1/user-token-keys?limit=1&cursor={listed['next_cursor']}")).json()
        assert [one["id"] for one in following["data"]] == [made["id"]]
        assert "secret" not in following["data"][0]
        assert (await say(page, Tabellion_User_Token=token(made, clock))).status_code == 202
        for _ in range(2):
            assert (await client.delete(f"/v1/user-token-keys/{made['id']}")).status_code == 204
        assert problem(await say(page, Tabellion_User_Token=token(made, clock)))["code"] == "user_token_invalid"
        gone = await client.delete(f"/v1/user-token-keys/{ids.show('utk', ids.new())}")
        assert problem(gone)["code"] == "user_token_key_not_found"
        actions = [one["action"] for one in (await client.get("/v1/audit")).json()["data"]]
        assert actions[:3] == ["user_token_key.revoked", "user_token_key.created", "user_token_key.created"]


@pytest.mark.parametrize(
    "body",
    [
        {"algorithm": "ES256"},
        {"algorithm": "EdDSA", "public_key": "nonsense"},
        {"public_key": "x"},
        {"algorithm": "none"},
    ],
)
async def test_a_wrong_key_is_pointed_at(hub, owner, body):
    async with hub.client(owner) as client:
        said = problem(await client.post("/v1/user-token-keys", json=body))
    assert said["status"] == 422
    assert said["errors"][0]["pointer"] in ("/public_key", "/algorithm")


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.COMPLIANCE, Role.READONLY])
async def test_only_who_handles_keys_handles_these(hub, new_secret, role):
    async with hub.client(await new_secret(role)) as client:
        assert (await client.post("/v1/user-token-keys", json={})).status_code == 403
        assert (await client.get("/v1/user-token-keys")).status_code == 403


async def test_a_key_makes_none_that_says_more_than_it_may(hub, new_secret):
    narrow = await new_secret(
        Role.ADMIN, options=KeyOptions(frozenset({"keys:write", "keys:read", "recipients:write"}))
    )
    async with hub.client(narrow) as client:
        for path, body in (("/v1/user-token-keys", {}), ("/v1/keys", {"role": "public", "source": "shop"})):
            refused = problem(await client.post(path, json=body))
            assert (refused["status"], refused["code"]) == (403, "scope_missing")
            assert "consents:write" in refused["detail"]


async def test_a_token_is_worth_nothing_where_it_was_not_meant(
    hub, owner, public, new_secret, db, workspace, clock, deed
):
    made = await user_token_key(hub, owner)
    rival: Workspace = await db.run(lambda tx: create_workspace(tx, "rival"))
    theirs = await user_token_key(hub, await new_secret(Role.OWNER, of=rival))
    mine, at = ids.show("wsp", workspace.id), int(clock.now().timestamp())
    async with hub.client(public) as client:
        assert (await say(client, Tabellion_User_Token=token(made, clock, aud=mine))).status_code == 202
        refused = {
            "another workspace's": token(theirs, clock),
            "meant for another workspace": token(made, clock, aud=ids.show("wsp", rival.id)),
            "of a key that is none": token(made | {"id": ids.show("utk", ids.new())}, clock),
            "signed by another key": token(made | {"secret": theirs["secret"]}, clock),
            "too long": token(made, clock, exp=at + 901),
            "cut": token(made, clock)[:-1],
            "nothing": "",
        }
        for name, text in refused.items():
            said = problem(await say(client, Tabellion_User_Token=text))
            assert (name, said["status"], said["code"]) == (name, 401, "user_token_invalid")
        clock.advance(timedelta(seconds=900))
        late = problem(await say(client, Tabellion_User_Token=token(made, clock, iat=at, exp=at + 900)))
        assert late["code"] == "user_token_expired"
        good = token(made, clock)
        twice = [("Tabellion-User-Token", good), ("Tabellion-User-Token", good)]
        assert problem(await client.post("/v1/open", json=THING, headers=twice))["code"] == "user_token_invalid"
    assert deed.done == ["x"]


async def test_no_token_stands_in_the_log(hub, owner, public, clock):
    made = await user_token_key(hub, owner)
    text = token(made, clock, sub="somebody", email="ann@example.org")
    async with hub.client(public) as client:
        await say(client, Tabellion_User_Token=text)
        await say(client, Tabellion_User_Token=text + "x")
    log = hub.lines.getvalue()
    assert not [one for one in (text, text.split(".")[2], "somebody", "ann@", made["secret"]) if one in log]
