"""The form of a leaf, the name of a log, and the arithmetic of tiles. Pure."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from tabellion.core.crypto import b64url, canonical, sha256
from tabellion.core.errors import Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.ledger.merkle import Range
from tabellion.ledger.types import Leaf, LogId, Span

MOST_LEAVES: Final = 256
"""Leaves in one transaction. Also why an append completes at most one tile a level."""
TILE: Final = 256
AUDIT: Final = "audit"
"""The log that is appended to last: by then everything that is to be audited has happened."""
_TILE_HEIGHT: Final = 8


def leaf_bytes(leaf: Leaf) -> bytes:
    """The entry as it is hashed and served (RFC 8785): the form, the type, the commitment, the day, nothing else."""
    if len(leaf.commitment) != 32:
        raise ValueError("a commitment has 32 bytes")
    return canonical({"v": 1, "type": leaf.type, "c": b64url(leaf.commitment), "d": leaf.day.isoformat()})


def check_batch(leaves: Sequence[Leaf]) -> None:
    if not 1 <= len(leaves) <= MOST_LEAVES:
        raise Invalid("ledger_batch_size", f"one transaction appends 1 to {MOST_LEAVES} ledger entries; send fewer")


def place(workspace_id: WorkspaceId, name: str) -> tuple[bool, UUID, str]:
    """Where the head of a log stands in the order that heads are locked in: by workspace, those of `audit` last."""
    return name == AUDIT, workspace_id, name


def origin(install_id: UUID, log: LogId) -> str:
    """The name of a log, the same whenever it is made again.

    A log that a restored dump has forgotten gets its old name, and so meets its old checkpoint outside the database.
    """
    return f"tabellion.log/{install_id.hex}/{log_id(log.workspace_id, log.name).hex()}/{log.generation}"


def log_id(workspace_id: WorkspaceId, name: str) -> bytes:
    """What tells a log apart, whatever its generation. Says nothing about the workspace, and is not guessed."""
    return sha256(workspace_id.bytes + name.encode())[:16]


def span(part: Range) -> Span:
    """The nodes whose root is that of D[start:end], a perfect subtree: as few as the tile levels allow."""
    start, end = part
    level = ((end - start).bit_length() - 1) // _TILE_HEIGHT
    unit = 1 << _TILE_HEIGHT * level
    return Span(level, start // unit, end // unit)


def width(size: int, level: int, index: int) -> int:
    """How many nodes the tile has in the tree of this size: 256 when full, 0 when it does not exist."""
    nodes = size >> _TILE_HEIGHT * level
    return max(0, min(TILE, nodes - index * TILE))
