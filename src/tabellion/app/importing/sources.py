"""Files of rows: CSV, JSON lines, Parquet."""

import csv
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from tabellion.app.importing.lines import FlawedError, Lines
from tabellion.app.importing.types import Place, Reason, Row, Source, unreadable
from tabellion.core.errors import Misconfigured

DELIMITERS: Final = ",;\t|"
LOOKED_AT: Final = 100
"""Rows of a JSON file that are looked at for the names of columns."""
AT_ONCE: Final = 1000
"""Rows of a Parquet file that are in memory at once, beside its own row group."""


def open_source(file: Path) -> Source:
    """The rows of a file, by the end of its name. Raises `Invalid` where it cannot be one."""
    if not file.is_file():
        raise unreadable(f"there is no file {file}")
    match file.suffix.lower():
        case ".csv" | ".tsv":
            return Csv(file)
        case ".jsonl" | ".ndjson":
            return JsonLines(file)
        case ".parquet":
            return Parquet(file)
        case other:
            raise unreadable(f"the name ends in {other or 'nothing'}; it can be .csv, .tsv, .jsonl, .ndjson, .parquet")


class Csv:
    """RFC 4180 with a header, UTF-8. The delimiter is the one the header has most of."""

    closed = True

    def __init__(self, file: Path) -> None:
        self._file = file
        self.size = file.stat().st_size
        with file.open("rb") as stream:
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
        with self._file.open("rb") as stream:
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

    def __init__(self, file: Path) -> None:
        self._file = file
        self._decoder = msgspec.json.Decoder(dict[str, Any])
        self.size = file.stat().st_size
        names: dict[str, None] = {}
        for _, row in zip(range(LOOKED_AT), self.rows(None), strict=False):
            names |= dict.fromkeys(row.values)
        self.columns: Sequence[str] = list(names)

    def rows(self, start: Place | None) -> Iterator[Row]:
        with self._file.open("rb") as stream:
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


class Parquet:
    """A Parquet file, by PyArrow, which is installed by who needs it."""

    closed = True

    def __init__(self, file: Path) -> None:
        try:
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            detail = "Parquet files need PyArrow: pip install pyarrow; or make the file .csv or .jsonl"
            raise Misconfigured("pyarrow_missing", detail) from None
        try:
            self._file = parquet.ParquetFile(file)
        except (ValueError, OSError) as error:  # ArrowInvalid is a ValueError
            raise unreadable(f"not a Parquet file: {error}") from None
        self.columns: Sequence[str] = list(self._file.schema_arrow.names)
        self.size: int = self._file.metadata.num_rows

    def rows(self, start: Place | None) -> Iterator[Row]:
        number = 0
        skipped = start.offset if start else 0
        for batch in self._file.iter_batches(batch_size=AT_ONCE):
            if number + batch.num_rows <= skipped:
                number += batch.num_rows
                continue
            for values in batch.to_pylist():
                number += 1
                if number > skipped:
                    yield Row(number, Place(number, number + 1), values)


def _flawed(lines: Lines, began: Place, reason: Reason) -> Row:
    """A row that cannot be read: its first line is given up, the next one is tried as a row."""
    raw = lines.skip()
    return Row(began.line, lines.here(), {}, raw, reason)
