"""Keys at rest: the outer key seals epoch keys, an epoch key seals data keys, a data key seals one person's data.

Outside the database, in the keys folder (`DIR.keys/`, mode 0700): `outer.key`, `epochs/*.key`, `checkpoints/`.
In the database only wrapped keys: `subject_keys` (one a person), `workspace_keys` (one a workspace side and use); and
in `epochs`, which epochs there were. Destroying a wrapped key makes what it sealed unreadable; destroying an epoch key
does so in every backup (`core/rotation.py`).
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from tabellion.core.clock import Clock
from tabellion.core.crypto import Key
from tabellion.core.db import Row, Tx
from tabellion.core.epochs import SLACK, Epochs, OuterKey, end, following, month
from tabellion.core.errors import Misconfigured
from tabellion.core.files import write_file

CACHE_SECONDS = 60.0
CACHE_KEYS = 50_000
WINDOW: Final = timedelta(days=35)
"""How long backups are kept, where nothing else is set."""
_MARK: Final = b"epoch"
"""What the hash of is kept with an epoch, under its key: a keys folder of somebody else is told by it."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """An outer key held in a file that is never in the data directory."""

    key: Key

    async def wrap(self, plain: bytes, context: str) -> bytes:
        return self.key.seal(plain, context)

    async def unwrap(self, sealed: bytes, context: str) -> bytes:
        return self.key.open(sealed, context)


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """The keys folder. Made once, with a new cluster; never made again, because that would hide a loss."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def exists(self) -> bool:
        return (self.path / "outer.key").is_file()

    def create(self) -> None:
        for folder in (self.path, self.path / "epochs", self.checkpoints):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(self.path / "outer.key", Key.new().raw().hex().encode() + b"\n")

    def outer(self) -> KeyFile:
        """The outer key. Refuses when the folder is gone: without it nothing sealed can be read."""
        try:
            return KeyFile(Key(bytes.fromhex((self.path / "outer.key").read_text().strip())))
        except (OSError, ValueError) as error:
            raise Misconfigured(
                "keys_missing",
                f"{self.path}/outer.key cannot be read ({type(error).__name__}); restore the keys folder from its"
                " backup, or name it with --keys",
            ) from None

    def epochs(self, outer: OuterKey, clock: Clock) -> Epochs:
        return Epochs(self.path / "epochs", outer, clock)


@dataclass(frozen=True, slots=True)
class _Current:
    """The epoch found for new keys in a month, and when to look again."""

    month: str
    name: str
    until: float


