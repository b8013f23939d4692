"""The scenes of proof: a receipt and a whole log, checked by a process that has nothing but files and a key."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tabellion.app.demo.story import Story
from tabellion.app.demo.world import World


def hand_out_a_receipt(story: Story, world: World, entry_id: str) -> None:
    story.scene("A stranger checks her receipt: no server, no database, nothing but a file and a key")
    key = world.text("/v1/ledger/key").strip().splitlines()[-1]
    file = world.folder / "stop.tlog-proof"
    file.write_text(world.text(f"/v1/consents/{entry_id}/receipt?disclose=1"))
    code, said = _verifier("receipt", str(file), "--key", key)
    story.check("the receipt holds", code == 0 and said["verified"], said)
    told = said["record"]
    story.check("and discloses: withdrawn, by keyword", (told["decision"], told["method"]) == ("withdrawn", "keyword"))
    lines = file.read_text().splitlines()
    place = next(at for at, line in enumerate(lines) if line.startswith("index "))
    lines[place] = "index 0"
    file.write_text("\n".join(lines) + "\n")
    code, _ = _verifier("receipt", str(file), "--key", key)
    story.check("at another place in the log it is refused", code == 1, code)


def audit_the_log(story: Story, world: World) -> None:
    story.scene("An auditor takes a copy of the log away, and verifies it")
    key = world.text("/v1/ledger/key").strip().splitlines()[-1]
    copy = world.folder / "copy"
    world.command("export", "ledger", "--workspace", "demo", "--mode", "live", "--to", str(copy))
    code, said = _verifier("log", str(copy), "--key", key)
    story.check("entries, tiles, root and signature agree", code == 0 and said["verified"], said)
    bundle = next(one for one in sorted((copy / "tile" / "entries").rglob("*")) if one.is_file())
    bundle.write_bytes(bundle.read_bytes().replace(b'"v":1', b'"v":2', 1))
    code, said = _verifier("log", str(copy), "--key", key)
    story.check("with one byte changed the copy is refused", code == 1, code)
    story.tell(f"it says: {said['findings'][0]['text']}")


def _verifier(*words: str) -> tuple[int, Any]:
    """The exit code and the answer of the verifier, which imports nothing of the hub's."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "tabellion.ledger.verifier", *words, "--json"],
        capture_output=True, check=False, timeout=60, cwd=Path.home(),
    )  # fmt: skip
    if not done.stdout:
        raise RuntimeError(f"the verifier: {done.stderr.decode()[-2000:]}")
    return done.returncode, json.loads(done.stdout)
