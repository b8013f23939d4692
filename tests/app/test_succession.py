"""Yesterday's dump, restored beside today's keys: the log is succeeded, and the side works on in its successor."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tabellion.core.postgres.programs import bundled

from .processes import Tabellion, environment, eventually

ANN, BOB, CAROL, DAN = (f"{one}@example.org" for one in ("ann", "bob", "carol", "dan"))
WIDE = {"channel": "*", "purpose": "*", "method": "import", "occurred_at": "2020-01-01T00:00:00Z"}
TEXT = {"default_language": "en", "texts": {"en": "Yes, send me news."}, "publish": True}


@pytest.fixture
def own(tmp_path: Path, empty_database_url: str) -> Iterator[Tabellion]:
    """The command on a database of the operator's own, with its keys folder."""
    settings = {"TABELLION_DATABASE_URL": empty_database_url, "TABELLION_KEYS": str(tmp_path / "keys")}
    made = Tabellion(tmp_path, environ=environment(**settings))
    yield made
    made.close()


def program(name: str, *words: str) -> None:
    subprocess.run([str(bundled() / name), *words], check=True, capture_output=True, timeout=60)


def say(client: httpx.Client, address: str, decision: str, **more: Any) -> httpx.Response:
    """The answer to a decision; a grant with all that lifts a restriction."""
    body = {"channel": "email", "purpose": "marketing", "decision": decision, "method": "form", "source": "signup"}
    if decision == "granted":
        notice = {"id": "newsletter", "version": "1"}
        body |= {"basis": "consent", "notice": notice, "evidence": {"url": "https://example.org"}}
    return client.post("/v1/consents", json=body | {"recipient": {"email": address}} | more)


def said(client: httpx.Client, address: str, decision: str, **more: Any) -> dict[str, Any]:
    answer = say(client, address, decision, **more)
    assert answer.status_code == 201, answer.text
    entry: dict[str, Any] = answer.json()
    assert entry["applied"], entry
    return entry


def question(address: str) -> dict[str, Any]:
    return {"recipient": {"email": address}, "channel": "email", "purpose": "marketing"}


def asked(client: httpx.Client, address: str) -> tuple[Any, ...]:
    """The verdict, where the entry stands that it rests on, and which restrictions its grant lifts."""
    answer = client.post("/v1/consents/check", json=question(address)).json()
    return answer["verdict"], answer.get("log"), answer["log_index"], answer["inputs"]["lifts"]


def place(entry: dict[str, Any]) -> tuple[str | None, int]:
    return entry.get("log"), entry["log_index"]


def test_a_side_whose_log_was_succeeded_works_on(
    own: Tabellion, empty_database_url: str, server: Any, tmp_path: Path
) -> None:
    hub = own.up()
    client = hub.client(own.key("acme", role="owner")["key"])
    assert client.post("/v1/notices", json={"id": "newsletter", "title": "News", "purposes": ["marketing"]}).is_success
    assert client.post("/v1/notices/newsletter/versions", json=TEXT).is_success
    ann, bob = said(client, ANN, "granted"), said(client, BOB, "withdrawn")
    said(client, DAN, "granted")
    dump = tmp_path / "yesterday.dump"
    program("pg_dump", "--format=custom", f"--file={dump}", empty_database_url)
    lost = said(client, CAROL, "withdrawn")
    assert place(lost) == (None, 3)
    [outside] = (tmp_path / "keys" / "checkpoints").glob(f"*{_log(client)}*")
    eventually(lambda: outside.read_text().splitlines()[1] == "4")
    assert hub.stop() == 0

    restored = empty_database_url.replace("/test_", "/restored_", 1)
    name = restored.partition("@/")[2].partition("?")[0]
    admin = server.postgres.admin_url()
    program("createdb", "--maintenance-db", admin, "--owner=tabellion", "--template=template0", name)
    program("pg_restore", "--no-owner", f"--dbname={restored}", str(dump))
    environ = {"TABELLION_DATABASE_URL": restored}
    again = own.up(**environ)
    client = again.client(own.json("keys", "create", "--workspace", "acme", "--role", "owner", **environ)["key"])
    refused = say(client, ANN, "withdrawn")
    assert (refused.status_code, refused.json()["code"]) == (503, "ledger_forked"), refused.text
    own.json("ledger", "succeed", "--workspace", "acme", "--mode", "test", **environ)

    assert asked(client, ANN) == ("allowed", None, ann["log_index"], [])
    refusal, grant = said(client, ANN, "withdrawn"), said(client, BOB, "granted")
    assert [place(refusal), place(grant)] == [("consent-2", 1), ("consent-2", 2)]
    assert asked(client, ANN) == ("denied", *place(refusal), [])
    assert asked(client, BOB) == ("allowed", *place(grant), [bob["log_index"]])
    wide = said(client, DAN, "withdrawn", **WIDE)
    assert asked(client, DAN) == ("allowed", None, 2, [{"log_index": wide["log_index"], "log": "consent-2"}])

    gone = [client.get(f"/v1/consents/{lost['id']}{what}").status_code for what in ("", "/receipt")]
    assert gone == [404, 404], "what the backup does not have went with it"
    unknown = client.post("/v1/consents/check", json=question(CAROL)).json()
    assert unknown["verdict"] == "unknown"
    _verify(own, client, tmp_path, [ann, bob], [refusal, grant, wide], environ)
    trail = own.json("audit", "verify", "--workspace", "acme", "--mode", "test", **environ)
    assert trail["differences"] == []
    assert again.stop() == 0
    program("dropdb", "--maintenance-db", admin, "--force", name)


def _log(client: httpx.Client) -> str:
    """What its origin has of the name of a log: the file of its checkpoint is named after it."""
    return client.get("/v1/ledger/checkpoint").text.splitlines()[0].split("/")[2]


def _verify(
    own: Tabellion,
    client: httpx.Client,
    folder: Path,
    old: list[dict[str, Any]],
    new: list[dict[str, Any]],
    environ: dict[str, str],
) -> None:
    """Both generations, the link between them, and the receipts of each, by files and keys alone."""
    (folder / "keys.json").write_text(client.get("/v1/ledger/consent/keys").text)
    own.json("export", "ledger", "--workspace", "acme", "--mode", "test", "--to", "copy", **environ)
    logs = {"copy": new, "copy/generations/1": old}
    for log, entries in logs.items():
        receipts = folder / f"receipts of {log.replace('/', ' ')}"
        receipts.mkdir(parents=True)
        for entry in entries:
            receipt = client.get(f"/v1/consents/{entry['id']}/receipt?disclose=1")
            assert receipt.status_code == 200, receipt.text
            (receipts / f"{entry['id']}.tlog-proof").write_text(receipt.text)
            done = own.run("receipt", "verify", str(receipts / f"{entry['id']}.tlog-proof"), "--keys", "keys.json")
            assert done.returncode == 0, done.stdout + done.stderr
        done = own.run("ledger", "verify", "--from", log, "--keys", "keys.json", "--records", str(receipts))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WRONG" not in done.stdout
        if log == "copy":
            assert "the first entry commits to the checkpoint at 4" in done.stdout
