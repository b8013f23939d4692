"""History: every version of a recipient, and the recipient as it was.

The present is the only snapshot. Each version says what it changed, from and to, sealed under the person's key; the
past is the present with what came later undone. So the first version, which most people never leave, keeps no values.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from msgspec.structs import replace

from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.recipients import sealing, store, traits, versions
from tabellion.recipients.changes import Change, FieldChange, making, of_field, told, undone
from tabellion.recipients.store import Record
from tabellion.recipients.types import Recipient
from tabellion.recipients.versions import Kept, NewVersion

CHUNK = 500
"""Versions read at once."""


class Version(msgspec.Struct, frozen=True):
    """One that was just made. Without a change, what it says follows from the present: it made the recipient."""

    recipient_id: UUID
    version: int
    changed: Sequence[str]
    key: Key
    """The data key of the recipient."""
    change: Change | None = None
    merged_into: UUID | None = None
    """Whose the recipient is from here on, its own id after a split; None where that did not change."""


class Entry(msgspec.Struct, frozen=True):
    """One version as it is told."""

    version: int
    changed_at: datetime
    source: str
    actor: str
    """The key that asked for it; where nobody did, the source."""
    changes: Sequence[FieldChange]
    merged_into: UUID | None = None


class FieldOrigin(msgspec.Struct, frozen=True):
    """Where a field has its value from."""

    name: str
    """`locale`, `time_zone`, or the trait."""
    source: str
    actor: str
    since: datetime


async def keep(tx: Tx, workspace_id: UUID, made: Sequence[Version], *, source: str, actor: str | None = None) -> None:
    """Keep versions that this transaction made of recipients it has locked."""
    if made:
        rows = [_sealed(workspace_id, one) for one in made]
        at = _milliseconds(tx.now)
        await versions.insert(tx, workspace_id, rows, at=at, source=source, actor=actor or source)


class History:
    """Reads what was kept."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def as_of(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID, at: datetime) -> Recipient:
        """The recipient as it was, to the millisecond; of one that was merged by then, whom it was part of.

        Raises `NotFound` before it existed.
        """
        at = _milliseconds(at)
        present, key, root = await self._present(tx, workspace_id, recipient_id)
        _require_there(present, at)
        later = await versions.first_after(tx, workspace_id, recipient_id, at)
        root = await versions.root_before(tx, workspace_id, recipient_id, later) or (recipient_id if later else root)
        if root != recipient_id:
            return await self.as_of(tx, workspace_id, root, at)
        if later is None:
            return present
        return await self._before(tx, workspace_id, present, key, later)

    async def page(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_id: UUID,
        *,
        before: int | None = None,
        as_of: datetime | None = None,
        limit: int = 50,
    ) -> list[Entry]:
        """The recipient's own versions, newest first, before a version, none of them made after a moment.

        Raises `NotFound` where it did not exist then.
        """
        present, key, _ = await self._present(tx, workspace_id, recipient_id)
        if as_of is not None:
            _require_there(present, as_of)
            later = await versions.first_after(tx, workspace_id, recipient_id, _milliseconds(as_of))
            before = min((one for one in (before, later) if one is not None), default=None)
        rows = await versions.page(tx, workspace_id, recipient_id, below=before, limit=limit)
        entries = [_entry(workspace_id, recipient_id, row, key) for row in rows if row.version > 1]
        if len(entries) < limit and (before is None or before > 1):
            first = await self._first(tx, workspace_id, present, key, rows[-1] if rows else None)
            entries += [first] if before is None or first.version < before else []
        return entries

    async def of_field(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_id: UUID,
        field: str,
        *,
        before: int | None = None,
        as_of: datetime | None = None,
        limit: int = 50,
    ) -> list[Entry]:
        """As `page`, of one field (a JSON pointer) alone: the first entry says who set it as it is, and when."""
        found: list[Entry] = []
        while len(found) < limit:
            page = await self.page(tx, workspace_id, recipient_id, before=before, as_of=as_of, limit=CHUNK)
            about = [replace(one, changes=of_field(one.changes, field), merged_into=None) for one in page]
            found += [one for one in about if one.changes]
            if len(page) < CHUNK:
                break
            before = page[-1].version
        return found[:limit]

    async def origins(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> dict[str, FieldOrigin]:
        """Who set each field as it is: locale, time zone and traits that have a value, by JSON pointer.

        Of a trait that is an object, who last changed anything in it. What a merge or a split brought has that source.
        """
        present, *_ = await self._present(tx, workspace_id, recipient_id)
        named = {f"/{name}": name for name in ("locale", "time_zone") if getattr(present, name) is not None}
        named |= {traits.pointer(name): name for name in present.traits}
        found: dict[str, FieldOrigin] = {}
        before: int | None = None
        while len(found) < len(named):
            page = await self.page(tx, workspace_id, recipient_id, before=before, limit=CHUNK)
            for entry in page:
                new = {_top(one.field) for one in entry.changes} & named.keys() - found.keys()
                found |= {one: FieldOrigin(named[one], entry.source, entry.actor, entry.changed_at) for one in new}
            if len(page) < CHUNK:
                break
            before = page[-1].version
        return found

    async def _first(self, tx: Tx, workspace_id: UUID, present: Recipient, key: Key, last: Kept | None) -> Entry:
        """How it began. Nobody kept who made it where it was made by a message or a decision to its address."""
        first = await self._before(tx, workspace_id, present, key, 2)
        if last is not None and last.version == 1:
            source, actor = last.source, last.actor
        else:
            source = first.identifiers[0].source if first.identifiers else "unknown"
            actor = source
        return Entry(first.version, present.created_at, source, actor, told(making(first)))

    async def _present(self, tx: Tx, workspace_id: UUID, recipient_id: UUID) -> tuple[Recipient, Key, UUID]:
        """The recipient's own record now, its key and its root.

        Read before its versions: what is written in between is among these, and undone whether it was seen or not.
        """
        record = (await store.records(tx, workspace_id, [recipient_id])).get(recipient_id)
        root = (await store.roots(tx, workspace_id, [recipient_id])).get(recipient_id)
        if record is None or record.erased or root is None:
            raise _unknown(recipient_id)
        rows = await store.identifiers(tx, [(workspace_id, recipient_id)])
        key = (await self._vault.subjects(tx, workspace_id, [recipient_id])).get(recipient_id)
        if key is None:
            raise _unknown(recipient_id)
        return _opened(workspace_id, record, rows, key), key, root.recipient_id

    async def _before(self, tx: Tx, workspace_id: UUID, present: Recipient, key: Key, version: int) -> Recipient:
        """The recipient before a version, as it was when the one before that was made."""
        was, number = present, present.version
        async for row in self._since(tx, workspace_id, present.id, version):
            number = row.version - 1
            if row.change is not None:
                was = undone(was, _change(workspace_id, present.id, row.version, row.change, key))
        made = await versions.page(tx, workspace_id, present.id, below=version, limit=1)
        at = made[0].changed_at if made else present.created_at
        return replace(was, version=number, updated_at=at)

    async def _since(self, tx: Tx, workspace_id: UUID, recipient_id: UUID, version: int) -> AsyncIterator[Kept]:
        """The versions from one on, newest first."""
        below: int | None = None
        while True:
            rows = await versions.page(tx, workspace_id, recipient_id, above=version - 1, below=below, limit=CHUNK)
            for row in rows:
                yield row
            if len(rows) < CHUNK:
                return
            below = rows[-1].version


def _sealed(workspace_id: UUID, one: Version) -> NewVersion:
    if one.change is None:
        return NewVersion(one.recipient_id, one.version, one.changed, one.merged_into, None)
    context = _context(workspace_id, one.recipient_id, one.version)
    sealed = one.key.seal(msgspec.json.encode(one.change), context)
    return NewVersion(one.recipient_id, one.version, one.changed, one.merged_into, sealed)


def _change(workspace_id: UUID, recipient_id: UUID, version: int, sealed: bytes, key: Key) -> Change:
    opened = key.open(sealed, _context(workspace_id, recipient_id, version))
    return msgspec.json.decode(opened, type=Change)


def _context(workspace_id: UUID, recipient_id: UUID, version: int) -> str:
    return f"version:{workspace_id}:{recipient_id}:{version}"


def _entry(workspace_id: UUID, recipient_id: UUID, row: Kept, key: Key) -> Entry:
    change = _change(workspace_id, recipient_id, row.version, row.change, key) if row.change is not None else Change()
    return Entry(row.version, row.changed_at, row.source, row.actor, told(change), row.merged_into)


def _top(field: str) -> str:
    """The pointer to the trait that a field lies in; of another field, to that."""
    return "/".join(field.split("/")[: 3 if field.startswith("/traits/") else 2])


def _opened(workspace_id: UUID, record: Record, rows: Sequence[store.Sealed], key: Key) -> Recipient:
    said, owners = sealing.open_traits(workspace_id, record, key)
    return Recipient(
        id=record.id,
        version=record.version,
        address_only=record.address_only,
        locale=record.locale,
        time_zone=record.time_zone,
        traits=said,
        identifiers=[sealing.open_identifier(row, key) for row in rows],
        created_at=record.created_at,
        updated_at=record.updated_at,
        owners=owners,
    )


def _milliseconds(moment: datetime) -> datetime:
    """Times are shown to the millisecond: what is asked by one that was shown must be found."""
    return moment - timedelta(microseconds=moment.microsecond % 1000)


def _require_there(present: Recipient, at: datetime) -> None:
    if _milliseconds(at) < _milliseconds(present.created_at):
        raise NotFound("recipient_not_found", f"there was no recipient {_shown(present.id)} then; give a later as_of")


def _shown(recipient_id: UUID) -> str:
    return ids.show("rcp", recipient_id)


def _unknown(recipient_id: UUID) -> NotFound:
    return NotFound(
        "recipient_not_found", f"there is no recipient {_shown(recipient_id)} here; check the id and the key's mode"
    )
