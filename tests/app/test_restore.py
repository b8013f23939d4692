"""Yesterday's dump, restored beside today's keys: whoever was erased since is erased again before the hub serves."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tabellion.core.postgres.programs import bundled

from .processes import Tabellion, environment, eventually

ANN = "ann.vanishing@example.org"
BOB = "bob.staying@example.org"


@pytest.fixture
def own(tmp_path: Path, empty_database_url: str) -> Iterator[Tabellion]:
    """The command on a database of the operator's own, with its keys folder."""
    settings = {"TABELLION_DATABASE_URL": empty_database_url, "TABELLION_KEYS": str(tmp_path / "keys")}
    made = Tabellion(tmp_path, environ=environment(**settings))
    yield made
    made.close()


def program(name: str, *words: str) -> None:
    subprocess.run([str(bundled() / name), *words], check=True, capture_output=True, timeout=60)


def test_a_restored_dump_is_not_served_before_who_was_erased_is_erased_again(
    own: Tabellion, empty_database_url: str, server: Any, tmp_path: Path
) -> None:
    hub = own.up()
    client = hub.client(own.key("acme", role="compliance")["key"])
    people = {}
    for address in (ANN, BOB):
        person = {"identifiers": [{"kind": "email", "value": address}], "traits": {"name": address}}
        people[address] = client.post("/v1/recipients", json=person).json()["id"]
    assert client.get(f"/v1/recipients/{people[ANN]}").json()["traits"]["name"] == ANN
    dump = tmp_path / "yesterday.dump"
    program("pg_dump", "--format=custom", f"--file={dump}", empty_database_url)

    order = {"type": "erase", "recipient": people[ANN], "verified_by": "ticket", "immediate": True}
    made = client.post("/v1/regulations", json=order).json()
    eventually(lambda: client.get(f"/v1/recipients/{people[ANN]}").status_code == 404)
    assert hub.stop() == 0

    restored = empty_database_url.replace("/test_", "/restored_", 1)
    name = restored.partition("@/")[2].partition("?")[0]
    program(
        "createdb", "--maintenance-db", server.postgres.admin_url(), "--owner=tabellion", "--template=template0", name
    )
    program("pg_restore", "--no-owner", f"--dbname={restored}", str(dump))
    refused = own.run("up", "--listen", "127.0.0.1:0", TABELLION_DATABASE_URL=restored)
    assert refused.returncode == 1
    assert "[erasures_not_replayed]" in refused.stderr, refused.stderr
    assert "ready" not in refused.stdout
    assert made["id"] in refused.stderr

    own.json("ledger", "succeed", "--workspace", "acme", "--mode", "test", TABELLION_DATABASE_URL=restored)
    again = own.up(TABELLION_DATABASE_URL=restored)
    client = again.client(own.key("acme", role="compliance", TABELLION_DATABASE_URL=restored)["key"])
    assert client.get(f"/v1/recipients/{people[ANN]}").status_code == 404
    assert client.get(f"/v1/recipients?email={ANN}").json()["data"] == []
    assert client.get(f"/v1/recipients/{people[BOB]}").json()["traits"]["name"] == BOB
    order = client.get(f"/v1/regulations/{made['id']}").json()
    assert (order["type"], order["recipient_id"]) == ("erase", people[ANN])
    asked = {"recipient": {"email": ANN}, "channel": "email", "purpose": "marketing"}
    assert client.post("/v1/consents/check", json=asked).json()["verdict"] == "denied"
    assert again.stop() == 0
    program("dropdb", "--maintenance-db", server.postgres.admin_url(), "--force", name)
