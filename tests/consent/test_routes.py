"""`/v1/consents` and `/v1/consents/check` over bare ASGI, with keys of two workspaces."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tabellion.access.edge import Edge
from tabellion.access.grouped import Grouped
from tabellion.access.keyring import KeyRing
from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Mode, Role, Workspace
from tabellion.app.http import create_app
from tabellion.consent.public import PublicDecisions
from tabellion.consent.routes import checking, recording, routes
from tabellion.core import ids
from tabellion.core.batching import Batcher
from tabellion.core.log import open_log as open_lines
from tabellion.core.telemetry import Metrics
from tabellion.identity.routes import attaching

from .conftest import Hub

Client = Callable[..., Awaitable[httpx.AsyncClient]]
GRANT: dict[str, Any] = {
    "recipient": {"email": "ann@example.org"}, "channel": "email", "purpose": "marketing", "decision": "granted",
    "basis": "consent", "method": "form", "source": "signup", "notice": {"id": "newsletter", "version": 3},
    "evidence": {"url": "https://example.org/signup"},
}  # fmt: skip
CHECK: dict[str, Any] = {"recipient": {"email": "ann@example.org"}, "channel": "email", "purpose": "marketing"}


@pytest.fixture
async def client(hub: Hub) -> AsyncIterator[Client]:
    """Gives a client with a key of the role, mode and workspace asked for."""
    keys, lines = KeyRing(hub.db), io.StringIO()
    edge = Edge(hub.db, keys, hub.vault, open_lines(lines, hub.clock, pretty=False), Metrics(process=False))
    record = Grouped(hub.db, hub.vault, recording(hub.consent))
    public = PublicDecisions(hub.db, hub.recipients, hub.consent, attaching(hub.recipients, hub.consent.absorbed))
    app = create_app(edge, routes(edge, hub.recipients, record, Batcher(checking(hub.db, hub.consent)), public))
    workspaces: dict[str, Workspace] = {}

    async def make(role: Role = Role.OWNER, mode: Mode = "live", workspace: str = "acme") -> httpx.AsyncClient:
        if workspace not in workspaces:
            workspaces[workspace] = await hub.db.run(lambda tx: create_workspace(tx, workspace))
        _, secret = await hub.db.run(lambda tx: create_key(tx, workspaces[workspace], mode, role))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        return httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers)

    yield make
    await keys.close()
    assert "ann@" not in lines.getvalue()


async def say(api: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    return await api.post("/v1/consents", json=GRANT | changes)


async def test_a_decision_is_answered_with_its_place_in_the_tree(client: Client) -> None:
    answer = await say(await client())
    assert answer.status_code == 201
    said = answer.json()
    assert said["id"].startswith("cns_")
    assert said["recipient_id"].startswith("rcp_")
    assert (said["log_index"], said["tree_size"], said["applied"], said["in_flight"]) == (0, 1, True, [])
    assert len(base64.b64decode(said["leaf_hash"])) == 32
    assert not {"reason", "deliverable", "fix"} & said.keys()


async def test_a_check_says_what_a_gate_would(client: Client) -> None:
    api = await client()
    unknown = (await api.post("/v1/consents/check", json=CHECK)).json()
    assert (unknown["verdict"], unknown["sendable"], unknown["reason"]) == ("unknown", False, "no_consent")
    assert "log_index" not in unknown
    granted = (await say(api)).json()
    answer = await api.post("/v1/consents/check", json=CHECK)
    assert answer.status_code == 200
    allowed = answer.json()
    assert (allowed["verdict"], allowed["sendable"], allowed["rule"]) == ("allowed", True, "grant")
    assert (allowed["log_index"], allowed["entry_id"]) == (granted["log_index"], granted["id"])
    assert allowed["inputs"]["grant"] == 0


@pytest.mark.parametrize(("purpose", "sendable"), [("transactional", True), ("security", True), ("marketing", False)])
async def test_a_check_of_an_address_nobody_has_creates_nothing(
    client: Client, hub: Hub, purpose: str, sendable: bool
) -> None:
    answer = await (await client()).post("/v1/consents/check", json=CHECK | {"purpose": purpose})
    assert (answer.json()["verdict"], answer.json()["sendable"]) == ("unknown", sendable)
    assert not await hub.rows("select 1 from recipients")


async def test_a_check_of_a_person_is_about_the_address_a_send_would_choose(client: Client) -> None:
    api = await client()
    person = (await say(api)).json()["recipient_id"]
    by_id = await api.post("/v1/consents/check", json=CHECK | {"recipient": person})
    assert by_id.json()["verdict"] == "allowed"
    other = {"kind": "email", "value": "ann@work.example"}
    named = await api.post("/v1/consents/check", json=CHECK | {"recipient": person, "identifier": other})
    assert named.json()["verdict"] == "unknown"
    by_phone = await api.post("/v1/consents/check", json=CHECK | {"recipient": person, "channel": "sms"})
    assert (by_phone.json()["reason"], by_phone.json()["sendable"]) == ("no_consent", False)
    service = await api.post(
        "/v1/consents/check", json={"recipient": person, "channel": "sms", "purpose": "transactional"}
    )
    assert (service.json()["verdict"], service.json()["reason"]) == ("unknown", "no_address")


async def test_withdrawn_named_in_the_check_and_pending_after(client: Client, hub: Hub) -> None:
    api = await client()
    await say(api)
    withdrawn = (await say(api, decision="withdrawn", channel="*", purpose="*")).json()
    assert withdrawn["applied"]
    denied = (await api.post("/v1/consents/check", json=CHECK)).json()
    assert (denied["verdict"], denied["reason"], denied["log_index"]) == ("denied", "withdrawn", withdrawn["log_index"])
    hub.clock.advance(timedelta(minutes=1))
    pending = (await say(api, evidence=None)).json()
    assert (pending["decision"], pending["applied"]) == ("pending", False)
    assert pending["reason"] == "notice_or_evidence_incomplete"
    assert (await say(api, confirm=True)).json()["reason"] == "confirmation_requested"


async def test_in_flight_and_the_fix_of_a_vendor_block(client: Client, hub: Hub) -> None:
    api = await client()
    hub.started.attempts = [ids.new()]
    said = (await say(api, decision="objected")).json()
    assert said["in_flight"] == [ids.show("att", hub.started.attempts[0])]
    number = {"recipient": {"phone": "+436601234567"}, "channel": "sms", "purpose": "security"}
    [side] = await hub.rows("select workspace_id from consent_entries")
    await hub.beside(side["workspace_id"]).stop("+436601234567")
    blocked = (await say(api, **number)).json()
    assert (blocked["applied"], blocked["deliverable"]) == (True, False)
    assert "START" in blocked["fix"]


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"decision": "pending"}, "decision_not_accepted", "/decision"),
        ({"decision": "expired"}, "decision_not_accepted", "/decision"),
        ({"method": "keyword", "decision": "withdrawn"}, "method_not_accepted", "/method"),
        ({"method": "merge"}, "method_not_accepted", "/method"),
        ({"method": "smoke_signal"}, "invalid_request", "/method"),
        ({"channel": "*"}, "channel_required", "/channel"),
        ({"channel": "phone_messaging", "decision": "withdrawn"}, "invalid_request", "/channel"),
        ({"purpose": "nonsense"}, "purpose_unknown", "/purpose"),
        ({"basis": None}, "basis_required", "/basis"),
        ({"basis": "legitimate_interest", "decision": "asserted"}, "evidence_required", "/evidence"),
        ({"evidence": {"score": 0.5}}, "not_canonical", "/evidence/score"),
        ({"occurred_at": "2026-11-21T09:06:00Z"}, "occurred_in_future", "/occurred_at"),
        ({"occurred_at": "2026-11-21T08:00:00"}, "invalid_request", "/occurred_at"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "invalid_time", "/occurred_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "invalid_time", "/expires_at"),
        ({"recipient": {"email": "nonsense"}}, "invalid_identifier", "/recipient/email"),
        ({"recipient": {"email": "a@example.org", "phone": "+1"}}, "invalid_recipient", "/recipient"),
        ({"identifier": {"kind": "phone", "value": "+436601234567"}}, "identifier_mismatch", "/identifier/kind"),
        ({"identifier": {"kind": "email", "value": "x"}}, "invalid_identifier", "/identifier/value"),
        ({"surprise": 1}, "invalid_request", "/surprise"),
        ({"rank": "P3"}, "invalid_request", "/rank"),
    ],
)
async def test_what_cannot_be_taken_is_422_with_its_place(
    client: Client, hub: Hub, changes: dict[str, Any], code: str, pointer: str
) -> None:
    answer = await say(await client(), **changes)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code)
    assert [one["pointer"] for one in problem["errors"]] == [pointer]
    assert not await hub.rows("select 1 from consent_entries")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"purpose": "nonsense"}, 422, "purpose_unknown"),
        ({"channel": "*"}, 422, "invalid_request"),
        ({"identifier": {"kind": "phone", "value": "+436601234567"}}, 422, "identifier_mismatch"),
        ({"recipient": {"external_id": "crm-1"}}, 404, "recipient_not_found"),
        ({"recipient": ids.show("rcp", ids.new())}, 404, "recipient_not_found"),
    ],
)
async def test_checks_that_cannot_be_answered(client: Client, changes: dict[str, Any], status: int, code: str) -> None:
    answer = await (await client()).post("/v1/consents/check", json=CHECK | changes)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_only_the_secret_keys_path_gives_rank_2_whatever_the_method_says(client: Client, hub: Hub) -> None:
    await say(await client(), method="import", occurred_at="2026-11-01T00:00:00Z")
    [row] = await hub.rows("select rank, method from consent_entries")
    assert tuple(row) == (2, "import")


async def test_scopes(client: Client) -> None:
    ingest, reader = await client(Role.INGEST), await client(Role.READONLY)
    assert (await say(ingest)).status_code == 201
    assert (await say(reader)).status_code == 403
    assert (await reader.post("/v1/consents/check", json=CHECK)).status_code == 200
    assert (await ingest.post("/v1/consents/check", json=CHECK)).status_code == 403


async def test_other_workspaces_and_modes_know_nothing(client: Client) -> None:
    mine = await client()
    person = (await say(mine)).json()["recipient_id"]
    for theirs in (await client(workspace="other"), await client(mode="test")):
        assert (await theirs.post("/v1/consents/check", json=CHECK)).json()["verdict"] == "unknown"
        by_id = {"recipient": person}
        assert (await theirs.post("/v1/consents/check", json=CHECK | by_id)).status_code == 404
        assert (await say(theirs, **by_id, decision="withdrawn")).status_code == 404
    assert (await mine.post("/v1/consents/check", json=CHECK)).json()["verdict"] == "allowed"


async def test_an_idempotency_key_records_once(client: Client, hub: Hub) -> None:
    api = await client()
    headers = {"Idempotency-Key": "k1"}
    first, second = [await api.post("/v1/consents", json=GRANT, headers=headers) for _ in range(2)]
    assert first.content == second.content
    assert second.headers["Idempotent-Replay"] == "true"
    other = await api.post("/v1/consents", json=GRANT | {"source": "else"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len(await hub.rows("select 1 from consent_entries")) == 1


async def test_a_check_takes_no_idempotency_key(client: Client) -> None:
    api = await client()
    headers = {"Idempotency-Key": "k1"}
    assert (await api.post("/v1/consents/check", json=CHECK, headers=headers)).json()["verdict"] == "unknown"
    await say(api)
    assert (await api.post("/v1/consents/check", json=CHECK, headers=headers)).json()["verdict"] == "allowed"


async def test_neighbours_share_a_transaction_and_keep_their_own_answers(client: Client, hub: Hub) -> None:
    api = await client()
    await say(api)
    calls = [say(api, recipient={"email": f"ann{number}@example.org"}) for number in range(40)]
    calls += [say(api, channel="*"), say(api, recipient={"external_id": "nobody"})]
    answers = await asyncio.gather(*calls)
    assert [one.status_code for one in answers] == [201] * 40 + [422, 404]
    assert sorted(one.json()["log_index"] for one in answers[:40]) == list(range(1, 41))
    [shared] = await hub.rows("select count(distinct xmin::text) as transactions from consent_entries")
    assert shared["transactions"] < 10
