"""What commands print: one line of JSON for programs, text and tables for people."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


def print_json(value: Mapping[str, Any]) -> None:
    """Exactly one line."""
    print_text(msgspec.json.encode(value).decode())


def print_text(text: str) -> None:
    """Written at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """A table without lines. The last column may be long: it is never broken, so that one can search for its text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [one.ljust(width) for one, width in zip(row, widths, strict=True)]
        print_text("  ".join(padded).rstrip())
