"""The forms in which an export is given out: a ZIP that is made as it is read, or one JSON document."""

import io
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from tabellion.core.errors import HubError
from tabellion.privacy.exported import Part

PIECE: Final = 256 << 10
"""Bytes that are packed at once: a page may be large, and packing keeps everybody waiting."""


class ExportTooLarge(HubError):
    def __init__(self, largest: int) -> None:
        detail = f"the export has more than {largest >> 20} MiB, too much for one document; ask for it as a ZIP"
        super().__init__("export_too_large", detail, 413)


class Sink(io.RawIOBase):
    """A file that cannot be gone back in, and forgets what was taken from it."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


async def zipped(parts: AsyncIterator[Part]) -> AsyncIterator[bytes]:
    """A ZIP of the parts, in pieces. Members have the time of the export, so the same parts are the same bytes."""
    sink = Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        async for part in parts:
            with archive.open(_member(part.name, part.at), "w", force_zip64=True) as member:
                async for page in part.pages:
                    for start in range(0, len(page.content), PIECE):
                        member.write(page.content[start : start + PIECE])
                        if packed := sink.take():
                            yield packed
    yield sink.take()


async def document(parts: AsyncIterator[Part], largest: int) -> bytes:
    """The parts as one JSON object, by name without ending. Raises `ExportTooLarge` as soon as that is known."""
    members: list[bytes] = []
    size = 0
    async for part in parts:
        pages = []
        async for page in part.pages:
            size += len(page.content)
            if size > largest:
                raise ExportTooLarge(largest)
            pages.append(page.content)
        name, _, form = part.name.rpartition(".")
        members.append(b'"%s":%s' % (name.lower().encode(), _value(form, b"".join(pages))))
    return b"{" + b",".join(members) + b"}"


def _member(name: str, at: datetime) -> zipfile.ZipInfo:
    moment = at.astimezone(UTC)
    member = zipfile.ZipInfo(name, (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second))
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def _value(form: str, content: bytes) -> bytes:
    """A file's content as a JSON value."""
    match form:
        case "jsonl":
            return b"[" + b",".join(content.splitlines()) + b"]"
        case "json":
            return content.strip()
        case _:
            return msgspec.json.encode(content.decode())
