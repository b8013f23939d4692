"""The policy that an installation is told, the witness that it is, and what doctor says of both."""

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from tabellion.app.doctor import Level, examine
from tabellion.app.witnesses import named_folder, open_witness, read_policy, snippet, trust
from tabellion.core.clock import FakeClock, SystemClock
from tabellion.core.config import Settings, load
from tabellion.core.errors import Invalid, Misconfigured
from tabellion.ledger import note
from tabellion.ledger.note import Checkpoint, Cosigner, Signer
from tabellion.ledger.witness import policy
from tabellion.ledger.witness.folder import Folder, hash_of
from tabellion.ledger.witness.submission import Submission

from .processes import Tabellion

ONE = Cosigner.of("one.example", b"1" * 32).witness
LOG = Signer.of("example.org/log", bytes(32))
URL = "https://one.example/witness"


def settings(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "policy"
    file.write_text(text)
    return Settings(witness_policy=file)


def test_what_a_witness_shows_is_a_policy(tmp_path: Path):
    found = read_policy(settings(tmp_path, snippet(ONE, URL)))
    assert found is not None
    assert found.witnesses == (policy.Member("one.example", ONE, URL),)
    assert found.satisfied({ONE})
    assert read_policy(Settings()) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no quorum line"),
        (f"witness w {ONE.line()}\nquorum w\n", "too few"),
        (f"witness w {ONE.line()} ftp://w.example\nquorum w\n", "address of witness w"),
        (f"witness w {ONE.line()} w.example/witness\nquorum w\n", "address of witness w"),
        (f"witness w {ONE.line()} https://w.example?x=1\nquorum w\n", "address of witness w"),
        (f"witness w {ONE.line()}x https://w.example\nquorum w\n", "line 1"),
    ],
)
def test_a_policy_that_cannot_be_met_is_refused_at_the_start(tmp_path: Path, text: str, said: str):
    with pytest.raises(Misconfigured, match=said) as refused:
        read_policy(settings(tmp_path, text))
    assert refused.value.code == "witness_policy_invalid"
    assert str(tmp_path) in refused.value.detail


def test_a_policy_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(Misconfigured, match="No such file"):
        read_policy(Settings(witness_policy=tmp_path / "nothing"))


def test_a_witness_is_told_whom_to_watch(tmp_path: Path):
    folder = Folder(tmp_path / "w")
    with pytest.raises(Misconfigured, match="witness run"):
        trust(folder, [LOG.verifier.line()])
    open_witness(folder.path, FakeClock())
    assert trust(folder, [LOG.verifier.line(), "", LOG.verifier.line()]) == ["example.org/log"]
    assert trust(folder, [LOG.verifier.line()]) == []
    with pytest.raises(Invalid, match="ledger keys"):
        trust(folder, [ONE.line()])
    with pytest.raises(Misconfigured, match="--dir"):
        named_folder(Settings())


async def test_doctor_says_what_it_is_told_before_there_is_a_database(tmp_path: Path):
    open_witness(tmp_path / "w", SystemClock())
    config = load({"TABELLION_DATA": str(tmp_path / "data"), "TABELLION_WITNESS_DIR": str(tmp_path / "w")})
    (found,) = [one for one in await examine(config) if one.name == "witness"]
    assert (found.level, found.data["logs"]) == (Level.OK, 0)
    config = load({"TABELLION_DATA": str(tmp_path / "data"), "TABELLION_WITNESS_DIR": str(tmp_path / "none")})
    (found,) = [one for one in await examine(config) if one.name == "witness"]
    assert (found.level, found.data["code"]) == (Level.WARNING, "witness_missing")


@pytest.fixture
def tabellion(tmp_path: Path):
    made = Tabellion(tmp_path)
    yield made
    made.close()


def test_a_witness_runs_alone(tabellion: Tabellion, tmp_path: Path):
    folder = str(tmp_path / "w")
    assert "[witness_missing]" in tabellion.run("witness", "key", "--dir", folder).stderr
    assert tabellion.run("witness", "key").returncode == 2, "which folder?"
    running = tabellion.start("witness", "run", "--dir", folder, "--listen", "127.0.0.1:0", "--name", "w.example/1")
    running.started()
    said = running.printed()
    found = policy.parse(said.partition("ready ")[0].encode())
    assert (found.witnesses[0].name, found.witnesses[0].url) == ("w.example/1", running.url)
    shown = tabellion.json("witness", "key", "--dir", folder, "--url", running.url)
    assert shown == {"name": "w.example/1", "key": found.witnesses[0].key.line(), "url": running.url}
    signed = LOG.sign(Checkpoint(LOG.name, 3, bytes(32)).text())
    body = Submission(0, (), signed).body()
    assert httpx.post(f"{running.url}/add-checkpoint", content=body).status_code == 404
    piped = subprocess.run(
        [*tabellion.command, "witness", "trust", "--dir", folder], input=LOG.verifier.line() + "\n",
        env=dict(os.environ), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert piped.stdout == "watches example.org/log\n"
    answer = httpx.post(f"{running.url}/add-checkpoint", content=body)
    assert answer.status_code == 200
    assert found.accepts(signed + answer.text)
    assert running.stop() == 0
    again = tabellion.start("witness", "run", "--dir", folder, "--listen", "127.0.0.1:0").started()
    kept = httpx.get(f"{again.url}/{hash_of(LOG.name)}/checkpoint").text
    assert kept == signed + answer.text
    assert [one.at for one in note.verify_cosignatures(kept, [found.witnesses[0].key])]
    assert again.stop() == 0


def test_a_bad_policy_keeps_a_hub_from_starting(tabellion: Tabellion, tmp_path: Path):
    (tmp_path / "policy").write_text("quorum nobody\n")
    done = tabellion.run("up", "--listen", "127.0.0.1:0", "--witness-policy", str(tmp_path / "policy"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "[witness_policy_invalid]" in done.stderr
    assert not tabellion.data.exists(), "it was refused before anything was made"
