"""`tabellion ledger verify` and `tabellion receipt verify`: keys and files, no hub, no settings."""

import json
from pathlib import Path

import pytest

from tabellion.app.cli import execute

from ..ledger.verifier.conftest import Log, NewLog, new_log  # noqa: TID252 - tests are no package

__all__ = ["new_log"]


@pytest.fixture
def log(new_log: NewLog) -> Log:
    made = new_log(400)
    made.disclose(300)
    return made.write()


def test_a_log_is_verified_by_its_key(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    kept.write_text(log.checkpoint(100))
    words = ["ledger", "verify", "--key", log.key, "--from", str(log.folder)]
    assert execute([*words, "--since", str(kept)]) == 0
    said = capsys.readouterr()
    assert said.out.endswith("\nverified\n")
    assert "the log begins with the 100 entries seen before" in said.out
    assert execute([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True


def test_what_does_not_hold_is_1_and_what_cannot_be_said_is_2(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ledger", "verify", "--key", log.key, "--from", str(log.folder)]
    log.entries[5] = log.entries[6]
    log.write_bundles()
    assert execute(words) == 1
    said = capsys.readouterr()
    assert "WRONG" in said.out
    assert "entry 5 [not_verified]" in said.err
    assert execute(["ledger", "verify", "--key", log.key, "--from", str(tmp_path / "none")]) == 2
    assert execute(["ledger", "verify", "--from", str(log.folder)]) == 2
    assert "--key" in capsys.readouterr().err


def test_a_receipt_is_verified_by_the_key_of_its_log(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.tlog-proof"
    file.write_bytes(log.receipt(300))
    assert execute(["receipt", "verify", str(file), "--key", log.key]) == 0
    assert "purpose: marketing" in capsys.readouterr().out
    file.write_bytes(log.receipt(300).replace(b"index 300", b"index 301"))
    assert execute(["receipt", "verify", str(file), "--key", log.key, "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["findings"][0]["code"] == "inclusion_wrong"
    assert said.out.count("\n") == 1
