"""What a public key may decide: restrictions; and grants only of the user that a token vouches for."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from tabellion.access import user_tokens
from tabellion.access.service import create_key, find_workspace
from tabellion.access.types import KeyOptions, Role
from tabellion.core import ids
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.types import Kind

from .conftest import Hub
from .test_routes import CHECK, GRANT, Client, client

__all__ = ["client"]

MAIL = "ann@example.org"
NO = {"recipient": {"email": MAIL}, "channel": "email", "purpose": "marketing", "decision": "withdrawn",
      "method": "form", "source": "footer"}  # fmt: skip
Say = Callable[..., Awaitable[httpx.Response]]
Sign = Callable[..., str]


@pytest.fixture
async def backend(client: Client) -> httpx.AsyncClient:
    return await client()


@pytest.fixture
async def side(backend: httpx.AsyncClient, hub: Hub) -> WorkspaceId:
    return (await hub.db.run(lambda tx: find_workspace(tx, "acme"))).live


@pytest.fixture
async def say(client: Client, backend: httpx.AsyncClient, hub: Hub) -> Say:
    """Posts a decision with a public key."""
    workspace = await hub.db.run(lambda tx: find_workspace(tx, "acme"))
    options = KeyOptions(source="shop-web", address_limit=1000)
    _, secret = await hub.db.run(lambda tx: create_key(tx, workspace, "live", Role.PUBLIC, options))
    page = await client()
    page.headers["Authorization"] = f"Bearer {secret.reveal()}"

    async def post(body: dict[str, Any], token: str | None = None, **headers: str) -> httpx.Response:
        sent = headers | ({"Tabellion-User-Token": token} if token else {})
        return await page.post("/v1/consents", json=body, headers=sent)

    return post


@pytest.fixture
async def sign(hub: Hub, side: WorkspaceId) -> Sign:
    """Makes user tokens."""
    key, secret = await hub.db.run(lambda tx: user_tokens.create(tx, hub.vault, side, None, "HS256", None, "key_1"))
    assert secret is not None

    def token(sub: str, **claims: Any) -> str:
        at = int(hub.clock.now().timestamp())
        said = {"sub": sub, "aud": "tabellion", "iat": at, "exp": at + 900} | claims
        return jwt.encode({"alg": "HS256", "kid": key.shown}, said, OctKey.import_key(secret.reveal()), ["HS256"])

    return token


async def verdict(api: httpx.AsyncClient, **changes: Any) -> str:
    return (await api.post("/v1/consents/check", json=CHECK | changes)).json()["verdict"]


async def entries(hub: Hub, side: WorkspaceId) -> list[Any]:
    return [
        tuple(row)
        for row in await hub.rows(
            "select decision, rank, source, applied from consent_entries where workspace_id = $1 order by log_index",
            side,
        )
    ]


def taken(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()) == (202, {"accepted": True})


@pytest.mark.parametrize("decision", ["denied", "withdrawn", "objected"])
async def test_it_restricts_whom_it_names_by_an_address(say: Say, hub: Hub, side, backend, decision):
    await backend.post("/v1/consents", json=GRANT)
    assert await verdict(backend) == "allowed"
    assert taken(await say(NO | {"decision": decision}))
    assert await verdict(backend) == "denied"
    assert (await entries(hub, side))[1] == (decision, 0, "shop-web", True)


async def test_it_restricts_an_address_nobody_has(say: Say, backend: httpx.AsyncClient):
    assert taken(await say(NO | {"channel": "*", "purpose": "*"}))
    assert await verdict(backend) == "denied"
    assert taken(await say(NO | {"recipient": {"phone": "+436601234567"}, "channel": "sms"}))
    assert await verdict(backend, recipient={"phone": "+436601234567"}, channel="sms") == "denied"


async def test_what_it_grants_is_ignored(say: Say, hub: Hub, side, backend: httpx.AsyncClient):
    """No entry, and nobody who shows; the log says that it was ignored."""
    proved = GRANT | {"notice": {"id": "newsletter", "version": 3}}
    for body in (proved, proved | {"decision": "asserted"}, proved | {"confirm": True}):
        assert taken(await say(body))
    assert await entries(hub, side) == []
    rows = await hub.rows("select address_only from recipients where workspace_id = $1", side)
    assert [row["address_only"] for row in rows] == [True]
    await backend.post("/v1/consents", json=NO)
    assert taken(await say(proved))
    assert (await verdict(backend), len(await entries(hub, side))) == ("denied", 1)
    told = await hub.rows("select type, data from events where workspace_id = $1 order by position", side)
    assert [one["type"] for one in told] == ["consent.ignored"] * 3 + ["consent.withdrawn", "consent.ignored"]
    assert {one["data"]["consent"]["reason"] for one in told[:3]} == {"grant_not_trusted"}
    assert {one["data"]["consent"]["source"] for one in told[:3]} == {"shop-web"}


@pytest.mark.parametrize(
    ("change", "places"),
    [({"recipient": {"external_id": "crm-1"}}, ["/recipient"]),
     ({"recipient": {"identifier": {"kind": "external:crm", "value": "1"}}}, ["/recipient"]),
     ({"recipient": {"identifier": {"kind": "wallet", "value": "0x" + "5a" * 20}}}, ["/recipient"])],
)  # fmt: skip
async def test_names_that_follow_one_another_need_a_token(say: Say, hub: Hub, side, change, places):
    """Whoever can count could otherwise withdraw for everybody."""
    answer = await say(NO | change)
    assert (answer.status_code, answer.json()["code"]) == (403, "user_token_required")
    assert [one["pointer"] for one in answer.json()["errors"]] == places
    assert await entries(hub, side) == []


async def test_the_answer_tells_nothing_of_who_is_known(say: Say, sign: Sign, hub: Hub, side, backend):
    await backend.post("/v1/consents", json=GRANT)
    bodies: list[tuple[dict[str, Any], str | None]] = [
        (NO, None),
        (NO | {"recipient": {"email": "nobody@example.org"}}, None),
        (NO | {"recipient": ids.show("rcp", ids.new())}, None),
        (NO | {"recipient": {"identifier": {"kind": "anonymous", "value": "nobody"}}}, None),
        (GRANT, None),
        (GRANT | {"recipient": {"email": "nobody@example.net"}}, None),
        (GRANT | {"recipient": {"phone": "+436601234567"}}, None),
        (GRANT, sign("eve", email=MAIL)),
        (GRANT | {"recipient": {"email": "free@example.org"}}, sign("eve", email="free@example.org")),
        (GRANT | {"recipient": {"external_id": "nobody"}}, sign("nobody")),
        (NO | {"recipient": {"external_id": "nobody"}}, sign("nobody")),
    ]
    volatile = {"request-id", "ratelimit-remaining"}
    seen = set()
    for number, (body, token) in enumerate(bodies):
        for _ in range(2):
            answer = await say(body, token, **{"Idempotency-Key": f"k-{number}"})
            headers = {name: value for name, value in answer.headers.items() if name not in volatile}
            headers.pop("idempotent-replay", None)
            seen.add((answer.status_code, answer.content, *sorted(headers.items())))
    assert len(seen) == 1


async def test_what_is_wrong_with_a_decision_by_itself_is_told(say: Say, hub: Hub, side):
    wrong: list[tuple[dict[str, Any], str]] = [
        (NO | {"purpose": "nonsense"}, "purpose_unknown"),
        (NO | {"decision": "pending"}, "decision_not_accepted"),
        (NO | {"method": "one_click"}, "method_not_accepted"),
        (NO | {"evidence": {"a": 1.5}}, "not_canonical"),
        (NO | {"identifier": {"kind": "phone", "value": "+436601234567"}}, "identifier_mismatch"),
        (NO | {"recipient": {"email": "nonsense"}}, "invalid_identifier"),
        ({**GRANT, "basis": None}, "basis_required"),
    ]
    for body, code in wrong:
        answer = await say(body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert "marketing" not in (await say(NO | {"purpose": "nonsense"})).text
    large = await say(NO | {"evidence": {"text": "x" * 3072}})
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    assert await entries(hub, side) == []


async def test_with_a_token_a_user_grants_what_is_theirs(say: Say, sign: Sign, hub: Hub, side, backend):
    token = sign("ann", email=MAIL)
    assert taken(await say(GRANT, token))
    assert await entries(hub, side) == [("granted", 3, "shop-web", True)]
    assert await verdict(backend) == "allowed"
    assert await verdict(backend, recipient={"external_id": "ann"}) == "allowed"
    [row] = await hub.rows("select sealed, subject_id, id from consent_entries where workspace_id = $1", side)
    keys = await hub.db.run(lambda tx: hub.vault.subjects(tx, side, [row["subject_id"]]))
    record = keys[row["subject_id"]].open(row["sealed"], f"consent:{side}:{row['id']}")
    assert b'"rank":"P3"' in record
    assert b'"user_token_key":"utk_' in record


async def test_with_a_token_a_user_lifts_their_own_objection(say: Say, sign: Sign, hub: Hub, backend):
    """No secret key could: it takes the person."""
    await backend.post("/v1/consents", json=NO | {"decision": "objected"})
    hub.clock.advance(timedelta(seconds=1))
    assert (await backend.post("/v1/consents", json=GRANT)).json()["decision"] == "pending"
    assert await verdict(backend) == "denied"
    assert taken(await say(GRANT, sign("ann", email=MAIL)))
    assert await verdict(backend) == "allowed"
    assert taken(await say(NO | {"recipient": {"external_id": "ann"}}, sign("ann")))
    assert await verdict(backend) == "denied"


@pytest.mark.parametrize(
    ("change", "place"),
    [({"recipient": {"external_id": "eve"}}, "/recipient"), ({"recipient": {"email": "eve@example.org"}}, "/recipient"),
     ({"identifier": {"kind": "email", "value": "eve@example.org"}}, "/identifier"),
     ({"recipient": ids.show("rcp", ids.new())}, "/recipient")],
)  # fmt: skip
@pytest.mark.parametrize("body", [GRANT, NO], ids=["grant", "restriction"])
async def test_a_token_decides_for_nobody_else(say: Say, sign: Sign, hub: Hub, side, body, change, place):
    answer = await say(body | change, sign("ann", email=MAIL))
    assert (answer.status_code, answer.json()["code"]) == (403, "user_token_mismatch")
    assert [one["pointer"] for one in answer.json()["errors"]] == [place]
    assert await entries(hub, side) == []


async def test_an_address_that_another_has_is_not_granted_for(say: Say, sign: Sign, hub: Hub, side, backend):
    """The backend vouches for what its user typed; the hub knows whose it is."""
    await hub.beside(side).person((Kind.EXTERNAL_ID, "ann"), (Kind.EMAIL, MAIL))
    await backend.post("/v1/consents", json=NO | {"decision": "objected"})
    assert taken(await say(GRANT, sign("eve", email=MAIL)))
    assert await verdict(backend) == "denied"
    assert [one[0] for one in await entries(hub, side)] == ["objected"]
