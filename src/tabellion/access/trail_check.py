"""Whether the audit table is what the log `audit` says: every row compared with its entry, and the log with its head.

Whoever can write to the database can change a row, and an entry too; not what the hub signed about all entries, nor
the checkpoint that lies outside the database. Read in pages: it may take long, and it holds nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from tabellion.access import store
from tabellion.access.trail import AUDIT, BEGAN, Trail, earlier, leaf
from tabellion.access.types import AuditEntry
from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Database, Tx
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import merkle, note
from tabellion.ledger.merkle import Frontier
from tabellion.ledger.rules import leaf_bytes
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Entry, Head, LogId

PAGE: Final = 500
SHOWN: Final = 20
"""Differences that are named; of the others there is the number."""
LONG: Final = 600.0
"""Seconds that reading the rows from before the log may take."""


class Kind(StrEnum):
    CHANGED = "changed"
    """A row is not what its entry commits to."""
    MISSING = "missing"
    """An entry has no row."""
    UNKNOWN = "unknown"
    """A row has no entry."""
    LOG = "log"
    """The entries are not what was signed."""


@dataclass(frozen=True, slots=True)
class Difference:
    kind: Kind
    detail: str
    log: str | None = None
    log_index: int | None = None
    id: str | None = None


@dataclass(slots=True)
class Compared:
    """What a comparison came to. Nothing differs where `count` is 0."""

    entries: int = 0
    """Entries of the log and of those it succeeds."""
    earlier: int = 0
    """Rows from before there was a log, which vouches for them together."""
    lost: int = 0
    """Entries that a log had published when it was succeeded, and that no row is left of."""
    count: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(self, one: Difference) -> None:
        self.count += 1
        if len(self.differences) < SHOWN:
            self.differences.append(one)


class Check:
    """One comparison of one workspace side."""

    def __init__(self, db: Database, trail: Trail, ledger: Ledger, workspace_id: WorkspaceId) -> None:
        self._db = db
        self._trail = trail
        self._ledger = ledger
        self._side = workspace_id
        self._found = Compared()
        self._began: Mapping[str, object] | None = None

    async def run(self) -> Compared:
        """Compare what was there when it began; what is audited meanwhile does no harm."""
        key = await self._db.run(lambda tx: self._trail.key(tx, self._side))
        stated = await self._db.run(lambda tx: self._ledger.stated(tx, self._side, AUDIT))
        for number, (head, published) in enumerate(stated, 1):
            await self._log(key, head, published, succeeded=number < len(stated))
        await self._db.run(lambda tx: self._outside(tx, [head for head, _ in stated]))
        await self._db.run(lambda tx: self._earlier(tx, begun=bool(stated)), limit=LONG)
        return self._found

    async def newest(self, most: int) -> Compared:
        """Compare the newest entries of the log in use with their rows, at most so many, and nothing else."""
        for head, _ in (await self._db.run(lambda tx: self._ledger.stated(tx, self._side, AUDIT)))[-1:]:
            key = await self._db.run(lambda tx: self._trail.key(tx, self._side))
            for start in range(max(0, head.size - most), head.size, PAGE):
                await self._part(key, head, start)
        return self._found

    async def _log(self, key: Key, head: Head, published: note.Checkpoint | None, *, succeeded: bool) -> None:
        roots = self._roots(head, published, succeeded=succeeded)
        frontier = Frontier()
        for start in range(0, head.size, PAGE):
            entries = await self._part(key, head, start)
            past = start + len(entries)
            if past != min(start + PAGE, head.size):
                return
            hashes = [merkle.leaf_hash(one.leaf) for one in entries]
            for size in [one for one in roots if start < one <= past]:
                if frontier.extended(hashes[: size - start]).root() != roots[size]:
                    self._add(Kind.LOG, f"its entries do not lead to what was signed at size {size}", head)
            frontier = frontier.extended(hashes)

    async def _part(self, key: Key, head: Head, start: int) -> list[Entry]:
        """The entries of a page, compared with their rows; none where some are gone."""
        past = min(start + PAGE, head.size)
        entries, rows = await self._db.run(lambda tx: self._page(tx, head, start, past))
        self._rows(key, head, entries, rows)
        if [one.index for one in entries] != list(range(start, past)):
            self._add(Kind.LOG, f"entries between {start} and {past} are gone from it", head)
            return []
        self._found.entries += len(entries)
        return entries

    def _roots(self, head: Head, published: note.Checkpoint | None, *, succeeded: bool) -> dict[int, bytes]:
        """The roots that the log must have, by size. Of one that was succeeded, what it lost is known."""
        roots = {head.size: head.frontier.root()}
        try:
            own = note.verify_checkpoint(head.checkpoint, [note.Verifier(head.origin, head.public_key)])
        except note.BadNote as error:
            self._add(Kind.LOG, f"its head is not signed by its key ({error})", head)
            return roots
        if (own.size, own.root) != (head.size, roots[head.size]):
            self._add(Kind.LOG, "its signed head is not its head", head)
        if succeeded:
            self._found.lost += max(0, published.size - head.size) if published else 0
        elif published is not None and published.size > head.size:
            self._add(Kind.LOG, f"it stands at {head.size}, but was published at {published.size}", head)
        elif published is not None and roots.setdefault(published.size, published.root) != published.root:
            self._add(Kind.LOG, f"it is not what was published at size {published.size}", head)
        return roots

    async def _page(self, tx: Tx, head: Head, start: int, past: int) -> tuple[list[Entry], list[AuditEntry]]:
        rows = await store.logged_audit(tx, self._side, head.log.generation, range(start, past))
        return await self._ledger.entries(tx, head.log, start, past), rows

    def _rows(self, key: Key, head: Head, entries: Sequence[Entry], rows: Sequence[AuditEntry]) -> None:
        placed: dict[int | None, AuditEntry] = {}
        for one in rows:
            if placed.setdefault(one.log_index, one) is not one:
                self._row(Kind.UNKNOWN, "another row stands in the place of the same entry", head, one)
        for entry in entries:
            row, audited = placed.get(entry.index), msgspec.json.decode(entry.leaf)["type"] == "audit"
            if row is None and audited:
                shown = ids.show("aud", entry.entry_id)
                self._add(Kind.MISSING, "the entry has no row: it was deleted", head, entry.index, shown)
            elif row is not None and not audited:
                self._row(Kind.UNKNOWN, "the row stands where the log has no audited action", head, row)
            elif row is not None and not _same(key, head, row, entry):
                self._row(Kind.CHANGED, "the row is not what the log committed to", head, row)
            elif row is not None and row.action == BEGAN:
                self._began = row.detail

    async def _outside(self, tx: Tx, heads: Sequence[Head]) -> None:
        """Rows that say they stand where no log has an entry. Nothing is appended while they are looked for."""
        sizes = {one.log.generation: one.size for one in heads}
        if heads:
            now = await self._ledger.hold(tx, self._side, AUDIT)
            sizes[now.log.generation] = now.size
        for generation in await store.audit_generations(tx, self._side):
            size = sizes.get(generation, 0)
            for row in await store.misplaced_audit(tx, self._side, generation, size, SHOWN):
                self._outside_row(generation, row)

    async def _earlier(self, tx: Tx, *, begun: bool) -> None:
        """Rows from before the log: it has their number and hash. Before its first entry nothing vouches for them."""
        count, digest = await earlier(tx, self._side)
        self._found.earlier = count
        if self._began is None:
            if begun and count:
                self._add(Kind.UNKNOWN, f"{count} rows stand in no log, and none took them over")
        elif self._began != {"entries": count, "sha256": digest}:
            told = f"it took over {self._began['entries']}, and there are {count}"
            self._add(Kind.CHANGED, f"rows from before the log are not what it took over: {told}")

    def _outside_row(self, generation: int, row: AuditEntry) -> None:
        origin = self._ledger.name(LogId(self._side, AUDIT, generation))
        detail = "the row stands where the log has no entry"
        self._found.add(Difference(Kind.UNKNOWN, detail, origin, row.log_index, ids.show("aud", row.id)))

    def _row(self, kind: Kind, detail: str, head: Head | None, row: AuditEntry) -> None:
        self._add(kind, detail, head, row.log_index, ids.show("aud", row.id))

    def _add(
        self, kind: Kind, detail: str, head: Head | None = None, index: int | None = None, shown: str | None = None
    ) -> None:
        self._found.add(Difference(kind, detail, head.origin if head else None, index, shown))


def _same(key: Key, head: Head, row: AuditEntry, entry: Entry) -> bool:
    return row.id == entry.entry_id and leaf_bytes(leaf(key, row, head.origin)) == entry.leaf
