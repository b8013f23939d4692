"""Rows of CSV and of JSON lines."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec

from tabellion.core.rows.lines import FlawedError, Lines
from tabellion.core.rows.types import Place, Reason, Row, unreadable

DELIMITERS: Final = ",;\t|"
LOOKED_AT: Final = 100
"""Rows of a JSON file that are looked at for the names of columns."""


class File(Protocol):
    """Bytes that can be read from the start as often as one likes."""

    @property
    def size(self) -> int: ...

    def open(self) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class OnDisk:
    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def open(self) -> BinaryIO:
        return self.path.open("rb")


@dataclass(frozen=True, slots=True)
class InMemory:
    content: bytes = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.content)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)


class Csv:
    """RFC 4180 with a header, UTF-8. The delimiter is the one the header has most of."""

    closed = True

    def __init__(self, file: File) -> None:
        self._file = file
        self.size = file.size
        with file.open() as stream:
            lines = Lines(stream)
            try:
                first = next(lines, "")
                self.delimiter = max(DELIMITERS, key=first.count)
                lines = Lines(stream)
                self.columns: Sequence[str] = [name.strip() for name in next(self._reader(lines), [])]
            except (FlawedError, csv.Error) as error:
                raise unreadable(f"the header cannot be read: {error}") from None
            self._first = lines.here()
        if not any(self.columns) or len(set(self.columns)) < len(self.columns):
            raise unreadable("the first row must name every column, each by a name of its own")

    def rows(self, start: Place | None) -> Iterator[Row]:
        with self._file.open() as stream:
            lines = Lines(stream, start or self._first)
            reader = self._reader(lines)
            while True:
                began = lines.begin()
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except FlawedError as flaw:
                    yield _flawed(lines, began, flaw.reason)
                except csv.Error as error:
                    yield _flawed(lines, began, Reason("malformed_row", f"not a CSV row: {error}"))
                else:
                    if cells:
                        yield self._row(began, lines.here(), cells)

    def _row(self, began: Place, after: Place, cells: list[str]) -> Row:
        if len(cells) == len(self.columns):
            return Row(began.line, after, dict(zip(self.columns, cells, strict=True)))
        flaw = Reason("wrong_columns", f"it has {len(cells)} columns, the header {len(self.columns)}")
        return Row(began.line, after, {}, self.delimiter.join(cells), flaw)

    def _reader(self, lines: Lines) -> "Iterator[list[str]]":
        return csv.reader(lines, delimiter=self.delimiter, strict=True)


class JsonLines:
    """One JSON object a line, UTF-8."""

    closed = False

    def __init__(self, file: File) -> None:
        self._file = file
        self._decoder = msgspec.json.Decoder(dict[str, Any])
        self.size = file.size
        names: dict[str, None] = {}
        for _, row in zip(range(LOOKED_AT), self.rows(None), strict=False):
            names |= dict.fromkeys(row.values)
        self.columns: Sequence[str] = list(names)

    def rows(self, start: Place | None) -> Iterator[Row]:
        with self._file.open() as stream:
            lines = Lines(stream, start)
            while True:
                began = lines.begin()
                try:
                    text = next(lines)
                except StopIteration:
                    return
                except FlawedError as flaw:
                    yield _flawed(lines, began, flaw.reason)
                else:
                    if not text.isspace():
                        yield self._row(began, lines.here(), text)

    def _row(self, began: Place, after: Place, text: str) -> Row:
        try:
            return Row(began.line, after, self._decoder.decode(text))
        except (msgspec.MsgspecError, RecursionError) as error:
            flaw = Reason("malformed_row", f"not a JSON object: {error}")
            return Row(began.line, after, {}, text.rstrip("\r\n"), flaw)


def _flawed(lines: Lines, began: Place, reason: Reason) -> Row:
    """A row that cannot be read: its first line is given up, the next one is tried as a row."""
    raw = lines.skip()
    return Row(began.line, lines.here(), {}, raw, reason)
