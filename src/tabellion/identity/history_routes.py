"""`/v1/recipients/{id}/history`: every version of a recipient."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tabellion.access.answers import Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.errors import HubError
from tabellion.core.vault import Vault
from tabellion.recipients.changes import FieldChange
from tabellion.recipients.history import Entry, History

Name = Annotated[str, Parameter(max_length=512)]
AsOf = Annotated[
    str | None,
    Parameter(
        max_length=64,
        description="A moment (RFC 3339, to the millisecond): as it was then; 404 before it existed."
        " Health, devices and `last_seen_at` of identifiers are those of now.",
        schema_extra={"format": "date-time"},  # said, not checked by the framework: `moment` does
    ),
]
Field = Annotated[
    str | None,
    Parameter(
        max_length=1024,
        description="A JSON pointer, as `/traits/plan`: only versions that changed it. The first says who set it.",
    ),
]


class ChangeView(msgspec.Struct, frozen=True):
    """One field, as a JSON pointer into the recipient. null: it was, or is, not there."""

    field_: str = msgspec.field(name="field")
    from_: Any = msgspec.field(name="from")
    to: Any


class VersionView(msgspec.Struct, frozen=True):
    """One version: who made it, when, and what it changed. The first says everything the recipient began with."""

    version: int
    changed_at: datetime
    source: str
    """Where it came from: `api`, `import`, `consent`, …"""
    actor: str
    """The key that asked for it; where nobody did, the source."""
    changed: list[str]
    """The fields of `changes`, each once."""
    changes: list[ChangeView]


class HistoryPage(msgspec.Struct, frozen=True):
    data: list[VersionView]
    next_cursor: str | None


def routes(edge: Edge, vault: Vault) -> list[HTTPRouteHandler]:
    history = History(vault)

    @get(
        "/v1/recipients/{recipient_id:str}/history", opt={"scope": "recipients:read"}, tags=["Recipients"],
        summary="Every version of a recipient, newest first",
    )  # fmt: skip
    async def read_history(
        caller: Caller,
        recipient_id: Name,
        limit: Limit = 50,
        cursor: Cursor = None,
        as_of: AsOf = None,
        field: Field = None,
    ) -> HistoryPage:
        """What changed, from what to what, from where and by whom. With `as_of`, the versions up to that moment.

        A recipient that was merged has its own history, up to the merge; what came after is its root's.
        """
        wanted, at = ids.parse("rcp", recipient_id), moment(as_of)
        before, side = _version(read_cursor(cursor)), caller.workspace_id
        async with edge.db.transaction() as tx:
            if field is None:
                entries = await history.page(tx, side, wanted, before=before, as_of=at, limit=limit)
            else:
                entries = await history.of_field(tx, side, wanted, field, before=before, as_of=at, limit=limit)
        return HistoryPage([shown(one) for one in entries], _next(entries, limit))

    return [read_history]


def moment(text: str | None) -> datetime | None:
    """The time of a query parameter `as_of`. Raises 400 for what is none, or has no zone."""
    if text is None:
        return None
    try:
        # An unencoded `+` of a zone comes as a space.
        at = datetime.fromisoformat(text.replace(" ", "+"))
        if "T" not in text or at.tzinfo is None:
            raise ValueError(text)
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise HubError("invalid_parameter", "give as_of as RFC 3339, as 2026-11-21T09:00:00.000Z", 400) from None


def _version(cursor: UUID | None) -> int | None:
    """The version a page ends before. Cursors look the same everywhere, so it travels as an id."""
    return min(cursor.int, 0x7FFF_FFFF) if cursor is not None else None


def _next(entries: Sequence[Entry], limit: int) -> str | None:
    return next_cursor([UUID(int=one.version) for one in entries], limit)


def shown(entry: Entry) -> VersionView:
    changes = [_changed(one) for one in entry.changes]
    if entry.merged_into is not None:
        changes.append(ChangeView("/merged_into", None, ids.show("rcp", entry.merged_into)))
    return VersionView(
        version=entry.version,
        changed_at=entry.changed_at,
        source=entry.source,
        actor=entry.actor,
        changed=list(dict.fromkeys(one.field_ for one in changes)),
        changes=changes,
    )


def _changed(one: FieldChange) -> ChangeView:
    return ChangeView(one.field, one.before, one.after)
