"""`tabellion export ledger`, `export person` and `export verify`, as an operator and an auditor use them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabellion.app.cli import execute
from tabellion.ledger.verifier.command import Asked, Believed

from .processes import Tabellion

SIDE = ("--workspace", "acme", "--mode", "live")


@pytest.fixture(scope="module")
def tabellion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tabellion]:
    """An installation with Ann, who wants no marketing."""
    made = Tabellion(tmp_path_factory.mktemp("exporting"))
    made.json("workspace", "create", "acme")
    refused(made, "ann@example.org")
    yield made
    made.close()


def refused(tabellion: Tabellion, *addresses: str) -> None:
    file = tabellion.folder / f"{addresses[0]}.csv"
    file.write_text("email\n" + "\n".join(addresses) + "\n")
    done = tabellion.run("import", "suppressions", str(file), *SIDE)
    assert done.returncode == 0, done.stderr


def keys(folder: Path) -> list[str]:
    return (folder / "keys.txt").read_text().splitlines()


def test_a_copy_grows_with_its_log_and_verifies_each_time(tabellion: Tabellion, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    first = tabellion.json("export", "ledger", *SIDE, "--to", str(copy))
    assert first["size"] > 0
    signed = (copy / "checkpoint").read_bytes()
    assert Asked(str(copy), Believed(keys(copy))).verify().findings == []
    refused(tabellion, *(f"person.{number}@example.org" for number in range(400)))
    second = tabellion.json("export", "ledger", *SIDE, "--to", str(copy))
    assert second["size"] >= first["size"] + 400
    kept = tmp_path / "kept"
    kept.write_bytes(signed)
    report = Asked(str(copy), Believed(keys(copy)), since=kept).verify()
    assert report.findings == []
    assert (copy / "checkpoints" / str(first["size"])).read_bytes() == signed, "what was signed before is kept"
    full = copy / "tile/entries/000"
    full.write_bytes(full.read_bytes()[:-1] + b"!")
    third = tabellion.json("export", "ledger", *SIDE, "--to", str(copy))
    assert third["written"] < second["written"], "full tiles and bundles are not read again"
    assert [one.code for one in Asked(str(copy), Believed(keys(copy))).verify().findings] == [
        "entry_differs",
        "entry_form",
    ]


def test_a_copy_of_another_log_is_not_mixed_in(tabellion: Tabellion, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    tabellion.json("export", "ledger", *SIDE, "--log", "audit", "--to", str(copy))
    assert Asked(str(copy), Believed(keys(copy))).verify().findings == []
    done = tabellion.run("export", "ledger", *SIDE, "--to", str(copy))
    assert (done.returncode, "another log" in done.stderr) == (1, True)


def test_evidence_is_written_and_verified(
    tabellion: Tabellion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, file = tmp_path / "copy", tmp_path / "ann.zip"
    tabellion.json("export", "ledger", *SIDE, "--to", str(copy))
    words = ("export", "person", "ann@example.org", *SIDE, "--to", str(file), "--reason", "case 12/2026")
    made = tabellion.json(*words)
    assert made["bytes"] == file.stat().st_size
    given = [word for key in keys(copy) for word in ("--key", key)]
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes((copy / "jwks.json").read_bytes())
    verify = ["export", "verify", str(file), *given, "--jwks", str(jwks)]
    # The copy was made before the key of the installation signed the custody: it is the same key for both.
    assert execute([*verify, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["by"] for one in told["steps"]] == ["command_line"] * 3
    assert told["reason"] == "case 12/2026"
    file.write_bytes(file.read_bytes()[:-100])
    assert execute(verify) == 2, "half a ZIP is none"


@pytest.mark.parametrize("reason", ["", " "])
def test_evidence_needs_a_reason(tabellion: Tabellion, tmp_path: Path, reason: str) -> None:
    words = ("export", "person", "ann@example.org", *SIDE, "--to", str(tmp_path / "x.zip"), "--reason", reason)
    done = tabellion.run(*words)
    assert (done.returncode, "reason_required" in done.stderr) == (2, True)


def test_a_copy_that_was_interrupted_goes_on_and_verifies(tabellion: Tabellion, tmp_path: Path) -> None:
    """Stopped before its checkpoint and in the middle of a file; the next run is of a larger log."""
    copy = tmp_path / "copy"
    first = tabellion.json("export", "ledger", *SIDE, "--to", str(copy))
    signed = (copy / "checkpoint").read_bytes()
    refused(tabellion, "first@example.org")
    tabellion.json("export", "ledger", *SIDE, "--to", str(copy))
    (copy / "checkpoint").write_bytes(signed)
    (copy / "checkpoints" / str(first["size"])).unlink()
    (copy / "tile/entries/007.writing").write_bytes(b"half")
    refused(tabellion, "second@example.org")
    tabellion.json("export", "ledger", *SIDE, "--to", str(copy))
    report = Asked(str(copy), Believed(keys(copy))).verify()
    assert report.findings == []
    assert not list(copy.rglob("*.writing"))
