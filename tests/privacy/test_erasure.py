"""After an erasure nothing of the person is left: in no row, in no file of the server, under no key that still is."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus
from uuid import UUID

import asyncpg
import msgspec
import pytest

from tabellion.access.types import Role
from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.errors import HubError, Misconfigured
from tabellion.core.vault import open_vault
from tabellion.ledger import merkle
from tabellion.messages.types import Content
from tabellion.privacy import jobs
from tabellion.privacy.erasure import Erasure
from tabellion.privacy.journal import Journal

from .conftest import HOUR, MINUTE, SECOND, Client, World, mail, sms

EMAIL = "vanishing.violet@example.org"
SECOND_EMAIL = "violet.elsewhere@example.net"
NUMBER = "+12025550147"
CUSTOMER = "customer-8842-violet"
NAME = "Violet Evergreen-Quartz"
TEXT = "Your amethyst necklace is on its way"
META = "order-note-77-beryl"
TOKEN = "device-token-violet-c0ffee00"
SEALED = (EMAIL, SECOND_EMAIL, NUMBER, NUMBER[1:], CUSTOMER, NAME, "Evergreen-Quartz", TEXT, "amethyst", TOKEN)
NEEDLES = (*SEALED, META)
"""Metadata and tags are the sender's own words and stand unsealed; in what the server logs of changes they remain."""
OTHER = "other.olga@example.org"
LEAF = "select leaf as entry from ledger_leaves where log = 'consent'"


def forms(needle: str) -> Iterator[bytes]:
    """How a text may lie in a file: as it is, as a form, as hex, as base64 at any place in it."""
    raw = needle.encode()
    yield raw
    yield raw.lower()
    yield quote_plus(needle).encode()
    yield raw.hex().encode()
    yield needle.encode("utf-16-le")
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + raw)
        yield encoded[4 if lead else 0 : -4]


def here(files: Iterable[Path], needles: Iterable[str]) -> list[tuple[str, bytes]]:
    """Which needles lie in which files, in any form."""
    wanted = {form for needle in needles for form in forms(needle)}
    return [
        (file.name, form) for file in files for content in [file.read_bytes()] for form in wanted if form in content
    ]


async def violet(world: World, api: Client) -> UUID:
    """Somebody with all that the hub can know of a person, merged from two, written to, heard from."""
    client = await api(Role.OWNER)
    body = {
        "external_id": CUSTOMER,
        "identifiers": [
            {"kind": "email", "value": EMAIL, "verified": True},
            {"kind": "phone", "value": NUMBER},
            {"kind": "device", "value": TOKEN, "device": {"platform": "ios", "provider": "apns"}},
        ],
        "traits": {"name": NAME, "plan": "gold"},
        "locale": "de-AT",
    }
    made = (await client.post("/v1/recipients", json=body)).json()
    second = {"identifiers": [{"kind": "email", "value": SECOND_EMAIL}], "traits": {"nick": NAME}}
    other = (await client.post("/v1/recipients", json=second)).json()
    for person in (made, other):
        await client.patch(f"/v1/recipients/{person['id']}", json={"traits": {"city": f"{NAME} town"}})
    merged = await client.post(
        f"/v1/recipients/{made['id']}/merge", json={"from": other["id"], "reason": f"{NAME} called"}
    )
    assert merged.status_code == 200, merged.text
    await world.decide(EMAIL, "granted", "email")
    send = {
        "to": {"email": EMAIL}, "purpose": "marketing", "metadata": {"note": META}, "tags": [META],
        "content": {"subject": TEXT, "text": f"Dear {NAME}, {TEXT}"}, "route": {"steps": [{"channel": "email"}]},
    }  # fmt: skip
    assert (await client.post("/v1/messages", json=send)).status_code == 202
    await world.sent(NUMBER, sms(), content=Content(text=f"{NAME}: {TEXT}"))
    await world.send(EMAIL, mail(), send_at=world.clock.now() + 99 * HOUR, content=Content(text=TEXT, subject=TEXT))
    await world.vendor("POST", "/twilio/control/inbound", {"from": NUMBER, "body": f"STOP says {NAME}"})
    await world.settle()
    await world.run()
    person: UUID = ids.parse("rcp", merged.json()["id"])
    return person


async def erased(world: World, api: Client, person: UUID, **more: Any) -> Mapping[str, Any]:
    client = await api(Role.COMPLIANCE)
    order = {"type": "erase", "recipient": ids.show("rcp", person), "verified_by": "ticket", "immediate": True} | more
    made = (await client.post("/v1/regulations", json=order)).json()
    await world.pass_time(2 * MINUTE)
    done: Mapping[str, Any] = (await client.get(f"/v1/regulations/{made['id']}")).json()
    assert done["state"] == "done", done
    return done