class Vault:
    """Data keys, made on first use, wrapped in the database, cached for at most a minute."""

    def __init__(self, outer: OuterKey, epochs: Epochs, clock: Clock, window: timedelta = WINDOW) -> None:
        self.outer = outer
        self.epochs = epochs
        self.window = window
        self._clock = clock
        self._current: _Current | None = None
        self._cache: OrderedDict[tuple[UUID, UUID | str], tuple[float, Key]] = OrderedDict()

    async def subjects(self, tx: Tx, workspace_id: UUID, subject_ids: Iterable[UUID]) -> dict[UUID, Key]:
        """The data key of each person, made where there was none. A destroyed key is left out.

        A key may come from the cache for a minute after another process destroyed it: who writes what it seals looks
        under the person's lock whether the person was erased.
        """
        wanted = set(subject_ids)
        found = {one: key for one in wanted if (key := self._cached(workspace_id, one))}
        missing = [one for one in wanted if one not in found]
        if missing:
            found |= await self._read_subjects(tx, workspace_id, missing)
            absent = [one for one in missing if one not in found]
            if absent:
                found |= await self.make(tx, workspace_id, absent)
                if lost := [one for one in absent if one not in found]:  # another transaction made it first
                    found |= await self._read_subjects(tx, workspace_id, lost)
        return found

    async def make(self, tx: Tx, workspace_id: UUID, subject_ids: Iterable[UUID]) -> dict[UUID, Key]:
        """New data keys, of those who have none: all of them, where their ids were just made."""
        until, epoch = self._soon(), await self.current(tx)
        wrapping = await self.epochs.open(epoch)
        made = {one: Key.new() for one in subject_ids}
        rows = await tx.rows(
            """
            insert into subject_keys (workspace_id, subject_id, epoch, wrapped, created_at)
            select $1, (made ->> 0)::uuid, $2, decode(made ->> 1, 'base64'), $3
              from jsonb_array_elements($4::jsonb) as made
             order by (made ->> 0)::uuid
            on conflict (workspace_id, subject_id) do nothing
            returning subject_id
            """,
            workspace_id, epoch, tx.now,
            [(one, wrapping.seal(key.raw(), subject_context(workspace_id, one))) for one, key in made.items()],
        )  # fmt: skip
        own = {row["subject_id"]: made[row["subject_id"]] for row in rows}
        tx.after_commit(lambda: self._keep_all(workspace_id, own, until))
        return own

    async def workspace(self, tx: Tx, workspace_id: UUID, use: str) -> Key:
        """The key of a workspace side for one use: `audit`, `lookup`, `answers`, `secrets`; as long as the side."""
        if key := self._cached(workspace_id, use):
            return key
        if found := await self._read_workspace(tx, workspace_id, use):
            return found
        await self._make_workspace(tx, workspace_id, use)
        if found := await self._read_workspace(tx, workspace_id, use):
            return found
        raise Misconfigured("keys_missing", f"the {use} key of a workspace is gone")

    async def destroy(self, tx: Tx, workspace_id: UUID, subject_ids: Iterable[UUID]) -> int:
        """Destroy the keys of people, for good; how many there were. `backups_expire_at` says when in backups too."""
        gone = await tx.rows(
            """
            update subject_keys
               set wrapped = null, destroyed_at = $3
             where workspace_id = $1 and subject_id = any($2::uuid[]) and destroyed_at is null
            returning subject_id
            """,
            workspace_id, sorted(set(subject_ids)), tx.now,
        )  # fmt: skip

        def forget() -> None:
            for row in gone:
                self.forget(workspace_id, row["subject_id"])

        tx.after_commit(forget)
        return len(gone)

    def forget(self, workspace_id: UUID, subject_id: UUID) -> None:
        """Drop a cached key at once: the person was erased."""
        self._cache.pop((workspace_id, subject_id), None)

    def backups_expire_at(self, now: datetime) -> datetime:
        """When, at the latest, a key destroyed now opens in no backup any more.

        Backups hold it wrapped under the epoch of the day or older ones. That month ends; within a day (`SLACK`)
        whatever lives is wrapped anew, and that epoch is empty; a backup window later its key is destroyed. So it is
        the month's end, a day, and the window. It holds where a process has the role `followers` at those times, and
        no copy of the keys folder is kept from before. After a clock went ahead, keys may be under a later epoch.
        """
        latest = max(month(now), self._current.name if self._current else "")
        return end(latest) + SLACK + self.window

    async def prepare(self, tx: Tx) -> str:
        """The epoch that new keys are wrapped under. Makes its key, and the next month's, where nobody has yet.

        A month ahead, so that a copy of the keys folder is good for as long. Refuses where an older key got lost.
        """
        await self.check(tx)
        current, ahead = await self.current(tx), following(month(tx.now))
        if not self.epochs.there(ahead):
            await _unlist_unused(tx, ahead)  # the folder was restored from before
        await self._register(tx, ahead)
        return current

    async def check(self, tx: Tx) -> None:
        """Refuse where an epoch key is gone that living keys may be wrapped under. A destroyed one is not lost."""
        rows = await tx.rows("select name from epochs where emptied_at is null and destroyed_at is null order by name")
        for name in (row["name"] for row in rows if end(row["name"]) <= end(month(tx.now))):
            if not self.epochs.there(name) and self.epochs.destroyed_at(name) is None:
                await self.epochs.open(name)

    async def current(self, tx: Tx) -> str:
        """The epoch that new keys are wrapped under: the clock's month.

        The database is asked once a minute, because an epoch that was found empty gets no more keys: where this
        clock is behind by more than the grace, the next one does.
        """
        wanted, known = month(tx.now), self._current
        if known and known.month == wanted and self._clock.monotonic() <= known.until:
            return known.name
        found = _Current(wanted, await self._register(tx, wanted), self._soon())

        def keep() -> None:
            self._current = found

        tx.after_commit(keep)
        return found.name

    async def _register(self, tx: Tx, wanted: str) -> str:
        """This epoch, or the next one open. Its key is made by whoever needs it first, and known to the database."""
        rows = await _epochs_from(tx, wanted)
        if wanted not in rows:
            key = await self.epochs.make(wanted)
            await tx.execute(
                "insert into epochs (name, mark, made_at) values ($1, $2, $3) on conflict (name) do nothing",
                wanted, key.hash(_MARK), tx.now,
            )  # fmt: skip
            rows = await _epochs_from(tx, wanted)
        name = next((name for name, row in rows.items() if row["open"]), wanted)
        if (await self.epochs.open(name)).hash(_MARK) != rows[name]["mark"]:
            raise Misconfigured(
                "keys_differ",
                f"epochs/{name}.key in the keys folder is not the key that other processes wrap under; let all"
                " processes of an installation share one keys folder",
            )
        return name

    async def _read_workspace(self, tx: Tx, workspace_id: UUID, use: str) -> Key | None:
        until = self._soon()
        row = await tx.row(
            "select epoch, wrapped from workspace_keys where workspace_id = $1 and use = $2", workspace_id, use
        )
        if row is None:
            return None
        key = await self._unwrap(row["epoch"], row["wrapped"], workspace_context(workspace_id, use))
        tx.after_commit(lambda: self._keep(workspace_id, use, key, until))
        return key

    async def _make_workspace(self, tx: Tx, workspace_id: UUID, use: str) -> None:
        epoch = await self.current(tx)
        wrapping = await self.epochs.open(epoch)
        await tx.execute(
            """
            insert into workspace_keys (workspace_id, use, epoch, wrapped, created_at)
            values ($1, $2, $3, $4, $5)
            on conflict (workspace_id, use) do nothing
            """,
            workspace_id, use, epoch, wrapping.seal(Key.new().raw(), workspace_context(workspace_id, use)), tx.now,
        )  # fmt: skip

    async def _read_subjects(self, tx: Tx, workspace_id: UUID, subject_ids: Sequence[UUID]) -> dict[UUID, Key]:
        until = self._soon()
        rows = await tx.rows(
            """
            select subject_id, epoch, wrapped
              from subject_keys
             where workspace_id = $1 and subject_id = any($2::uuid[]) and destroyed_at is null
            """,
            workspace_id, subject_ids,
        )  # fmt: skip
        found = {}
        for row in rows:
            context = subject_context(workspace_id, row["subject_id"])
            found[row["subject_id"]] = await self._unwrap(row["epoch"], row["wrapped"], context)
        tx.after_commit(lambda: self._keep_all(workspace_id, found, until))
        return found

    async def _unwrap(self, epoch: str, wrapped: bytes, context: str) -> Key:
        return Key((await self.epochs.open(epoch)).open(wrapped, context))

    def _cached(self, workspace_id: UUID, name: UUID | str) -> Key | None:
        kept = self._cache.get((workspace_id, name))
        if kept is None or self._clock.monotonic() > kept[0]:
            return None
        return kept[1]

    def _soon(self) -> float:
        """Until when something may be kept that is read now."""
        return self._clock.monotonic() + CACHE_SECONDS

    def _keep_all(self, workspace_id: UUID, keys: Mapping[UUID, Key], until: float) -> None:
        for one, key in keys.items():
            self._keep(workspace_id, one, key, until)

    def _keep(self, workspace_id: UUID, name: UUID | str, key: Key, until: float) -> None:
        self._cache[workspace_id, name] = (until, key)
        while len(self._cache) > CACHE_KEYS:
            self._cache.popitem(last=False)


