"""Every command of docs/how-to-verify.md, in order, as somebody pastes it."""

import re
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from tabellion.ledger import verifier

from .pages import followed
from .processes import Tabellion

PAGE = Path(__file__).parents[2] / "docs" / "how-to-verify.md"
CODES = re.compile(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", re.MULTILINE)


@pytest.fixture
def tabellion(tmp_path: Path) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path)
    yield made
    made.close()


@pytest.mark.skipif(which("curl") is None, reason="the page is written for it")
def test_every_line_of_the_page_is_true(tabellion: Tabellion, tmp_path: Path) -> None:
    tabellion.json("workspace", "create", "acme")
    hub = tabellion.up()
    said = followed(PAGE, tabellion, hub, tmp_path)
    assert len(re.findall(r"^verified$", said, re.MULTILINE)) == 5
    assert "decision: withdrawn" in said
    assert "reason: case 12/2026" in said
    assert hub.stop() == 0


def test_every_code_of_the_page_is_one_of_the_verifiers() -> None:
    sources = "".join(file.read_text() for file in Path(verifier.__file__).parent.glob("*.py"))
    told = {code.strip("` ") for some in CODES.findall(PAGE.read_text(encoding="utf-8")) for code in some.split(",")}
    assert len(told) > 20
    assert [code for code in told if f'"{code}"' not in sources] == []
