"""The events of recipients: ids, kinds and names of fields, never an address or a value."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from tabellion.core import ids
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.events.types import Event
from tabellion.recipients.types import Kind, Named


def created(workspace_id: WorkspaceId, recipient_id: UUID, kinds: Iterable[Kind], source: str) -> Event:
    data = {"identifiers": sorted(kind.value for kind in kinds), "source": source}
    return _event(workspace_id, "recipient.created", recipient_id, data)


def updated(workspace_id: WorkspaceId, recipient_id: UUID, changed: Sequence[str]) -> Event:
    return _event(workspace_id, "recipient.updated", recipient_id, {"changed": list(changed)})


def merged(workspace_id: WorkspaceId, from_id: UUID, into_id: UUID) -> Event:
    data = {"merged": {"id": ids.show("rcp", from_id)}, "reason": "address_attached"}
    return _event(workspace_id, "recipient.merged", into_id, data)


def identifier_added(workspace_id: WorkspaceId, recipient_id: UUID, named: Named, source: str) -> Event:
    data = {"kind": named.kind.value, "verified": named.verified, "source": source}
    return _event(workspace_id, "identifier.added", recipient_id, data)


def _event(workspace_id: WorkspaceId, kind: str, recipient_id: UUID, data: dict[str, Any]) -> Event:
    shown = {"recipient": {"id": ids.show("rcp", recipient_id)}} | data
    return Event(workspace_id=workspace_id, type=kind, data=shown, recipient_id=RecipientId(recipient_id))
