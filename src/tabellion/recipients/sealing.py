"""What is sealed, and how it opens. The context names the row, so that a value moved to another row does not open."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from tabellion.core.crypto import Key
from tabellion.recipients import rules
from tabellion.recipients.store import NewIdentifier, Record, Sealed
from tabellion.recipients.types import Identifier, Named


def new_identifier(workspace_id: UUID, recipient_id: UUID, key: Key, hash_: bytes, named: Named) -> NewIdentifier:
    """The row of an identifier, its value sealed under the recipient's key."""
    value = seal_value(workspace_id, recipient_id, key, hash_, named.value)
    domain = rules.email_domain(named.kind, named.value)
    return NewIdentifier(hash_, named.kind, recipient_id, value, domain, named.verified)


def seal_value(workspace_id: UUID, recipient_id: UUID, key: Key, hash_: bytes, value: str) -> bytes:
    return key.seal(value.encode(), f"identifier:{workspace_id}:{recipient_id}:{hash_.hex()}")


def open_value(row: Sealed, key: Key) -> str:
    return key.open(row.value, f"identifier:{row.workspace_id}:{row.recipient_id}:{row.hash.hex()}").decode()


def open_identifier(row: Sealed, key: Key) -> Identifier:
    return Identifier(
        row.kind, open_value(row, key), row.hash, row.source, row.first_seen_at, row.last_seen_at, row.verified_at
    )


def seal_traits(workspace_id: UUID, recipient_id: UUID, traits: Mapping[str, Any], key: Key) -> bytes | None:
    return key.seal(msgspec.json.encode(traits), f"traits:{workspace_id}:{recipient_id}") if traits else None


def open_traits(workspace_id: UUID, record: Record, key: Key) -> dict[str, Any]:
    if record.traits is None:
        return {}
    opened: dict[str, Any] = msgspec.json.decode(key.open(record.traits, f"traits:{workspace_id}:{record.id}"))
    return opened
