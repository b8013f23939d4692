"""The last checkpoint of each log, kept outside the database, so that a database that lost entries can be told.

One file a log in the keys folder, shared by all processes of the installation. A file may lag behind the database by
a moment, and never runs ahead of it: it is written after the commit. A larger checkpoint is never replaced by a
smaller one.

Beside it lies, after a loss that a witness has proved, the checkpoint that the witness holds: the keys folder may have
been restored along with the database.
"""

import asyncio
import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tabellion.core.errors import HubError, Misconfigured
from tabellion.core.files import write_file
from tabellion.ledger import note

_ENDING: Final = ".checkpoint"
_WITNESSED: Final = ".witnessed"
WAIT: Final = 0.05
"""Seconds that a commit waits for others before the files are written: bounds the writes, and so the lag."""
RETRY: Final = 1.0


class Checkpoints:
    def __init__(self, folder: Path, wait: float = WAIT) -> None:
        self._folder = folder
        self._wait = wait
        self._pending: dict[str, tuple[int, str]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: str | None = None
        """Why the last writing failed; None while all is well."""

    async def last(self, origin: str) -> note.Checkpoint | None:
        """The last checkpoint published for this log; None for a log that never published one."""
        return await asyncio.to_thread(self._read, origin)

    async def last_note(self, origin: str) -> str | None:
        """The last signed note known of this log: the published one, or one that a witness has proved beyond it."""
        return await asyncio.to_thread(self._last_note, origin)

    async def witnessed(self, origin: str) -> note.Checkpoint | None:
        """The checkpoint by which a witness has proved a loss; None for a log that nobody accused."""
        return await asyncio.to_thread(self._read, origin, _WITNESSED)

    async def prove(self, origin: str, signed: str) -> None:
        """Keep what a witness holds against the database, durably, for every process."""
        await asyncio.to_thread(self._replace, origin, _size(signed), signed, _WITNESSED)

    async def origins(self) -> list[str]:
        """The logs that have published."""
        return await asyncio.to_thread(self._list)

    def publish(self, origin: str, size: int, signed: str) -> None:
        """Have this committed checkpoint written soon. Newer ones of the log take its place until then."""
        self._keep(origin, size, signed)
        self._schedule(self._wait)

    async def flush(self) -> None:
        """Write what waits, now. A failure is kept in `failure` and tried again after a second."""
        async with self._writing:
            taken, self._pending = self._pending, {}
            failed = await asyncio.to_thread(self._write, taken)
            self.failure = next(iter(failed.values()), None)
            for origin in failed:
                self._keep(origin, *taken[origin])
            if failed:
                self._schedule(RETRY)

    async def try_writing(self) -> str | None:
        """Why no checkpoint could be written now; None where one could. Leaves nothing behind."""
        return await asyncio.to_thread(self._try)

    async def close(self) -> None:
        """Write what waits and stop: nothing of it is still at work, or begun and not run, when the loop ends."""
        await asyncio.gather(self.flush(), *self._tasks)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _keep(self, origin: str, size: int, signed: str) -> None:
        if origin not in self._pending or self._pending[origin][0] < size:
            self._pending[origin] = (size, signed)

    def _schedule(self, wait: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._start)

    def _start(self) -> None:
        self._timer = None
        task = asyncio.create_task(self.flush())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _write(self, taken: Mapping[str, tuple[int, str]]) -> dict[str, str]:
        """What could not be written, and why. One log's trouble does not keep another's checkpoint back."""
        failed = {}
        for origin, (size, signed) in taken.items():
            try:
                self._replace(origin, size, signed)
            except (OSError, HubError) as error:
                failed[origin] = str(error)
        return failed

    def _replace(self, origin: str, size: int, signed: str, ending: str = _ENDING) -> None:
        with self._alone():
            standing = self._read(origin, ending)
            if standing is None or standing.size < size:
                write_file(self._file(origin, ending), signed.encode())

    def _try(self) -> str | None:
        probe = self._folder / ".probe"
        try:
            with self._alone():
                write_file(probe, b"")
                probe.unlink()
        except OSError as error:
            return str(error)
        return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process compares and writes meanwhile."""
        with (self._folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _last_note(self, origin: str) -> str | None:
        found = [one for ending in (_ENDING, _WITNESSED) if (one := self._read_note(origin, ending))]
        return max(found, key=_size) if len(found) > 1 else next(iter(found), None)

    def _read(self, origin: str, ending: str = _ENDING) -> note.Checkpoint | None:
        signed = self._read_note(origin, ending)
        if signed is None:
            return None
        try:
            checkpoint = note.parse_checkpoint(note.parse(signed).text)
        except note.BadNote as error:
            raise self._unreadable(origin, ending, str(error)) from None
        if checkpoint.origin != origin:
            raise self._unreadable(origin, ending, f"it is of {checkpoint.origin}")
        return checkpoint

    def _read_note(self, origin: str, ending: str = _ENDING) -> str | None:
        try:
            return self._file(origin, ending).read_bytes().decode()
        except FileNotFoundError:
            if self._folder.is_dir():
                return None
            raise self._unreadable(origin, ending, "the folder is missing") from None
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(origin, ending, type(error).__name__) from None

    def _list(self) -> list[str]:
        return sorted(
            "tabellion.log/" + file.name.removesuffix(_ENDING).replace("-", "/")
            for file in self._folder.glob(f"*{_ENDING}")
        )

    def _file(self, origin: str, ending: str) -> Path:
        return self._folder / (origin.removeprefix("tabellion.log/").replace("/", "-") + ending)

    def _unreadable(self, origin: str, ending: str, why: str) -> Misconfigured:
        return Misconfigured(
            "checkpoint_unreadable",
            f"{self._file(origin, ending)} cannot be used ({why}); restore the keys folder from its backup",
        )


def _size(signed: str) -> int:
    return note.parse_checkpoint(note.parse(signed).text).size
