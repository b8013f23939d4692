"""Keys at rest: the outer key seals epoch keys, an epoch key seals data keys, a data key seals one person's data.

Outside the database, in the keys folder (`DIR.keys/`, mode 0700): `outer.key`, `epochs/*.key`, `checkpoints/`.
In the database only wrapped keys: `subject_keys` (one a person), `workspace_keys` (one a workspace side and use).
Destroying a wrapped key makes what it sealed unreadable; destroying an epoch key does so in every backup.
"""

import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from tabellion.core.clock import Clock
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import Misconfigured

FIRST_EPOCH = "epoch-1"
CACHE_SECONDS = 60.0
CACHE_KEYS = 50_000


class OuterKey(Protocol):
    """What seals the epoch keys and the signing keys: a key file here, a key service elsewhere."""

    async def wrap(self, plain: bytes, context: str) -> bytes: ...

    async def unwrap(self, sealed: bytes, context: str) -> bytes: ...


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

    async def epoch(self, name: str, outer: OuterKey, *, create: bool = False) -> Key:
        file = self.path / "epochs" / f"{name}.key"
        if not file.exists() and create:
            write_file(file, await outer.wrap(Key.new().raw(), f"epoch:{name}"))
        if not file.exists():
            raise Misconfigured("keys_missing", f"{file} is missing; restore the keys folder from its backup")
        return Key(await outer.unwrap(file.read_bytes(), f"epoch:{name}"))


def write_file(file: Path, content: bytes) -> None:
    """Write content to file so that a crash leaves the old or the new whole, readable by the owner only."""
    handle, name = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Vault:
    """Data keys, made on first use, wrapped in the database, cached for at most a minute."""

    def __init__(self, outer: OuterKey, epochs: dict[str, Key], current: str, clock: Clock) -> None:
        self.outer = outer
        self._epochs = epochs
        self._current = current
        self._clock = clock
        self._cache: OrderedDict[tuple[UUID, UUID | str], tuple[float, Key]] = OrderedDict()

    async def subjects(self, tx: Tx, workspace_id: UUID, subject_ids: Iterable[UUID]) -> dict[UUID, Key]:
        """The data key of each person, made where there was none. A destroyed key is left out."""
        wanted = sorted(set(subject_ids))
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
            workspace_id, self._current, tx.now,
            [(one, self._wrap(key, f"subject:{workspace_id}:{one}")) for one, key in made.items()],
        )  # fmt: skip
        own = {row["subject_id"]: made[row["subject_id"]] for row in rows}

        def keep() -> None:
            for one, key in own.items():
                self._keep(workspace_id, one, key)

        tx.after_commit(keep)
        return own

    async def workspace(self, tx: Tx, workspace_id: UUID, use: str) -> Key:
        """The key of a workspace side for one use: `lookup`, `answers`, `secrets`."""
        if key := self._cached(workspace_id, use):
            return key
        made = self._wrap(Key.new(), f"workspace:{workspace_id}:{use}")
        await tx.execute(
            """
            insert into workspace_keys (workspace_id, use, epoch, wrapped, created_at)
            values ($1, $2, $3, $4, $5)
            on conflict (workspace_id, use) do nothing
            """,
            workspace_id, use, self._current, made, tx.now,
        )  # fmt: skip
        row = await tx.row(
            "select epoch, wrapped from workspace_keys where workspace_id = $1 and use = $2", workspace_id, use
        )
        if row is None:
            raise Misconfigured("keys_missing", f"the {use} key of a workspace is gone")
        key = self._unwrap(row["epoch"], row["wrapped"], f"workspace:{workspace_id}:{use}")
        tx.after_commit(lambda: self._keep(workspace_id, use, key))
        return key

    def forget(self, workspace_id: UUID, subject_id: UUID) -> None:
        """Drop a cached key at once: the person was erased."""
        self._cache.pop((workspace_id, subject_id), None)

    async def _read_subjects(self, tx: Tx, workspace_id: UUID, subject_ids: Sequence[UUID]) -> dict[UUID, Key]:
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
            subject_id = row["subject_id"]
            key = self._unwrap(row["epoch"], row["wrapped"], f"subject:{workspace_id}:{subject_id}")
            found[subject_id] = key

        def keep() -> None:
            for one, key in found.items():
                self._keep(workspace_id, one, key)

        tx.after_commit(keep)
        return found

    def _wrap(self, key: Key, context: str) -> bytes:
        return self._epochs[self._current].seal(key.raw(), context)

    def _unwrap(self, epoch: str, wrapped: bytes, context: str) -> Key:
        if epoch not in self._epochs:
            raise Misconfigured("keys_missing", f"the epoch key {epoch} is not in the keys folder; restore it")
        return Key(self._epochs[epoch].open(wrapped, context))

    def _cached(self, workspace_id: UUID, name: UUID | str) -> Key | None:
        kept = self._cache.get((workspace_id, name))
        if kept is None or self._clock.monotonic() > kept[0]:
            return None
        return kept[1]

    def _keep(self, workspace_id: UUID, name: UUID | str, key: Key) -> None:
        self._cache[workspace_id, name] = (self._clock.monotonic() + CACHE_SECONDS, key)
        while len(self._cache) > CACHE_KEYS:
            self._cache.popitem(last=False)


async def open_vault(folder: KeyFolder, clock: Clock, *, create: bool = False) -> Vault:
    """The vault over a keys folder; `create` only together with a new cluster."""
    if create and not folder.exists():
        folder.create()
    outer = folder.outer()
    epoch = await folder.epoch(FIRST_EPOCH, outer, create=create)
    return Vault(outer, {FIRST_EPOCH: epoch}, FIRST_EPOCH, clock)
