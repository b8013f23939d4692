"""Receipts over HTTP, checked as a stranger would: with the key, the standard library and `cryptography`."""

import base64
import hashlib
import hmac
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tabellion.access.edge import Edge
from tabellion.access.keyring import KeyRing
from tabellion.access.service import create_key, create_workspace, list_audit
from tabellion.access.types import AuditEntry, KeyOptions, Role, Workspace
from tabellion.app.http import create_app
from tabellion.consent.receipts.routes import routes
from tabellion.consent.receipts.service import Receipts
from tabellion.core import ids
from tabellion.core.log import open_log as open_lines
from tabellion.core.telemetry import Metrics
from tabellion.ledger.reading import Reading
from tabellion.ledger.types import Leaf, NotYetPublished, Published

from ..conftest import Hub, decision, email  # noqa: TID252 - tests are no package: there is no absolute name

Client = Callable[..., Awaitable[httpx.AsyncClient]]
ANN = "ann@example.org"


@dataclass
class Side:
    """A workspace's live side, with keys for it."""

    hub: Hub
    workspace: Workspace
    client: Client
    lines: io.StringIO

    async def grant(self, address: str = ANN) -> str:
        """The id of a decision."""
        one = await self.hub.recorded(decision(email(address), "granted", evidence={"url": "https://example.org/f"}))
        return ids.show("cns", one.id or ids.new())

    async def receipt(self, consent: str, query: str = "", role: Role = Role.OWNER) -> httpx.Response:
        return await (await self.client(role)).get(f"/v1/consents/{consent}/receipt{query}")

    async def disclosures(self) -> list[AuditEntry]:
        async with self.hub.db.transaction() as tx:
            audited = await list_audit(tx, self.workspace.live)
        return [one for one in audited if one.action == "consent.disclosed"]

    async def vkey(self) -> str:
        return (await self.hub.db.run(lambda tx: self.hub.ledger.verifier_keys(tx, self.workspace.live))).splitlines()[
            -1
        ]

    async def entries(self) -> list[bytes]:
        rows = await self.hub.rows(
            "select leaf from ledger_leaves where workspace_id = $1 and log = 'consent' order by index",
            self.workspace.live,
        )
        return [row["leaf"] for row in rows]


@pytest.fixture
async def side(hub: Hub) -> AsyncIterator[Side]:
    keys, lines = KeyRing(hub.db), io.StringIO()
    edge = Edge(hub.db, keys, hub.vault, open_lines(lines, hub.clock, pretty=False), Metrics(process=False))
    app = create_app(edge, routes(edge, Receipts(hub.consent, Reading(hub.ledger))))
    workspace = await hub.db.run(lambda tx: create_workspace(tx, "acme"))

    async def client(
        role: Role = Role.OWNER, mode: Any = "live", scopes: frozenset[str] | None = None
    ) -> httpx.AsyncClient:
        _, secret = await hub.db.run(lambda tx: create_key(tx, workspace, mode, role, KeyOptions(scopes=scopes)))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        return httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers)

    yield Side(hub.beside(workspace.live), workspace, client, lines)
    await keys.close()
    assert ANN not in lines.getvalue()


def sha(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def climb(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """The root that an inclusion path leads to, by the recursion of RFC 9162, 2.1.3.1."""
    if size == 1:
        assert path == []
        return leaf
    split = 1 << (size - 1).bit_length() - 1
    if index < split:
        return sha(b"\x01" + climb(index, split, leaf, path[:-1]) + path[-1])
    return sha(b"\x01" + path[-1] + climb(index - split, size - split, leaf, path[:-1]))


def proved(receipt: str, vkey: str, entry: bytes) -> tuple[int, dict[str, Any]]:
    """The index and the extra data of a receipt (C2SP tlog-proof) that proves the entry under the key."""
    head, _, checkpoint = receipt.partition("\n\n")
    kind, *lines = head.split("\n")
    assert kind == "c2sp.org/tlog-proof@v1"
    extra = json.loads(base64.b64decode(lines.pop(0).removeprefix("extra "))) if lines[0].startswith("extra ") else {}
    index = int(lines.pop(0).removeprefix("index "))
    text, _, signature = checkpoint.partition("\n\n")
    origin, size, root = text.split("\n")
    name, _, key = vkey.split("+", 2)
    assert origin == name
    Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:]).verify(
        base64.b64decode(signature.split()[2])[4:], (text + "\n").encode()
    )
    leaf, path = sha(b"\x00" + entry), [base64.b64decode(line) for line in lines]
    assert climb(index, int(size), leaf, path) == base64.b64decode(root)
    return index, extra


async def test_a_receipt_proves_its_entry_and_shows_nothing_else(side: Side) -> None:
    made = [await side.grant(f"person{number}@example.org") for number in range(5)]
    entries = await side.entries()
    for place, consent in enumerate(made):
        answer = await side.receipt(consent, role=Role.READONLY)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-disposition"] == f'inline; filename="{consent}.tlog-proof"'
        assert proved(answer.text, await side.vkey(), entries[place]) == (place, {})
    assert await side.disclosures() == []


