"""Evidence about a person: complete, about nobody else, provable without the hub, and who had it in hands is named."""

import io
import json
import random
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tabellion.access.types import Role
from tabellion.core import ids
from tabellion.core.crypto import b64url
from tabellion.ledger.verifier.command import Believed, verify_person
from tabellion.ledger.verifier.report import Report, Unusable

from .conftest import ANN, NUMBER, Client, World

REASON = "case 12/2026 of the district court"
FORM = {"basis": "consent", "method": "form", "source": "signup", "evidence": {"url": "https://example.org/signup"}}


@dataclass
class Case:
    """Ann, who consented, refused and was written to; and an order for evidence about her."""

    world: World
    http: httpx.AsyncClient
    folder: Path
    order: Mapping[str, Any]
    key: str
    jwks: Path

    async def fetch(self, order: str | None = None) -> Path:
        answer = await self.http.get(f"/v1/regulations/{order or self.order['id']}/evidence")
        assert answer.status_code == 200, answer.text
        file = self.folder / "evidence.zip"
        file.write_bytes(answer.content)
        self.jwks.write_bytes((await self.http.get("/.well-known/jwks.json")).content)
        return file

    def verified(self, file: Path) -> Report:
        return verify_person(file, Believed([self.key]), self.jwks)


async def ordered(http: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    body = {"type": "export", "recipient": {"email": ANN}, "verified_by": "court order", "reason": REASON} | more
    answer = await http.post("/v1/regulations", json=body)
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture
async def case(world: World, api: Client, tmp_path: Path) -> Case:
    http = await api(Role.OWNER)
    identifiers = [{"kind": "email", "value": ANN, "verified": True}, {"kind": "phone", "value": NUMBER}]
    assert (await http.post("/v1/recipients", json={"identifiers": identifiers})).status_code < 300
    for channel, decision in (("email", "granted"), ("sms", "granted"), ("email", "withdrawn")):
        to = {"email": ANN} if channel == "email" else {"phone": NUMBER}
        said = {"recipient": to, "channel": channel, "purpose": "marketing", "decision": decision} | FORM
        answer = await http.post("/v1/consents", json=said)
        assert answer.status_code < 300, answer.text
    other = {
        "recipient": {"email": "bob@example.org"},
        "channel": "email",
        "purpose": "marketing",
        "decision": "granted",
    }
    assert (await http.post("/v1/consents", json=other | FORM)).status_code < 300
    key = (await http.get("/v1/ledger/key")).text.strip()
    return Case(world, http, tmp_path, await ordered(http), key, tmp_path / "jwks.json")


def contents(file: Path, without: str = "") -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != without}


def rewritten(file: Path, files: Mapping[str, bytes]) -> Path:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    file.write_bytes(packed.getvalue())
    return file


async def test_it_verifies_without_the_hub(case: Case) -> None:
    file = await case.fetch()
    report = case.verified(file)
    assert (report.findings, report.unchecked) == ([], [])
    assert "3 receipts prove that their records are in the log" in report.holds
    assert "3 decisions stand in the log as consents.jsonl has them" in report.holds
    assert report.facts["reason"] == REASON


async def test_it_holds_the_export_receipts_keys_audit_and_custody(case: Case) -> None:
    files = contents(await case.fetch())
    assert len([name for name in files if name.startswith("receipts/cns_")]) == 3
    assert {"recipient.json", "consents.jsonl", "messages.jsonl", "audit.jsonl", "keys.json", "checkpoint"} <= set(
        files
    )
    custody = json.loads(files["custody.json"])
    assert [one["step"] for one in custody["steps"]] == ["ordered", "begun", "made"]
    assert custody["steps"][0]["by"] == case.order["requested_by"]
    assert {one["name"] for one in custody["files"]} == set(files) - {"custody.json", "custody.jws", "jwks.json"}
    audited = [json.loads(line) for line in files["audit.jsonl"].splitlines()]
    assert {one["action"] for one in audited} >= {"regulation.created", "regulation.evidence_begun"}
    assert b"bob@example.org" not in b"".join(files.values())


async def test_each_step_is_audited(case: Case) -> None:
    file = await case.fetch()
    custody = json.loads(contents(file)["custody.json"])
    rows = await case.world.rows(
        "select action, actor, detail from audit where target = $1 order by id", case.order["id"]
    )
    assert [row[0] for row in rows] == ["regulation.created", "regulation.evidence_begun", "regulation.evidence_made"]
    assert rows[-1][2]["sha256"] == custody["whole"]
    assert rows[-1][1] == custody["steps"][-1]["by"]


async def test_it_needs_a_reason_and_a_compliance_key(case: Case, api: Client) -> None:
    without = await ordered(case.http, reason="")
    answer = await case.http.get(f"/v1/regulations/{without['id']}/evidence")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    admin = await api(Role.ADMIN)
    answer = await admin.get(f"/v1/regulations/{case.order['id']}/evidence")
    assert (answer.status_code, answer.json()["code"]) == (403, "compliance_required")


async def test_where_exports_need_a_second_key_the_custody_names_both(case: Case, api: Client) -> None:
    assert (await case.http.put("/v1/privacy-settings", json={"approvals": ["export"]})).status_code == 200
    waiting = await ordered(case.http)
    assert (await case.http.get(f"/v1/regulations/{waiting['id']}/evidence")).status_code == 409
    assert (await case.http.post(f"/v1/regulations/{waiting['id']}/approve")).status_code == 403
    second = await api(Role.COMPLIANCE)
    approved = (await second.post(f"/v1/regulations/{waiting['id']}/approve")).json()
    custody = json.loads(contents(await case.fetch(waiting["id"]))["custody.json"])
    assert [one["step"] for one in custody["steps"]] == ["ordered", "approved", "begun", "made"]
    assert custody["second_approver"] == approved["approved_by"] != custody["steps"][0]["by"]


