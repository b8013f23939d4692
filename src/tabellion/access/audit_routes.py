"""`/v1/audit`: who did what to what."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter, QueryParameter
from msgspec import Struct

from tabellion.access.answers import Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.service import list_audit, read_audit
from tabellion.access.types import AuditEntry, AuditFilter, Caller
from tabellion.core import ids

Actor = Annotated[str | None, Parameter(max_length=200, description="Who: a key's id, `command_line`, `hub`.")]
Action = Annotated[str | None, Parameter(max_length=200, description="What was done, as `key.created`.")]
Target = Annotated[str | None, Parameter(max_length=300, description="To what: an id, or the name of a setting.")]
Since = Annotated[datetime | None, QueryParameter(name="from", description="Not before this moment (RFC 3339).")]
Until = Annotated[datetime | None, QueryParameter(name="to", description="Before this moment (RFC 3339).")]


class AuditView(Struct, frozen=True):
    id: str
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
    log_index: int | None
    """Where it stands in the log `audit` of this side; null for what was audited before there was one."""


class AuditPage(Struct, frozen=True):
    data: list[AuditView]
    next_cursor: str | None


def routes(edge: Edge) -> list[HTTPRouteHandler]:
    @get("/v1/audit", opt={"scope": "audit:read"}, tags=["Audit"], summary="List audited actions")
    async def get_page(
        caller: Caller,
        actor: Actor = None,
        action: Action = None,
        target: Target = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> AuditPage:
        """Who did what to what on this side of the workspace, newest first: those entries that are all that is asked.

        Each is an entry of the side's log `audit` as well, signed in the transaction that did it.
        """
        before, wanted = read_cursor(cursor), AuditFilter(actor, action, target, since, until)
        async with edge.db.transaction() as tx:
            entries = await list_audit(tx, caller.workspace_id, wanted, limit, before)
        return AuditPage([_shown(entry) for entry in entries], next_cursor([entry.id for entry in entries], limit))

    @get("/v1/audit/{entry_id:str}", opt={"scope": "audit:read"}, tags=["Audit"], summary="Read an audited action")
    async def get_one(caller: Caller, entry_id: str) -> AuditView:
        """One entry."""
        wanted: UUID = ids.parse("aud", entry_id)
        async with edge.db.transaction() as tx:
            return _shown(await read_audit(tx, caller.workspace_id, wanted))

    return [get_page, get_one]


def _shown(one: AuditEntry) -> AuditView:
    return AuditView(ids.show("aud", one.id), one.at, one.actor, one.action, one.target, one.detail, one.log_index)
