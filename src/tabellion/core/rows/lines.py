"""Lines of a file: UTF-8, bounded, counted in bytes so that one can go back to any of them."""

import codecs
from typing import BinaryIO

from tabellion.core.rows.types import Place, Reason, unreadable

MOST = 131_072
"""Bytes a row may have. The largest that could be stored has a quarter of that in traits."""
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class FlawedError(Exception):
    """A row cannot be read."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = Reason(code, detail)


class Lines:
    """An iterator over lines. Raises `FlawedError` at one that is too long or not UTF-8; `skip` goes past it."""

    def __init__(self, stream: BinaryIO, start: Place | None = None) -> None:
        self._stream = stream
        self._began = self.place = start or Place(_bom(stream), 1)
        self._offset, self._line = self.place.offset, self.place.line
        stream.seek(self._offset)

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        raw = self._stream.readline(MOST + 1)
        if not raw:
            raise StopIteration
        self._offset += len(raw)
        self._line += 1
        if self._offset - self._began.offset > MOST:
            raise FlawedError("row_too_long", f"a row has at most {MOST} bytes; is a quotation mark never closed?")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise FlawedError("not_utf8", "not UTF-8; save the file as UTF-8") from None

    def begin(self) -> Place:
        """Note that a row begins here."""
        self._began = Place(self._offset, self._line)
        return self._began

    def here(self) -> Place:
        return Place(self._offset, self._line)

    def skip(self) -> str:
        """Go back to where the row began and past its first line; what can be shown of that line."""
        self._stream.seek(self._began.offset)
        shown = raw = self._stream.readline(MOST)
        self._offset = self._began.offset + len(raw)
        while raw and not raw.endswith(b"\n"):
            raw = self._stream.readline(MOST)
            self._offset += len(raw)
        self._line = self._began.line + 1
        return shown.decode(errors="backslashreplace").rstrip("\r\n")


def _bom(stream: BinaryIO) -> int:
    """The length of the byte order mark. Raises `Invalid` where it is UTF-16's."""
    stream.seek(0)
    head = stream.read(3)
    if head.startswith(_WIDE):
        raise unreadable("the file is UTF-16; save it as UTF-8")
    return len(codecs.BOM_UTF8) if head == codecs.BOM_UTF8 else 0
