"""What others may read of a log: its files, proofs and receipts, as far as its published head reaches and no further.

Nothing here is secret and nothing is signed anew: all of it can be recomputed from the entries by whoever has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from tabellion.core.db import Tx
from tabellion.core.errors import HubError, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import merkle, note, receipts, rules, store, tree
from tabellion.ledger.paths import File, LogName
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Located, LogId, NotYetPublished, Publication, Shown, VerifierKey

LOGS: Final = ("consent", "audit")


@dataclass(frozen=True)
class Reading:
    ledger: Ledger

    async def open(self, tx: Tx, workspace_id: WorkspaceId, log: LogName) -> Shown:
        """The log as it shows itself: the one in use, or a generation before it.

        Raises `NotFound`, and `NotYetPublished` while the log in use has shown nothing yet.
        """
        if log.generation and (over := await self.ledger.closed(tx, LogId(workspace_id, log.name, log.generation))):
            return Shown(over.head.log, over.shown.size, over.shown.checkpoint, over.shown.witnessed)
        published = await self.ledger.published(tx, workspace_id, log.name)
        own = LogId(workspace_id, log.name, _generation(published.checkpoint))
        if log.generation not in (None, own.generation):
            raise NotFound("not_found", f"log '{log.name}' has no generation {log.generation}")
        return Shown(own, published.size, published.checkpoint, published.witnessed)

    async def file(self, tx: Tx, shown: Shown, file: File) -> bytes:
        """A tile or a bundle. 404 `not_yet_published` where the shown tree is not that wide."""
        if rules.width(shown.size, file.level or 0, file.index) < file.width:
            raise NotYetPublished(shown.size, status=404)
        if file.level is None:
            return await tree.bundle(tx, shown.log, shown.size, file.index, file.width)
        return await tree.tile(tx, shown.log, shown.size, file.level, file.index, file.width)

    async def inclusion(self, tx: Tx, shown: Shown, index: int, size: int) -> list[bytes]:
        """The hashes that prove the entry at index in the tree of this size. Raises 400 or 409."""
        if index >= size:
            raise HubError("no_such_tree", f"a tree of {size} entries has no entry {index}; name a larger size", 400)
        _require_shown(shown, size)
        return await tree.range_hashes(tx, shown.log, merkle.inclusion_ranges(index, size))

    async def consistency(self, tx: Tx, shown: Shown, old: int, new: int) -> list[bytes]:
        """The hashes that prove that the tree of size new begins with that of size old. Raises 400 or 409."""
        if not 0 < old <= new:
            raise HubError("no_such_tree", "name two sizes from 1 up, the smaller first", 400)
        _require_shown(shown, new)
        return await tree.range_hashes(tx, shown.log, merkle.consistency_ranges(old, new))

    async def find(self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> Located | None:
        """Where the entry stands that was appended under this id."""
        return await store.locate(tx, workspace_id, entry_id)

    async def receipt(
        self, tx: Tx, log: LogId, index: int, extra: Mapping[str, Any], *, unwitnessed: bool = False
    ) -> str:
        """A receipt for the entry at index: C2SP tlog-proof, with `extra` (JSON without floats) where there is any.

        Raises 409 `not_yet_published` before a published head covers it. With `unwitnessed`, it then leads to the
        integrated head instead, and says so in its extra data.
        """
        try:
            shown = await self.open(tx, log.workspace_id, LogName(log.name, log.generation))
            _require_shown(shown, index + 1)
        except NotYetPublished:
            if not unwitnessed:
                raise
            shown, extra = await self._integrated(tx, log), {**extra, receipts.UNWITNESSED: True}
        path = await tree.range_hashes(tx, log, merkle.inclusion_ranges(index, shown.size))
        return receipts.receipt(index, path, shown.checkpoint, extra)

    async def _integrated(self, tx: Tx, log: LogId) -> Shown:
        """The log as it stands, published or not."""
        if over := await self.ledger.closed(tx, log):
            return Shown(log, over.head.size, over.head.checkpoint, witnessed=False)
        signed = await self.ledger.checkpoint(tx, log.workspace_id, log.name)
        if _generation(signed) != log.generation:
            raise NotYetPublished(0)
        return Shown(log, note.parse_checkpoint(note.parse(signed).text).size, signed, witnessed=False)

    async def keys(self, tx: Tx, workspace_id: WorkspaceId, name: str) -> list[VerifierKey]:
        """Every key the log ever signed with and the sizes it signed, those of earlier generations first."""
        return await self.ledger.keys(tx, workspace_id, name)

    # logs that anybody may read

    async def publications(self, tx: Tx, workspace_id: WorkspaceId) -> dict[str, Publication]:
        """The logs of a side that anybody may read, by name."""
        return {one.name: one for one in await store.publications(tx, workspace_id)}

    async def publish(self, tx: Tx, workspace_id: WorkspaceId, names: frozenset[str]) -> None:
        """Let anybody read these logs of a side, and no others."""
        for name in LOGS:
            if name in names:
                await store.publish(tx, workspace_id, name, rules.log_id(workspace_id, name))
            else:
                await store.unpublish(tx, workspace_id, name)

    async def published(self, tx: Tx, log_id: str) -> Publication:
        """Whose log has this id (32 hex digits). Raises `NotFound` where it is not one that anybody may read."""
        found = await store.publication(tx, bytes.fromhex(log_id))
        if found is None:
            raise NotFound("not_found", "no log is published here")
        return found


def log_id(workspace_id: WorkspaceId, name: str) -> str:
    """The id of a log, as it stands in its origin."""
    return rules.log_id(workspace_id, name).hex()


def _generation(checkpoint: str) -> int:
    """Which generation a checkpoint is of: the last word of its origin."""
    return int(checkpoint.partition("\n")[0].rpartition("/")[2])


def _require_shown(shown: Shown, size: int) -> None:
    if size > shown.size:
        raise NotYetPublished(shown.size)
