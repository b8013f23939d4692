"""What the routes of recipients take and give."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from tabellion.access.problems import Problem
from tabellion.core import ids
from tabellion.recipients import forms
from tabellion.recipients.history import FieldOrigin
from tabellion.recipients.settings import Source
from tabellion.recipients.types import (
    Device,
    Health,
    Identifier,
    Ignored,
    Kind,
    KindName,
    Line,
    Named,
    Permission,
    Platform,
    Profile,
    PushKeys,
    PushProvider,
    Recipient,
)

NOTHING: Final[Mapping[str, Any]] = {}
Value = Annotated[str, Meta(min_length=1, max_length=512)]
Long = Annotated[str, Meta(min_length=1, max_length=4096)]
Short = Annotated[str, Meta(max_length=64)]


class DeviceBody(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The app on a device that a push token belongs to. What is left out of a known token stays."""

    platform: Platform
    provider: PushProvider
    app: Annotated[str, Meta(min_length=1, max_length=128, examples=["com.example.shop"])] | None = None
    permission: Permission | None = None
    """Whether the device shows notifications of the app."""
    replaces: Long | None = None
    """The token this one takes the place of. If it is the recipient's, its health becomes `invalid`."""


class KeysBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of a web push subscription, as the browser's `PushSubscription` shows them."""

    p256dh: Annotated[str, Meta(max_length=128)]
    auth: Annotated[str, Meta(max_length=64)]


