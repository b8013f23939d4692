"""Logs as files, made without a hub: what a verifier is given, and what somebody may have done to it."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tabellion.core.crypto import b64url, canonical
from tabellion.ledger import merkle, note
from tabellion.ledger.verifier.command import Asked, Believed
from tabellion.ledger.verifier.report import Report
from tabellion.ledger.verifier.source import path

ORIGIN = "tabellion.log/0192f1c00000700080000000000abcde/0123456789abcdef0123456789abcdef/1"
DAY = "2026-11-21"


def leaf(seed: str, kind: str = "consent") -> bytes:
    return canonical({"v": 1, "type": kind, "c": b64url(hashlib.sha256(seed.encode()).digest()), "d": DAY})


@dataclass
class Log:
    """A log in a folder. `write` writes what it holds, as a whole hub's export would."""

    folder: Path
    signer: note.Signer
    entries: list[bytes] = field(default_factory=list)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        self.key = self.signer.verifier.line()

    def grown(self, count: int) -> "Log":
        have = len(self.entries)
        self.entries += [leaf(f"entry {at}") for at in range(have, have + count)]
        return self

    def checkpoint(self, size: int | None = None, signer: note.Signer | None = None) -> str:
        entries = self.entries[:size]
        root = merkle.root(map(merkle.leaf_hash, entries))
        signer = signer or self.signer
        return signer.sign(note.Checkpoint(signer.name, len(entries), root).text())

    def write(self, *, tiles: bool = True, checkpoint: bool = True) -> "Log":
        self.write_bundles()
        if tiles:
            self.write_tiles()
        if checkpoint:
            self.put("checkpoint", self.checkpoint().encode())
        return self

    def write_bundles(self) -> None:
        for at in range(0, len(self.entries), 256):
            some = self.entries[at : at + 256]
            bundle = b"".join(len(one).to_bytes(2, "big") + one for one in some)
            self.put(path("entries", at // 256, len(some)), bundle)

    def write_tiles(self) -> None:
        level, nodes = 0, [merkle.leaf_hash(one) for one in self.entries]
        while nodes:
            rows = [nodes[at : at + 256] for at in range(0, len(nodes), 256)]
            for index, row in enumerate(rows):
                self.put(path(level, index, len(row)), b"".join(row))
            level, nodes = level + 1, [merkle.root(row) for row in rows if len(row) == 256]

    def put(self, name: str, content: bytes) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def verified(self, keys: Sequence[str] | None = None, **asked: object) -> Report:
        believed = Believed([self.key] if keys is None else keys, **asked.pop("believed", {}))  # type: ignore[arg-type]
        return Asked(str(self.folder), believed, **asked).verify()  # type: ignore[arg-type]

    def codes(self, **asked: object) -> list[str]:
        return [one.code for one in self.verified(**asked).findings]  # type: ignore[arg-type]

    def receipt(self, index: int, size: int | None = None) -> bytes:
        """A receipt for an entry that `disclose` put there."""
        size = size or len(self.entries)
        hashes = [merkle.leaf_hash(one) for one in self.entries[:size]]
        proof = merkle.path(hashes, merkle.inclusion_ranges(index, size))
        extra = canonical({"key": b64url(KEY), "leaf": json.loads(self.entries[index]), "record": record(index, self)})
        return receipt(extra, index, proof, self.checkpoint(size))

    def disclose(self, index: int) -> None:
        """Have an entry commit to a record that is known."""
        commitment = hmac.digest(KEY, canonical(record(index, self)), "sha256")
        self.entries[index] = canonical({"v": 1, "type": "consent", "c": b64url(commitment), "d": DAY})


KEY = bytes(range(32))


def record(index: int, log: Log) -> dict[str, object]:
    return {"v": 1, "log": log.signer.name, "purpose": "marketing", "decision": "granted", "evidence": {"n": index}}


def receipt(extra: bytes, index: int, proof: Iterable[bytes], checkpoint: str) -> bytes:
    lines = ["c2sp.org/tlog-proof@v1", f"extra {b64(extra)}", f"index {index}", *map(b64, proof), "", checkpoint]
    return "\n".join(lines).encode()


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


NewLog = Callable[..., Log]


@pytest.fixture
def new_log(tmp_path: Path) -> NewLog:
    """Makes a log of so many entries, not yet written."""

    def make(count: int, name: str = "log", origin: str = ORIGIN) -> Log:
        return Log(tmp_path / name, note.Signer.new(origin)).grown(count)

    return make
