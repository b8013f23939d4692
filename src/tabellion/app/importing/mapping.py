"""Which column is which field: as told, or by its name where that is obvious."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET, UnsetType

from tabellion.core.errors import FieldError, Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.core.rows.types import Source
from tabellion.recipients import traits
from tabellion.recipients.columns import Field
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Kind, Named, NewRecipient, Profile

OBVIOUS: Final[Mapping[str, str]] = {
    "externalid": "external_id",
    "customerid": "external_id",
    "userid": "external_id",
    "email": "email",
    "emailaddress": "email",
    "mail": "email",
    "phone": "phone",
    "phonenumber": "phone",
    "mobile": "phone",
    "mobilenumber": "phone",
    "mobilephone": "phone",
    "locale": "locale",
    "language": "locale",
    "timezone": "time_zone",
}
"""Names of columns that can mean one thing only, without case, space, hyphen and underscore."""
_PUNCTUATION = re.compile(r"[\s_-]+")


def choose(told: Sequence[str], source: Source) -> tuple[Field, ...]:
    """The fields a file is read by: those told as COLUMN=FIELD and no others, or the obvious ones. Raises `Invalid`."""
    fields = tuple(_told(one, source) for one in told) or tuple(_obvious(source.columns))
    if not any(field.kind for field in fields):
        has = ", ".join(source.columns) or "none"
        raise _wrong(f"no column is an identifier; say which with --map COLUMN=email (the file's columns: {has})")
    names = [field.name for field in fields if not (told and _may_repeat(field))]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _wrong(f"two columns are {twice[0]}; say which one with --map COLUMN={twice[0]}")
    return fields


def _may_repeat(field: Field) -> bool:
    """A person has several addresses, and one of everything else."""
    return field.kind not in (None, Kind.EXTERNAL_ID)


def preview(fields: Sequence[Field], columns: Sequence[str]) -> list[list[str]]:
    """What is done with each column, for people."""
    known = {field.column: field.name for field in fields}
    absent = [field.column for field in fields if field.column not in columns]
    return [[column or "(no name)", "→", known.get(column, "(ignored)")] for column in (*columns, *absent)]


class Reader:
    """Makes a row a unit of an upsert."""

    def __init__(self, recipients: Recipients, workspace_id: WorkspaceId, fields: Sequence[Field]) -> None:
        self._recipients = recipients
        self._workspace_id = workspace_id
        self._identifiers = [(field.kind, field.column, field.pointer) for field in fields if field.kind]
        self._traits = [(field.trait, field.column) for field in fields if field.trait]
        self._plain = {field.name: field for field in fields if field.name in ("locale", "time_zone")}
        self._places = {f"/{name}": field.pointer for name, field in self._plain.items()}
        self._places |= {traits.pointer(field.trait): field.pointer for field in fields if field.trait}

    def unit(self, values: Mapping[str, Any]) -> NewRecipient:
        """The unit a row states. Raises `Invalid` with a pointer into the row."""
        try:
            return self._recipients.unit(self._workspace_id, list(self._named(values)), self._profile(values))
        except Invalid as refusal:
            raise self._placed(refusal) from None

    def _named(self, values: Mapping[str, Any]) -> Iterator[tuple[Named, str]]:
        for kind, column, pointer in self._identifiers:
            text = _text(values.get(column), pointer)
            if text:
                yield Named(kind, text), pointer

    def _profile(self, values: Mapping[str, Any]) -> Profile:
        said = {name: values[column] for name, column in self._traits if values.get(column, "") != ""}
        known = self._recipients.coerced(self._workspace_id, said)
        return Profile(self._one("locale", values), self._one("time_zone", values), known or UNSET)

    def _one(self, name: str, values: Mapping[str, Any]) -> str | UnsetType | None:
        field = self._plain.get(name)
        if field is None or values.get(field.column, "") == "":
            return UNSET
        return _text(values[field.column], field.pointer)

    def _placed(self, refusal: Invalid) -> Invalid:
        """The refusal with the pointer of a field turned into its column's."""
        return Invalid(
            refusal.code, refusal.detail,
            *(FieldError(self._places.get(one.pointer, one.pointer), one.detail) for one in refusal.errors),
        )  # fmt: skip


def _text(value: Any, pointer: str) -> str | None:
    """A cell as text. Whole numbers are: files of ids have them."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    detail = "it must be text"
    raise Invalid("wrong_type", detail, FieldError(pointer, detail))


def _told(text: str, source: Source) -> Field:
    column, is_, name = text.rpartition("=")
    if not is_ or not column:
        raise _wrong(f"--map {text}: write COLUMN=FIELD")
    if source.closed and column not in source.columns:
        raise _wrong(f"--map {text}: the file has no column {column!r}; it has {', '.join(source.columns)}")
    if not _is_field(name):
        kinds = ", ".join(Kind)
        raise _wrong(
            f"--map {text}: no such field; there are external_id, email, phone, locale, time_zone, trait.NAME and"
            f" identifier.KIND (a KIND is one of {kinds})"
        )
    return Field(column, name)


def _obvious(columns: Sequence[str]) -> Iterator[Field]:
    """The fields of columns whose names say it: a field's own, one that can mean nothing else, `trait.…`."""
    for column in columns:
        name = OBVIOUS.get(_PUNCTUATION.sub("", column.lower()), column)
        if _is_field(name):
            yield Field(column, name)


def _is_field(name: str) -> bool:
    if name.startswith("identifier."):
        return _is_kind(name.removeprefix("identifier."))
    return name in OBVIOUS.values() or (name.startswith("trait.") and name != "trait.")


def _is_kind(name: str) -> bool:
    try:
        Kind(name)
    except ValueError:
        return False
    return True


def _wrong(detail: str) -> Invalid:
    return Invalid("mapping_wrong", detail)