class IdentifierBody(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way to reach or to recognise a person.

    A `device` is a push token and needs `device`; a `webpush` has the subscription's endpoint as its value and needs
    `keys`; a `wallet` is an address of an EVM network or of Solana; `external:<system>` is another system's id.
    """

    kind: KindName
    value: Long
    verified: bool = False
    """The person proved that it is theirs. Once verified, it stays so, and its health is `ok` again."""
    device: DeviceBody | None = None
    keys: KeysBody | None = None

    def named(self) -> Named:
        """The identifier as it was written."""
        device, keys = self.device, self.keys
        return Named(
            Kind(self.kind),
            self.value,
            self.verified,
            Device(device.platform, device.provider, device.app, device.permission) if device else None,
            PushKeys(keys.p256dh, keys.auth) if keys else None,
            device.replaces if device else None,
        )


class ProfileBody(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What may change about a recipient. A field left out stays, null clears it; traits are a JSON merge patch."""

    traits: dict[str, Any] | UnsetType | None = UNSET
    locale: Short | UnsetType | None = UNSET
    time_zone: Short | UnsetType | None = UNSET
    source: Source = "api"
    """Which system says so: the history keeps it, and the settings may give it more or less authority."""

    def profile(self) -> Profile:
        return Profile(self.locale, self.time_zone, self.traits)


class RecipientBody(ProfileBody, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A recipient by what names it: an external_id, identifiers, or both."""

    external_id: Value | None = None
    identifiers: Annotated[list[IdentifierBody], Meta(max_length=100)] = []

    def named(self, at: str = "") -> Iterator[tuple[Named, str]]:
        """The identifiers as written, each with the pointer to its value."""
        if self.external_id is not None:
            yield Named(Kind.EXTERNAL_ID, self.external_id), f"{at}/external_id"
        for index, one in enumerate(self.identifiers):
            yield one.named(), f"{at}/identifiers/{index}/value"


class BatchItem(RecipientBody, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255, pattern="^[ -~]+$")] | None = None


class BatchBody(Struct, frozen=True, forbid_unknown_fields=True):
    items: Annotated[list[BatchItem], Meta(min_length=1, max_length=1000)]


class IgnoredView(Struct, frozen=True):
    """A field of the request that was not applied; the rest of it was."""

    pointer: str
    reason: str
    """`authority`: by the settings, another source has the say of it."""
    owner: str
    """That source."""


class UpsertedView(Struct, frozen=True, omit_defaults=True):
    id: str
    created: bool
    version: int
    ignored: list[IgnoredView] = []
    """Only where there are any."""


class BatchEntry(Struct, frozen=True, omit_defaults=True):
    """What became of one item: `id` where it was done, `error` where it was refused."""

    index: int
    status: int
    id: str | None = None
    error: Problem | None = None
    ignored: list[IgnoredView] = []
    """Fields that were not applied, where there are any."""


class BatchAnswer(Struct, frozen=True):
    data: list[BatchEntry]


class IdentifierView(Struct, frozen=True, omit_defaults=True):
    kind: KindName
    value: str
    verified: bool
    verified_at: datetime | None
    source: str
    first_seen_at: datetime
    last_seen_at: datetime
    health: Health
    """Nothing is sent to one that is `held` or `invalid`."""
    health_reason: str | None
    line: Line | None = None
    """Of a phone number: what it reaches, as far as its country's numbers tell."""
    device: Device | None = None
    """Of a push token."""


class OriginView(Struct, frozen=True):
    """Where the value of a field comes from."""

    source: str
    actor: str
    """The key that asked for it; where nobody did, the source."""
    since: datetime
    owner: str | None
    """The source that has the say of a field with authority; null where none has yet."""


class RecipientView(Struct, frozen=True):
    id: str
    external_id: str | None
    identifiers: list[IdentifierView]
    traits: dict[str, Any]
    """Of one recipient, or with `include=contact_state`, also what follows from consent to `marketing`, read-only:
    `email_subscribed_status` and `sms_subscribed_status` (`subscribed`, `unsubscribed`, `did-not-subscribe`),
    `sms_opt_in_date`, `push_notification_enabled`; each where the person can be reached on the channel."""
    locale: str | None
    time_zone: str | None
    address_only: bool
    """Only its address is known, because somebody restricted it; lists leave it out."""
    version: int
    created_at: datetime
    updated_at: datetime
    provenance: dict[str, OriginView] | UnsetType = UNSET
    """With `?provenance=1`: JSON pointer of each field that has a value → where that comes from."""
    ignored: list[IgnoredView] | UnsetType = UNSET
    """Of a patch, fields that were not applied, where there are any."""


class RecipientPage(Struct, frozen=True):
    data: list[RecipientView]
    next_cursor: str | None


def shown(
    recipient: Recipient,
    contact: Mapping[str, Any] = NOTHING,
    *,
    origins: Mapping[str, FieldOrigin] | None = None,
    ignored: Sequence[Ignored] = (),
) -> RecipientView:
    """The recipient, with the traits that follow from consent in `contact`."""
    known = recipient.identifiers
    return RecipientView(
        id=ids.show("rcp", recipient.id),
        external_id=next((one.value for one in known if one.kind is Kind.EXTERNAL_ID), None),
        identifiers=[_identifier(one) for one in known if one.kind is not Kind.EXTERNAL_ID],
        traits={**recipient.traits, **contact},
        locale=recipient.locale,
        time_zone=recipient.time_zone,
        address_only=recipient.address_only,
        version=recipient.version,
        created_at=recipient.created_at,
        updated_at=recipient.updated_at,
        provenance=UNSET if origins is None else {at: _origin(one, recipient.owners) for at, one in origins.items()},
        ignored=not_applied(ignored) or UNSET,
    )


def not_applied(ignored: Sequence[Ignored]) -> list[IgnoredView]:
    return [IgnoredView(one.pointer, one.reason, one.owner) for one in ignored]


def _origin(one: FieldOrigin, owners: Mapping[str, str]) -> OriginView:
    return OriginView(one.source, one.actor, one.since, owners.get(one.name))


def _identifier(one: Identifier) -> IdentifierView:
    return IdentifierView(
        kind=one.kind,
        value=one.value,
        verified=one.verified_at is not None,
        verified_at=one.verified_at,
        source=one.source,
        first_seen_at=one.first_seen_at,
        last_seen_at=one.last_seen_at,
        health=one.health,
        health_reason=one.health_reason,
        line=forms.line(one.value) if one.kind in (Kind.PHONE, Kind.WHATSAPP) else None,
        device=one.device,
    )


def page(
    recipients: Sequence[Recipient], contacts: Mapping[UUID, Mapping[str, Any]], next_cursor: str | None
) -> RecipientPage:
    return RecipientPage([shown(one, contacts.get(one.id, NOTHING)) for one in recipients], next_cursor)
