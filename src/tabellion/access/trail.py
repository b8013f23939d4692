"""The audit trail: every audited action is a row and, in the same transaction, an entry of the side's log `audit`.

The entries of a transaction are appended together, last before its commit: the head of a log is the last lock in the
common order, and everybody who audits on a side waits for it. Where the log refuses, nothing that is audited happens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from tabellion.access import store
from tabellion.access.types import AuditEntry
from tabellion.core import ids
from tabellion.core.crypto import Key, b64, canonical
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger.rules import AUDIT, MOST_LEAVES
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf, LogId

__all__ = ["AUDIT", "Trail", "entry_key", "leaf", "record"]

BEGAN: Final = "audit.began"
"""The action by which a log takes over what was audited before there was one: its detail has their number and hash."""
HUB: Final = "hub"
PAGE: Final = 1_000


class Trail:
    """Writes down what was audited. Given to the database, so that `audit` finds it in every transaction."""

    def __init__(self, vault: Vault, ledger: Ledger) -> None:
        self._vault = vault
        self._ledger = ledger

    async def append(self, tx: Tx, noted: list[tuple[WorkspaceId, AuditEntry]]) -> None:
        """Store entries, each a row and a leaf of its side's log: sides in their order, entries in theirs.

        Raises `Forked` where a log has lost what was already published.
        """
        for side in sorted({side for side, _ in noted}):
            entries = [entry for one, entry in noted if one == side]
            for first in range(0, len(entries), MOST_LEAVES):
                await self._append(tx, side, entries[first : first + MOST_LEAVES])

    async def key(self, tx: Tx, workspace_id: WorkspaceId) -> Key:
        """The key of a side that the keys of its entries are derived from."""
        return await self._vault.workspace(tx, workspace_id, "audit")

    async def disclosed(self, tx: Tx, workspace_id: WorkspaceId, entry: AuditEntry, log: LogId) -> dict[str, Any]:
        """What shows an entry to others: HMAC-SHA256 of the record's canonical JSON under the key is its commitment."""
        key = entry_key(await self.key(tx, workspace_id), entry)
        return {"record": msgspec.json.decode(record(entry, self._ledger.name(log))), "key": b64(key.raw())}

    async def _append(self, tx: Tx, side: WorkspaceId, entries: list[AuditEntry]) -> None:
        key = await self.key(tx, side)
        head = await self._ledger.hold(tx, side, AUDIT)
        leaves = [leaf(key, one, head.origin) for one in entries]
        appended, _ = await self._ledger.append(tx, side, leaves, AUDIT)
        generation = head.log.generation
        placed = [
            replace(one, generation=generation, log_index=at.index) for one, at in zip(entries, appended, strict=True)
        ]
        await store.insert_audit(tx, side, placed)
        if appended[0].index == 0:
            await self._begin(tx, side)

    async def _begin(self, tx: Tx, side: WorkspaceId) -> None:
        """Have a new log vouch for the rows that are older than it, if there are any."""
        count, digest = await earlier(tx, side)
        if count:
            told = {"entries": count, "sha256": digest}
            await self._append(tx, side, [AuditEntry(ids.new(), tx.now, HUB, BEGAN, AUDIT, told)])


async def earlier(tx: Tx, workspace_id: WorkspaceId) -> tuple[int, str]:
    """How many rows stand in no log, and a hash over their records in the order of their ids. Read in pages."""
    count, digest, after = 0, sha256(), ids.FIRST
    while rows := await store.unlogged_audit(tx, workspace_id, after, PAGE):
        for row in rows:
            digest.update(record(row) + b"\n")
        count, after = count + len(rows), rows[-1].id
    return count, digest.hexdigest()


# pure


def record(entry: AuditEntry, log: str | None = None) -> bytes:
    """The canonical record of an entry, of which its leaf is the commitment. `log` is the origin of its log."""
    fields: dict[str, Any] = {
        "v": 1,
        "id": ids.show("aud", entry.id),
        "log": log,
        "at": _moment(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "detail": entry.detail,
    }
    return canonical({name: value for name, value in fields.items() if value is not None})


def entry_key(key: Key, entry: AuditEntry) -> Key:
    """The key of one entry: whoever is shown it can check that entry's commitment, and no other's."""
    return key.derive(f"audit:{entry.id}")


def leaf(key: Key, entry: AuditEntry, log: str) -> Leaf:
    """The entry of the log with this origin: HMAC-SHA256 of the record under the entry's key, and the day."""
    commitment = entry_key(key, entry).hash(record(entry, log))
    return Leaf(entry.id, "audit", commitment, entry.at.astimezone(UTC).date())


def plain(detail: Mapping[str, object]) -> dict[str, object]:
    """The detail as it is stored and committed to. Raises `TypeError` for what canonical JSON cannot say alike."""
    for value in _values(detail):
        if not isinstance(value, str | int | None):
            raise TypeError(f"an audit entry's detail has strings, integers, booleans and none; not {value!r}")
    return dict(detail)


def _values(value: object) -> Iterable[object]:
    match value:
        case Mapping():
            for key, one in value.items():
                yield str(key)
                yield from _values(one)
        case list() | tuple():
            for one in value:
                yield from _values(one)
        case _:
            yield value


def _moment(at: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond: all that the row holds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
