"""`/v1/events`: the event log as one workspace side sees it."""

from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tabellion.access.answers import Limit, show_time
from tabellion.access.edge import Edge
from tabellion.access.service import API_VERSION
from tabellion.access.types import Caller, Mode
from tabellion.core import ids
from tabellion.events.service import list_events
from tabellion.events.types import START, Cursor, Recorded, Wanted

Name = Annotated[str | None, Parameter(max_length=128)]
Position = Annotated[
    str | None, Parameter(max_length=64, description="`position` of the last event seen; none for the oldest.")
]


class EventView(msgspec.Struct, frozen=True):
    """One thing that happened. No addresses and no content."""

    id: str
    type: str
    api_version: str
    timestamp: str
    mode: Mode
    workspace_id: str
    position: str
    """Opaque; sorts in log order."""
    data: dict[str, Any]


class EventPage(msgspec.Struct, frozen=True):
    data: list[EventView]
    next_cursor: str | None
    """Pass it as `after`; it stays while nothing new happens. A page may be empty and yet lead on."""


def routes(edge: Edge) -> list[HTTPRouteHandler]:
    @get("/v1/events", opt={"scope": "events:read"}, tags=["Events"], summary="Read the event log, oldest first")
    async def read_events(
        caller: Caller,
        limit: Limit = 50,
        after: Position = None,
        type: Name = None,
        recipient: Name = None,
        message: Name = None,
    ) -> EventPage:
        """Events after a position. Whoever polls on from `next_cursor` misses none and sees none twice.

        `type` may end in `*`: `message.*`.
        """
        wanted = Wanted(
            type,
            ids.parse("rcp", recipient) if recipient else None,
            ids.parse("msg", message) if message else None,
        )
        cursor = Cursor.read(after) if after else START
        async with edge.db.transaction() as tx:
            page = await list_events(tx, caller.workspace_id, after=cursor, wanted=wanted, limit=limit)
        return EventPage(
            [shown(one, caller) for one in page.events], page.after.shown() if page.after > START else None
        )

    return [read_events]


def shown(event: Recorded, caller: Caller) -> EventView:
    return EventView(
        id=ids.show("evt", event.id),
        type=event.type,
        api_version=API_VERSION,
        timestamp=show_time(event.recorded_at),
        mode=caller.mode,
        workspace_id=ids.show("wsp", caller.workspace),
        position=event.cursor.shown(),
        data=dict(event.data) | {"occurred_at": show_time(event.occurred_at)},
    )
