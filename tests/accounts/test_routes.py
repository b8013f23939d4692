"""`/v1/accounts` and `/v1/providers` as a client sees them."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from tabellion.access.edge import Edge
from tabellion.access.keyring import KeyRing
from tabellion.access.service import create_key
from tabellion.access.types import Mode, Role, Workspace
from tabellion.accounts.routes import routes
from tabellion.accounts.service import Accounts
from tabellion.app.http import create_app
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.log import open_log
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import Vault
from tabellion.providers.settings import MASK

from .conftest import SMTP, TOKEN, TWILIO

Client = Callable[..., Awaitable[httpx.AsyncClient]]
NEW = {"provider": "twilio", "name": "Twilio EU", "settings": TWILIO, "weight": 2, "limits": {"rate": 50}}


@pytest.fixture
async def client(
    db: Database, vault: Vault, clock: FakeClock, accounts: Accounts, workspace: Workspace, other_workspace: Workspace
) -> AsyncIterator[Client]:
    """Gives a client with a key of the role, mode and workspace asked for; no secret gets into its log."""
    keys, lines = KeyRing(db), io.StringIO()
    edge = Edge(db, keys, vault, open_log(lines, clock, pretty=False), Metrics(process=False))
    app = create_app(edge, routes(edge, accounts))

    async def make(role: Role = Role.OWNER, mode: Mode = "live", other: bool = False) -> httpx.AsyncClient:
        home = other_workspace if other else workspace
        _, secret = await db.run(lambda tx: create_key(tx, home, mode, role))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        return httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers)

    yield make
    await keys.close()
    assert TOKEN not in lines.getvalue()


async def test_an_account_is_added_read_changed_and_disabled(client: Client) -> None:
    http = await client()
    made = await http.post("/v1/accounts", json=NEW)
    assert made.status_code == 201, made.text
    path = f"/v1/accounts/{made.json()['id']}"
    assert made.json()["settings"] | {"auth_token": MASK} == made.json()["settings"]
    assert (made.json()["channels"], made.json()["limits"]) == (["sms"], {"rate": 50.0})
    assert (await http.get(path)).json() == made.json()
    changed = await http.patch(path, json={"weight": 7, "settings": {"from": "+15005550007"}})
    assert (changed.json()["weight"], changed.json()["settings"]["from"]) == (7, "+15005550007")
    assert (await http.delete(path)).status_code == 204
    assert (await http.delete(path)).status_code == 204
    [listed] = (await http.get("/v1/accounts")).json()["data"]
    assert not listed["enabled"]
    assert TOKEN not in made.text + changed.text


async def test_a_repeated_request_gets_the_masked_answer_of_the_first(client: Client) -> None:
    http = await client()
    answers = [await http.post("/v1/accounts", json=NEW, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len((await http.get("/v1/accounts")).json()["data"]) == 1


async def test_another_host_needs_its_secrets_again(client: Client) -> None:
    http = await client()
    made = await http.post("/v1/accounts", json={"provider": "smtp", "settings": SMTP})
    answer = await http.patch(f"/v1/accounts/{made.json()['id']}", json={"settings": {"host": "new.example.org"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "secrets_required")
    assert answer.json()["errors"][0]["pointer"] == "/settings/password"


async def test_clear_text_to_a_public_mail_server_is_refused_at_its_place(client: Client) -> None:
    """Such an account was taken once, and then could send nothing."""
    http = await client()
    for change, pointer in (({"security": "none"}, "/settings/security"), ({"port": 6379}, "/settings/port")):
        answer = await http.post("/v1/accounts", json={"provider": "smtp", "settings": {**SMTP, **change}})
        assert (answer.status_code, answer.json()["code"]) == (422, "settings_invalid")
        assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
    made = await http.post("/v1/accounts", json={"provider": "smtp", "settings": SMTP})
    changes = {"settings": {"security": "none", "password": TOKEN}}
    changed = await http.patch(f"/v1/accounts/{made.json()['id']}", json=changes)
    assert [one["pointer"] for one in changed.json()["errors"]] == ["/settings/security"]


async def test_a_wrong_body_is_422_at_its_place(client: Client) -> None:
    http = await client()
    for body, pointer in (
        ({**NEW, "weight": 0}, "/weight"),
        ({**NEW, "limits": {"rate": -1}}, "/limits/rate"),
        ({**NEW, "provider": "pigeon"}, "/provider"),
        ({**NEW, "settings": {**TWILIO, "account_sid": "x"}}, "/settings/account_sid"),
    ):
        answer = await http.post("/v1/accounts", json=body)
        assert answer.status_code == 422, answer.text
        assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


async def test_a_test_key_sees_the_simulator_accounts(client: Client) -> None:
    http = await client(mode="test")
    data = (await http.get("/v1/accounts")).json()["data"]
    assert {(one["provider"], one["simulated"]) for one in data} == {("smtp", True), ("twilio", True)}


async def test_accounts_come_in_pages(client: Client) -> None:
    http = await client()
    made = [(await http.post("/v1/accounts", json=NEW)).json()["id"] for _ in range(3)]
    first = (await http.get("/v1/accounts?limit=2")).json()
    second = (await http.get(f"/v1/accounts?limit=2&cursor={first['next_cursor']}")).json()
    assert [one["id"] for one in [*first["data"], *second["data"]]] == made[::-1]


async def test_providers_describe_their_forms(client: Client) -> None:
    found = {one["name"]: one for one in (await (await client()).get("/v1/providers")).json()["data"]}
    fields = {one["name"]: one for one in found["twilio"]["settings"]}
    assert found["twilio"]["channels"] == ["sms"]
    assert fields["auth_token"]["secret"]
    assert fields["auth_token"]["required"]
    assert fields["base_url"]["default"] == "https://api.twilio.com"


async def test_other_tenants_and_small_keys_are_kept_out(client: Client) -> None:
    made = await (await client()).post("/v1/accounts", json=NEW)
    path = f"/v1/accounts/{made.json()['id']}"
    for theirs in (await client(other=True), await client(mode="test")):
        assert (await theirs.get(path)).status_code == 404
        assert (await theirs.patch(path, json={"weight": 3})).status_code == 404
        assert (await theirs.delete(path)).status_code == 404
        assert made.json()["id"] not in (await theirs.get("/v1/accounts")).text
    small = await client(Role.READONLY)
    assert (await small.get(path)).status_code == 200
    assert (await small.patch(path, json={"weight": 3})).status_code == 403
    assert (await small.post("/v1/accounts", json=NEW)).status_code == 403
    assert (await small.delete(path)).status_code == 403


async def test_an_id_that_is_none_is_404(client: Client) -> None:
    http = await client()
    for wrong in ("x", "rcp_01h455vb4pex5vsknk084sn02q", "acc_01h455vb4pex5vsknk084sn02q"):
        assert (await http.get(f"/v1/accounts/{wrong}")).status_code == 404