async def rows(world: World) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    tables = [row["tablename"] for row in await world.rows("select tablename from pg_tables where schemaname='public'")]
    return {name: [row[0] for row in await world.rows(f"select t::text from {name} t")] for name in tables}


async def swept(world: World, server: Any) -> tuple[list[Path], list[Path]]:
    """The files of this test's database, and those of the server's log of changes, when all that is dead is gone."""
    name = (await world.rows("select current_database()"))[0][0]
    admin = await asyncpg.connect(server.postgres.admin_url(name))
    await admin.execute("vacuum full")
    await admin.execute("checkpoint")
    oid = await admin.fetchval("select oid from pg_database where datname = $1", name)
    await admin.close()
    cluster: Path = server.postgres.cluster
    files = [one for one in (cluster / "base" / str(oid)).rglob("*") if one.is_file()]
    changes = [one for one in (cluster / "pg_wal").iterdir() if one.is_file()]
    assert len(files) > 100, "all tables and indexes are there"
    assert changes
    return files, changes


async def test_nothing_of_the_person_is_left_in_rows_or_files(
    world: World, api: Client, server: Any, tmp_path: Path
) -> None:
    person = await violet(world, api)
    await world.person(OTHER)
    before = await rows(world)
    assert any(META in row for row in before["messages"]), "the search finds what is there"
    assert any(META in row for row in before["events"])
    files, _ = await swept(world, server)
    assert any(META.encode() in one.read_bytes() for one in files), "in files too"
    await erased(world, api, person)
    found = [
        (table, needle)
        for table, all_ in (await rows(world)).items()
        for row in all_
        for needle in NEEDLES
        if needle.lower() in row.lower()
    ]
    assert found == []
    files, changes = await swept(world, server)
    outside = [one for one in (tmp_path / "keys").rglob("*") if one.is_file()]
    assert here([*files, *outside], NEEDLES) == []
    assert here(changes, SEALED) == []
    assert world.lines.getvalue().find("Evergreen") == -1


async def test_not_even_a_hash_of_an_address_is_left_where_nothing_was_to_be_kept(world: World, api: Client) -> None:
    person = await violet(world, api)
    refs = [world.ref(one) for one in (EMAIL, SECOND_EMAIL, NUMBER)]
    hashes = [await world.db.run(lambda tx, ref=ref: world.hub.recipients.hashed(tx, world.side, ref)) for ref in refs]  # type: ignore[misc]
    needles = [one.hex() for one in hashes]
    sql = "insert into vendor_blocks (workspace_id, identifier_hash, sender, blocked_at) values ($1, $2, '+1', now())"
    await world.execute(sql, world.side, hashes[-1])
    done = await erased(world, api, person, keep_opt_outs=False)
    found = {
        (table, needle) for table, all_ in (await rows(world)).items() for row in all_ for needle in needles
        if needle in row
    }  # fmt: skip
    assert found == set()
    assert done["systems"]["consent"]["detail"]["opt_outs_kept"] == 0


async def test_every_id_of_the_person_is_gone_and_nobody_else_is(world: World, api: Client) -> None:
    person = await violet(world, api)
    client = await api(Role.OWNER)
    olga = await world.person(OTHER)
    people = await world.db.run(lambda tx: world.hub.recipients.merged(tx, world.side, [person]))
    await erased(world, api, person)
    for one in (person, *people[person]):
        assert (await client.get(f"/v1/recipients/{ids.show('rcp', one)}")).status_code == 404
        assert (await client.get(f"/v1/recipients/{ids.show('rcp', one)}/history")).status_code == 404
    for query in (f"email={EMAIL}", f"phone=%2B{NUMBER[1:]}", f"external_id={CUSTOMER}"):
        assert (await client.get(f"/v1/recipients?{query}")).json()["data"] == []
    assert (await client.get(f"/v1/search?q={EMAIL}")).json()["data"] == []
    keys = await world.rows("select subject_id from subject_keys where destroyed_at is not null")
    assert {row["subject_id"] for row in keys} == {person, *people[person]}
    assert (await client.get(f"/v1/recipients/{ids.show('rcp', olga)}")).json()["identifiers"][0]["value"] == OTHER
    events = await world.rows("select type, data from events where recipient_id = any($1)", [person, *people[person]])
    assert events == []


async def test_what_was_sealed_for_the_person_opens_with_no_key_that_is_left(world: World, api: Client) -> None:
    """A copy of the rows from before is of no use to who has the database and the keys of now."""
    person = await violet(world, api)
    sealed = await world.rows("select id, content from messages where recipient_id = $1", person)
    await erased(world, api, person)
    fresh = await open_vault(world.hub.around.keys, world.clock)
    left = await world.db.run(lambda tx: fresh.subjects(tx, world.side, [person]))
    assert left == {}
    living = await world.rows("select subject_id from subject_keys where wrapped is not null")
    keys = await world.db.run(lambda tx: fresh.subjects(tx, world.side, [row["subject_id"] for row in living]))
    uses = await world.rows("select use from workspace_keys where workspace_id = $1", world.side)
    common = [await world.db.run(lambda tx, use=row["use"]: fresh.workspace(tx, world.side, use)) for row in uses]
    assert sealed
    for row in sealed:
        for key in [*keys.values(), *common]:
            with pytest.raises(HubError):
                key.open(row["content"], f"message:{row['id']}")


