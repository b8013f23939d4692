"""What is sealed, and how it opens. The context names the row, so that a value moved to another row does not open."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from tabellion.core.crypto import Key
from tabellion.recipients import rules
from tabellion.recipients.store import NewIdentifier, Record, Sealed
from tabellion.recipients.types import Identifier, Kind, Named, PushKeys


def new_identifier(
    workspace_id: UUID, recipient_id: UUID, key: Key, hash_: bytes, named: Named, lookup: Key
) -> NewIdentifier:
    """The row of an identifier, its value sealed under the recipient's key."""
    value = seal_value(workspace_id, recipient_id, key, hash_, plain(named))
    domain = rules.email_domain(named.kind, named.value)
    match_hash = rules.match_hash(lookup, named.kind, named.value)
    return NewIdentifier(hash_, named.kind, recipient_id, value, domain, match_hash, named.verified)


class _Subscription(msgspec.Struct, frozen=True):
    """What is sealed of a web push subscription: all that one needs to send to it."""

    endpoint: str
    p256dh: str
    auth: str


def plain(named: Named | Identifier) -> str:
    """What is sealed of an identifier: its value, and the keys that go with it."""
    if named.keys is None:
        return named.value
    return msgspec.json.encode(_Subscription(named.value, named.keys.p256dh, named.keys.auth)).decode()


def seal_value(workspace_id: UUID, recipient_id: UUID, key: Key, hash_: bytes, value: str) -> bytes:
    return key.seal(value.encode(), f"identifier:{workspace_id}:{recipient_id}:{hash_.hex()}")


def open_value(row: Sealed, key: Key) -> str:
    return key.open(row.value, f"identifier:{row.workspace_id}:{row.recipient_id}:{row.hash.hex()}").decode()


def open_identifier(row: Sealed, key: Key) -> Identifier:
    value, keys = open_value(row, key), None
    if row.kind is Kind.WEBPUSH:
        subscription = msgspec.json.decode(value, type=_Subscription)
        value, keys = subscription.endpoint, PushKeys(subscription.p256dh, subscription.auth)
    return Identifier(
        kind=row.kind,
        value=value,
        hash=row.hash,
        source=row.source,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        verified_at=row.verified_at,
        health=row.health,
        health_reason=row.health_reason,
        device=row.device,
        keys=keys,
    )


def seal_traits(
    workspace_id: UUID, recipient_id: UUID, traits: Mapping[str, Any], key: Key, owners: Mapping[str, str]
) -> bytes | None:
    """The traits, and who has the say of governed fields where anybody has: their names are as telling as traits'."""
    if not traits and not owners:
        return None
    return key.seal(
        msgspec.json.encode([traits, owners] if owners else traits), f"traits:{workspace_id}:{recipient_id}"
    )


def open_traits(workspace_id: UUID, record: Record, key: Key) -> tuple[dict[str, Any], dict[str, str]]:
    """The traits, and who has the say of which field."""
    if record.traits is None:
        return {}, {}
    opened = msgspec.json.decode(key.open(record.traits, f"traits:{workspace_id}:{record.id}"))
    return (opened[0], opened[1]) if isinstance(opened, list) else (opened, {})
