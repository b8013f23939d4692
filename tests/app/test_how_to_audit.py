"""Every command of docs/how-to-audit.md, in order, as somebody pastes it; and what verify says of a changed table."""

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from tabellion.app.opening import opened
from tabellion.app.options import wait
from tabellion.core.config import Settings

from .pages import followed
from .processes import Tabellion

PAGE = Path(__file__).parents[2] / "docs" / "how-to-audit.md"
VERIFY = ("audit", "verify", "--workspace", "acme", "--mode", "test")


@pytest.fixture
def tabellion(tmp_path: Path) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path)
    yield made
    made.close()


def change(tabellion: Tabellion, statement: str) -> None:
    async def run() -> None:
        async with opened(Settings(data=tabellion.data)) as hub:
            await hub.db.run(lambda tx: tx.execute(statement))

    wait(run())


@pytest.mark.skipif(which("curl") is None, reason="the page is written for it")
def test_every_line_of_the_page_is_true(tabellion, tmp_path):
    tabellion.json("workspace", "create", "acme")
    hub = tabellion.up()
    said = followed(PAGE, tabellion, hub, tmp_path)
    assert (tmp_path / "action.tlog-proof").read_text().startswith("c2sp.org/tlog-proof@v1\nextra ")
    assert json.loads((tmp_path / "audit-keys.json").read_text())["keys"][0]["vkey"]
    assert "1 entries: nothing differs" in said
    assert hub.stop() == 0


def test_verify_names_what_was_changed_behind_the_hub(tabellion):
    tabellion.json("workspace", "create", "acme")
    for _ in range(3):
        tabellion.key("acme", role="readonly")
    assert tabellion.json(*VERIFY) | {"workspace": ""} == {
        "workspace": "", "mode": "test", "ok": True, "entries": 3, "earlier": 0, "lost": 0, "count": 0,
        "differences": [],
    }  # fmt: skip
    change(tabellion, "update audit set actor = 'somebody_else' where log_index = 1 and action = 'key.created'")
    done = tabellion.run(*VERIFY, "--json")
    assert (done.returncode, "[audit_differs]" in done.stderr) == (1, True)
    [one] = json.loads(done.stdout)["differences"]
    assert (one["kind"], one["log_index"], one["id"][:4]) == ("changed", 1, "aud_")
    shown = tabellion.run(*VERIFY)
    assert "3 entries: 1 differs" in shown.stdout
    assert one["id"] in shown.stdout
