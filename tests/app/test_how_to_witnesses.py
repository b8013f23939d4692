"""Every command of docs/how-to-witnesses.md, in order, as somebody pastes it: two hubs come to watch each other."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tabellion.ledger import note
from tabellion.ledger.witness import policy

from .processes import COMMAND, Running, Tabellion, eventually

PAGE = Path(__file__).parents[2] / "docs" / "how-to-witnesses.md"
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
LOOPBACK = {"TABELLION_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8"}
REFUSAL = {
    "recipient": {"email": "ann@example.org"}, "channel": "email", "purpose": "marketing", "decision": "withdrawn",
    "method": "form", "source": "footer",
}  # fmt: skip


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[list[Tabellion]]:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(Tabellion(tmp_path / name))
    yield made
    for one in made:
        one.close()


def paste(block: str, folder: Path, running: list[Running]) -> str:
    """What the block prints, with these hubs in place of the page's."""
    for shown, meant in {
        "http://127.0.0.1:8080": running[0].url,
        "http://127.0.0.1:8081": running[1].url,
        "tabellion ": f"{COMMAND[0]} ",
        "curl ": "curl -sSf ",
    }.items():
        block = block.replace(shown, meant)
    done = subprocess.run(["sh", "-e", "-c", block], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def findings(hub: Tabellion, **environ: str) -> list[dict[str, Any]]:
    done = hub.run("doctor", "--json", **environ)
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


@pytest.mark.skipif(which("curl") is None or which("sha256sum") is None, reason="the page is written for both")
def test_two_hubs_watch_each_other(hubs: list[Tabellion], tmp_path: Path):
    exchange, trust, read = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    running = [one.up("--witness-dir", str(one.folder / "witness")) for one in hubs]
    keys = [one.key("acme")["key"] for one in hubs]
    paste(exchange, tmp_path, running)
    assert paste(trust, tmp_path, running).count("watches tabellion.log/") == 8, "two logs a side"
    ports = [one.url.rpartition(":")[2] for one in running]
    assert [one.stop() for one in running] == [0, 0]
    # The witness serves at the same address as before, for the policies name it.
    again = [
        one.start(
            "up", "--listen", f"127.0.0.1:{port}", "--witness-dir", str(one.folder / "witness"),
            "--witness-policy", str(one.folder / "policy"), **LOOPBACK,
        )
        for one, port in zip(hubs, ports, strict=True)
    ]  # fmt: skip
    again = [one.started() for one in again]
    for hub, key in zip(again, keys, strict=True):
        with hub.client(key) as client:
            assert client.post("/v1/consents", json=REFUSAL).status_code == 201
    under = {**LOOPBACK, "TABELLION_WITNESS_POLICY": str(hubs[0].folder / "policy")}

    def cosigned() -> str | None:
        logs = hubs[0].json("ledger", "keys")["keys"]
        for line in logs:
            block = read.replace("tabellion ledger keys --data one/data", f"echo '{line}'")
            try:
                shown = paste(block, tmp_path, again)
            except AssertionError:
                continue
            if note.parse_checkpoint(note.parse(shown).text).size == 1:
                return shown
        return None

    shown = eventually(cosigned)
    log = [note.parse_verifier(one) for one in hubs[0].json("ledger", "keys")["keys"]]
    assert note.verify_checkpoint(shown or "", log).size == 1
    assert policy.parse((hubs[0].folder / "policy").read_bytes()).accepts(shown or "")
    said = {one["name"]: one for one in findings(hubs[0], **under)}
    assert said["published"]["text"].startswith("no log shows less")
    assert said["witnesses"]["level"] == "ok"
    assert again[1].stop() == 0
    with again[0].client(keys[0]) as client:
        assert (
            client.post("/v1/consents", json={**REFUSAL, "recipient": {"email": "bob@example.org"}}).status_code == 201
        )
    trouble = eventually(
        lambda: [one for one in findings(hubs[0], **under) if "cannot be reached" in one["text"]] or None
    )
    assert trouble is not None
    assert trouble[0]["level"] == "warning"
    assert again[0].stop() == 0
