"""Every command of docs/quickstart.md, in order, as somebody pastes it."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from .processes import COMMAND, Running, Tabellion, eventually

DOCS = Path(__file__).parents[2]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
SEEN = {"msg_": r'"id":"(msg_\w+)"', "tbl_live_": r"(tbl_live_\w+)"}
"""What a reader copies from an answer into the next command, where the page has an ellipsis."""
CHOSEN = {'"AC…"': f'"AC{7:032x}"', '"auth_token":"…"': '"auth_token":"hush"', '"+1…"': '"+12025550100"'}


@pytest.fixture
def tabellion(tmp_path: Path) -> Iterator[Tabellion]:
    made = Tabellion(tmp_path)
    yield made
    made.close()


class Reader:
    """Pastes one block after the other into one shell, ellipses filled in."""

    def __init__(self, tabellion: Tabellion, hub: Running) -> None:
        self._tabellion = tabellion
        self._known = {"http://127.0.0.1:8080": hub.url, ".venv/bin/tabellion": COMMAND[0], **CHOSEN}
        self._known["tbl_test_…"] = next(word for word in hub.printed().split() if word.startswith("tbl_test_"))
        self._exports: list[str] = []

    def paste(self, block: str) -> str:
        """What it printed."""
        said = ""
        for command in self._commands(block):
            for shown, meant in self._known.items():
                command = command.replace(shown, meant)
            assert "…" not in command, command
            if command.startswith("export"):
                self._exports.append(command)
            else:
                said += self._run(command.replace("curl ", "curl -sSf ", 1)) + "\n"
        return said

    def _commands(self, block: str) -> list[str]:
        """A command goes on in lines that are indented."""
        return re.split(r"\n(?=\S)", re.sub(r" +# .*", "", block).strip())

    def _run(self, command: str) -> str:
        script = "\n".join([*self._exports, command])
        environ = self._tabellion._environ({})
        done = subprocess.run(["sh", "-c", script], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        for word, pattern in SEEN.items():
            if found := re.search(pattern, done.stdout):
                self._known[f"{word}…"] = found[1]
        return done.stdout


@pytest.mark.skipif(which("curl") is None, reason="the page is written for curl")
def test_every_line_of_the_quickstart_is_true(tabellion):
    """Step 4 wrote to a person whom nobody had made."""
    start, *blocks = BLOCK.findall((DOCS / "docs" / "quickstart.md").read_text(encoding="utf-8"))
    assert start == "make run\n"
    hub = tabellion.up("--test-key")
    reader = Reader(tabellion, hub)
    exports, send, look, check, grant, head, ben, fall_back, live, account = blocks
    reader.paste(exports)
    assert plan(reader.paste(send)) == ["email"]
    assert reader.paste(look).count(reader._known["msg_…"]) >= 3
    assert '"sendable":false' in reader.paste(check)
    assert '"tree_size":1' in reader.paste(grant)
    assert len(re.findall(r"^tabellion.log/", reader.paste(head), re.MULTILINE)) == 2
    assert '"created":true' in reader.paste(ben)
    assert plan(reader.paste(fall_back)) == ["sms", "email"]
    one = look.splitlines()[0]
    message = eventually(lambda: ended(reader.paste(one)))
    assert [attempt["state"] for step in message["steps"] for attempt in step["attempts"]] == ["rejected", "submitted"]
    assert "tbl_live_" in reader.paste(live)
    assert '"provider":"twilio"' in reader.paste(account)
    assert hub.stop() == 0


def plan(answer: str) -> list[str]:
    return [step["channel"] for step in json.loads(answer)["plan"]]


def ended(answer: str) -> dict[str, Any] | None:
    message: dict[str, Any] = json.loads(answer)
    return message if message["final"] else None


def test_no_page_asks_for_a_curl_that_debian_11_does_not_have():
    pages = [DOCS / "README.md", *(DOCS / "docs").rglob("*.md")]
    assert not [
        page.name
        for page in pages
        if re.search(r"curl (?:(?!tabellion )[^`])*--json", page.read_text(encoding="utf-8"))
    ]
