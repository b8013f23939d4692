"""What an import keeps beside its file: how far it is, and the rows it refused."""

import csv
import fcntl
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from tabellion.core.errors import HubError
from tabellion.core.files import write_file
from tabellion.core.rows.types import Place, Reason, Row
from tabellion.recipients.columns import Field

LOCK: Final = ".lock"
"""How the name of the file ends that an import holds while it runs."""
OURS: Final = ("reject_line", "reject_code", "reject_pointer", "reject_detail", "reject_raw")
"""The columns that a file of rejects has beside those of its input, so that it can be corrected and imported."""


class Count(msgspec.Struct, frozen=True):
    """What became of the rows so far."""

    rows: int = 0
    created: int = 0
    updated: int = 0
    """They were there: changed, or seen again as they are."""
    rejected: int = 0
    applied: int = 0
    """Of suppressions: in force since."""
    already: int = 0
    """Of suppressions: the ledger had it."""
    kept: int = 0
    """Of suppressions: not in force, because of a newer consent."""
    ignored: int = 0
    """Fields of rows that are in, left out because another source has the say of them."""


class Same(msgspec.Struct, frozen=True):
    """What must be the same for an import to go on: the file, where it goes, how it is read."""

    digest: str
    workspace_id: UUID
    fields: tuple[Field, ...]
    options: tuple[str, ...] = ()
    """What else decides what a row means."""
    source: str = ""
    """Whom it speaks for, where that was said."""


class Progress(msgspec.Struct, frozen=True):
    """How far an import is. Everything before `place` is durable."""

    same: Same
    place: Place
    count: Count
    rejects: int = 0
    """Bytes of the file of rejects that belong to it."""


class ProgressFile:
    """Progress in a file. Written whole or not at all, gone once the import is through."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, same: Same) -> Progress | None:
        """How far the import is; None where there is none, or one of something else."""
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=Progress)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return found if found.same == same else None

    def write(self, progress: Progress) -> None:
        write_file(self.path, msgspec.json.encode(progress))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class Rejects:
    """The refused rows, each with its line, code, pointer, what is wrong, and itself. Only the owner may read them."""

    def __init__(self, path: Path, columns: Sequence[str], delimiter: str | None, length: int = 0) -> None:
        """`delimiter` makes it CSV, None JSON lines. Of a file that is there the first `length` bytes stay."""
        self.path = path
        self._columns = [column for column in columns if column not in OURS]
        self._delimiter = delimiter
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.fchmod(handle, 0o600)
        self._stream = os.fdopen(handle, "r+b")
        # Somebody may have taken the file away meanwhile: what is gone is not made up for with zeros.
        kept = min(length, os.fstat(handle).st_size)
        self._stream.truncate(kept)
        self._stream.seek(kept)

    def add(self, refused: Iterable[tuple[Row, Reason]]) -> int:
        """Write rows, durably; the length of the file then."""
        text = "".join(self._drawn(row, reason) for row, reason in refused)
        if text:
            head = self._line([*self._columns, *OURS]) if self._delimiter and not self._stream.tell() else ""
            self._stream.write((head + text).encode(errors="backslashreplace"))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        return self._stream.tell()

    def close(self) -> None:
        """Close the file; it is removed where nothing is in it."""
        empty = not self._stream.tell()
        self._stream.close()
        if empty:
            self.path.unlink()

    def _drawn(self, row: Row, reason: Reason) -> str:
        if self._delimiter:
            cells = [row.values.get(column, "") for column in self._columns]
            return self._line([*cells, str(row.line), reason.code, reason.pointer, reason.detail, row.raw])
        refused: Mapping[str, Any] = {
            "line": row.line, "code": reason.code, "pointer": reason.pointer, "detail": reason.detail,
            **({"raw": row.raw} if row.raw else {"row": row.values}),
        }  # fmt: skip
        return msgspec.json.encode(refused).decode() + "\n"

    def _line(self, cells: Sequence[str]) -> str:
        drawn = io.StringIO()
        csv.writer(drawn, delimiter=self._delimiter or ",", lineterminator="\n").writerow(cells)
        return drawn.getvalue()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the file at path while nobody else does. Raises `HubError` at once where somebody does.

    The hold ends with the process, however that ends; a file that was left behind is in nobody's way.
    """
    handle = _hold(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _hold(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            name = path.name.removesuffix(LOCK)
            detail = f"{name} is being imported by another process; wait for it to end, or stop it, and repeat"
            raise HubError("import_under_way", detail, 409) from None
        # Whoever held it may have taken the file away between our two calls: then it is another one's to hold.
        if _is_at(handle, path):
            return handle
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
