"""Words and values of recipients."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Protocol, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError
from tabellion.core.ids import RecipientId, WorkspaceId

EXTERNAL = "external:"
KIND_FORM = r"^(email|phone|external_id|whatsapp|device|webpush|wallet|anonymous|external:[a-z][a-z0-9_-]{0,31})$"
_KIND = re.compile(KIND_FORM)


class Kind(StrEnum):
    """What an identifier is. `external:<system>`, the id that another system gives a person, is a kind per system."""

    EMAIL = "email"
    PHONE = "phone"
    EXTERNAL_ID = "external_id"
    WHATSAPP = "whatsapp"
    DEVICE = "device"
    WEBPUSH = "webpush"
    WALLET = "wallet"
    ANONYMOUS = "anonymous"

    @classmethod
    def _missing_(cls, value: object) -> "Kind | None":
        if not isinstance(value, str) or not value.startswith(EXTERNAL) or not _KIND.match(value):
            return None
        kind = str.__new__(cls, value)
        kind._name_, kind._value_ = value, value
        return kind

    @property
    def external(self) -> bool:
        """Whether it is an id of another system (`external:<system>`)."""
        return self.startswith(EXTERNAL)


KindName = Annotated[str, Meta(pattern=KIND_FORM, examples=["email", "whatsapp", "external:crm"])]
"""A kind as requests write it; `Kind(name)` is the kind."""

ADDRESSES = frozenset({Kind.EMAIL, Kind.PHONE, Kind.WHATSAPP})
"""What one can send to by knowing it. An unknown address may become a recipient; others unknown do not exist."""
DELIVERABLE = ADDRESSES | {Kind.DEVICE, Kind.WEBPUSH}
"""What one can send to."""
NAMELESS = frozenset({Kind.ANONYMOUS, Kind.DEVICE, Kind.WEBPUSH})
"""What tells a browser or a device, and not who uses it. Whoever has only such is not known."""


class Health(StrEnum):
    """Whether an identifier can be sent to."""

    OK = "ok"
    SOFT_BOUNCING = "soft_bouncing"
    HELD = "held"
    INVALID = "invalid"
    STALE = "stale"


REFUSED = frozenset({Health.HELD, Health.INVALID})
"""Nothing is sent to an identifier of such health, for any purpose."""


class Line(StrEnum):
    """What a phone number reaches, as its country numbers its lines; many countries do not tell."""

    MOBILE = "mobile"
    LANDLINE = "landline"
    UNKNOWN = "unknown"


class Platform(StrEnum):
    IOS = "ios"
    ANDROID = "android"
    WEB = "web"


class PushProvider(StrEnum):
    FCM = "fcm"
    APNS = "apns"


class Permission(StrEnum):
    """Whether the device shows notifications of the app."""

    GRANTED = "granted"
    DENIED = "denied"
    PROVISIONAL = "provisional"


class Device(msgspec.Struct, frozen=True, gc=False):
    """The app on a device that a push token belongs to."""

    platform: Platform
    provider: PushProvider
    app: str | None = None
    permission: Permission | None = None
    """None: not told."""


class PushKeys(msgspec.Struct, frozen=True, gc=False):
    """The keys of a web push subscription (RFC 8291), base64url without padding."""

    p256dh: str
    auth: str


class IdentifierRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One (kind, value) as a request names it."""

    kind: KindName
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


class ItemRefObject(RefObject, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A recipient as one item of many names one."""

    email: Annotated[str | None, Meta(examples=["ann@example.org"])] = None


ItemRef: TypeAlias = Annotated[
    str | ItemRefObject, Meta(description="An id, or exactly one of the fields; otherwise the item is refused.")
]
"""A RecipientRef of one item of many: whatever it names, the others are none the worse for it."""


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
    health: Health = Health.OK
    health_reason: str | None = None
    device: Device | None = None
    """Of a push token."""
    keys: PushKeys | None = None
    """Of a web push subscription, whose value is its endpoint."""


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
    device: Device | None = None
    keys: PushKeys | None = None
    replaces: str | None = None
    """The push token that this one takes the place of, normalised."""


class HealthChange(msgspec.Struct, frozen=True, gc=False):
    """What became of an identifier's health."""

    recipient_id: UUID
    kind: Kind
    health: Health
    reason: str | None


class Profile(msgspec.Struct, frozen=True):
    """What may change about a recipient. UNSET leaves a field alone, None clears it, traits are a merge patch."""

    locale: str | UnsetType | None = UNSET
    time_zone: str | UnsetType | None = UNSET
    traits: Mapping[str, Any] | UnsetType | None = UNSET


class NewRecipient(msgspec.Struct, frozen=True):
    """One unit of an upsert."""

    identifiers: tuple[Named, ...]
    profile: Profile = Profile()
    unproven: bool = False
    """Nobody vouches for what it says: who is known stays as they are, but for a device that shows nothing any more."""
    vouched: bool = False
    """A user token vouches for its strong identifiers alone: by a browser or a device it means nobody who is known."""


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
    owners: Mapping[str, str] = {}
    """Governed field → the source that has the say of it."""


class Ignored(msgspec.Struct, frozen=True):
    """A field of a write that was not applied."""

    pointer: str
    reason: str
    """`authority`: the source may not set it, or not while a higher one has."""
    owner: str
    """The source that has the say, or would have before all others."""


class Upserted(msgspec.Struct, frozen=True):
    recipient_id: UUID
    created: bool
    """It did not exist before, or only as an address we must not write to."""
    version: int
    ignored: Sequence[Ignored] = ()


class Patched(msgspec.Struct, frozen=True):
    """A recipient after a patch."""

    recipient: Recipient
    ignored: Sequence[Ignored] = ()


class Absorbed(Protocol):
    """What those above must do when an address-only recipient becomes part of another, both rows locked."""

    async def __call__(
        self, tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId, /
    ) -> None: ...


class Above(Protocol):
    """What those above must do when identifiers change hands. All rows concerned are locked."""

    async def joined(
        self, tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId, actor: str | None, /
    ) -> None:
        """Make somebody who was anonymous part of a known person. Raises `HubError`, before anything is changed."""
        ...

    async def released(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_id: RecipientId,
        hashes: Collection[bytes],
        why: str,
        actor: str | None,
        /,
    ) -> None:
        """End what was allowed for identifiers (hash) that a recipient still has and loses next, or has to no use."""
        ...

    async def refreshed(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_id: RecipientId,
        tokens: Sequence[tuple[bytes, bytes]],
        actor: str | None,
        /,
    ) -> None:
        """Let what was said about a push token count for the one (hash) of the recipient that took its place."""
        ...


class IdentityConflict(Conflict):
    """One unit names identifiers of two persons; `recipients` are they, whom the strongest names first."""

    def __init__(self, detail: str, recipients: tuple[UUID, ...] = ()) -> None:
        super().__init__("identity_conflict", detail)
        self.recipients = recipients


class SharedIdentifier(Conflict):
    """A unit names nobody but by devices or browsers that many persons use."""

    def __init__(self) -> None:
        super().__init__(
            "identifier_shared", "many persons use this device or browser: name the person by another identifier"
        )


class VersionConflict(HubError):
    """If-Match names another version than the one that stands."""

    def __init__(self, version: int) -> None:
        super().__init__(
            "changed_meanwhile", f"the recipient is now at version {version}; read it again and repeat the change", 412
        )
