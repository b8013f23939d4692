"""A hub whose logs two witnesses cosign, and an auditor who trusts one key of the log and both of theirs."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tabellion.ledger import note

from .processes import Running, Tabellion, eventually

LOOPBACK = {"TABELLION_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8"}
SIDE = ("--workspace", "acme", "--mode", "live")
REFUSAL = {"channel": "email", "purpose": "marketing", "decision": "withdrawn", "method": "form", "source": "footer"}


@dataclass
class Witnessed:
    """The hub, its witnesses, and where the policy lies that asks for both."""

    hub: Tabellion
    running: Running
    witnesses: list[Running]
    keys: list[str]
    policy: Path
    token: str
    size: int = 0

    @property
    def environ(self) -> dict[str, str]:
        return {**LOOPBACK, "TABELLION_WITNESS_POLICY": str(self.policy)}

    def introduce(self) -> None:
        """Tell both witnesses the keys of the hub's logs, as their operators do."""
        told = "".join(f"{one}\n" for one in self.hub.json("ledger", "keys")["keys"])
        for number in range(2):
            subprocess.run(
                [*self.hub.command, "witness", "trust", "--dir", str(self.policy.parent / f"w{number}")],
                input=told, env=dict(os.environ), capture_output=True, text=True, check=True,
            )  # fmt: skip

    def decide(self, *, shown: bool = True) -> None:
        """One more decision; with `shown`, not before the log shows it."""
        said = {**REFUSAL, "recipient": {"email": f"person.{self.size}@example.org"}}
        with self.running.client(self.token) as client:
            assert client.post("/v1/consents", json=said).status_code == 201
        self.size += 1
        if shown:
            assert eventually(lambda: self.published() == self.size)

    def published(self) -> int:
        with self.running.client(self.token) as client:
            answer = client.get("/v1/ledger/checkpoint")
        return note.parse_checkpoint(note.parse(answer.text).text).size if answer.status_code == 200 else 0

    def copy(self, folder: Path) -> dict[str, Any]:
        return self.hub.json("export", "ledger", *SIDE, "--to", str(folder), **self.environ)

    def verify(self, folder: Path, *more: str) -> tuple[int, dict[str, Any]]:
        """By a process that has no hub."""
        witnesses = [word for key in self.keys for word in ("--witness", key)]
        words = ("ledger", "verify", "--from", str(folder), *witnesses, "--quorum", "2", *more, "--json")
        done = subprocess.run(
            [*self.hub.command, *words],
            env=dict(os.environ), cwd=folder.parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, said


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Witnessed]:
    hub = Tabellion(tmp_path)
    witnesses, keys, lines = [], [], []
    for number in range(2):
        name = f"w{number}.example/1"
        words = ("witness", "run", "--dir", str(tmp_path / f"w{number}"), "--listen", "127.0.0.1:0", "--name", name)
        witnesses.append(hub.start(*words).started())
        key = hub.json("witness", "key", "--dir", str(tmp_path / f"w{number}"))["key"]
        keys.append(key)
        lines.append(f"witness w{number} {key} {witnesses[-1].url}\n")
    policy = tmp_path / "policy"
    policy.write_text("".join(lines) + "group both all w0 w1\nquorum both\n")
    running = hub.up("--witness-policy", str(policy), **LOOPBACK)
    token = hub.key("acme", mode="live", role="compliance")["key"]
    yield Witnessed(hub, running, witnesses, keys, policy, token)
    hub.close()


def test_a_copy_carries_its_quorum_through_a_rotation_and_the_loss_of_a_witness(
    world: Witnessed, tmp_path: Path
) -> None:
    copy, kept = tmp_path / "copy", tmp_path / "kept"
    world.decide(shown=False)
    world.introduce()
    assert eventually(lambda: world.published() == 1), "nothing is shown before both have cosigned"
    world.copy(copy)
    kept.write_bytes((copy / "checkpoint").read_bytes())
    first = (copy / "keys.txt").read_text().strip()
    code, said = world.verify(copy, "--key", first)
    assert (code, sum(one.startswith("cosigned by") for one in said["holds"])) == (0, 2)

    # The key is replaced. The witnesses do not know the new one until they are told, and nothing is shown meanwhile.
    world.hub.json("ledger", "rotate-key", *SIDE, **world.environ)
    world.decide(shown=False)
    with world.running.client(world.token) as client:
        refused = eventually(lambda: _troubles(world) or None)
        receipt = client.get("/v1/ledger/checkpoint").text
    assert any("403" in one for one in refused)
    assert note.parse_checkpoint(note.parse(receipt).text).size == 1
    world.introduce()
    assert eventually(lambda: world.published() == 2)
    world.decide()
    world.copy(copy)
    code, said = world.verify(copy, "--key", first)
    assert (code, [one["code"] for one in said["findings"]]) == (1, ["signature_missing"]), (
        "whoever knows the old key only"
    )
    assert "has changed its key" in said["findings"][0]["text"]
    code, said = world.verify(copy, "--keys", str(copy / "keys.json"), "--since", str(kept))
    assert (code, said["findings"], said["size"]) == (0, [], 3)
    assert sum(one.startswith("cosigned by") for one in said["holds"]) == 2
    assert "the log begins with the 1 entries seen before" in said["holds"]

    # One witness is gone: what is recorded now is not shown, and the copy is of what both have seen.
    assert world.witnesses[1].stop() == 0
    world.decide(shown=False)
    later = tmp_path / "later"
    assert world.copy(later)["size"] == 3
    assert world.verify(later, "--keys", str(copy / "keys.json"))[0] == 0
    line = (later / "checkpoint").read_text().splitlines(keepends=True)
    (later / "checkpoint").write_text("".join(one for one in line if not one.startswith("— w1.example/1")))
    code, said = world.verify(later, "--keys", str(copy / "keys.json"))
    assert (code, "quorum_missing" in {one["code"] for one in said["findings"]}) == (1, True)


def _troubles(world: Witnessed) -> list[str]:
    done = world.hub.run("doctor", "--json", **world.environ)
    return [one["text"] for one in json.loads(done.stdout)["findings"] if "(403)" in one["text"]]


def test_a_hub_killed_between_commit_and_publishing_shows_it_after_the_restart(
    world: Witnessed, tmp_path: Path
) -> None:
    """And a witness killed after it cosigned stands where it stood: the same head is cosigned again."""
    world.decide(shown=False)
    world.introduce()
    assert eventually(lambda: world.published() == 1)
    world.decide(shown=False)
    world.running.kill()
    for one in world.witnesses:
        one.kill()
    ports = [one.url.rpartition(":")[2] for one in world.witnesses]
    for number, port in enumerate(ports):
        words = ("witness", "run", "--dir", str(tmp_path / f"w{number}"), "--listen", f"127.0.0.1:{port}")
        world.hub.start(*words).started()
    world.running = world.hub.up("--witness-policy", str(world.policy), **LOOPBACK)
    assert eventually(lambda: world.published() == 2)
    world.copy(tmp_path / "copy")
    assert world.verify(tmp_path / "copy", "--keys", str(tmp_path / "copy/keys.json"))[0] == 0
