"""A page of the documentation, run as its reader would: every line of its shell blocks, against a running hub."""

import re
import subprocess
from pathlib import Path

from .processes import COMMAND, Running, Tabellion

BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def followed(page: Path, tabellion: Tabellion, hub: Running, folder: Path) -> str:
    """What the page's commands printed. The first that fails ends the test."""
    script = "\n".join(BLOCK.findall(page.read_text(encoding="utf-8")))
    for shown, meant in {
        "http://127.0.0.1:8080": hub.url,
        "tabellion ": f"{COMMAND[0]} ",
        "curl ": "curl -sSf ",
    }.items():
        script = script.replace(shown, meant)
    done = subprocess.run(
        ["sh", "-e", "-c", script], env=tabellion._environ({}), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout
