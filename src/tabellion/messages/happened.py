"""What happened to a message, as events: ids and states, no address and no content."""

from datetime import UTC, datetime
from typing import Any

from tabellion.core import ids
from tabellion.core.ids import WorkspaceId
from tabellion.events.types import Event
from tabellion.messages.types import Attempt, Evidence, Happening, Message


def event(message: Message, happened: Happening) -> Event:
    """The event in the shape that subscribers get."""
    evidence = happened.evidence
    data = _about(message)
    if happened.attempt is not None:
        data |= _attempted(message, happened.attempt)
    if evidence is not None:
        data |= _known_from(evidence)
    return Event(
        workspace_id=WorkspaceId(message.workspace_id),
        type=happened.type,
        data=data | dict(happened.data),
        recipient_id=message.recipient_id,
        message_id=message.id,
        occurred_at=evidence.occurred_at if evidence else None,
    )


def _about(message: Message) -> dict[str, Any]:
    return {
        "message": {
            "id": ids.show("msg", message.id),
            "status": message.status,
            "purpose": message.purpose,
            "tags": list(message.tags),
            "metadata": message.metadata,
        },
        "recipient": {"id": ids.show("rcp", message.recipient_id)},
        "reason": message.reason,
    }


def _attempted(message: Message, attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": {
            "id": ids.show("att", attempt.id),
            "step": attempt.step,
            "account_id": ids.show("acc", attempt.account_id),
            "provider": attempt.provider,
            "state": attempt.state,
        },
        "channel": attempt.channel,
        "reason": attempt.reason or message.reason,
        "permanent": attempt.permanent,
        "provider_code": attempt.provider_code,
    }


def _known_from(evidence: Evidence) -> dict[str, Any]:
    """Where a status comes from: the vendor's time and ours, the callback, the adapter that read it."""
    return {
        "occurred_at": _time(evidence.occurred_at),
        "received_at": _time(evidence.received_at),
        "raw_ref": ids.show("cbk", evidence.raw_ref) if evidence.raw_ref else None,
        "normaliser": evidence.normaliser,
    }


def _time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