async def test_the_tree_stands_as_it_was_and_a_receipt_from_before_verifies(world: World, api: Client) -> None:
    person = await violet(world, api)
    ledger = world.hub.ledger
    [entry] = await world.rows(
        "select id, log_index, leaf_hash, sealed, subject_id from consent_entries where decision = 'granted'"
    )
    key = (await world.db.run(lambda tx: world.hub.around.vault.subjects(tx, world.side, [entry["subject_id"]])))[
        entry["subject_id"]
    ]
    record = key.open(entry["sealed"], f"consent:{world.side}:{entry['id']}")
    disclosed = key.derive(f"entry:{entry['id']}")
    before = [bytes(row["leaf_hash"]) for row in await world.rows("select leaf_hash from consent_entries order by 1")]
    await erased(world, api, person)
    leaves = await world.rows("select index, leaf as entry from ledger_leaves where log = 'consent' order by index")
    hashes = [merkle.leaf_hash(bytes(row["entry"])) for row in leaves]
    assert set(before) <= set(hashes)
    leaf = json.loads(leaves[entry["log_index"]]["entry"])
    commitment = base64.urlsafe_b64decode(leaf["c"] + "=")
    assert Key(disclosed.raw()).hash(record) == commitment, "who was given record and key can still show it"
    size = len(leaves)
    index = entry["log_index"]
    proof = await world.db.run(lambda tx: ledger.inclusion_proof(tx, world.side, index, size))
    assert merkle.verify_inclusion(index, size, hashes[index], proof, merkle.root(hashes))


async def test_what_messages_relied_on_stays_provable_for_two_people_together(world: World, api: Client) -> None:
    person = await violet(world, api)
    await erased(world, api, person)
    first, second, admin = await api(Role.COMPLIANCE), await api(Role.COMPLIANCE), await api(Role.ADMIN)
    [proof] = (await first.get("/v1/proofs")).json()["data"]
    assert (proof["purpose"], proof["destroyed_at"]) == ("marketing", None)
    asked = f"/v1/proofs/{proof['id']}/openings"
    assert (await admin.post(asked, json={"reason": "curious"})).json()["code"] == "compliance_required"
    opening = (await first.post(asked, json={"reason": "complaint 17"})).json()
    path = f"/v1/proof-openings/{opening['id']}"
    assert (await first.get(path)).json()["code"] == "not_ready"
    assert (await first.post(f"{path}/approve")).json()["code"] == "second_approver_required"
    assert (await second.post(f"{path}/approve")).status_code == 200
    assert (await second.get(path)).json()["code"] == "not_ready", "only who asked reads it"
    opened = (await first.get(path)).json()["opened"]
    record = json.loads(opened["record"])
    assert record["identifier"] == {"kind": "email", "value": EMAIL}
    leaf = (await world.rows(f"{LEAF} and index = $1", proof["log_index"]))[0]["entry"]
    commitment = base64.urlsafe_b64decode(json.loads(leaf)["c"] + "=")
    assert Key(base64.b64decode(opened["key"])).hash(opened["record"].encode()) == commitment
    actions = [one["action"] for one in (await (await api(Role.OWNER)).get("/v1/audit")).json()["data"]]
    assert [one for one in actions if one.startswith("proof.")] == ["proof.opened", "proof.approved", "proof.asked"]
    await world.pass_time(25 * HOUR)
    assert (await first.get(path)).status_code == 410


async def test_a_held_proof_ends_in_time_and_that_is_an_entry(world: World, api: Client) -> None:
    person = await violet(world, api)
    client = await api(Role.COMPLIANCE)
    assert (await client.put("/v1/retention", json={"proofs_by_purpose": {"marketing": 10}})).status_code == 200
    await erased(world, api, person)
    [proof] = (await client.get("/v1/proofs")).json()["data"]
    assert proof["held_until"] == "2026-12-01T09:00:00.000Z"
    size = (await world.rows("select count(*) from ledger_leaves where log = 'consent'"))[0][0]
    await world.pass_time(9 * 24 * HOUR)
    assert await world.hub.proofs.expire(world.db) == {}
    await world.pass_time(2 * 24 * HOUR)
    assert await world.hub.proofs.expire(world.db) == {world.side: 1}
    assert await world.hub.proofs.expire(world.db) == {}
    [proof] = (await client.get("/v1/proofs")).json()["data"]
    assert proof["destroyed_at"] is not None
    last = (await world.rows(f"{LEAF} and index = $1", size))[0]["entry"]
    assert json.loads(last)["type"] == "proof_destroyed"
    asked = await client.post(f"/v1/proofs/{proof['id']}/openings", json={"reason": "late"})
    assert asked.status_code == 410


