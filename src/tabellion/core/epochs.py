"""Epoch keys: one file a month in the keys folder, sealed by the outer key; made once, and destroyed for good.

`2026-11.key` is that of November 2026 (UTC); `epoch-1.key` that of installations from before there were months. A
destroyed one leaves `2026-11.destroyed`, which says when. So what was meant to go can be told from what got lost, also
by a hub whose database was restored from before.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from tabellion.core.clock import Clock
from tabellion.core.crypto import Key
from tabellion.core.errors import HubError, Misconfigured
from tabellion.core.files import destroy_file, write_file, write_new

GRACE = timedelta(hours=1)
"""How long after its month an epoch is left alone: clocks differ, and a transaction ends later than it began."""
SLACK = timedelta(days=1)
"""In which a month that is over is emptied, and a key whose time has come destroyed: the grace, hourly rounds, and
22 hours in which every key is wrapped anew."""
LOOK = 60.0
"""Seconds that a destroyed epoch key may stay in the memory of another process that goes on asking for keys."""

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_NAME = re.compile(r"[a-z0-9-]{1,32}")

EPOCH_DESTROYED: Final = "epoch_destroyed"
"""The code of what no key opens any more: the backup it comes from is older than the window."""


class OuterKey(Protocol):
    """What seals the epoch keys and the signing keys: a key file here, a key service elsewhere."""

    async def wrap(self, plain: bytes, context: str) -> bytes: ...

    async def unwrap(self, sealed: bytes, context: str) -> bytes: ...


def month(moment: datetime) -> str:
    """The epoch that this moment is in."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def end(name: str) -> datetime:
    """When the month of an epoch is over; for one that is no month, it always was."""
    found = _MONTH.fullmatch(name)
    if found is None:
        return datetime.min.replace(tzinfo=UTC)
    year, number = int(found[1]), int(found[2])
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def following(name: str) -> str:
    """The epoch after this one."""
    return month(end(name))


class Epochs:
    """The epoch keys of a keys folder that other processes use at the same time. Read when they are first needed."""

    def __init__(self, folder: Path, outer: OuterKey, clock: Clock) -> None:
        self._folder = folder
        self._outer = outer
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._looked = clock.monotonic()

    async def open(self, name: str) -> Key:
        """The key of an epoch. Raises `epoch_destroyed`, or `keys_missing` where it is gone but should not be."""
        self._forget_gone()
        if name not in self._keys:
            self._keys[name] = await self._read(name)
        return self._keys[name]

    async def make(self, name: str) -> Key:
        """The key of an epoch, made where nobody has; where several make it at once, the one that all of them get.

        To be called only for an epoch that the database does not know: a new key would hide that one got lost.
        """
        if not self.there(name) and self.destroyed_at(name) is None:
            sealed = await self._outer.wrap(Key.new().raw(), f"epoch:{name}")
            write_new(self._file(name), sealed)
        return await self.open(name)

    def there(self, name: str) -> bool:
        return self._file(name).is_file()

    def destroyed_at(self, name: str) -> datetime | None:
        """When the key of an epoch was destroyed; None for one that was not."""
        try:
            return datetime.fromisoformat(self._mark(name).read_text().strip())
        except FileNotFoundError:
            return None

    def destroy(self, name: str, at: datetime) -> None:
        """Destroy the key of an epoch. That nothing is wrapped under it any more is for the caller to know.

        The mark comes first: a crash in between leaves an epoch that counts as destroyed, and a second try finishes.
        """
        if self.destroyed_at(name) is None:
            write_file(self._mark(name), f"{at.isoformat()}\n".encode())
        destroy_file(self._file(name))
        self._keys.pop(name, None)

    async def _read(self, name: str) -> Key:
        if at := self.destroyed_at(name):
            # Not `Misconfigured`: of what is done together, it concerns only what needs this key.
            raise HubError(
                EPOCH_DESTROYED,
                f"the epoch key {name} was destroyed at {at:%Y-%m-%d %H:%M} UTC, and what was wrapped under it then"
                " opens no more: the restored backup is older than the backup window; restore a newer one",
                500,
            )
        try:
            sealed = self._file(name).read_bytes()
        except OSError as error:
            raise Misconfigured(
                "keys_missing",
                f"epochs/{name}.key in the keys folder cannot be read ({type(error).__name__}); restore it from its"
                " backup, and let all processes share one keys folder",
            ) from None
        return Key(await self._outer.unwrap(sealed, f"epoch:{name}"))

    def _forget_gone(self) -> None:
        now = self._clock.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            self._keys = {name: key for name, key in self._keys.items() if self.there(name)}

    def _file(self, name: str) -> Path:
        return self._folder / f"{_required(name)}.key"

    def _mark(self, name: str) -> Path:
        return self._folder / f"{_required(name)}.destroyed"


def _required(name: str) -> str:
    """The name, which comes from the database and becomes a path."""
    if not _NAME.fullmatch(name):
        raise Misconfigured("keys_missing", "the database names an epoch key that can have no file; restore a backup")
    return name
