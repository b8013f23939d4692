"""How many entries a second the verifier checks, on one core, and what memory it takes: a whole log from files.

A baseline in the same run hashes the same entries and nodes without reading or comparing anything: what is left of its
figure is what the verifier adds.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from os import urandom
from pathlib import Path

from tabellion.core.crypto import b64url, canonical
from tabellion.ledger import merkle, note
from tabellion.ledger.merkle import Frontier
from tabellion.ledger.verifier.source import TILE, path

ENTRIES = 512_000
ORIGIN = "tabellion.log/00000000000000000000000000000000/00000000000000000000000000000000/1"


def write_log(folder: Path, entries: int) -> str:
    """A log of random commitments in files; its verifier key."""
    signer, frontier, rows = note.Signer.new(ORIGIN), Frontier(), [list[bytes]()]
    for number in range(-(-entries // TILE)):
        made = [_leaf() for _ in range(min(TILE, entries - number * TILE))]
        _put(folder, path("entries", number, len(made)), b"".join(len(one).to_bytes(2, "big") + one for one in made))
        hashes = [merkle.leaf_hash(one) for one in made]
        _put(folder, path(0, number, len(made)), b"".join(hashes))
        frontier = frontier.extended(hashes)
        if len(hashes) == TILE:
            _climb(folder, rows, 1, number, merkle.root(hashes))
    for level, row in enumerate(rows[1:], 1):
        if row:
            _put(folder, path(level, (entries >> 8 * level) // TILE, len(row)), b"".join(row))
    _put(folder, "checkpoint", signer.sign(note.Checkpoint(ORIGIN, entries, frontier.root()).text()).encode())
    return signer.verifier.line()


ALONE = """
import sys, time
from pathlib import Path
from tabellion.ledger.verifier.command import Asked, Believed
begun = time.perf_counter()
report = Asked(sys.argv[1], Believed([sys.argv[2]]), quiet=True).verify()
taken = time.perf_counter() - begun
if report.findings:
    raise SystemExit(report.text())
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
print(taken, peak)
"""
"""The verifier by itself. What the system says of a process's peak may be that of the one it was forked from; the
high-water mark of its own memory is not."""


def measure(folder: Path, key: str, entries: int) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", ALONE, str(folder), key], check=True, capture_output=True, text=True)
    taken, peak = map(float, done.stdout.split())
    bare = _bare(entries)
    return {
        "entries": entries,
        "entries_a_second": round(entries / taken),
        "bare_hashing": round(bare),
        "ratio": round(entries / taken / bare, 2),
        "peak_mib": round(peak / 1024),
    }


async def run(entries: int = ENTRIES) -> dict[str, float]:
    """Entries a second of a full verification, from files in memory where there is room."""
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as name:
        key = await asyncio.to_thread(write_log, Path(name), entries)
        return await asyncio.to_thread(measure, Path(name), key, entries)


def _bare(entries: int) -> float:
    """Leaf and node hashes a second, as entries."""
    leaf = b"\x00" + _leaf()
    node = b"\x01" + bytes(64)
    begun = time.perf_counter()
    for _ in range(entries):
        sha256(leaf).digest()
        sha256(node).digest()
    return entries / (time.perf_counter() - begun)


def _leaf() -> bytes:
    return canonical({"v": 1, "type": "consent", "c": b64url(urandom(32)), "d": "2026-11-21"})


def _climb(folder: Path, rows: list[list[bytes]], level: int, index: int, node: bytes) -> None:
    """Keep a node of a level; a row of 256 becomes a tile and a node of the level above."""
    if level == len(rows):
        rows.append([])
    row = rows[level]
    row.append(node)
    if len(row) == TILE:
        _put(folder, path(level, index // TILE), b"".join(row))
        rows[level] = []
        _climb(folder, rows, level + 1, index // TILE, merkle.root(row))


def _put(folder: Path, name: str, content: bytes) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
