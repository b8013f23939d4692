"""A ledger over the test's database and keys folder, and a naive Merkle tree written from RFC 9162 to judge it by."""

import hashlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from uuid import UUID

import pytest

from tabellion.core import ids
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf

INSTALL = UUID("0192f1c0-0000-7000-8000-00000000abcd")
Hashes = Callable[[list[bytes]], bytes]


@pytest.fixture
def workspace_id() -> WorkspaceId:
    """A side about which nothing was audited: it has no log but those that a test makes."""
    return WorkspaceId(ids.new())


@pytest.fixture
def folder(vault: Vault, tmp_path: Path) -> Path:
    """Where checkpoints are kept: outside the database."""
    return tmp_path / "keys" / "checkpoints"


@pytest.fixture
async def ledger(vault: Vault, checkpoints: Checkpoints) -> Ledger:
    return Ledger(vault, checkpoints, INSTALL)


@pytest.fixture
def other_process(vault: Vault, folder: Path) -> Callable[[], Ledger]:
    """A ledger that remembers nothing: as in another process of the same installation, or after a restart."""
    return lambda: Ledger(vault, Checkpoints(folder), INSTALL)


@pytest.fixture
def some_leaves() -> Callable[[int], list[Leaf]]:
    def make(count: int) -> list[Leaf]:
        return [_leaf() for _ in range(count)]

    return make


def _leaf() -> Leaf:
    entry_id = ids.new()
    return Leaf(entry_id, "consent", hashlib.sha256(entry_id.bytes).digest(), date(2026, 11, 21))


@pytest.fixture
def mth() -> Hashes:
    """MTH(D_n) of RFC 9162, 2.1.1, over entries, as it is written there."""

    def tree_hash(entries: list[bytes]) -> bytes:
        if not entries:
            return hashlib.sha256(b"").digest()
        if len(entries) == 1:
            return hashlib.sha256(b"\x00" + entries[0]).digest()
        split = 1
        while split * 2 < len(entries):
            split *= 2
        return hashlib.sha256(b"\x01" + tree_hash(entries[:split]) + tree_hash(entries[split:])).digest()

    return tree_hash
