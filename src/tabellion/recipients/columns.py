"""Columns of a file about people, and which field each is."""

import msgspec

from tabellion.recipients.types import Kind


class Field(msgspec.Struct, frozen=True):
    """One column, and what it is."""

    column: str
    name: str
    """`email`, `locale`, `trait.plan`, … as on the command line."""

    @property
    def kind(self) -> Kind | None:
        """The identifier it is; None where it is none."""
        if self.name in ("external_id", "email", "phone"):
            return Kind(self.name)
        return Kind(self.name.removeprefix("identifier.")) if self.name.startswith("identifier.") else None

    @property
    def trait(self) -> str | None:
        return self.name.removeprefix("trait.") if self.name.startswith("trait.") else None

    @property
    def pointer(self) -> str:
        return "/" + self.column.replace("~", "~0").replace("/", "~1")
