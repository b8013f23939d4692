import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tabellion.ledger import note
from tabellion.ledger.note import BadNote, Checkpoint, Signer, Verifier

VECTOR = Path(__file__).parents[2].parent / "shared" / "vectors" / "signed-note.json"
TEXT = "example.org/log\n3\n" + base64.b64encode(bytes(32)).decode() + "\n"


@pytest.fixture
def signer() -> Signer:
    return Signer.of("example.org/log", bytes(range(32)))


def test_the_note_of_the_specification_verifies() -> None:
    if not VECTOR.exists():
        pytest.skip(f"{VECTOR} is not here")
    vector = json.loads(VECTOR.read_text())
    verifier = note.parse_verifier(vector["vkey"])
    assert verifier.line() == vector["vkey"]
    assert note.verify(vector["note"], [verifier]) == "This is an example message.\n"
    with pytest.raises(BadNote, match="wrong"):
        note.verify(vector["note"].replace("example message", "exemple message"), [verifier])


def test_a_signed_note_verifies_with_cryptography_alone(signer: Signer) -> None:
    signed = signer.sign(TEXT)
    text, _, line = signed.rpartition("\n\n")
    dash, name, encoded = line.rstrip("\n").split(" ")
    key = base64.b64decode(signer.verifier.line().split("+", 2)[2])
    Ed25519PublicKey.from_public_bytes(key[1:]).verify(base64.b64decode(encoded)[4:], (text + "\n").encode())
    assert (dash, name, key[:1]) == ("—", "example.org/log", b"\x01")


def test_a_verifier_key_survives_being_written_and_read(signer: Signer) -> None:
    assert note.parse_verifier(signer.verifier.line()) == signer.verifier
    assert note.parse_verifier(signer.verifier.line() + "\n") == signer.verifier
    assert Signer.of(signer.name, signer.private_key()).verifier == signer.verifier


@pytest.mark.parametrize(
    "line",
    [
        "",
        "name",
        "name+00000000",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "a name+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/fob+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2",
    ],
)
def test_a_malformed_verifier_key_is_refused(line: str) -> None:
    with pytest.raises(BadNote):
        note.parse_verifier(line)


def test_only_a_trusted_key_counts(signer: Signer) -> None:
    stranger = Signer.of("example.org/log", bytes(32))
    with pytest.raises(BadNote, match="no trusted key"):
        note.verify(signer.sign(TEXT), [stranger.verifier])
    cosigned = signer.sign(TEXT) + stranger.sign(TEXT).rpartition("\n\n")[2]
    assert note.verify(cosigned, [signer.verifier]) == TEXT


def test_a_wrong_signature_of_a_trusted_key_spoils_the_note(signer: Signer) -> None:
    witness = Signer.of("witness.example", bytes(32))
    mixed = signer.sign(TEXT) + witness.sign("other\n").rpartition("\n\n")[2]
    with pytest.raises(BadNote, match=r"witness\.example is wrong"):
        note.verify(mixed, [signer.verifier, witness.verifier])


def test_a_key_is_known_by_name_and_id_together(signer: Signer) -> None:
    """The same public key under another name is another key."""
    renamed = Verifier("example.org/other", signer.verifier.public_key)
    with pytest.raises(BadNote, match="no trusted key"):
        note.verify(signer.sign(TEXT), [renamed])


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40), st.integers(0, 3))
def test_any_text_survives_signing(line: str, empty_lines: int) -> None:
    signer = Signer.of("example.org/log", bytes(range(32)))
    text = f"{line}\n" + "\n" * empty_lines
    assert note.verify(signer.sign(text), [signer.verifier]) == text


@pytest.mark.parametrize("text", ["no newline", "", "tab\there\n", "bell\x07\n", "carriage\r\n"])
def test_text_that_no_note_may_have_is_not_signed(signer: Signer, text: str) -> None:
    with pytest.raises(BadNote):
        signer.sign(text)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda signed: signed[:-1],
        lambda signed: signed + "\n",
        lambda signed: signed.replace("\n\n", "\n"),
        lambda signed: signed.replace("— ", "- "),
        lambda signed: signed.replace("example.org/log ", "example.org+log "),
        lambda signed: signed.replace("\n3\n", "\n3\x00\n"),
        lambda signed: signed.rpartition(" ")[0] + " AAAA\n",
        lambda signed: signed.rpartition(" ")[0] + " !!!!\n",
        lambda signed: signed + "— w.example AAAAAAA=\n" * 100,
    ],
)
def test_a_malformed_note_is_refused(signer: Signer, spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(BadNote):
        note.verify(spoil(signer.sign(TEXT)), [signer.verifier])


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_survives_being_written_and_read(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("example.org/log", size, root)
    assert note.parse_checkpoint(checkpoint.text()) == checkpoint
    assert note.parse_checkpoint(checkpoint.text() + "extension\n") == checkpoint


@pytest.mark.parametrize("size", ["", "03", "-1", "+3", "3.0", " 3", "٣", "9" * 20])
def test_a_tree_size_is_written_in_one_way(size: str) -> None:
    with pytest.raises(BadNote):
        note.parse_checkpoint(TEXT.replace("\n3\n", f"\n{size}\n"))


@pytest.mark.parametrize("text", ["", "a\n3\n", TEXT[:-1], TEXT + "\n", "\n" + TEXT, "a\n3\nAAAA\n"])
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        note.parse_checkpoint(text)


def test_a_checkpoint_counts_only_when_its_own_log_signed(signer: Signer) -> None:
    witness = Signer.of("witness.example", bytes(32))
    trusted = [signer.verifier, witness.verifier]
    assert note.verify_checkpoint(signer.sign(TEXT), trusted).size == 3
    with pytest.raises(BadNote):
        note.verify_checkpoint(witness.sign(TEXT), trusted)


def test_a_signer_does_not_show_its_key(signer: Signer) -> None:
    assert repr(signer) == "Signer('example.org/log', ••••)"
