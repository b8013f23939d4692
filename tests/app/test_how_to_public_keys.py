"""Every command of docs/how-to-public-keys.md, in order, as somebody pastes it."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from .processes import COMMAND, Tabellion

PAGE = Path(__file__).parents[2] / "docs" / "how-to-public-keys.md"
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.fixture
def tabellion(tmp_path: Path) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path)
    yield made
    made.close()


@pytest.mark.skipif(which("curl") is None or which("openssl") is None, reason="the page is written for both")
def test_every_line_of_the_page_is_true(tabellion):
    tabellion.json("workspace", "create", "acme")
    key = tabellion.key("acme", role="owner", mode="test")["key"]
    hub = tabellion.up()
    script = "\n".join(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    for shown, meant in {
        "http://127.0.0.1:8080": hub.url,
        "tabellion keys": f"{COMMAND[0]} keys",
        "curl ": "curl -sSf ",
    }.items():
        script = script.replace(shown, meant)
    done = subprocess.run(
        ["sh", "-e", "-c", script], env=tabellion._environ({}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.count('{"accepted":true}') == 4
    with hub.client(key) as client:
        people = client.get("/v1/recipients").json()["data"]
        assert {one["external_id"]: one["traits"] for one in people} == {
            None: {"seen": "shoes"},
            "crm-1042": {"size": 42},
        }
        ask = {"recipient": {"external_id": "crm-1042"}, "channel": "email", "purpose": "marketing"}
        assert client.post("/v1/consents/check", json=ask).json()["verdict"] == "allowed"
    assert not [line for line in hub.logged("request") if "refused" in line]
    assert hub.stop() == 0