async def test_whatever_is_changed_in_it_is_named(case: Case) -> None:
    file = await case.fetch()
    whole = contents(file)
    receipt = next(name for name in whole if name.startswith("receipts/"))

    def codes(files: Mapping[str, bytes]) -> set[str]:
        return {one.code for one in case.verified(rewritten(file, files)).findings}

    assert codes(whole) == set()
    for name in sorted(set(whole) - {"jwks.json", "custody.json", "custody.jws"}):
        assert codes(whole | {name: whole[name] + b" "}), name
    assert codes({name: content for name, content in whole.items() if name != receipt}) >= {"file_missing"}
    assert codes(whole | {"more.json": b"{}"}) == {"file_unlisted"}
    custody = json.loads(whole["custody.json"])
    forged = custody | {"reason": "another"}
    assert codes(whole | {"custody.json": json.dumps(forged).encode()}) == {"custody_differs"}
    row = whole["consents.jsonl"].replace(b'"withdrawn"', b'"granted"')
    assert codes(whole | {"consents.jsonl": row}) >= {"file_differs", "decision_unproved"}


async def test_a_decision_that_the_receipts_do_not_prove_is_named_whoever_signed_it(case: Case, world: World) -> None:
    """The hub itself shows another record than it committed to: by rows that somebody changed."""
    other = await world.rows("select id from consent_entries order by log_index limit 1")
    await world.execute(f"update consent_entries set log_index = 900 where id = '{other[0][0]}'")
    found = case.verified(await case.fetch()).findings
    assert [one.code for one in found] == ["decision_unproved"]


async def test_a_row_that_says_otherwise_than_its_record_is_named(case: Case, world: World) -> None:
    """The record is sealed and committed to; the columns beside it, which people read, are only columns."""
    [[entry]] = await world.rows("select id from consent_entries where decision = 'withdrawn' limit 1")
    await world.execute(f"update consent_entries set source = 'another' where id = '{entry}'")
    [found] = case.verified(await case.fetch()).findings
    assert (found.code, found.where["id"]) == ("decision_differs", ids.show("cns", entry))


async def test_the_wrong_key_proves_nothing(case: Case) -> None:
    file = await case.fetch()
    name, _, _ = case.key.partition("+")
    wrong = f"{name}+00000000+AAAA"
    with pytest.raises(Unusable):
        verify_person(file, Believed([wrong]), case.jwks)
    case.jwks.write_text('{"keys":[]}')
    assert [one.code for one in case.verified(file).findings] == ["statement_key"]


async def test_a_zip_that_means_no_good_is_refused(case: Case) -> None:
    file = case.folder / "evil.zip"
    file.write_bytes(b"PK no zip")
    with pytest.raises(Unusable):
        case.verified(file)
    whole = contents(await case.fetch())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in [*whole.items(), ("custody.jso2", whole["custody.json"])]:
            archive.writestr(name, content)
    file.write_bytes(packed.getvalue().replace(b"custody.jso2", b"custody.json"))
    assert [one.code for one in case.verified(file).findings] == ["zip_form"]
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in whole.items():
            archive.writestr(name, bytes(300 << 20) if name == "custody.json" else content)
    file.write_bytes(bomb.getvalue())
    assert [one.code for one in case.verified(file).findings] == ["file_too_large"]


async def test_whatever_bytes_a_zip_has_the_verifier_ends_in_order(case: Case) -> None:
    """300 ways to break it, from a fixed source: refuted, or no ZIP; and never verified with a changed file."""
    whole = (await case.fetch()).read_bytes()
    dice, file = random.Random(7), case.folder / "broken.zip"
    before = contents(case.folder / "evidence.zip", without="jwks.json")
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(dice.choice((1, 1, 4))):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        cut = dice.randrange(len(broken)) if dice.random() < 0.1 else len(broken)
        file.write_bytes(broken[:cut])
        try:
            code = case.verified(file).code
        except Unusable:
            continue
        if code == 0:
            assert contents(file, without="jwks.json") == before


@pytest.mark.parametrize(
    "claims", [{}, [], 1, None, {"files": 1}, {"files": [1]}, {"files": [{"name": 1, "sha256": 2, "bytes": 3}]}]
)
async def test_what_somebody_else_signed_is_no_more_than_refuted(case: Case, claims: Any) -> None:
    """Signed by a key of the forger's, that lies in the ZIP: whatever it says."""
    signer = Ed25519PrivateKey.generate()
    public = b64url(signer.public_key().public_bytes_raw())
    header = b64url(json.dumps({"alg": "Ed25519", "kid": "k", "typ": "tabellion-custody"}).encode())
    body = f"{header}.{b64url(json.dumps(claims).encode())}"
    files = {
        "custody.json": json.dumps(claims).encode(),
        "custody.jws": f"{body}.{b64url(signer.sign(body.encode()))}".encode(),
        "jwks.json": json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": public}]}).encode(),
    }
    file = rewritten(case.folder / "forged.zip", files)
    for jwks in (None, case.jwks if case.jwks.exists() else None):
        assert verify_person(file, Believed([case.key]), jwks).code == 1
