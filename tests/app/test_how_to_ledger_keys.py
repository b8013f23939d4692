"""Every command of docs/how-to-ledger-keys.md, in order, as somebody pastes it."""

import re
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import httpx
import pytest

from .pages import followed
from .processes import Tabellion

PAGE = Path(__file__).parents[2] / "docs" / "how-to-ledger-keys.md"


@pytest.fixture
def tabellion(tmp_path: Path) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path)
    yield made
    made.close()


@pytest.mark.skipif(which("curl") is None, reason="the page is written for it")
def test_every_line_of_the_page_is_true(tabellion, tmp_path):
    tabellion.json("workspace", "create", "acme")
    hub = tabellion.up()
    said = followed(PAGE, tabellion, hub, tmp_path)
    assert (tmp_path / "decision.tlog-proof").read_text().startswith("c2sp.org/tlog-proof@v1\nindex 0\n")
    assert "forged_above" in said
    path = re.findall(r"/ledger/[0-9a-f]{32}", said)[0]
    assert httpx.get(f"{hub.url}{path}/checkpoint").text.split("\n")[1] == "1"
    keys = httpx.get(f"{hub.url}{path}/keys").json()["keys"]
    assert [(one["from_size"], one["to_size"]) for one in keys] == [(0, 1), (1, None)]
    assert hub.stop() == 0
