"""Orders on a person's data over HTTP, on a whole hub with vendors: what each does at once, later, and not at all."""

import hashlib
import io
import json
import zipfile
from datetime import timedelta
from typing import Any

import httpx
import pytest
from joserfc import jws
from joserfc.jwk import KeySet

from tabellion.access.types import Role
from tabellion.core import ids
from tabellion.recipients.types import Kind, Named, NewRecipient, Profile

from .conftest import HOUR, MINUTE, Client, World, mail

ANN = "ann@example.org"
DAY = timedelta(days=1)
ERASE = {"type": "erase", "recipient": {"email": ANN}, "verified_by": "ticket 4711"}
NOW = {**ERASE, "immediate": True}


async def order(client: httpx.AsyncClient, body: Any, status: int = 202) -> Any:
    answer = await client.post("/v1/regulations", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def read(client: httpx.AsyncClient, regulation: Any) -> Any:
    return (await client.get(f"/v1/regulations/{regulation['id']}")).json()


async def checked(client: httpx.AsyncClient, purpose: str = "transactional") -> tuple[bool, str]:
    """Whether Ann can be written to, and why."""
    asked = {"recipient": {"email": ANN}, "channel": "email", "purpose": purpose}
    said = (await client.post("/v1/consents/check", json=asked)).json()
    return said["sendable"], said["reason"]


async def types(client: httpx.AsyncClient) -> list[str]:
    said = (await client.get("/v1/events?type=regulation.*&limit=500")).json()["data"]
    return [one["type"] for one in said]


async def claims(client: httpx.AsyncClient, regulation: Any) -> Any:
    """What the certificate states, verified with the keys that anybody can fetch."""
    signed = await client.get(f"/v1/regulations/{regulation['id']}/certificate")
    assert signed.headers["content-type"].startswith("application/jose")
    async with httpx.AsyncClient(transport=client._transport, base_url=client.base_url) as anybody:
        keys = KeySet.import_key_set((await anybody.get("/.well-known/jwks.json")).json())
    return json.loads(jws.deserialize_compact(signed.text, keys, algorithms=["Ed25519"]).payload)


async def test_an_erasure_stops_everything_at_once_and_can_be_taken_back_for_a_day(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    person = await world.person(ANN)
    waiting = await world.send(ANN, mail(), send_at=world.clock.now() + 10 * HOUR)
    made = await order(client, ERASE)
    assert (made["state"], made["recipient_id"]) == ("scheduled", ids.show("rcp", person))
    assert made["execute_at"] == "2026-11-22T09:00:00.000Z"
    assert made["due_at"] == "2026-12-21T09:00:00.000Z"
    assert await checked(client) == (False, "processing_restricted")
    assert await checked(client, "security") == (False, "processing_restricted")
    assert await world.status(waiting) == ("canceled", True, "erased")
    assert (await order(client, ERASE, 409))["code"] == "regulation_pending"
    late = await world.sent(ANN, mail())
    assert (await world.status(late))[0] == "suppressed"
    await world.pass_time(23 * HOUR)
    back = await client.delete(f"/v1/regulations/{made['id']}")
    assert (back.status_code, back.json()["state"]) == (200, "cancelled")
    assert await checked(client) == (True, "unknown_allowed")
    await world.pass_time(3 * DAY)
    assert (await read(client, made))["state"] == "cancelled"
    assert (await client.get(f"/v1/recipients/{ids.show('rcp', person)}")).status_code == 200
    assert await types(client) == ["regulation.created", "regulation.cancelled"]


async def test_after_a_day_the_person_is_gone_and_a_certificate_says_what_was_done(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    person = ids.show("rcp", await world.person(ANN, "+12025550111"))
    await world.decide(ANN, "granted", "email")
    sent = await world.sent(ANN, mail(), purpose="marketing")
    made = await order(client, ERASE)
    await world.pass_time(DAY + 2 * MINUTE)
    done = await read(client, made)
    assert done["state"] == "done", done
    assert done["erased_at"] == "2026-11-22T09:00:00.000Z"
    assert {name: one["state"] for name, one in done["systems"].items() if not name.startswith("acc_")} == {
        "recipients": "done", "identity": "done", "consent": "done", "messages": "done", "callbacks": "done",
        "events": "done", "proofs": "done",
    }  # fmt: skip
    [account] = [one for name, one in done["systems"].items() if name.startswith("acc_")]
    assert (account["state"], account["detail"]["provider"], account["detail"]["attempts"]) == ("manual", "smtp", 1)
    assert (await client.get(f"/v1/recipients/{person}")).status_code == 404
    message = await world.message(sent)
    assert (message.status, message.plan.steps[0].identifier) == ("sent", None)
    said = await claims(client, made)
    assert said["jti"] == made["id"]
    assert said["verified_by"] == "ticket 4711"
    assert said["backups_expire_at"] == done["backups_expire_at"]
    assert [one["purpose"] for one in said["held"]] == ["marketing"]
    assert said["kept"]["opt_out_hashes"] == 2
    assert (await client.delete(f"/v1/regulations/{made['id']}")).json()["code"] == "regulation_executed"
    assert await types(client) == ["regulation.created", "regulation.done"]


async def test_who_was_erased_stays_opted_out_and_no_import_brings_them_back(world: World, api: Client) -> None:
    client = await api(Role.OWNER)
    await world.person(ANN, "+12025550111")
    await world.decide(ANN, "granted", "email")
    await world.stop("+12025550111")
    await order(client, NOW)
    await world.pass_time(2 * MINUTE)
    again = units(world, ANN, "+12025550111")
    refused = await world.db.run(
        lambda tx: world.hub.recipients.upsert(
            tx, world.side, again, absorbed=world.hub.identity.absorbed, source="import:people.csv"
        )
    )
    assert [one.code for one in refused] == ["recipient_erased", "recipient_erased"]  # type: ignore[union-attr]
    told = await world.db.run(
        lambda tx: world.hub.intake.upsert(tx, world.side, again, source="crm", actor="command_line")
    )
    codes = [one.code for one in told]  # type: ignore[union-attr]
    assert codes == ["recipient_erased", "recipient_erased"], "whomever the file speaks for"
    back = await client.post(
        "/v1/recipients", json={"identifiers": [{"kind": "email", "value": ANN}], "source": "importer"}
    )
    assert back.status_code == 201, "who comes back by themselves is somebody new"
    assert await checked(client, "marketing") == (False, "objected")
    assert await checked(client) == (True, "unknown_allowed")
    number = {"recipient": {"phone": "+12025550111"}, "channel": "sms", "purpose": "transactional"}
    assert (await client.post("/v1/consents/check", json=number)).json()["reason"] == "stop"
    consent = {
        "recipient": {"email": ANN}, "channel": "email", "purpose": "marketing", "decision": "granted",
        "basis": "consent", "method": "form", "source": "shop", "notice": {"id": "n", "version": "1"},
        "evidence": {"url": "https://shop.example"},
    }  # fmt: skip
    assert not (await client.post("/v1/consents", json=consent)).json()["applied"], "only the person lifts it"


async def test_an_import_refuses_nobody_for_the_browser_that_an_erased_person_used(world: World, api: Client) -> None:
    client = await api(Role.OWNER)
    shared = {"kind": "anonymous", "value": "browser-1"}
    named = [{"kind": "email", "value": ANN}, shared]
    assert (await client.post("/v1/recipients", json={"identifiers": named})).status_code == 201
    await order(client, NOW)
    await world.pass_time(2 * MINUTE)
    bob, browser = Named(Kind.EMAIL, "bob@example.com"), Named(Kind.ANONYMOUS, "browser-1")
    rows = [[(bob, "/0"), (browser, "/1")], [(browser, "/0")]]
    brought = [world.hub.recipients.unit(world.side, row, Profile()) for row in rows]
    told = await world.db.run(
        lambda tx: world.hub.intake.upsert(tx, world.side, brought, source="crm", actor="command_line")
    )
    assert [getattr(one, "code", None) for one in told] == [None, "recipient_erased"]


async def test_nothing_of_a_refusal_is_kept_where_nothing_was_to_be_kept(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    await world.person(ANN)
    await world.decide(ANN, "withdrawn", "email")
    await order(client, {**NOW, "keep_opt_outs": False})
    await world.pass_time(2 * MINUTE)
    asked = {"recipient": {"email": ANN}, "channel": "email", "purpose": "marketing"}
    assert (await client.post("/v1/consents/check", json=asked)).json()["verdict"] == "unknown"


async def test_a_legal_hold_keeps_everything_until_it_is_released(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    person = ids.show("rcp", await world.person(ANN))
    hold = (await client.post("/v1/legal-holds", json={"recipient": {"email": ANN}, "reason": "case 12"})).json()
    assert (await order(client, NOW, 409))["code"] == "legal_hold"
    made = await order(client, ERASE)
    await world.pass_time(2 * DAY)
    assert (await read(client, made))["state"] == "blocked"
    assert (await client.get(f"/v1/recipients/{person}")).status_code == 200
    assert await checked(client) == (False, "processing_restricted")
    assert (await client.delete(f"/v1/legal-holds/{hold['id']}")).status_code == 204
    assert (await client.delete(f"/v1/legal-holds/{hold['id']}")).json()["code"] == "legal_hold_released"
    await world.pass_time(2 * MINUTE)
    assert (await read(client, made))["state"] == "done"
    standing = (await client.get("/v1/legal-holds?standing=true")).json()["data"]
    assert standing == []
    assert len((await client.get("/v1/legal-holds?standing=false")).json()["data"]) == 1


async def test_an_order_that_needs_a_second_key_waits_for_another_one(world: World, api: Client) -> None:
    first, second = await api(Role.COMPLIANCE), await api(Role.COMPLIANCE)
    await world.person(ANN)
    assert (await first.put("/v1/privacy-settings", json={"approvals": ["erase"]})).status_code == 200
    made = await order(first, NOW)
    assert made["state"] == "awaiting_approval"
    assert await checked(first) == (False, "processing_restricted"), "nothing is sent while it waits"
    await world.pass_time(2 * DAY)
    assert (await read(first, made))["state"] == "awaiting_approval"
    refused = await first.post(f"/v1/regulations/{made['id']}/approve")
    assert refused.json()["code"] == "second_approver_required"
    assert (await second.post(f"/v1/regulations/{made['id']}/approve")).json()["state"] == "scheduled"
    await world.pass_time(2 * MINUTE)
    done = await read(first, made)
    assert done["state"] == "done"
    assert done["approved_by"] != done["requested_by"]


async def test_a_restriction_holds_until_it_is_taken_back(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    await world.person(ANN)
    made = await order(client, {**ERASE, "type": "restrict"})
    assert made["state"] == "in_force"
    assert await checked(client) == (False, "processing_restricted")
    assert (await order(client, {**ERASE, "type": "restrict"}, 409))["code"] == "regulation_pending"
    assert (await client.delete(f"/v1/regulations/{made['id']}")).json()["state"] == "cancelled"
    assert await checked(client) == (True, "unknown_allowed")


async def test_a_restriction_is_the_person_s_whoever_they_are_merged_into(world: World, api: Client) -> None:
    """The gate looks at the merge root: the restriction must have come along."""
    client = await api(Role.OWNER)
    rich = await world.person("rich@example.org", "rich2@example.org", "+12025550133")
    await world.person(ANN)
    await order(client, {**ERASE, "type": "restrict"})
    body = {"from": {"email": ANN}, "reason": "one person"}
    assert (await client.post(f"/v1/recipients/{ids.show('rcp', rich)}/merge", json=body)).status_code == 200
    assert await checked(client) == (False, "processing_restricted")
    sent = await world.sent("rich@example.org", mail())
    assert await world.status(sent) == ("suppressed", True, "processing_restricted")


async def test_the_end_of_one_order_does_not_end_what_another_restricts(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    await world.person(ANN)
    await order(client, {**ERASE, "type": "restrict"})
    made = await order(client, ERASE)
    assert (await client.delete(f"/v1/regulations/{made['id']}")).status_code == 200
    assert await checked(client) == (False, "processing_restricted")


async def test_an_objection_is_recorded_as_the_person_s_and_is_done(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    await world.person(ANN)
    await world.decide(ANN, "granted", "email")
    made = await order(client, {**ERASE, "type": "object"})
    assert made["state"] == "done"
    assert await checked(client, "marketing") == (False, "objected")
    assert await checked(client) == (True, "unknown_allowed")
    wrong = {**ERASE, "type": "object", "purposes": ["nonsense"]}
    assert (await order(client, wrong, 422))["code"] == "purpose_unknown"


async def purpose(client: httpx.AsyncClient, key: str, **more: Any) -> None:
    """A purpose that stands beside `marketing`, and that a list brought in may allow."""
    made = await client.post(
        "/v1/purposes", json={"key": key, "title": key, "parent": None, "accepts_asserted": True, **more}
    )
    assert made.status_code == 201, made.text


async def brought_in(client: httpx.AsyncClient, key: str) -> None:
    """What a source says of Ann: that she agreed to this."""
    said = {
        "recipient": {"email": ANN}, "channel": "email", "purpose": key, "decision": "asserted", "basis": "consent",
        "method": "form", "source": "crm", "notice": {"id": "n", "version": "1"},
        "occurred_at": "2026-11-21T09:00:00Z", "evidence": {"url": "https://example.org"},
    }  # fmt: skip
    assert (await client.post("/v1/consents", json=said)).status_code == 201


async def test_an_objection_is_to_all_marketing_whatever_it_stands_under(world: World, api: Client) -> None:
    """It restricted `marketing` and what stands below it: a purpose of the class beside it was still sent for."""
    client = await api(Role.OWNER)
    await world.person(ANN)
    await purpose(client, "offers")
    await brought_in(client, "offers")
    assert await checked(client, "offers") == (True, "asserted")
    await order(client, {**ERASE, "type": "object"})
    assert await checked(client, "offers") == (False, "objected")


async def test_an_erasure_refuses_marketing_and_research_of_every_purpose_there_will_be(
    world: World, api: Client
) -> None:
    """It objected to `marketing` alone: a list could bring the person back for a purpose beside it."""
    client = await api(Role.OWNER)
    await world.person(ANN)
    await purpose(client, "offers")
    await order(client, NOW)
    await world.pass_time(2 * MINUTE)
    await purpose(client, "survey", **{"class": "research"})
    await purpose(client, "raffles")
    await client.post("/v1/recipients", json={"identifiers": [{"kind": "email", "value": ANN}]})
    for key in ("offers", "survey", "raffles"):
        await brought_in(client, key)
        assert await checked(client, key) == (False, "objected")
    assert await checked(client) == (True, "unknown_allowed")


async def test_a_system_that_somebody_saw_to_is_in_the_certificate(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    await world.person(ANN)
    await world.sent(ANN, mail())
    made = await order(client, NOW)
    await world.pass_time(2 * MINUTE)
    before = await claims(client, made)
    [account] = [name for name in before["systems"] if name.startswith("acc_")]
    path = f"/v1/regulations/{made['id']}/systems/{account}"
    assert (await client.post(path, json={"note": "confirmed"})).json()["systems"][account]["state"] == "done"
    after = await claims(client, made)
    assert after["systems"][account]["detail"]["note"] == "confirmed"
    assert (await client.post(path, json={"note": "again"})).json()["code"] == "system_not_found"
    assert await types(client) == ["regulation.created", "regulation.done"], "it is done once"


async def test_an_export_can_be_fetched_for_a_week_by_whoever_may_and_each_time_is_audited(
    world: World, api: Client
) -> None:
    client = await api(Role.OWNER)
    await world.person(ANN)
    await world.person("bob@example.org")
    made = await order(client, {**ERASE, "type": "export"})
    assert made["state"] == "done"
    path = f"/v1/regulations/{made['id']}/export"
    packed = await client.get(path)
    assert packed.headers["content-disposition"] == f'attachment; filename="{made["id"]}.zip"'
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert archive.testzip() is None
        told = json.loads(archive.read("manifest.json"))["files"]
        for one in told:
            assert hashlib.sha256(archive.read(one["name"])).hexdigest() == one["sha256"]
        text = b"".join(archive.read(name) for name in archive.namelist())
    assert ANN.encode() in text
    assert b"bob@example.org" not in text
    told = await client.get(f"/v1/regulations/{made['id']}/document")
    assert told.json()["recipient"]["identifiers"][0]["value"] == ANN
    audited = [one["action"] for one in (await client.get("/v1/audit")).json()["data"]]
    assert audited.count("regulation.fetched") == 2
    erasure = await order(client, ERASE)
    assert (await client.get(f"/v1/regulations/{erasure['id']}/export")).json()["code"] == "not_ready"
    await client.delete(f"/v1/regulations/{erasure['id']}")
    await world.pass_time(8 * DAY)
    assert (await client.get(path)).status_code == 410


async def test_an_order_that_nobody_carries_out_becomes_overdue_once(world: World, api: Client) -> None:
    client = await api(Role.COMPLIANCE)
    await world.person(ANN)
    await client.post("/v1/legal-holds", json={"recipient": {"email": ANN}, "reason": "case 12"})
    await order(client, ERASE)
    await world.pass_time(29 * DAY)
    assert await world.hub.regulations.watch(world.db) == 0
    await world.pass_time(2 * DAY)
    assert await world.hub.regulations.watch(world.db) == 1
    assert await world.hub.regulations.watch(world.db) == 0
    assert (await types(client))[-1] == "regulation.overdue"


async def test_who_may_order_what(world: World, api: Client) -> None:
    person = await world.person(ANN)
    for role in (Role.DEVELOPER, Role.OPERATOR, Role.READONLY):
        assert (await order(await api(role), ERASE, 403))["code"] == "scope_missing"
    admin = await api(Role.ADMIN)
    assert (await order(admin, NOW, 403))["code"] == "compliance_required"
    hold = {"recipient": {"email": ANN}, "reason": "case"}
    assert (await admin.post("/v1/legal-holds", json=hold)).json()["code"] == "compliance_required"
    alias = await admin.delete(f"/v1/recipients/{ids.show('rcp', person)}")
    assert (alias.status_code, alias.json()["type"], alias.json()["state"]) == (202, "erase", "scheduled")
    listed = (await admin.get(f"/v1/regulations?type=erase&state=scheduled&recipient={ids.show('rcp', person)}")).json()
    assert [one["id"] for one in listed["data"]] == [alias.json()["id"]]
    unknown = {**ERASE, "recipient": {"email": "nobody@example.org"}}
    assert (await order(admin, unknown, 404))["code"] == "recipient_not_found"


@pytest.mark.parametrize(
    "wrong",
    [{"type": "delete"}, {"verified_by": ""}, {"recipient": {}}, {"due_at": "2020-01-01T00:00:00Z"}, {"other": 1}],
)
async def test_an_order_that_is_none_is_refused(world: World, api: Client, wrong: dict[str, Any]) -> None:
    await world.person(ANN)
    await order(await api(Role.COMPLIANCE), {**ERASE, **wrong}, 422)


def units(world: World, *addresses: str) -> list[NewRecipient]:
    kinds = [(one, Kind.EMAIL if "@" in one else Kind.PHONE) for one in addresses]
    return [world.hub.recipients.unit(world.side, [(Named(kind, one), "/value")], Profile()) for one, kind in kinds]
