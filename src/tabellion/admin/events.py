"""`/v1/events`: the event log as one workspace side sees it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tabellion.access.answers import Limit, Person, show_time
from tabellion.access.edge import Edge
from tabellion.access.service import API_VERSION
from tabellion.access.types import Caller, Mode
from tabellion.core import ids
from tabellion.events.service import list_events
from tabellion.events.types import START, Cursor, Recorded, Wanted
from tabellion.recipients.service import Recipients

Name = Annotated[str | None, Parameter(max_length=128)]
Position = Annotated[
    str | None, Parameter(max_length=64, description="`position` of the last event seen; none for the oldest.")
]


class EventView(msgspec.Struct, frozen=True):
    """One thing that happened. No addresses and no content; `data.recipient` has the person's `external_id` as of now.

    What `data` holds goes by the type; more may be added.
    """

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


def routes(edge: Edge, recipients: Recipients) -> list[HTTPRouteHandler]:
    @get("/v1/events", opt={"scope": "events:read"}, tags=["Events"], summary="Read the event log, oldest first")
    async def read_events(
        caller: Caller,
        limit: Limit = 50,
        after: Position = None,
        type: Name = None,
        recipient: Person = None,
        message: Name = None,
    ) -> EventPage:
        """Events after a position. Whoever polls on from `next_cursor` misses none and sees none twice.

        `type` may end in `*`: `message.*`.
        """
        side = caller.workspace_id
        person = recipients.asked(side, recipient) if recipient is not None else None
        wanted = Wanted(type, message_id=ids.parse("msg", message) if message is not None else None)
        cursor = Cursor.read(after) if after is not None else START
        async with edge.db.transaction() as tx:
            if person is not None:
                wanted = replace(wanted, recipients=await recipients.meant(tx, side, person))
            page = await list_events(tx, side, after=cursor, wanted=wanted, limit=limit)
            about = {one.recipient_id for one in page.events if one.recipient_id is not None}
            external_ids = await recipients.external_ids(tx, side, about)
        return EventPage(
            [shown(one, caller, external_ids) for one in page.events],
            page.after.shown() if page.after > START else None,
        )

    return [read_events]


def shown(event: Recorded, caller: Caller, external_ids: Mapping[UUID, str]) -> EventView:
    """The event as it is given out.

    The log holds no personal data, so `recipient.external_id` is the one of now: gone when the person is erased.
    """
    data = dict(event.data) | {"occurred_at": show_time(event.occurred_at)}
    if event.recipient_id is not None and "recipient" in data:
        data["recipient"] = {**data["recipient"], "external_id": external_ids.get(event.recipient_id)}
    return EventView(
        id=ids.show("evt", event.id),
        type=event.type,
        api_version=API_VERSION,
        timestamp=show_time(event.recorded_at),
        mode=caller.mode,
        workspace_id=ids.show("wsp", caller.workspace),
        position=event.cursor.shown(),
        data=data,
    )
