"""An export on a whole hub: everything about the person, nothing about anybody else, page after page."""

import base64
import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tabellion import __version__
from tabellion.core import ids
from tabellion.core.db import Database
from tabellion.core.errors import Conflict, HubError, NotFound
from tabellion.privacy.archive import ExportTooLarge
from tabellion.privacy.export import Export

from .conftest import ANN, NUMBER, OTHER_NUMBER, SECRET, World

OLD = "ann.before@example.org"
BOB = "bob@example.org"
FILES = [
    "README.txt", "recipient.json", "identity.json", "history.jsonl", "consents.jsonl", "notices.jsonl",
    "messages.jsonl", "callbacks.jsonl", "events.jsonl", "manifest.json",
]  # fmt: skip
FORM = {"basis": "consent", "method": "form", "source": "signup-page", "notice": {"id": "newsletter", "version": "3"}}
SUBSCRIPTION = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}
ANNS = ("ann@", "ann.before", "ann-", NUMBER[1:], "Annie", "Anna", "for ann", "long ago", "gold")
BOBS = ("bob", OTHER_NUMBER[1:], "Robert", "chess")
"""What must be in nobody else's export."""

Files = dict[str, bytes]


@dataclass
class Life:
    """Ann, who was two recipients until she was found to be one; and Bob, to whom the same things happened."""

    http: httpx.AsyncClient
    ann: str
    before: str
    bob: str

    @property
    def id(self) -> UUID:
        return ids.parse("rcp", self.ann)