def subject_context(workspace_id: UUID, subject_id: UUID) -> str:
    """What a person's wrapped key is bound to."""
    return f"subject:{workspace_id}:{subject_id}"


def workspace_context(workspace_id: UUID, use: str) -> str:
    """What the wrapped key of a workspace side is bound to."""
    return f"workspace:{workspace_id}:{use}"


async def _epochs_from(tx: Tx, name: str) -> dict[str, Row]:
    """The epochs from this month on, in order; `open` are those that keys may be wrapped under."""
    rows = await tx.rows(
        """
        select name, mark, emptied_at is null and destroyed_at is null as open
          from epochs
         where name >= $1 and mark is not null
         order by name
        """,
        name,
    )
    return {row["name"]: row for row in rows}


async def _unlist_unused(tx: Tx, name: str) -> None:
    """Forget an epoch that no key ever was wrapped under."""
    await tx.execute(
        """
        delete from epochs
         where name = $1
           and not exists (select from subject_keys where epoch = $1)
           and not exists (select from workspace_keys where epoch = $1)
        """,
        name,
    )


async def open_vault(folder: KeyFolder, clock: Clock, *, create: bool = False, window: timedelta = WINDOW) -> Vault:
    """The vault over a keys folder; `create` only together with a new cluster."""
    new = create and not folder.exists()
    if new:
        folder.create()
    outer = folder.outer()
    epochs = folder.epochs(outer, clock)
    if new:
        await epochs.make(month(clock.now()))
    return Vault(outer, epochs, clock, window)
