"""An auditor's own few lines: signed notes (C2SP) and Merkle trees (RFC 6962) again, with nothing of the hub's ledger.

The leaves come out of the database, as somebody reads them who has the machine; nothing there is believed before it
leads to the signed root.
"""

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tabellion.app.demo.story import Untrue
from tabellion.core.postgres import running_url


@dataclass(frozen=True)
class Head:
    """What a checkpoint states, and a key has signed."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True)
class Entry:
    """A row of the log: which decision it claims to be of, and what is hashed."""

    id: UUID
    leaf: bytes


def signed_head(note: str, keys: str) -> Head:
    """The head that a checkpoint states. Raises `Untrue` unless the newest of the keys has signed it."""
    text, _, signature = note.partition("\n\n")
    name, key_id, encoded = keys.split()[-1].split("+", 2)
    public, signed = base64.b64decode(encoded), base64.b64decode(signature.split()[-1])
    computed = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    if computed.hex() != key_id or signed[:4] != computed:
        raise Untrue("the signature names another key")
    try:
        Ed25519PublicKey.from_public_bytes(public[1:]).verify(signed[4:], text.encode() + b"\n")
    except InvalidSignature:
        raise Untrue("the checkpoint's signature does not hold") from None
    origin, size, root = text.split("\n")[:3]
    return Head(origin, int(size), base64.b64decode(root))


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n]) as RFC 6962 writes it in section 2.1."""
    if len(leaves) < 2:
        return leaf_hash(leaves[0]) if leaves else hashlib.sha256().digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def entries(data: Path, head: Head) -> list[Entry]:
    """The entries of the log below its head, in order, from the database of a running hub."""
    return asyncio.run(_read(running_url(data) or "", head))


async def _read(url: str, head: Head) -> list[Entry]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            """
            select entry_id, leaf
              from ledger_leaves
              join ledger_heads using (workspace_id, log, generation)
             where origin = $1 and index < $2
             order by index
            """,
            head.origin, head.size,
        )  # fmt: skip
    finally:
        await connection.close()
    return [Entry(row["entry_id"], row["leaf"]) for row in rows]
