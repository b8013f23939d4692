"""A receipt verifies by itself, or the verifier says what is wrong with it."""

import hmac
import json
from pathlib import Path

import pytest

from tabellion.core.crypto import b64url, canonical
from tabellion.ledger import note
from tabellion.ledger.verifier.command import Believed, main, verify_receipt
from tabellion.ledger.verifier.receipt import parse
from tabellion.ledger.verifier.report import Refuted

from .conftest import DAY, KEY, ORIGIN, Log, NewLog, b64, receipt, record


@pytest.fixture
def log(new_log: NewLog) -> Log:
    made = new_log(600)
    made.disclose(77)
    return made


def codes(log: Log, said: bytes, tmp_path: Path, **believed: object) -> list[str]:
    file = tmp_path / "one.tlog-proof"
    file.write_bytes(said)
    return [one.code for one in verify_receipt(file, Believed([log.key], **believed)).findings]  # type: ignore[arg-type]


def test_a_receipt_proves_its_record(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "one.tlog-proof"
    file.write_bytes(log.receipt(77))
    assert main(["receipt", str(file), "--key", log.key]) == 0
    said = capsys.readouterr().out
    assert "verified" in said
    assert "decision: granted" in said
    assert main(["receipt", str(file), "--key", log.key, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["verified"], told["index"], told["record"]) == (True, 77, record(77, log))


def test_every_character_of_a_receipt_counts(log: Log, tmp_path: Path) -> None:
    """But for an unknown witness's line there is nothing in it that could be otherwise."""
    said = log.receipt(77, 100)
    for place in range(0, len(said), 3):
        other = said[:place] + (b"A" if said[place : place + 1] != b"A" else b"B") + said[place + 1 :]
        assert codes(log, other, tmp_path), said[place - 10 : place + 10]
    assert codes(log, said, tmp_path) == []


def test_a_record_that_was_not_committed_to_is_refused(log: Log, tmp_path: Path) -> None:
    proof = parse(log.receipt(77))
    for change in ({"decision": "withdrawn"}, {"more": True}):
        said = {"key": b64url(KEY), "leaf": json.loads(log.entries[77]), "record": record(77, log) | change}
        assert codes(log, receipt(canonical(said), 77, proof.path, proof.checkpoint), tmp_path) == ["commitment_wrong"]


def test_an_entry_of_another_place_or_log_is_refused(log: Log, tmp_path: Path, new_log: NewLog) -> None:
    proof = parse(log.receipt(77))
    assert codes(log, receipt(proof.extra, 78, proof.path, proof.checkpoint), tmp_path) == ["inclusion_wrong"]
    other = new_log(5, "other", ORIGIN[:-1] + "2")
    assert codes(log, receipt(proof.extra, 77, proof.path, other.checkpoint()), tmp_path) == ["origin_wrong"]
    other.entries[0] = log.entries[77]
    moved = Log(other.folder, other.signer, other.entries)
    said = receipt(proof.extra, 0, parse(_undisclosed(moved, 0)).path, moved.checkpoint())
    assert codes(other, said, tmp_path) == ["origin_wrong"], "the record names its log"


def _undisclosed(log: Log, index: int) -> bytes:
    made = log.receipt(index)
    return b"\n".join(line for line in made.split(b"\n") if not line.startswith(b"extra "))


def test_a_receipt_that_discloses_nothing_proves_its_entry_with_the_log(log: Log, tmp_path: Path) -> None:
    said = _undisclosed(log, 77)
    assert codes(log, said, tmp_path) == ["nothing_disclosed"]
    file = tmp_path / "one.tlog-proof"
    report = verify_receipt(file, Believed([log.key]), str(log.write().folder))
    assert (report.findings, report.facts["index"], report.facts["record"]) == ([], 77, {})
    log.entries[77] = log.entries[78]
    report = verify_receipt(file, Believed([log.key]), str(log.write().folder))
    assert [one.code for one in report.findings] == ["inclusion_wrong"]


def test_the_leaf_follows_from_the_record(log: Log, tmp_path: Path) -> None:
    """As a hub issues it: the record and its key, and nothing beside."""
    whole = record(77, log) | {"recorded_at": f"{DAY}T09:00:00.000Z"}
    log.entries[77] = canonical(
        {"v": 1, "type": "consent", "c": b64url(hmac.digest(KEY, canonical(whole), "sha256")), "d": DAY}
    )
    proof = parse(log.receipt(77))
    for extra in ({"key": b64(KEY), "record": whole}, {"key": b64url(KEY), "record": whole, "unwitnessed": True}):
        assert codes(log, receipt(canonical(extra), 77, proof.path, proof.checkpoint), tmp_path) == []
    later = {"key": b64(KEY), "record": whole | {"recorded_at": "2026-11-22T09:00:00.000Z"}}
    assert codes(log, receipt(canonical(later), 77, proof.path, proof.checkpoint), tmp_path) == ["inclusion_wrong"]


def test_witnesses_are_counted(log: Log, tmp_path: Path) -> None:
    witness = note.Cosigner.new("one.example/w")
    said = log.receipt(77).decode()
    assert codes(log, said.encode(), tmp_path, witnesses=[witness.witness.line()]) == ["quorum_missing"]
    said += witness.cosign(note.parse(log.checkpoint()).text, 1_800_000_000)
    assert codes(log, said.encode(), tmp_path, witnesses=[witness.witness.line()]) == []


@pytest.mark.parametrize(
    "extra",
    [
        b"{", b"[]", b'"x"', b'{"key":"","leaf":{},"record":{}}', b'{"record":1}', b'{"record":null}',
        b"[" * 100_000, b'{"key":1.5}',
        b'{"key":"AA","key":"AA","leaf":{"c":"AA"},"record":{}}', b'{"key":"AA","leaf":[],"record":null}', b"\xff",
        b'{"key":"AA","leaf":{"c":"AA"},"record":' + b'{"a":' * 50 + b"1" + b"}" * 51, b'{"key":NaN}',
    ],
)  # fmt: skip
def test_what_nobody_can_read_is_refused(log: Log, tmp_path: Path, extra: bytes) -> None:
    proof = parse(log.receipt(77))
    said = receipt(extra, 77, proof.path, proof.checkpoint)
    assert codes(log, said, tmp_path) == ["receipt_form"]


@pytest.mark.parametrize("said", [
    b"", b"\n\n", b"\xff\xfe", b"c2sp.org/tlog-proof@v1\n\n", b"c2sp.org/tlog-proof@v2\nindex 1\n\nx",
    b"c2sp.org/tlog-proof@v1\nindex 01\n\nx", b"c2sp.org/tlog-proof@v1\nindex 99999999999999999999\n\nx",
    b"c2sp.org/tlog-proof@v1\nindex 1\n" + b"AAAA\n" * 70 + b"\nx", b"c2sp.org/tlog-proof@v1\nindex -1\n\nx",
])  # fmt: skip
def test_what_is_no_receipt_is_refused(said: bytes) -> None:
    with pytest.raises(Refuted, match="cannot be read"):
        parse(said)


def test_a_receipt_of_a_tree_as_large_as_a_number_can_be_is_no_work(log: Log, tmp_path: Path) -> None:
    proof = parse(log.receipt(77))
    huge = log.signer.sign(note.Checkpoint(ORIGIN, 2**60, bytes(32)).text())
    assert codes(log, receipt(proof.extra, 77, proof.path, huge), tmp_path) == ["size_absurd"]
    assert b64(b"x")
