"""What an erasure leaves of proof: receipts handed out go on proving, the leaves say nothing, the held open for two."""

import base64
import hmac
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from tabellion.access.types import Role
from tabellion.core.crypto import b64url, canonical
from tabellion.ledger.verifier.command import Asked, Believed, verify_receipt
from tabellion.ledger.verifier.walk import LEAF

from .conftest import ANN, MINUTE, Client, World, mail

BOB = "bob@example.org"
FORM = {"basis": "consent", "method": "form", "source": "signup", "evidence": {"url": "https://example.org/signup"}}


async def consents(http: httpx.AsyncClient, email: str, decision: str = "granted") -> str:
    said = {"recipient": {"email": email}, "channel": "email", "purpose": "marketing", "decision": decision} | FORM
    answer = await http.post("/v1/consents", json=said)
    assert answer.status_code < 300, answer.text
    made: str = answer.json()["id"]
    return made


async def erase(world: World, http: httpx.AsyncClient, email: str) -> str:
    order = {"type": "erase", "recipient": {"email": email}, "verified_by": "ticket", "immediate": True}
    made = (await http.post("/v1/regulations", json=order)).json()
    await world.pass_time(2 * MINUTE)
    assert (await http.get(f"/v1/regulations/{made['id']}")).json()["state"] == "done"
    shown: str = made["id"]
    return shown


# proofs stay valid


async def test_a_receipt_handed_out_before_still_verifies_and_no_new_one_is_issued(
    world: World, api: Client, tmp_path: Path
) -> None:
    http = await api(Role.OWNER)
    consent = await consents(http, ANN)
    receipt = await http.get(f"/v1/consents/{consent}/receipt?disclose=1")
    file = tmp_path / "ann.tlog-proof"
    file.write_bytes(receipt.content)
    key = (await http.get("/v1/ledger/key")).text.strip()
    before = verify_receipt(file, Believed([key]))
    assert (before.findings, before.facts["record"]["identifier"]["value"]) == ([], ANN)
    await erase(world, http, ANN)
    after = verify_receipt(file, Believed([key]))
    assert (after.findings, after.facts) == ([], before.facts)
    for query in ("", "?disclose=1", "?disclose=1&unwitnessed=1"):
        refused = await http.get(f"/v1/consents/{consent}/receipt{query}")
        assert (refused.status_code, refused.json()["code"]) == (410, "person_erased")


async def test_the_log_with_the_receipt_in_it_verifies_after_the_erasure(
    world: World, api: Client, tmp_path: Path
) -> None:
    http = await api(Role.OWNER)
    consent = await consents(http, ANN)
    records = tmp_path / "records"
    records.mkdir()
    receipt = await http.get(f"/v1/consents/{consent}/receipt?disclose=1")
    (records / "ann.tlog-proof").write_bytes(receipt.content)
    (tmp_path / "kept").write_bytes((await http.get("/v1/ledger/checkpoint")).content)
    await erase(world, http, ANN)
    await consents(http, BOB)
    copy, key = await copied(world, tmp_path), (await http.get("/v1/ledger/key")).text.strip()
    report = Asked(str(copy), Believed([key]), since=tmp_path / "kept", records=records).verify()
    assert report.findings == []
    assert "the log holds the entry of each receipt given: 1" in report.holds


async def copied(world: World, folder: Path) -> Path:
    copy = await world.hub.ledger_export.begin(world.db, world.side, "consent", 0, "key_1")
    async for part in world.hub.ledger_export.parts(world.db, copy):
        file = folder / "copy" / part.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join([page.content async for page in part.pages]))
    return folder / "copy"


# two leaves of one person cannot be told from leaves of two


async def leaves(world: World) -> list[bytes]:
    found = await world.rows("select leaf from ledger_leaves where log = 'consent' order by index")
    return [row[0] for row in found]


