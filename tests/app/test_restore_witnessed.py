"""Yesterday's dump restored with yesterday's keys folder: nothing here knows of today, but the witness does."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tabellion.core.postgres.programs import bundled
from tabellion.ledger import note
from tabellion.ledger.witness.folder import hash_of

from .processes import Running, Tabellion, environment, eventually

LOOPBACK = "127.0.0.0/8"


@pytest.fixture
def own(tmp_path: Path, empty_database_url: str) -> Iterator[Tabellion]:
    """The command on a database of the operator's own, under a policy, with its keys folder."""
    made = Tabellion(
        tmp_path,
        environ=environment(
            TABELLION_DATABASE_URL=empty_database_url,
            TABELLION_KEYS=str(tmp_path / "keys"),
            TABELLION_WITNESS_POLICY=str(tmp_path / "policy"),
            TABELLION_ALLOW_PRIVATE_NETWORKS=LOOPBACK,
        ),
    )
    yield made
    made.close()


def program(name: str, *words: str) -> None:
    subprocess.run([str(bundled() / name), *words], check=True, capture_output=True, timeout=60)


def refuse(client: httpx.Client, *addresses: str) -> list[httpx.Response]:
    refusal = {"channel": "email", "purpose": "marketing", "decision": "withdrawn", "method": "form", "source": "x"}
    return [client.post("/v1/consents", json={**refusal, "recipient": {"email": one}}) for one in addresses]


def cosigned(witness: Running, line: str) -> int:
    """The size that the witness stands at."""
    log = note.parse_verifier(line)
    shown = httpx.get(f"{witness.url}/{hash_of(log.name)}/checkpoint")
    return note.verify_checkpoint(shown.text, [log]).size if shown.status_code == 200 else 0


def test_a_hub_restored_with_its_keys_takes_no_decision_that_would_fork_its_log(
    own: Tabellion, empty_database_url: str, server: Any, tmp_path: Path
) -> None:
    witness = own.start("witness", "run", "--dir", str(tmp_path / "w"), "--listen", "127.0.0.1:0").started()
    (tmp_path / "policy").write_text(witness.printed().partition("ready ")[0])
    hub = own.up()
    client = hub.client(own.key("acme")["key"])
    lines = own.json("ledger", "keys")["keys"]
    own.run("witness", "trust", "--dir", str(tmp_path / "w"), *lines)
    eventually(lambda: client.get("/v1/ledger/checkpoint").status_code == 200)
    origin = client.get("/v1/ledger/checkpoint").text.splitlines()[0]
    (line,) = [one for one in lines if one.startswith(origin + "+")]
    assert [one.status_code for one in refuse(client, "a@example.org", "b@example.org")] == [201, 201]
    eventually(lambda: cosigned(witness, line) == 2)
    program("pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", empty_database_url)
    shutil.copytree(tmp_path / "keys", tmp_path / "keys.yesterday")
    assert refuse(client, "c@example.org")[0].status_code == 201
    eventually(lambda: cosigned(witness, line) == 3)
    assert hub.stop() == 0

    restored = empty_database_url.replace("/test_", "/restored_", 1)
    name = restored.partition("@/")[2].partition("?")[0]
    admin = server.postgres.admin_url()
    program("createdb", "--maintenance-db", admin, "--owner=tabellion", "--template=template0", name)
    program("pg_restore", "--no-owner", f"--dbname={restored}", str(tmp_path / "dump"))
    environ = {"TABELLION_DATABASE_URL": restored, "TABELLION_KEYS": str(tmp_path / "keys.yesterday")}
    again = own.up(**environ)
    client = again.client(own.key("acme", **environ)["key"])
    (answer,) = refuse(client, "d@example.org")
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger_forked"), answer.text
    assert [one["size"] for one in again.logged("ledger.forked")] == [3]
    found = json.loads(own.run("doctor", "--json", **environ).stdout)["findings"]
    assert [one["data"]["code"] for one in found if one["name"] == "ledger"] == ["ledger_forked"]

    own.json("ledger", "succeed", "--workspace", "acme", "--mode", "test", **environ)
    successor = [one for one in own.json("ledger", "keys", **environ)["keys"] if "/2+" in one]
    own.run("witness", "trust", "--dir", str(tmp_path / "w"), *successor)
    eventually(lambda: cosigned(witness, successor[0]) == 1)
    assert [again.stop(), witness.stop()] == [0, 0]
    program("dropdb", "--maintenance-db", admin, "--force", name)
