"""Every command of docs/how-to-ledger-keys.md, in order, as somebody pastes it."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import httpx
import pytest

from .processes import COMMAND, Tabellion

PAGE = Path(__file__).parents[2] / "docs" / "how-to-ledger-keys.md"
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.fixture
def tabellion(tmp_path: Path) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path)
    yield made
    made.close()


@pytest.mark.skipif(which("curl") is None, reason="the page is written for it")
def test_every_line_of_the_page_is_true(tabellion, tmp_path):
    tabellion.json("workspace", "create", "acme")
    hub = tabellion.up()
    script = "\n".join(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    for shown, meant in {
        "http://127.0.0.1:8080": hub.url,
        "tabellion ": f"{COMMAND[0]} ",
        "curl ": "curl -sSf ",
    }.items():
        script = script.replace(shown, meant)
    done = subprocess.run(
        ["sh", "-e", "-c", script], env=tabellion._environ({}), cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert (tmp_path / "decision.tlog-proof").read_text().startswith("c2sp.org/tlog-proof@v1\nindex 0\n")
    assert "forged_above" in done.stdout
    path = re.findall(r"/ledger/[0-9a-f]{32}", done.stdout)[0]
    assert httpx.get(f"{hub.url}{path}/checkpoint").text.split("\n")[1] == "1"
    keys = httpx.get(f"{hub.url}{path}/keys").json()["keys"]
    assert [(one["from_size"], one["to_size"]) for one in keys] == [(0, 1), (1, None)]
    assert hub.stop() == 0
