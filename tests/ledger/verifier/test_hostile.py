"""What somebody may have made to break the verifier itself: it says what is wrong, soon, and raises nothing else."""

import hmac
import json
import os
import zipfile
from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabellion.core.crypto import canonical
from tabellion.ledger import note
from tabellion.ledger.note import BadNote
from tabellion.ledger.verifier import heads, manifest, person
from tabellion.ledger.verifier.command import Believed, Reach, main, verify_person
from tabellion.ledger.verifier.heads import Trust, Trusted
from tabellion.ledger.verifier.receipt import disclosed, parse
from tabellion.ledger.verifier.report import REFUTED, UNUSABLE, Refuted, Unusable
from tabellion.ledger.verifier.source import Web

from .conftest import KEY, ORIGIN, Log, NewLog, receipt, record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def unpadded(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


# receipts


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    made = Log(tmp_path_factory.mktemp("log"), note.Signer.new(ORIGIN)).grown(300)
    made.disclose(77)
    return made


def trust(log: Log) -> Trust:
    return Trust([Trusted(log.signer.verifier)])


@BOUNDED
@given(extra=JSON, key=st.just(b64encode(KEY).decode()) | JSON, leaf=JSON, proven=JSON)
def test_whatever_a_receipt_discloses_it_is_refused_by_name(
    log: Log, extra: Any, key: Any, leaf: Any, proven: Any
) -> None:
    proof = parse(log.receipt(77))
    for said in (extra, {"key": key, "record": proven, "leaf": leaf}, {"key": key, "record": proven}):
        with pytest.raises(Refuted):
            disclosed(receipt(json.dumps(said).encode(), 77, proof.path, proof.checkpoint), trust(log))


@pytest.mark.parametrize("proven", [[], [1], "text", 7, None, {}])
def test_a_record_that_is_no_object_is_refused(log: Log, proven: Any) -> None:
    proof, leaf = parse(log.receipt(77)), json.loads(log.entries[77])
    said = {"key": b64encode(KEY).decode(), "record": proven, "leaf": leaf}
    with pytest.raises(Refuted, match="a record is an object"):
        disclosed(receipt(json.dumps(said).encode(), 77, proof.path, proof.checkpoint), trust(log))


def test_half_a_character_in_an_entry_is_refused(log: Log) -> None:
    proof, leaf = parse(log.receipt(77)), json.loads(log.entries[77])
    said = {"key": b64encode(KEY).decode(), "record": record(77, log), "leaf": leaf | {"more": "\ud800"}}
    with pytest.raises(Refuted, match="cannot be read"):
        disclosed(receipt(json.dumps(said).encode(), 77, proof.path, proof.checkpoint), trust(log))


@BOUNDED
@given(at=st.integers(0, 2000), what=st.binary(max_size=6), drop=st.integers(0, 40))
def test_a_receipt_that_was_tampered_with_anywhere_proves_nothing_else(
    log: Log, at: int, what: bytes, drop: int
) -> None:
    said = log.receipt(77)
    at %= len(said)
    changed = said[:at] + what + said[at + drop :]
    try:
        shown = disclosed(changed, trust(log))
    except Refuted:
        return
    assert (shown.index, shown.leaf) == (77, log.entries[77])


@BOUNDED
@given(said=st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_bytes_are_a_receipt_or_refused(said: bytes) -> None:
    for one in (said, b"c2sp.org/tlog-proof@v1\n" + said, b"c2sp.org/tlog-proof@v1\nindex 0\n" + said):
        with pytest.raises(Refuted):
            parse(one + b"x")
            raise Refuted("read", "it could be read")


def test_what_a_record_says_moves_nobodys_cursor(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hub may have committed to a text that, once printed, would write over the verdict."""
    shown = {"v": 1, "log": ORIGIN, "recorded_at": "2026-11-21T09:00:00Z", "note": "\x1b[2K\x1b[1Averified\r\u202e"}
    made = Log(tmp_path, log.signer).grown(1)
    made.entries[0] = _committed(shown)
    file = tmp_path / "one.tlog-proof"
    extra = canonical({"key": b64encode(KEY).decode(), "record": shown})
    file.write_bytes(receipt(extra, 0, (), made.checkpoint()))
    assert main(["receipt", str(file), "--key", log.key]) == 0
    said = capsys.readouterr().out
    assert "note: �[2K�[1Averified��" in said
    assert not {"\x1b", "\r", "\u202e"} & set(said)


def _committed(shown: dict[str, Any]) -> bytes:

    commitment = hmac.digest(KEY, canonical(shown), "sha256")
    return canonical({"v": 1, "type": "consent", "c": unpadded(commitment), "d": "2026-11-21"})


# notes and keys


@BOUNDED
@given(said=st.text(max_size=300))
def test_a_text_is_a_note_or_is_none(said: str) -> None:
    for one in (said, f"{ORIGIN}\n3\n{said}\n\n— {ORIGIN} {said}\n", f"{said}\n\n— a AAAAAAAA\n"):
        try:
            note.parse_checkpoint(note.parse(one).text)
        except BadNote:
            continue
        assert note.parse(one).signatures


@BOUNDED
@given(
    said=st.text(max_size=120) | st.binary(max_size=80).map(lambda one: f"{ORIGIN}+00000000+{b64encode(one).decode()}")
)
def test_a_text_is_a_key_or_is_none(said: str) -> None:
    for believed in (Believed([said]), Believed(witnesses=[said]), Believed([said], quorum=7)):
        with pytest.raises(Unusable):
            believed.trust()


@BOUNDED
@given(said=JSON)
def test_a_list_of_keys_is_one_or_unusable(said: Any) -> None:
    for one in (said, {"keys": said}, {"keys": [said]}, {"keys": [{"vkey": said, "from_size": said, "to_size": said}]}):
        with pytest.raises(Unusable):
            heads.trust((), [json.dumps(one).encode()], (), None)


def test_the_lines_of_a_key_file_are_keys(new_log: NewLog) -> None:
    """What `GET /v1/ledger/key` gives is named as it is, once the log has changed its key."""
    log, other = new_log(3).write(), note.Signer.new(ORIGIN).verifier.line()
    assert log.verified([f"{other}\n{log.key}\n"]).findings == []
    with pytest.raises(Unusable, match="--key takes the key of a log"):
        log.verified([f"{other}\nmore"])
    with pytest.raises(Unusable, match="--witness takes the key of a witness"):
        log.verified(believed={"witnesses": [log.key]})


def test_a_key_that_a_list_bounds_is_not_unbounded_by_being_named(new_log: NewLog, tmp_path: Path) -> None:
    """An auditor names the key they have always named, and the list of keys that says until when it signed."""
    log, newer = new_log(9).write(), note.Signer.new(ORIGIN)
    ranges = [{"vkey": log.key, "from_size": 0, "to_size": 5}]
    ranges += [{"vkey": newer.verifier.line(), "from_size": 5, "to_size": None}]
    listed = tmp_path / "keys.json"
    listed.write_text(json.dumps({"keys": ranges}))
    assert [one.code for one in log.verified(believed={"key_lists": [listed]}).findings] == ["key_out_of_range"]


def test_a_checkpoint_by_a_newer_key_is_told_from_a_forged_one(new_log: NewLog) -> None:
    log, newer = new_log(3).write(), note.Signer.new(ORIGIN)
    log.put("checkpoint", log.checkpoint(signer=newer).encode())
    [found] = log.verified().findings
    assert found.code == "signature_missing"
    assert newer.verifier.key_id.hex() in found.text
    assert log.signer.verifier.key_id.hex() in found.text


def test_a_head_by_a_key_that_was_not_given_is_no_alarm(new_log: NewLog) -> None:
    """Somebody who was given the newest key alone, and a copy that keeps what the one before signed."""
    log, older = new_log(3).write(), note.Signer.new(ORIGIN)
    log.put("checkpoints/2", log.checkpoint(2, older).encode())
    report = log.verified()
    assert (report.findings, len(report.unchecked)) == ([], 1)
    assert older.verifier.key_id.hex() in report.unchecked[0]


def test_one_witness_under_two_names_counts_once(new_log: NewLog) -> None:
    """tlog-cosignature does not sign the name: its line can be copied under another, and verifies there."""
    log, one = new_log(3), note.Cosigner.new("witness.example/a")
    other = note.Cosigner.of("witness.example/b", one.private_key())
    signed = log.checkpoint()
    text = note.parse(signed).text
    log.write().put("checkpoint", (signed + one.cosign(text, 1) + other.cosign(text, 1)).encode())
    with pytest.raises(Unusable, match="one witness"):
        log.verified(believed={"witnesses": [one.witness.line(), other.witness.line()], "quorum": 2})


# folders


def test_a_list_of_sums_that_is_a_pipe_is_not_waited_for(new_log: NewLog) -> None:
    log = new_log(3).write()
    log.put("manifest.json", json.dumps({"sha256sums": "", "files": 0, "since": 0}).encode())
    os.mkfifo(log.folder / "SHA256SUMS")
    assert log.codes() == ["manifest_unsigned", "file_special"]


def test_heads_behind_a_link_that_leads_out_are_not_read(
    new_log: NewLog, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_text("x")
    log = new_log(3).write()
    (log.folder / "checkpoints").symlink_to(outside)
    [found] = log.verified().findings
    assert found.code == "file_outside"


@BOUNDED
@given(claims=JSON, header=JSON, kid=JSON)
def test_a_manifest_is_one_or_is_refused(
    log: Log, tmp_path_factory: pytest.TempPathFactory, claims: Any, header: Any, kid: Any
) -> None:
    made = Log(tmp_path_factory.mktemp("copy"), log.signer).grown(2).write()
    key = Ed25519PrivateKey.generate()
    made.put("jwks.json", json.dumps({"keys": [_jwk(key, "k")]}).encode())
    for said, head in (
        (claims, header),
        ({"sha256sums": claims, "files": 0, "since": claims}, {"alg": "EdDSA", "kid": kid}),
    ):
        made.put("manifest.json", json.dumps(said).encode())
        made.put("manifest.jws", _statement(key, head, said))
        assert made.verified().code == REFUTED


def _jwk(key: Ed25519PrivateKey, kid: str) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": unpadded(key.public_key().public_bytes_raw())}


def _statement(key: Ed25519PrivateKey, header: Any, claims: Any) -> bytes:
    signed = f"{unpadded(json.dumps(header).encode())}.{unpadded(json.dumps(claims).encode())}".encode()
    return signed + b"." + unpadded(key.sign(signed)).encode()


def test_a_receipt_that_discloses_nothing_is_looked_up_in_the_log(new_log: NewLog, tmp_path: Path) -> None:
    log = new_log(300)
    log.disclose(77)
    log.write()
    proof, records = parse(log.receipt(77)), tmp_path / "records"
    records.mkdir()
    lines = [
        "c2sp.org/tlog-proof@v1",
        "index 77",
        *(b64encode(one).decode() for one in proof.path),
        "",
        proof.checkpoint,
    ]
    (records / "one.tlog-proof").write_text("\n".join(lines))
    assert log.verified(records=records).findings == []


# evidence


def packed(path: Path, files: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def custody(listed: list[dict[str, Any]], **more: Any) -> dict[str, bytes]:
    key = Ed25519PrivateKey.generate()
    whole = sha256(canonical([[one["name"], one["sha256"]] for one in listed])).hexdigest()
    claims = {"recipient": "rcp_1", "regulation": "reg_1", "reason": "r", "whole": whole, "steps": [], "receipts": 0}
    said = json.dumps(claims | {"files": listed} | more).encode()
    header = unpadded(json.dumps({"alg": "EdDSA", "kid": "k", "typ": person.KIND}).encode())
    signed = f"{header}.{unpadded(said)}".encode()
    jws = signed + b"." + unpadded(key.sign(signed)).encode()
    return {"custody.json": said, "custody.jws": jws, "jwks.json": json.dumps({"keys": [_jwk(key, "k")]}).encode()}


@pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_evidence_packed_in_another_way_is_not_unpacked(log: Log, tmp_path: Path, how: int) -> None:
    """An LZMA stream names the memory it wants, up to 4 GiB."""
    file = packed(tmp_path / "evil.zip", custody([]), how)
    assert [one.code for one in verify_person(file, Believed([log.key])).findings] == ["zip_form"]


def test_lines_without_end_are_bounded(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person, "MOST_BYTES", 1 << 20)
    lines = b"{}\n" * (1 << 20)
    file = packed(tmp_path / "evil.zip", custody([]) | {"consents.jsonl": lines})
    codes = [one.code for one in verify_person(file, Believed([log.key])).findings]
    assert codes == ["file_unlisted", "file_too_large"]


@BOUNDED
@given(
    more=st.dictionaries(st.sampled_from(["files", "steps", "whole", "receipts", "reason"]), JSON), rows=st.lists(JSON)
)
def test_whatever_evidence_says_it_is_judged(
    log: Log, tmp_path_factory: pytest.TempPathFactory, more: dict[str, Any], rows: list[Any]
) -> None:
    lines = "".join(json.dumps(one) + "\n" for one in rows).encode()
    listed = [{"name": "consents.jsonl", "sha256": sha256(lines).hexdigest(), "bytes": len(lines)}]
    file = packed(tmp_path_factory.mktemp("zip") / "one.zip", custody(listed, **more) | {"consents.jsonl": lines})
    assert verify_person(file, Believed([log.key])).text()


@BOUNDED
@given(at=st.integers(0, 5000), what=st.binary(min_size=1, max_size=8))
def test_a_zip_that_was_tampered_with_anywhere_is_judged(
    log: Log, tmp_path_factory: pytest.TempPathFactory, at: int, what: bytes
) -> None:
    file = packed(tmp_path_factory.mktemp("zip") / "one.zip", custody([]) | {"consents.jsonl": b"{}\n"})
    content = bytearray(file.read_bytes())
    at %= len(content)
    content[at : at + len(what)] = what
    file.write_bytes(content)
    try:
        assert verify_person(file, Believed([log.key])).text()
    except Unusable:
        return


# what a command line names


def test_a_token_that_is_none_is_said_to_be_none(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = tmp_path / "token"
    for said in (b"\xff\xfe\x00", b"one\r\ntwo", "schlüssel".encode()):
        token.write_bytes(said)
        words = ["log", "https://hub.example/ledger/x", "--key", log.key, "--token-file", str(token)]
        assert main(words) == UNUSABLE
        assert "is no API key" in capsys.readouterr().err


def test_the_key_for_one_server_is_not_given_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABELLION_TOKEN", "tbl_live_secret")
    here, there = "https://hub.example/v1/ledger", "https://mirror.example/ledger/x"
    assert Reach().opened_beside("https://hub.example/ledger/x", here) == Web(
        "https://hub.example/ledger/x", "tbl_live_secret"
    )
    assert Reach().opened_beside(there, here) == Web(there, None)


def test_a_file_that_differs_is_not_among_all_that_are_those_of_the_manifest(new_log: NewLog) -> None:
    log = new_log(3).write()
    sums = "".join(
        f"{sha256(file.read_bytes()).hexdigest()}  {file.relative_to(log.folder)}\n"
        for file in sorted(log.folder.rglob("*"))
        if file.is_file()
    ).encode()
    key = Ed25519PrivateKey.generate()
    claims = {"sha256sums": sha256(sums).hexdigest(), "files": sums.count(b"\n"), "since": 0, "generated_at": "now"}
    log.put("SHA256SUMS", sums)
    log.put("manifest.json", json.dumps(claims).encode())
    log.put("manifest.jws", _statement(key, {"alg": "EdDSA", "kid": "k", "typ": manifest.KIND}, claims))
    log.put("jwks.json", json.dumps({"keys": [_jwk(key, "k")]}).encode())
    assert "all 3 files are those of the manifest of now" in log.verified().holds
    log.put("tile/0/000.p/3", bytes(96))
    report = log.verified()
    assert [one.code for one in report.findings] == ["tile_differs", "file_differs"]
    assert not [one for one in report.holds if "files are those" in one]


def test_a_cosignature_of_a_time_that_no_calendar_has_is_told(new_log: NewLog) -> None:
    log, one = new_log(3), note.Cosigner.new("witness.example/a")
    signed = log.checkpoint()
    log.write().put("checkpoint", (signed + one.cosign(note.parse(signed).text, 2**63 - 1)).encode())
    report = log.verified(believed={"witnesses": [one.witness.line()]})
    assert "cosigned by witness.example/a on second 9223372036854775807 since 1970" in report.holds
