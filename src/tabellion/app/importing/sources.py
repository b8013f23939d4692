"""Files of rows: CSV, JSON lines, Parquet."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tabellion.core.errors import Misconfigured
from tabellion.core.rows.sources import Csv, JsonLines, OnDisk
from tabellion.core.rows.types import Place, Row, Source, unreadable

AT_ONCE: Final = 1000
"""Rows of a Parquet file that are in memory at once, beside its own row group."""


def open_source(file: Path) -> Source:
    """The rows of a file, by the end of its name. Raises `Invalid` where it cannot be one."""
    if not file.is_file():
        raise unreadable(f"there is no file {file}")
    match file.suffix.lower():
        case ".csv" | ".tsv":
            return Csv(OnDisk(file))
        case ".jsonl" | ".ndjson":
            return JsonLines(OnDisk(file))
        case ".parquet":
            return Parquet(file)
        case other:
            raise unreadable(f"the name ends in {other or 'nothing'}; it can be .csv, .tsv, .jsonl, .ndjson, .parquet")


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