async def asked(http: httpx.AsyncClient, method: str, path: str, body: Any = None) -> Any:
    answer = await http.request(method, path, json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def made(http: httpx.AsyncClient, external_id: str | None, *identifiers: dict[str, Any], **more: Any) -> str:
    body = {"identifiers": list(identifiers)} | ({"external_id": external_id} if external_id else {}) | more
    found: str = (await asked(http, "POST", "/v1/recipients", body))["id"]
    return found


def email(value: str) -> dict[str, Any]:
    return {"kind": "email", "value": value}


def phone(value: str) -> dict[str, Any]:
    return {"kind": "phone", "value": value, "verified": True}


async def sends(http: httpx.AsyncClient, to: dict[str, str], text: str, account: UUID) -> str:
    """A mail by the fake vendor, or a text by Twilio's."""
    step = {"channel": "email" if "email" in to else "sms", "accounts": [ids.show("acc", account)]}
    body = {
        "to": to, "purpose": "transactional", "content": {"subject": f"About {text}", "text": text},
        "route": {"steps": [step]}, "tags": ["order"], "metadata": {"words": text},
    }  # fmt: skip
    found: str = (await asked(http, "POST", "/v1/messages", body))["id"]
    return found


async def consents(http: httpx.AsyncClient, to: dict[str, str], decision: str, word: str) -> None:
    said = {"recipient": to, "channel": "email", "purpose": "marketing", "decision": decision}
    proof = FORM | {"evidence": {"url": f"https://example.org/{word}"}}
    await asked(http, "POST", "/v1/consents", said | proof)


async def lived(world: World) -> Life:
    http = await world.http()
    mails, texts = await world.account(), await world.simulated("twilio")
    webpush = {"kind": "webpush", "value": "https://push.example.org/ann", "keys": SUBSCRIPTION}
    device = {"kind": "device", "value": "ann-token-0123456789", "device": {"platform": "ios", "provider": "apns"}}
    ann = await made(
        http, "ann-1", email(ANN), phone(NUMBER), device, webpush, traits={"nick": "Annie"}, locale="de-AT"
    )
    before = await made(http, "ann-0", email(OLD), traits={"plan": "gold"}, time_zone="Europe/Vienna")
    bob = await made(http, "bob-1", email(BOB), phone(OTHER_NUMBER), traits={"nick": "Robert", "plays": "chess"})
    for mail, number, word in ((ANN, NUMBER, "ann"), (BOB, OTHER_NUMBER, "bob")):
        await consents(http, {"email": mail}, "granted", f"{word}-signup")
        await sends(http, {"email": mail}, f"a letter for {word}", mails)
        await sends(http, {"phone": number}, f"a text for {word}", texts)
    await sends(http, {"email": OLD}, "a letter of long ago", mails)
    for number in (NUMBER, OTHER_NUMBER):
        shown = {"version": "3", "recipient": {"phone": number}, "url": f"https://example.org/{number}"}
        for language in ("en", "de"):
            await asked(http, "POST", "/v1/notices/newsletter/served", shown | {"language": language})
    await world.run()
    world.clock.advance(timedelta(minutes=1))
    for number in (NUMBER, OTHER_NUMBER):
        await world.vendor("POST", "/twilio/control/inbound", {"from": number, "body": "STOP"})
    await world.run()
    await asked(http, "PATCH", f"/v1/recipients/{ann}", {"traits": {"nick": "Anna"}})
    world.clock.advance(timedelta(minutes=1))
    await asked(http, "POST", f"/v1/recipients/{ann}/merge", {"from": before, "reason": "she said so"})
    await sends(http, {"phone": NUMBER}, "too late: she said STOP", texts)
    await world.run()
    return Life(http, ann, before, bob)


async def files(world: World, recipient_id: UUID, export: Export | None = None) -> Files:
    found: Files = {}
    async for part in (export or world.hub.export).parts(world.db, world.side, recipient_id):
        found[part.name] = b"".join([page.content async for page in part.pages])
    return found


async def archive(world: World, recipient_id: UUID, export: Export | None = None) -> bytes:
    pieces = (export or world.hub.export).zipped(world.db, world.side, recipient_id)
    return b"".join([piece async for piece in pieces])


def rows(found: Files, name: str) -> list[Any]:
    return [json.loads(line) for line in found[name].splitlines()]


def one(found: Files, name: str) -> Any:
    return json.loads(found[name])


async def everything(http: httpx.AsyncClient, path: str, cursor: str = "cursor") -> list[Any]:
    """All pages of a list."""
    joint, found, query = "&" if "?" in path else "?", [], ""
    while True:
        page = await asked(http, "GET", f"{path}{query}")
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        query = f"{joint}{cursor}={page['next_cursor']}"


def lacks(said: Any, told: Any, at: str = "") -> Iterable[str]:
    """Where `told` says something that `said` does not."""
    match told:
        case dict():
            for name, value in told.items():
                if not isinstance(said, dict) or name not in said:
                    yield f"{at}/{name}"
                else:
                    yield from lacks(said[name], value, f"{at}/{name}")
        case list() if isinstance(said, list) and len(said) == len(told):
            for place, value in enumerate(told):
                yield from lacks(said[place], value, f"{at}/{place}")
        case _ if said != told:
            yield at


# What is in it


async def test_every_file_is_there_and_the_manifest_tells_them(world: World) -> None:
    life = await lived(world)
    found = await files(world, life.id)
    assert list(found) == FILES
    manifest = one(found, "manifest.json")
    assert [told["name"] for told in manifest["files"]] == FILES[:-1]
    for told in manifest["files"]:
        content = found[told["name"]]
        assert (told["sha256"], told["bytes"]) == (sha256(content).hexdigest(), len(content))
        counted = {"jsonl": len(content.splitlines()), "json": 1, "txt": 0}
        assert told["rows"] == counted[told["name"].rpartition(".")[2]]
    del manifest["files"]
    assert manifest == {
        "format": "tabellion-export/1",
        "generated_at": "2026-11-21T09:02:00.000Z",
        "hub_version": __version__,
        "workspace": ids.show("wsp", world.workspace.id),
        "mode": "test",
        "recipient": life.ann,
        "recipients": [life.ann, life.before],
    }


async def test_what_the_api_shows_of_a_person_is_in_the_export(world: World) -> None:
    life = await lived(world)
    found = await files(world, life.id)
    path = f"/v1/recipients/{life.ann}"
    assert not list(lacks(one(found, "recipient.json"), await asked(life.http, "GET", path)))
    assert one(found, "identity.json") == await asked(life.http, "GET", f"{path}/identity")
    history = {(row["recipient_id"], row["version"]): row for row in rows(found, "history.jsonl")}
    for person in (life.ann, life.before):
        for version in await everything(life.http, f"/v1/recipients/{person}/history?limit=1"):
            assert history.pop((person, version["version"])) == {"recipient_id": person} | version
    assert not history
    messages = {row["id"]: row for row in rows(found, "messages.jsonl")}
    for message in await everything(life.http, f"/v1/messages?recipient={life.ann}"):
        told = messages.pop(message["id"])
        assert not list(lacks(told, message))
        why = await asked(life.http, "GET", f"/v1/messages/{message['id']}/explain")
        assert [told["rule"], told["candidates"]] == [why["rule"], why["candidates"]]
    assert not messages
    events = {row["id"]: row for row in rows(found, "events.jsonl")}
    for event in await everything(life.http, f"{path}/timeline?limit=2"):
        told, shown = events.pop(event["id"]), event["data"]
        shown.get("recipient", {}).pop("external_id", None)  # of now, and so in recipient.json
        assert [told["type"], told["recorded_at"]] == [event["type"], event["timestamp"]]
        assert not list(lacks(told["data"] | {"occurred_at": told["occurred_at"]}, shown))
    assert not events


async def test_it_holds_what_the_tables_hold(world: World) -> None:
    """By count: the law above goes by what the API shows, which could leave out the same."""
    life = await lived(world)
    found, people = await files(world, life.id), [life.id, ids.parse("rcp", life.before)]
    for table, name in (
        ("messages", "messages"), ("consent_entries", "consents"), ("callbacks", "callbacks"),
        ("events", "events"), ("recipient_versions", "history"),
    ):  # fmt: skip
        [row] = await world.rows(f"select count(*) from {table} where recipient_id = any($1::uuid[])", people)
        assert len(rows(found, f"{name}.jsonl")) == row[0] > 0, name


async def test_messages_say_what_they_said_and_where_they_went(world: World) -> None:
    life = await lived(world)
    told = rows(await files(world, life.id), "messages.jsonl")
    assert [row["content"]["text"] for row in told] == [
        "a letter for ann", "a text for ann", "a letter of long ago", "too late: she said STOP",
    ]  # fmt: skip
    assert [row["steps"][0]["to"]["value"] for row in told] == [ANN, NUMBER, OLD, NUMBER]
    [attempt] = told[0]["steps"][0]["attempts"]
    assert attempt["to"] == {"kind": "email", "value": ANN}
    assert attempt["decision"]["verdict"]
    assert told[-1]["status"] == "suppressed"
    assert told[-1]["decisions"][0]["at"] == "2026-11-21T09:02:00.000Z"


async def test_what_a_message_said_may_be_gone(world: World) -> None:
    life = await lived(world)
    await world.execute("update messages set content = ''")
    assert {row["content"] for row in rows(await files(world, life.id), "messages.jsonl")} == {None}


async def test_consents_say_what_the_ledger_committed_to(world: World) -> None:
    life = await lived(world)
    granted, stopped, *_ = rows(await files(world, life.id), "consents.jsonl")
    [row] = await world.rows("select leaf_hash from consent_entries where log_index = $1", granted["log_index"])
    assert base64.b64decode(granted["leaf_hash"]) == row[0]
    assert granted["record"]["evidence"] == {"url": "https://example.org/ann-signup"}
    assert granted["record"]["notice"] == {"id": "newsletter", "version": "3", "hash": b"h".hex()}
    assert granted["record"]["identifier"] == {"kind": "email", "value": ANN}
    assert (granted["applied"], granted["standing"], granted["recorded_about"]) == (True, True, life.ann)
    assert (stopped["method"], stopped["record"]["identifier"]["value"]) == ("keyword", NUMBER)


async def test_reports_stand_as_they_came(world: World) -> None:
    life = await lived(world)
    told = rows(await files(world, life.id), "callbacks.jsonl")
    assert any("Body=STOP" in row["text"] for row in told)
    assert any("MessageStatus=delivered" in row["text"] for row in told)
    for row in told:
        assert base64.b64decode(row["body"]).decode() == row["text"]
    types = {row["content_type"].partition(";")[0] for row in told}
    assert types == {"application/json", "application/x-www-form-urlencoded"}


async def test_a_person_has_one_export_under_each_of_their_ids(world: World) -> None:
    life = await lived(world)
    merged = await files(world, ids.parse("rcp", life.before))
    assert merged == await files(world, life.id)
    told = one(merged, "recipient.json")
    assert (told["id"], told["time_zone"]) == (life.ann, "Europe/Vienna")
    assert {"nick": "Anna", "plan": "gold", "email_subscribed_status": "subscribed"}.items() <= told["traits"].items()
    assert [(part["id"], part["external_id"]) for part in told["merged"]] == [(life.before, "ann-0")]
    assert [block["value"] for block in told["vendor_blocks"]] == [NUMBER]


# What is not


async def test_nothing_of_anybody_else_is_in_it(world: World) -> None:
    life = await lived(world)
    for mine, theirs in ((life.id, BOBS), (ids.parse("rcp", life.bob), ANNS)):
        found = await files(world, mine)
        del found["README.txt"]
        said = b"".join(found.values()).lower()
        said += b"".join(base64.b64decode(row["body"]) for row in rows(found, "callbacks.jsonl")).lower()
        assert [word for word in theirs if word.lower().encode() in said] == []
        other = life.bob if mine == life.id else life.ann
        assert other.encode() not in said


async def test_no_secret_and_no_keyed_hash_is_in_it(world: World) -> None:
    life = await lived(world)
    found = await files(world, life.id)
    del found["README.txt"]
    said = b"".join(found.values())
    hashes = await world.rows("select hash, match_hash from identifiers")
    keyed = [one for row in hashes for one in row if one]
    forms = [form for one in keyed for form in (one.hex().encode(), base64.b64encode(one).rstrip(b"="))]
    secrets = [SECRET.encode(), SUBSCRIPTION["auth"].encode(), b"Fake-Signature", b"X-Twilio-Signature"]
    assert [one for one in forms + secrets if one.lower() in said.lower()] == []


async def test_after_a_split_what_was_the_others_is_not_told(world: World) -> None:
    """The history of who went on had every address of the person who was never the same."""
    life = await lived(world)
    merge = await asked(
        life.http, "POST", f"/v1/recipients/{life.ann}/merge", {"from": life.bob, "reason": "a mistake"}
    )
    await asked(life.http, "PATCH", f"/v1/recipients/{life.ann}", {"locale": "fr"})
    stops = {"recipient": {"email": BOB}, "channel": "email", "purpose": "marketing", "decision": "denied"}
    await asked(life.http, "POST", "/v1/consents", stops | {"method": "api", "source": "support"})
    await asked(life.http, "POST", f"/v1/recipients/{life.ann}/split", {"merge_id": merge["merge_id"]})
    found = await files(world, life.id)
    versions = rows(found, "history.jsonl")
    assert {change["field"] for row in versions for change in row["changes"] if change.get("withheld")} >= {
        "/identifiers"
    }
    for name in ("recipient.json", "history.jsonl", "consents.jsonl"):
        assert not any(word.encode() in found[name] for word in (BOB, OTHER_NUMBER, "Robert", "bob-1", "chess")), name
    withheld = [row for row in rows(found, "consents.jsonl") if (row["record"]["identifier"] or {}).get("withheld")]
    assert [(row["decision"], row["record"]["identifier"]["value"]) for row in withheld] == [("denied", None)]
    theirs = await files(world, ids.parse("rcp", life.bob))
    assert BOB.encode() in theirs["history.jsonl"]
    assert ANN.encode() not in theirs["history.jsonl"]


# Whom there is none of


async def test_who_is_unknown_erased_or_of_another_side_has_none(world: World) -> None:
    life = await lived(world)
    export = world.hub.export
    with pytest.raises(NotFound):
        await files(world, ids.new())
    with pytest.raises(NotFound):
        await anext(export.parts(world.db, world.workspace.live, life.id))
    await world.execute("update subject_keys set wrapped = null, destroyed_at = now() where subject_id = $1", life.id)
    world.hub.around.vault.forget(world.side, life.id)
    with pytest.raises(Conflict) as refused:
        await world.db.run(lambda tx: export.person(tx, world.side, life.id))
    assert refused.value.code == "recipient_erased"
    await world.execute(
        "update recipients set erased_at = now(), traits = null, locale = null, time_zone = null where id = $1", life.id
    )
    with pytest.raises(NotFound):
        await archive(world, life.id)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("merge", "merged_meanwhile"),
        ("update recipients set erased_at = now(), traits = null, locale = null, time_zone = null",
         "recipient_not_found"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("after", ["identity.json", "events.jsonl"])
async def test_a_person_who_becomes_another_meanwhile_is_not_told_by_halves(
    world: World, change: str, code: str, after: str
) -> None:
    life, told = await lived(world), []
    with pytest.raises(HubError) as refused:
        async for part in world.hub.export.parts(world.db, world.side, life.id):
            told += [part.name async for _ in part.pages]
            if part.name == after and change == "merge":
                await asked(life.http, "POST", f"/v1/recipients/{life.ann}/merge", {"from": life.bob, "reason": "x"})
            elif part.name == after:
                await world.execute(change)
    assert (refused.value.code, told[-1]) == (code, after)


# In pages


async def test_pages_of_any_size_come_to_the_same_bytes(world: World) -> None:
    life = await lived(world)
    whole = await archive(world, life.id)
    for size, through in ((1, 20_000), (2, 3), (30, 1), (500, 2)):
        export = replace(world.hub.export, page=size, through=through)
        assert await archive(world, life.id, export) == whole, (size, through)


async def test_what_a_person_was_shown_is_among_it(world: World) -> None:
    life = await lived(world)
    found = rows(await files(world, life.id), "notices.jsonl")
    assert [(one["notice"], one["version"], one["language"]) for one in found] == [
        ("newsletter", "3", "en"),
        ("newsletter", "3", "de"),
    ]
    assert {one["url"] for one in found} == {f"https://example.org/{NUMBER}"}


async def test_no_page_holds_more_than_it_may_and_each_is_a_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = await lived(world)
    begun: list[int] = []
    transaction = Database.transaction

    @asynccontextmanager
    async def counted(self: Database, limit: float = 5.0) -> Any:
        begun.append(1)
        async with transaction(self, limit) as tx:
            yield tx

    monkeypatch.setattr(Database, "transaction", counted)
    pages: dict[str, list[int]] = {}
    async for part in replace(world.hub.export, page=1).parts(world.db, world.side, life.id):
        before = len(begun)
        async for page in part.pages:
            pages.setdefault(part.name, []).append(page.rows)
        pages[part.name].append(len(begun) - before)
    for name, (*sizes, transactions) in pages.items():
        assert max(sizes) <= 1, name
        if name.endswith(".jsonl"):
            assert transactions >= len(sizes) > 1, name


async def test_reports_about_a_person_are_read_by_an_index_of_their_own(world: World) -> None:
    """A side's callbacks were looked through, page after page, for those of one person."""
    life = await lived(world)
    hers = [row["id"] for row in rows(await files(world, life.id), "callbacks.jsonl")]
    people = [life.id, ids.parse("rcp", life.before)]
    seen, after, pages = [], None, 0
    while True:
        some, after = await world.db.run(
            lambda tx, after=after: world.hub.webhooks.of_people(tx, world.side, people, after, 1)
        )
        seen, pages = [*seen, *(ids.show("cbk", callback.id) for callback, _ in some)], pages + 1
        if after is None:
            break
    assert (seen, pages) == (hers, len(hers) + 1)


# Its forms


@pytest.mark.parametrize("size", [1, 500])
async def test_a_zip_opens_with_what_people_have(world: World, tmp_path: Path, size: int) -> None:
    life = await lived(world)
    packed = await archive(world, life.id, replace(world.hub.export, page=size))
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == await files(world, life.id)
        assert {member.date_time for member in opened.infolist()} == {(2026, 11, 21, 9, 2, 0)}
    file = tmp_path / "export.zip"
    file.write_bytes(packed)
    if unzip := shutil.which("unzip"):
        done = subprocess.run([unzip, "-t", file], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


async def test_a_document_holds_the_same_as_the_files(world: World) -> None:
    life = await lived(world)
    document = json.loads(await world.hub.export.document(world.db, world.side, life.id))
    found = await files(world, life.id)
    assert document.pop("readme").encode() == found["README.txt"]
    for name in FILES[1:]:
        stem, _, form = name.partition(".")
        assert document.pop(stem) == (one(found, name) if form == "json" else rows(found, name))
    assert document == {}


async def test_a_large_document_is_refused_for_a_zip(world: World) -> None:
    life = await lived(world)
    with pytest.raises(ExportTooLarge, match="ZIP") as refused:
        await replace(world.hub.export, largest=5000).document(world.db, world.side, life.id)
    assert (refused.value.code, refused.value.status) == ("export_too_large", 413)


async def test_a_person_of_whom_only_an_address_is_known_has_an_export(world: World) -> None:
    http = await world.http()
    nobody = {"recipient": {"email": "carol@example.org"}, "channel": "email", "purpose": "marketing"}
    said = nobody | {"decision": "denied", "method": "api", "source": "support"}
    person = (await asked(http, "POST", "/v1/consents", said))["recipient_id"]
    found = await files(world, ids.parse("rcp", person))
    assert one(found, "recipient.json")["address_only"]
    assert [row["version"] for row in rows(found, "history.jsonl")] == [1]
    assert (found["messages.jsonl"], found["callbacks.jsonl"]) == (b"", b"")
