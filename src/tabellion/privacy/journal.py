"""The erasure journal: which erasures were carried out, kept in the keys folder, outside the database.

A database put back from a dump holds people again who were erased since. The journal says who: before such a hub
serves, it erases them once more. It names ids and keyed hashes, never an address. Each line is authenticated together
with all before it, so a line that is changed, dropped or put elsewhere is noticed; lines lost from the end are, because
the database knows of them, and are written again.
"""

import asyncio
import fcntl
import hmac
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

import msgspec

from tabellion.core.crypto import Key
from tabellion.core.epochs import OuterKey
from tabellion.core.errors import Misconfigured
from tabellion.core.files import write_new
from tabellion.core.vault import KeyFolder

START: Final = bytes(32)
"""What the first line is authenticated with, where there is none before it."""
CONTEXT: Final = "journal"
NAME: Final = "erasures.journal"


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """One erasure, as it must be done again where it was lost."""

    workspace_id: UUID
    regulation_id: UUID
    recipient_ids: Sequence[UUID]
    """All ids of the person, the merge root first."""
    hashes: Sequence[bytes]
    """Keyed hashes that stay, so that no import brings the person back. None where nothing was to stay."""
    requested_by: str
    verified_by: str
    created_at: datetime
    erased_at: datetime
    approved_by: str | None = None
    approved_at: datetime | None = None


class _Line(msgspec.Struct, frozen=True):
    erased: msgspec.Raw
    mac: bytes


class Journal:
    """The journal of an installation. Its key is made with its first use, and never made again beside a journal."""

    def __init__(self, keys: KeyFolder, outer: OuterKey) -> None:
        self._keys = keys
        self._outer = outer

    async def read(self) -> list[Erased]:
        """All erasures, in order. Raises `Misconfigured` where a line is not as it was written."""
        file = _File(self._keys.path, await self._key())
        return await asyncio.to_thread(file.read)

    async def append(self, erased: Sequence[Erased]) -> None:
        """Write erasures down, durably. One that is there already is left out: nothing is erased twice by it."""
        file = _File(self._keys.path, await self._key())
        await asyncio.to_thread(file.append, erased)

    async def _key(self) -> Key:
        file = self._keys.path / "journal.key"
        if not file.exists():
            if (self._keys.path / NAME).exists():
                raise Misconfigured("keys_missing", f"{file} is missing; restore the keys folder from its backup")
            await asyncio.to_thread(write_new, file, await self._outer.wrap(Key.new().raw(), CONTEXT))
        return Key(await self._outer.unwrap(file.read_bytes(), CONTEXT))


class _File:
    """The file, shared by all processes of the installation."""

    def __init__(self, folder: Path, key: Key) -> None:
        self._file = folder / NAME
        self._key = key

    def read(self) -> list[Erased]:
        with self._alone("rb") as file:
            return [msgspec.json.decode(one.erased, type=Erased) for one in self._lines(file)]

    def append(self, erased: Sequence[Erased]) -> None:
        with self._alone("r+b") as file:
            lines = list(self._lines(file))
            known = {_who(msgspec.json.decode(one.erased, type=Erased)) for one in lines}
            before = lines[-1].mac if lines else START
            file.truncate()  # a line that a crash left half
            for one in erased:
                if _who(one) not in known:
                    said = msgspec.json.encode(one)
                    before = self._mac(before, said)
                    file.write(msgspec.json.encode(_Line(msgspec.Raw(said), before)) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _lines(self, file: BinaryIO) -> Iterator[_Line]:
        """The whole lines; the file stands behind the last of them."""
        before, number = START, 0
        while (raw := file.readline()).endswith(b"\n"):
            number += 1
            line = self._parsed(raw, number)
            if not hmac.compare_digest(self._mac(before, bytes(line.erased)), line.mac):
                raise self._damaged(number)
            before = line.mac
            yield line
        file.seek(-len(raw), os.SEEK_CUR)

    def _parsed(self, raw: bytes, number: int) -> _Line:
        try:
            return msgspec.json.decode(raw, type=_Line)
        except msgspec.MsgspecError:
            raise self._damaged(number) from None

    def _mac(self, before: bytes, said: bytes) -> bytes:
        return self._key.hash(before + said)

    def _damaged(self, number: int) -> Misconfigured:
        return Misconfigured(
            "journal_damaged",
            f"line {number} of {self._file} is not as it was written; restore the keys folder from its newest backup",
        )

    @contextmanager
    def _alone(self, mode: str) -> Iterator[BinaryIO]:
        try:
            self._file.touch(mode=0o600)
            with self._file.open(mode) as file:
                fcntl.flock(file, fcntl.LOCK_EX if "+" in mode else fcntl.LOCK_SH)
                yield file  # type: ignore[misc]
        except OSError as error:
            raise Misconfigured(
                "journal_unwritable", f"{self._file} cannot be used ({error.strerror}); nobody is erased until it can"
            ) from None


def _who(erased: Erased) -> tuple[UUID, frozenset[UUID]]:
    return erased.regulation_id, frozenset(erased.recipient_ids)
