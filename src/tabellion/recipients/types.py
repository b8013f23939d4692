"""Words and values of recipients."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Protocol, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError
from tabellion.core.ids import RecipientId, WorkspaceId


class Kind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    EXTERNAL_ID = "external_id"


ADDRESSES = frozenset({Kind.EMAIL, Kind.PHONE})
"""What one can send to. An unknown address may become a recipient; an unknown external_id does not exist."""


class IdentifierRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One (kind, value) as a request names it."""

    kind: Kind
    value: str


class RefObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A recipient as a request names one: exactly one of the fields."""

    id: str | None = None
    external_id: str | None = None
    email: Annotated[str | None, Meta(examples=["ann@example.org"], extra_json_schema={"format": "email"})] = None
    phone: Annotated[str | None, Meta(examples=["+436601234567"])] = None
    identifier: IdentifierRef | None = None


RecipientRef: TypeAlias = Annotated[str | RefObject, Meta(extra_json_schema={"minProperties": 1, "maxProperties": 1})]
"""In requests everywhere: an id, or an object. `rules.ref` turns it into a `Ref`."""


class Ref(msgspec.Struct, frozen=True, gc=False):
    """A RecipientRef understood: an id, or a kind with its normalised value."""

    id: UUID | None = None
    kind: Kind | None = None
    value: str = ""
    pointer: str = ""
    """Where the request named it, for errors."""
    written: bool = False
    """`value` is as it was written. Known under it, it is the normal form; unknown, it has to be normalised first."""


class Identifier(msgspec.Struct, frozen=True, gc=False):
    """A normalised (kind, value) that resolves to one recipient."""

    kind: Kind
    value: str
    hash: bytes
    source: str
    first_seen_at: datetime
    last_seen_at: datetime
    """When an upsert last named it; a message to it does not count."""
    verified_at: datetime | None = None


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """Whom a Ref means."""

    recipient_id: UUID
    """The merge root."""
    created: bool
    """This very unit made the recipient."""
    identifier: Identifier | None
    """The one named; None when the Ref was an id."""
    address_only: bool


class Named(msgspec.Struct, frozen=True, gc=False):
    """An identifier an upsert names, normalised."""

    kind: Kind
    value: str
    verified: bool = False


class Profile(msgspec.Struct, frozen=True):
    """What may change about a recipient. UNSET leaves a field alone, None clears it, traits are a merge patch."""

    locale: str | UnsetType | None = UNSET
    time_zone: str | UnsetType | None = UNSET
    traits: Mapping[str, Any] | UnsetType | None = UNSET


class NewRecipient(msgspec.Struct, frozen=True):
    """One unit of an upsert."""

    identifiers: tuple[Named, ...]
    profile: Profile = Profile()


class Recipient(msgspec.Struct, frozen=True):
    """The canonical record, opened."""

    id: UUID
    version: int
    address_only: bool
    locale: str | None
    time_zone: str | None
    traits: Mapping[str, Any]
    identifiers: Sequence[Identifier]
    created_at: datetime
    updated_at: datetime


class Upserted(msgspec.Struct, frozen=True):
    recipient_id: UUID
    created: bool
    """It did not exist before, or only as an address we must not write to."""
    version: int


class Absorbed(Protocol):
    """What those above must do when an address-only recipient becomes part of another, both rows locked."""

    async def __call__(
        self, tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId, /
    ) -> None: ...


class Region(Protocol):
    """The country a workspace's phone numbers without `+` are read in, as `AT`; None: they need the `+`."""

    def __call__(self, workspace_id: WorkspaceId, /) -> str | None: ...


class IdentityConflict(Conflict):
    """One unit names identifiers of two recipients."""

    def __init__(self, detail: str) -> None:
        super().__init__("identity_conflict", detail)


class VersionConflict(HubError):
    """If-Match names another version than the one that stands."""

    def __init__(self, version: int) -> None:
        super().__init__(
            "changed_meanwhile", f"the recipient is now at version {version}; read it again and repeat the change", 412
        )
