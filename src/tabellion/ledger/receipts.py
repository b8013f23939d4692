"""The text of a receipt: C2SP tlog-proof (https://c2sp.org/tlog-proof, read 2026-11-28). Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tabellion.core.crypto import b64, canonical

HEADER: Final = "c2sp.org/tlog-proof@v1"
UNWITNESSED: Final = "unwitnessed"
"""In the extra data: the checkpoint was not published yet, and lacks the cosignatures that the policy asks for."""


def receipt(index: int, path: Sequence[bytes], checkpoint: str, extra: Mapping[str, Any]) -> str:
    """The proof that the entry at index is in the tree of a signed note. `extra` is RFC 8785 JSON, left out if empty.

    Nothing vouches for the extra data but what a reader can compute from it.
    """
    lines = [HEADER, *([f"extra {b64(canonical(extra))}"] if extra else []), f"index {index}", *map(b64, path)]
    return "\n".join(lines) + "\n\n" + checkpoint
