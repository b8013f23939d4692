"""`/v1/audit`: who did what to what."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Response, get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import Parameter, QueryParameter
from msgspec import Struct

from tabellion.access.answers import Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.service import list_audit, read_audit
from tabellion.access.trail import Trail
from tabellion.access.types import AuditEntry, AuditFilter, Caller
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError
from tabellion.ledger.reading import Reading

MOMENT: Final = {"format": "date-time"}
"""Said, not checked by the framework, which takes numbers and days for moments too: `_moment` does."""
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
Actor = Annotated[str | None, Parameter(max_length=200, description="Who: a key's id, `command_line`, `hub`.")]
Action = Annotated[str | None, Parameter(max_length=200, description="What was done, as `key.created`.")]
Target = Annotated[str | None, Parameter(max_length=300, description="To what: an id, or the name of a setting.")]
Since = Annotated[
    str | None, QueryParameter(name="from", description="Not before this moment (RFC 3339).", schema_extra=MOMENT)
]
Until = Annotated[
    str | None, QueryParameter(name="to", description="Before this moment (RFC 3339).", schema_extra=MOMENT)
]
LATER = ResponseSpec(
    None,
    description="Conflict: `not_yet_published`, ask again after `Retry-After`; or `not_in_log`",
    generate_examples=False,
)
YesNo = Annotated[str | None, Parameter(pattern="^[01]$", schema_extra={"enum": ["0", "1"]})]


class AuditView(Struct, frozen=True):
    id: str
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
    log_index: int | None
    """Where it stands in the log `audit` of this side; null for what was audited before there was one."""
    log: str | None = None
    """The log that it stands in where that is not the first, as addresses name it: `audit-2`."""


class AuditPage(Struct, frozen=True):
    data: list[AuditView]
    next_cursor: str | None


def routes(edge: Edge, trail: Trail, reading: Reading) -> list[HTTPRouteHandler]:
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
        before, wanted = read_cursor(cursor), AuditFilter(actor, action, target, _moment(since), _moment(until))
        async with edge.db.transaction() as tx:
            entries = await list_audit(tx, caller.workspace_id, wanted, limit, before)
        return AuditPage([_shown(entry) for entry in entries], next_cursor([entry.id for entry in entries], limit))

    @get("/v1/audit/{entry_id:str}", opt={"scope": "audit:read"}, tags=["Audit"], summary="Read an audited action")
    async def get_one(caller: Caller, entry_id: str) -> AuditView:
        """One entry."""
        wanted: UUID = ids.parse("aud", entry_id)
        async with edge.db.transaction() as tx:
            return _shown(await read_audit(tx, caller.workspace_id, wanted))

    @get(
        "/v1/audit/{entry_id:str}/receipt", opt={"scope": "audit:read"}, tags=["Audit"],
        summary="Read the receipt of an audited action", media_type=MediaType.TEXT, responses={409: LATER},
    )  # fmt: skip
    async def get_receipt(caller: Caller, entry_id: str, unwitnessed: YesNo = None) -> Response[str]:
        """A C2SP `tlog-proof`: the index, the hashes up to the root, and the signed checkpoint of the log `audit`.

        Its extra data is JSON with the `record` and the `key` (base64): HMAC-SHA256 of the record's canonical JSON
        (RFC 8785) under the key is the commitment in the entry. Where the log has witnesses, 409 `not_yet_published`
        until they have cosigned; `unwitnessed=1` then gives one without them, and its extra data says so. What was
        audited before there was a log has none (409 `not_in_log`).
        """
        wanted = ids.parse("aud", entry_id)
        text = await edge.db.run(
            lambda tx: _receipt(tx, trail, reading, caller, wanted, unwitnessed=unwitnessed == "1")
        )
        headers = {"Content-Disposition": f'inline; filename="{ids.show("aud", wanted)}.tlog-proof"'}
        return Response(text, media_type=MediaType.TEXT, headers=headers)

    return [get_page, get_one, get_receipt]


def _moment(text: str | None) -> datetime | None:
    """The moment a text says, with its offset: nobody should have to guess where it was."""
    if text is None:
        return None
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError(text)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        detail = "say from and to as 2026-11-21T09:00:00Z, or with an offset (%2B for its plus)"
        raise HubError("invalid_parameter", detail, 400) from None


async def _receipt(tx: Tx, trail: Trail, reading: Reading, caller: Caller, entry_id: UUID, *, unwitnessed: bool) -> str:
    entry = await read_audit(tx, caller.workspace_id, entry_id)
    found = await reading.find(tx, caller.workspace_id, entry_id)
    if found is None or entry.log_index is None:
        raise Conflict(
            "not_in_log", "this was audited before there was a log; the log has a hash over all such entries"
        )
    disclosed = await trail.disclosed(tx, caller.workspace_id, entry, found.log)
    return await reading.receipt(tx, found.log, found.index, disclosed, unwitnessed=unwitnessed)


def _shown(one: AuditEntry) -> AuditView:
    return AuditView(
        ids.show("aud", one.id), one.at, one.actor, one.action, one.target, one.detail, one.log_index, one.log
    )
