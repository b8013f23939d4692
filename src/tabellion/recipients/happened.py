"""The events of recipients: ids, kinds and names of fields, never an address or a value.

Of traits only those are named that the settings of the side name too.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from tabellion.core import ids
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.events.types import Event
from tabellion.recipients.types import Health, HealthChange, Ignored, Kind, Named, Permission


def created(workspace_id: WorkspaceId, recipient_id: UUID, kinds: Iterable[Kind], source: str) -> Event:
    data = {"identifiers": sorted(kinds), "source": source}
    return _event(workspace_id, "recipient.created", recipient_id, data)


def updated(workspace_id: WorkspaceId, recipient_id: UUID, changed: Sequence[str]) -> Event:
    return _event(workspace_id, "recipient.updated", recipient_id, {"changed": list(changed)})


def field_refused(workspace_id: WorkspaceId, recipient_id: UUID, refused: Ignored, source: str) -> Event:
    data = {"field": refused.pointer, "reason": refused.reason, "source": source, "owner": refused.owner}
    return _event(workspace_id, "recipient.field_refused", recipient_id, data)


def merged(workspace_id: WorkspaceId, from_id: UUID, into_id: UUID) -> Event:
    data = {"merged": {"id": ids.show("rcp", from_id)}, "reason": "address_attached"}
    return _event(workspace_id, "recipient.merged", into_id, data)


def identifier_added(workspace_id: WorkspaceId, recipient_id: UUID, named: Named, source: str) -> Event:
    data = {"kind": named.kind.value, "verified": named.verified, "source": source}
    return _event(workspace_id, "identifier.added", recipient_id, data)


def identifier_verified(workspace_id: WorkspaceId, recipient_id: UUID, named: Named, source: str) -> Event:
    data = {"kind": named.kind.value, "source": source}
    return _event(workspace_id, "identifier.verified", recipient_id, data)


def identifier_released(workspace_id: WorkspaceId, recipient_id: UUID, kind: Kind, reason: str) -> Event:
    """It is another person's from now on."""
    data = {"kind": kind.value, "reason": reason}
    return _event(workspace_id, "identifier.released", recipient_id, data)


def identifier_shared(workspace_id: WorkspaceId, recipient_id: UUID, kind: Kind) -> Event:
    """Too many persons use it: it names nobody any more, and nothing is sent to it."""
    return _event(workspace_id, "identifier.shared", recipient_id, {"kind": kind.value})


def health_changed(workspace_id: WorkspaceId, change: HealthChange) -> Event:
    """`identifier.invalid`, `identifier.held`, …; `identifier.recovered` for one that is well again."""
    word = "recovered" if change.health is Health.OK else change.health.value
    data = {"kind": change.kind.value, "reason": change.reason}
    return _event(workspace_id, f"identifier.{word}", change.recipient_id, data)


def permission_changed(
    workspace_id: WorkspaceId, recipient_id: UUID, was: Permission | None, now: Permission | None
) -> Event:
    data = {"before": was and was.value, "after": now and now.value}
    return _event(workspace_id, "recipient.device_permission_changed", recipient_id, data)


def _event(workspace_id: WorkspaceId, kind: str, recipient_id: UUID, data: dict[str, Any]) -> Event:
    shown = {"recipient": {"id": ids.show("rcp", recipient_id)}} | data
    return Event(workspace_id=workspace_id, type=kind, data=shown, recipient_id=RecipientId(recipient_id))
