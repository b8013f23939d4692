"""The verifier stands alone: its files, the standard library and `cryptography`, where nothing else can be imported."""

import ast
import json
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

import tabellion
from tabellion.ledger import note

from .conftest import Log, NewLog

SOURCE = Path(tabellion.__file__).parent
FILES = ["ledger/merkle.py", "ledger/note.py", "ledger/verifier"]
NEEDED = ["cryptography", "cffi", "_cffi_backend", "pycparser"]
"""What `cryptography` itself is made of."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has nothing but `cryptography`, and a copy of exactly these files."""
    place = tmp_path_factory.mktemp("auditor")
    venv.create(place, with_pip=False, symlinks=True)
    [packages] = place.glob("lib/python*/site-packages")
    for name in NEEDED:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            found = origin.parent if origin.name.startswith("__init__") else origin
            (packages / found.name).symlink_to(found)
    for name in FILES:
        target = packages / "tabellion" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (SOURCE / name).is_dir():
            shutil.copytree(SOURCE / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(SOURCE / name, target)
    return place / "bin" / "python"


def run(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-I", "-m", "tabellion.ledger.verifier", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "name", ["asyncpg", "msgspec", "litestar", "tabellion.core.crypto", "tabellion.ledger.service"]
)
def test_nothing_else_is_there(python: Path, name: str) -> None:
    done = subprocess.run([python, "-I", "-c", f"import {name}"], capture_output=True, text=True, timeout=60)
    assert "ModuleNotFoundError" in done.stderr


def test_it_verifies_a_log_and_a_receipt(python: Path, new_log: NewLog, tmp_path: Path) -> None:
    log = new_log(700)
    log.disclose(300)
    log.write()
    done = run(python, "log", str(log.folder), "--key", log.key)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("verified\n")
    file = tmp_path / "one.tlog-proof"
    file.write_bytes(log.receipt(300))
    done = run(python, "receipt", str(file), "--key", log.key, "--json")
    assert (done.returncode, json.loads(done.stdout)["record"]["decision"]) == (0, "granted")


def test_its_exit_code_says_what_became_of_it(python: Path, new_log: NewLog, tmp_path: Path) -> None:
    log = new_log(10).write()
    other = note.Signer.new(log.signer.name).verifier.line()
    done = run(python, "log", str(log.folder), "--key", other, "--json")
    assert (done.returncode, json.loads(done.stdout)["findings"][0]["code"]) == (1, "signature_missing")
    for words in (
        ["log", str(tmp_path / "nowhere"), "--key", log.key],
        ["log", str(log.folder)],
        ["log", str(log.folder), "--key", "nonsense"],
        ["receipt", str(tmp_path / "none"), "--key", log.key],
        ["nonsense"],
    ):
        done = run(python, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr


def test_it_imports_nothing_but_these_files() -> None:
    allowed = {"cryptography", *sys.stdlib_module_names}
    own = {"tabellion.ledger.merkle", "tabellion.ledger.note"}
    for file in [SOURCE / "ledger/merkle.py", SOURCE / "ledger/note.py", *(SOURCE / "ledger/verifier").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                whole = node.module == "tabellion.ledger"
                names = [f"{node.module}.{one.name}" for one in node.names] if whole else [node.module or ""]
            for name in names:
                mine = name in own or name.startswith("tabellion.ledger.verifier")
                assert mine or name.split(".")[0] in allowed, (file.name, name)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its own peak")
def test_a_large_log_takes_no_more_memory(new_log: NewLog, python: Path) -> None:
    """Peak memory of the process, for a log and for one sixteen times as large."""
    peaks = [_peak(python, new_log(size, f"log {size}").write()) for size in (5_000, 80_000)]
    assert peaks[1] < peaks[0] + 2_000, peaks


def _peak(python: Path, log: Log) -> int:
    """Kilobytes. Not what `getrusage` says: that begins with what the parent had."""
    code = (
        "import re, sys; from tabellion.ledger.verifier.command import main;"
        "code = main(sys.argv[1:]);"
        "sys.stderr.write(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]); sys.exit(code)"
    )
    words = [str(python), "-I", "-c", code, "log", str(log.folder), "--key", log.key]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stderr)
