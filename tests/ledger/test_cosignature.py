"""C2SP tlog-cosignature: what a witness says of a checkpoint, and whose word counts."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tabellion.ledger import note
from tabellion.ledger.note import BadNote, Checkpoint, Cosigner, Signer, Verifier, Witness

TEXT = Checkpoint("example.org/log", 3, bytes(32)).text()
AT = 1_679_315_147
LOG = Signer.of("example.org/log", bytes(range(32)))
ONE, TWO = Cosigner.of("w.example/1", b"1" * 32), Cosigner.of("w.example/2", b"2" * 32)

PUBLIC = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
"""  # noqa: E501
"""A checkpoint of a public log, as its witnesses cosigned it."""
WITNESSES = (
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
)
PUBLIC_LOG = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"


def test_the_checkpoint_of_a_public_log_and_its_witnesses_verify() -> None:
    witnesses = [note.parse_witness(line) for line in WITNESSES]
    assert [one.line() for one in witnesses] == list(WITNESSES)
    assert note.verify_checkpoint(PUBLIC, [note.parse_verifier(PUBLIC_LOG)]).size == 1_432_088_532
    found = note.verify_cosignatures(PUBLIC, witnesses)
    assert [one.witness for one in found] == witnesses
    assert {one.at for one in found} == {0x6A122120}
    with pytest.raises(BadNote, match="wrong"):
        note.verify_cosignatures(PUBLIC.replace("1432088532", "1432088533"), witnesses)


def test_a_cosignature_verifies_with_cryptography_alone() -> None:
    dash, name, encoded = ONE.cosign(TEXT, AT).rstrip("\n").split(" ")
    raw, key = base64.b64decode(encoded), base64.b64decode(ONE.witness.line().split("+", 2)[2])
    assert (dash, name, key[:1], int.from_bytes(raw[4:12], "big")) == ("—", "w.example/1", b"\x04", AT)
    signed = f"cosignature/v1\ntime {AT}\n{TEXT}".encode()
    Ed25519PublicKey.from_public_bytes(key[1:]).verify(raw[12:], signed)


def test_only_trusted_witnesses_count() -> None:
    cosigned = LOG.sign(TEXT) + ONE.cosign(TEXT, AT) + TWO.cosign(TEXT, AT + 1)
    assert note.verify_cosignatures(cosigned, []) == []
    assert [one.at for one in note.verify_cosignatures(cosigned, [TWO.witness])] == [AT + 1]
    renamed = Witness("w.example/other", ONE.witness.public_key)
    assert note.verify_cosignatures(cosigned, [renamed]) == []
    assert note.verify_checkpoint(cosigned, [LOG.verifier]).size == 3


def test_a_log_key_is_no_witness_key_and_the_other_way_round() -> None:
    same = Verifier(ONE.name, ONE.witness.public_key)
    with pytest.raises(BadNote, match="witness key"):
        note.parse_witness(same.line())
    with pytest.raises(BadNote, match="log key"):
        note.parse_verifier(ONE.witness.line())
    with pytest.raises(BadNote, match="no trusted key"):
        note.verify(LOG.sign(TEXT) + ONE.cosign(TEXT, AT), [same])


@pytest.mark.parametrize(
    "line",
    [
        ONE.cosign(Checkpoint("example.org/log", 3, b"x" * 32).text(), AT),
        note.Signature(ONE.name, ONE.witness.key_id, (AT + 1).to_bytes(8, "big") + bytes(64)).line(),
        note.Signature(ONE.name, ONE.witness.key_id, b"short").line(),
        ONE.cosign(TEXT, 0),
        ONE.cosign(TEXT, 1 << 63),
    ],
)
def test_a_wrong_cosignature_never_counts(line: str) -> None:
    with pytest.raises(BadNote, match="wrong"):
        note.verify_cosignatures(LOG.sign(TEXT) + line, [ONE.witness])


def test_a_plain_signature_under_the_name_of_a_witness_is_nobodys() -> None:
    plain = Signer.of(ONE.name, ONE.private_key()).sign(TEXT).rpartition("\n\n")[2]
    assert note.verify_cosignatures(LOG.sign(TEXT) + plain, [ONE.witness]) == []


def test_the_time_is_signed_along() -> None:
    raw = base64.b64decode(ONE.cosign(TEXT, AT).split(" ")[2])
    later = note.Signature(ONE.name, ONE.witness.key_id, (AT + 1).to_bytes(8, "big") + raw[12:])
    with pytest.raises(BadNote, match="wrong"):
        note.verify_cosignatures(LOG.sign(TEXT) + later.line(), [ONE.witness])


def test_of_several_statements_the_latest_stands() -> None:
    lines = [ONE.cosign(TEXT, at) for at in (AT, AT + 9, AT + 3)]
    assert [one.at for one in note.verify_cosignatures(LOG.sign(TEXT) + "".join(lines), [ONE.witness])] == [AT + 9]


def test_what_is_no_checkpoint_has_no_cosignatures() -> None:
    with pytest.raises(BadNote):
        note.verify_cosignatures(LOG.sign("any text\n") + ONE.cosign("any text\n", AT), [ONE.witness])


@given(st.integers(1, 2**63 - 1), st.integers(0, 2**40), st.sampled_from(["", "extension\n"]))
def test_any_cosignature_survives_being_written_and_read(at: int, size: int, extension: str) -> None:
    text = Checkpoint("example.org/log", size, bytes(32)).text() + extension
    (found,) = note.verify_cosignatures(LOG.sign(text) + ONE.cosign(text, at), [ONE.witness])
    assert (found.at, found.signature.line()) == (at, ONE.cosign(text, at))


@pytest.mark.parametrize("name", ["", "a name", "a+name"])
def test_a_cosigner_has_a_name_that_a_note_can_hold(name: str) -> None:
    with pytest.raises(BadNote):
        Cosigner.new(name)


def test_a_cosigner_does_not_show_its_key() -> None:
    assert repr(ONE) == "Cosigner('w.example/1', ••••)"
    assert Cosigner.of(ONE.name, ONE.private_key()).witness == note.parse_witness(ONE.witness.line())