async def test_a_disclosing_receipt_shows_the_record_that_was_committed_to(side: Side) -> None:
    await side.grant("somebody@example.org")
    consent = await side.grant()
    entry = (await side.entries())[1]
    receipt = (await side.receipt(consent, "?disclose=1", Role.COMPLIANCE)).text
    index, extra = proved(receipt, await side.vkey(), entry)
    assert set(extra) == {"record", "key"}
    record = extra["record"]
    assert (index, record["id"], record["identifier"]) == (1, consent, {"kind": "email", "value": ANN})
    commitment = hmac.digest(base64.b64decode(extra["key"]), rfc8785.dumps(record), "sha256")
    assert json.loads(entry)["c"] == base64.urlsafe_b64encode(commitment).rstrip(b"=").decode()
    assert json.loads(entry)["d"] == record["recorded_at"][:10]


async def test_a_disclosure_is_audited_each_time_and_needs_a_key_that_reads_people(side: Side) -> None:
    consent = await side.grant()
    blind = await side.client(Role.COMPLIANCE, "live", frozenset({"consents:read"}))
    refused = await blind.get(f"/v1/consents/{consent}/receipt?disclose=1")
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert (await blind.get(f"/v1/consents/{consent}/receipt?disclose=0")).status_code == 200
    assert await side.disclosures() == []
    for _ in range(2):
        assert (await side.receipt(consent, "?disclose=1", Role.COMPLIANCE)).status_code == 200
    audited = await side.disclosures()
    assert [(one.target, one.detail) for one in audited] == [(consent, {"log_index": 0})] * 2
    assert {one.actor.partition("_")[0] for one in audited} == {"key"}


@pytest.mark.parametrize("query", ["?disclose=yes", "?disclose=", "?unwitnessed=2", "?discolse=1"])
async def test_a_misspelt_wish_is_refused(side: Side, query: str) -> None:
    answer = await side.receipt(await side.grant(), query)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


async def test_there_is_no_receipt_for_what_is_no_decision_of_this_side(side: Side) -> None:
    """Of nobody's id, another side's decision, an entry of another log or of another kind."""
    consent = await side.grant()
    test = await side.client(Role.OWNER, "test")
    assert (await test.get(f"/v1/consents/{consent}/receipt")).status_code == 404
    strange = ids.new()
    for kind, log in (("audit", "audit"), ("successor", "consent")):
        leaf = Leaf(strange, kind, bytes(32), side.hub.clock.now().date())  # type: ignore[arg-type]
        await side.hub.db.run(lambda tx, leaf=leaf, log=log: side.hub.ledger.append(tx, side.hub.side, [leaf], log))
        for shown in (ids.show("cns", strange), ids.show("cns", ids.new()), "cns_1", ids.show("msg", strange)):
            answer = await side.receipt(shown)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        strange = ids.new()


async def test_before_a_published_head_covers_it_there_is_none_or_one_that_says_so(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with witnesses that have not cosigned yet."""
    first = await side.grant()
    shown = await side.hub.db.run(lambda tx: side.hub.ledger.published(tx, side.hub.side))

    async def published(*_: object) -> Published:
        return shown

    monkeypatch.setattr(side.hub.ledger, "published", published)
    second = await side.grant("bob@example.org")
    refused = await side.receipt(second)
    assert (refused.status_code, refused.json()["code"]) == (409, "not_yet_published")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await side.receipt(second, "?disclose=1")).status_code == 409
    assert await side.disclosures() == [], "nothing was shown"
    entries = await side.entries()
    marked = (await side.receipt(second, "?unwitnessed=1")).text
    assert proved(marked, await side.vkey(), entries[1]) == (1, {"unwitnessed": True})
    _, extra = proved((await side.receipt(second, "?unwitnessed=1&disclose=1")).text, await side.vkey(), entries[1])
    assert set(extra) == {"record", "key", "unwitnessed"}
    plain = (await side.receipt(first, "?unwitnessed=1")).text
    assert proved(plain, await side.vkey(), entries[0]) == (0, {}), "what is published needs no mark"


async def test_before_anything_is_published_there_is_one_that_says_so(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent = await side.grant()

    async def published(*_: object) -> Published:
        raise NotYetPublished(0)

    monkeypatch.setattr(side.hub.ledger, "published", published)
    assert (await side.receipt(consent)).status_code == 409
    marked = (await side.receipt(consent, "?unwitnessed=1")).text
    assert proved(marked, await side.vkey(), (await side.entries())[0]) == (0, {"unwitnessed": True})


async def test_an_entry_of_a_log_with_a_successor_keeps_its_receipt(side: Side) -> None:
    """Under the last head of its own generation and that one's key."""
    consent, hub = await side.grant(), side.hub
    [entry], key = await side.entries(), await side.vkey()
    ours = "workspace_id = $1 and log = 'consent'"
    [row] = await hub.rows(f"select size, frontier, checkpoint from ledger_heads where {ours}", hub.side)
    await side.grant("bob@example.org")
    await hub.rows(f"delete from ledger_leaves where {ours} and index = 1", hub.side)
    await hub.rows("update ledger_heads set size = $1, frontier = $2, checkpoint = $3 where log = 'consent'", *row)
    await hub.db.run(lambda tx: hub.ledger.succeed(tx, hub.side))
    assert (await side.vkey()) != key
    proved((await side.receipt(consent)).text, key, entry)