async def test_a_leaf_says_a_commitment_and_a_day_and_the_rest_is_the_same_for_everybody(
    world: World, api: Client
) -> None:
    http = await api(Role.OWNER)
    for email in (ANN, ANN, BOB, ANN):
        await consents(http, email)
    found = await leaves(world)
    assert all(LEAF.fullmatch(one) for one in found)
    assert {len(one) for one in found} == {len(found[0])}, "as long as one another"
    parsed = [json.loads(one) for one in found]
    assert {(one["v"], one["type"], one["d"]) for one in parsed} == {(1, "consent", "2026-11-21")}
    assert len({one["c"] for one in parsed}) == len(parsed), "the same decision again is another commitment"


async def test_no_commitment_of_a_person_follows_from_another_of_theirs(world: World, api: Client) -> None:
    """The key of one entry, which a receipt gives away, opens no other entry: of the same person or of anybody."""
    http = await api(Role.OWNER)
    mine = [await consents(http, ANN) for _ in range(3)]
    theirs = await consents(http, BOB)
    shown = [await disclosed(http, one) for one in (*mine, theirs)]
    keys = [base64.b64decode(one["key"]) for one in shown]
    assert len(set(keys)) == 4
    committed = [json.loads(one)["c"] for one in await leaves(world)]
    for at, key in enumerate(keys):
        made = [b64url(hmac.digest(key, canonical(one["record"]), "sha256")) for one in shown]
        assert [one in committed for one in made] == [other == at for other in range(4)]


async def disclosed(http: httpx.AsyncClient, consent: str) -> dict[str, Any]:
    text = (await http.get(f"/v1/consents/{consent}/receipt?disclose=1")).text
    [extra] = [line for line in text.splitlines() if line.startswith("extra ")]
    said: dict[str, Any] = json.loads(base64.b64decode(extra.removeprefix("extra ")))
    return said


# held proofs


async def test_held_proofs_open_for_two_keys_of_compliance_with_a_reason_and_for_nobody_else(
    world: World, api: Client
) -> None:
    first, second = await api(Role.COMPLIANCE), await api(Role.COMPLIANCE)
    owner = await api(Role.OWNER)
    await consents(owner, ANN)
    await world.sent(ANN, mail(), purpose="marketing")
    await erase(world, owner, ANN)
    [held] = (await first.get("/v1/proofs")).json()["data"]
    place = f"/v1/proofs/{held['id']}/openings"
    for role in (Role.ADMIN, Role.DEVELOPER, Role.OPERATOR, Role.READONLY):
        assert (await (await api(role)).post(place, json={"reason": "x"})).status_code == 403, role
    for body in ({}, {"reason": ""}, {"reason": None}):
        assert (await first.post(place, json=body)).status_code == 422
    opening = (await first.post(place, json={"reason": "complaint 17"})).json()
    here = f"/v1/proof-openings/{opening['id']}"
    assert (await first.get(here)).status_code == 409, "before the second agreed"
    assert (await first.post(f"{here}/approve")).status_code == 403, "not by the one who asked"
    admin = await api(Role.ADMIN)
    assert (await admin.post(f"{here}/approve")).status_code == 403
    assert (await second.post(f"{here}/approve")).status_code == 200
    assert (await second.get(here)).status_code == 409, "for the one who asked"
    opened = (await first.get(here)).json()["opened"]
    record, key = opened["record"].encode(), base64.b64decode(opened["key"])
    committed = [json.loads(one)["c"] for one in await leaves(world)]
    assert b64url(hmac.digest(key, record, "sha256")) == committed[held["log_index"]], "and proves what was recorded"
    assert json.loads(record)["identifier"]["value"] == ANN
    audited = await world.rows("select action from audit where target = $1 order by id", held["id"])
    assert [row[0] for row in audited] == ["proof.asked", "proof.approved", "proof.opened"]
    world.clock.advance(timedelta(hours=25))
    assert (await first.get(here)).status_code == 410