async def test_no_proof_is_held_where_none_is_to_be(world: World, api: Client) -> None:
    person = await violet(world, api)
    client = await api(Role.COMPLIANCE)
    await client.put("/v1/retention", json={"proofs": 0})
    await erased(world, api, person)
    assert (await client.get("/v1/proofs")).json()["data"] == []


@pytest.mark.parametrize("step", ["_search", "_erase", "_messages", "_callbacks", "_events", "certify"])
async def test_an_erasure_that_dies_anywhere_goes_on_where_it_was(
    world: World, api: Client, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The transaction of each step in turn is lost when all of it is done but the commit."""
    person = await violet(world, api)
    real, deaths = getattr(Erasure, step), []

    async def dying(self: Erasure, *given: Any) -> Any:
        after = await real(self, *given)
        if not deaths:
            deaths.append(step)
            raise RuntimeError("the process died here")
        return after

    monkeypatch.setattr(Erasure, step, dying)
    done = await erased(world, api, person)
    assert deaths == [step]
    assert {one["state"] for name, one in done["systems"].items() if not name.startswith("acc_")} == {"done"}
    written = await world.hub.replay.erasure.journal.read()
    assert [ids.show("reg", one.regulation_id) for one in written] == [done["id"]]
    assert (await world.rows("select count(*) from held_proofs"))[0][0] == 1


async def test_a_callback_about_somebody_who_was_erased_brings_nothing_back(world: World, api: Client) -> None:
    client = await api(Role.OWNER)
    await world.person(NUMBER)
    message = await world.sent(NUMBER, sms())
    [attempt] = await world.attempts(message)
    [person] = await world.rows("select id from recipients where not address_only")
    await erased(world, api, person["id"])
    assert await world.reported(attempt.provider_message_id or "", "delivered", To=NUMBER) in (200, 204)
    await world.run()
    assert [row for row in (await rows(world))["callbacks"] if NUMBER[1:] in row] == []
    kept = await world.rows("select octet_length(raw) as size from callbacks")
    assert all(row["size"] == 0 for row in kept)
    assert (await client.get(f"/v1/search?q=%2B{NUMBER[1:]}")).json()["data"] == []


async def test_a_callback_about_several_people_is_emptied_when_one_is_erased(world: World, api: Client) -> None:
    """It cannot be sealed for one of them, so it lies under the side's key and is searched for the addresses."""
    await world.person(EMAIL)
    account = await world.account()
    events = [
        {"id": ids.show("evt", ids.new()), "type": "status", "message_id": f"m-{one}", "state": "delivered", "to": one}
        for one in (EMAIL, OTHER)
    ]
    assert await world.fake_report(account, *events) == 204
    others = [{"id": ids.show("evt", ids.new()), "type": "status", "message_id": "m", "state": "sent", "to": OTHER}]
    assert await world.fake_report(account, *others, at=world.clock.now() + SECOND) == 204
    [person] = await world.rows("select id from recipients where not address_only")
    await erased(world, api, person["id"])
    sizes = [row["size"] for row in await world.rows("select octet_length(raw) as size from callbacks order by id")]
    assert sizes[0] == 0
    assert sizes[1] > 0


def test_one_transaction_does_not_take_all_orders_at_once() -> None:
    assert 1 <= jobs.MOST <= 20
    assert msgspec.json.encode(jobs.EXECUTE) == b'"regulation.execute"'


async def test_an_erasure_goes_on_however_long_something_kept_it_from_it(
    world: World, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job gave up after some tries; the order could neither be carried out, taken back nor ordered anew."""
    person = await world.person(EMAIL)
    client = await api(Role.COMPLIANCE)
    real = Journal.append

    async def full(self: Journal, erased: Any) -> None:
        raise Misconfigured("journal_unwritable", "no space left on device")

    monkeypatch.setattr(Journal, "append", full)
    order = {"type": "erase", "recipient": ids.show("rcp", person), "verified_by": "ticket", "immediate": True}
    made = (await client.post("/v1/regulations", json=order)).json()
    for _ in range(100):
        await world.pass_time(2 * HOUR)
    assert await world.rows("select 1 from dead_letters"), "somebody is told"
    assert (await client.get(f"/v1/recipients/{ids.show('rcp', person)}")).status_code == 200
    monkeypatch.setattr(Journal, "append", real)
    await world.pass_time(3 * HOUR)
    await world.pass_time(2 * MINUTE)
    assert (await client.get(f"/v1/regulations/{made['id']}")).json()["state"] == "done"
