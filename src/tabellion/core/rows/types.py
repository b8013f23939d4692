"""What the parts of an import pass to each other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from tabellion.core.errors import FieldError, HubError, Invalid


class Place(msgspec.Struct, frozen=True):
    """Where a row begins: the byte (of a Parquet file: the row), and the line as an editor counts them."""

    offset: int = 0
    line: int = 1


class Reason(msgspec.Struct, frozen=True):
    """Why a row was refused. The pointer is into the row as an object of its columns."""

    code: str
    detail: str
    pointer: str = ""

    @classmethod
    def of(cls, refusal: HubError) -> "Reason":
        first = refusal.errors[0] if refusal.errors else FieldError("", refusal.detail)
        return cls(refusal.code, first.detail, first.pointer)


class Row(msgspec.Struct, frozen=True):
    """One row as it stands in the file."""

    line: int
    after: Place
    """Where the next one begins."""
    values: Mapping[str, Any]
    raw: str = ""
    """The text of a row that could not be taken apart."""
    flaw: Reason | None = None
    """Why it could not."""


class Source(Protocol):
    """A file of rows."""

    @property
    def columns(self) -> Sequence[str]:
        """Their names; of a file that does not say, those its first rows have."""

    @property
    def closed(self) -> bool:
        """Whether there can be no other columns."""

    @property
    def size(self) -> int:
        """What `Row.after.offset` comes to at the end."""

    def rows(self, start: Place | None) -> Iterator[Row]:
        """The rows from `start` on, or all, in order; what cannot be read is a row with a flaw."""


def unreadable(detail: str) -> Invalid:
    """The refusal of a file as a whole."""
    return Invalid("file_unreadable", detail)
