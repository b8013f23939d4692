"""`/v1/recipients/{id}/timeline`: identity, consent, messages and attempts of one person, in one list."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from msgspec.structs import asdict

from tabellion.access.answers import Limit
from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.admin.events import EventView, shown
from tabellion.core import ids
from tabellion.core.errors import HubError
from tabellion.events.service import list_events
from tabellion.events.types import START, Cursor, Recorded, Wanted
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Ref

Name = Annotated[str, Parameter(max_length=512)]
Position = Annotated[
    str | None, Parameter(max_length=64, description="`next_cursor` of the page before; none for the first page.")
]

THROUGH: Final = 100_000
"""Events that one page looks through. The log has no index by person: every event would pay for it."""


class TimelineEntry(EventView, frozen=True, kw_only=True):
    """An event about the person, as `/v1/events` shows it, and what it says in short."""

    summary: str
    """Words, ids and kinds; no address, no value and no content."""


class TimelinePage(msgspec.Struct, frozen=True):
    data: list[TimelineEntry]
    next_cursor: str | None
    """null at the end. A page may be empty and yet lead on: so much of the log was about others."""


def routes(edge: Edge, recipients: Recipients) -> list[HTTPRouteHandler]:
    @get(
        "/v1/recipients/{recipient_id:str}/timeline", opt={"scope": "recipients:read"},
        tags=["Recipients"], summary="What happened with a person, oldest first",
    )  # fmt: skip
    async def read_timeline(
        caller: Caller, recipient_id: Name, limit: Limit = 50, cursor: Position = None
    ) -> TimelinePage:
        """Identity, consent, messages and attempts of the person, those from before a merge included."""
        caller.require("events:read")
        side, wanted = caller.workspace_id, ids.parse("rcp", recipient_id)
        after = Cursor.read(cursor) if cursor is not None else START
        async with edge.db.transaction() as tx:
            [found] = await recipients.resolve(tx, side, [Ref(id=wanted)], create=False)
            if isinstance(found, HubError):
                raise found
            person = await recipients.meant(tx, side, Ref(id=wanted))
            page = await list_events(
                tx, side, after=after, wanted=Wanted(recipients=person), limit=limit, through=THROUGH
            )
            external_ids = await recipients.external_ids(tx, side, person)
        entries = [
            TimelineEntry(**asdict(shown(one, caller, external_ids)), summary=summary(one)) for one in page.events
        ]
        return TimelinePage(entries, page.after.shown() if page.more else None)

    return [read_timeline]


def summary(event: Recorded) -> str:
    """The event in a few words that are nobody's data."""
    words = event.type.replace(".", " ").replace("_", " ")
    details = [str(one) for one in _details(event.type.partition(".")[0], event.data) if one]
    return f"{words}: {', '.join(details)}" if details else words


def _details(noun: str, data: Mapping[str, Any]) -> list[Any]:
    tell = DETAILS.get(noun)
    return tell(data) if tell else []


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = data.get(name)
    return part if isinstance(part, Mapping) else {}


def _of_message(data: Mapping[str, Any]) -> list[Any]:
    return [_part(data, "message").get("purpose"), data.get("channel"), data.get("reason")]


def _of_attempt(data: Mapping[str, Any]) -> list[Any]:
    return [data.get("channel"), _part(data, "attempt").get("provider"), data.get("reason")]


def _of_consent(data: Mapping[str, Any]) -> list[Any]:
    consent = _part(data, "consent")
    return [consent.get(name) for name in ("purpose", "channel", "method", "reason")]


def _of_recipient(data: Mapping[str, Any]) -> list[Any]:
    kinds = [*data.get("identifiers", ()), *data.get("changed", ())]
    return [*kinds, _part(data, "merged").get("id"), data.get("reason")]


def _of_notice(data: Mapping[str, Any]) -> list[Any]:
    served = _part(data, "served")
    return [_part(data, "notice").get("id"), served.get("version"), served.get("language"), served.get("means")]


def _of_identifier(data: Mapping[str, Any]) -> list[Any]:
    return [data.get("kind")]


DETAILS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[Any]]]] = {
    "message": _of_message,
    "attempt": _of_attempt,
    "engagement": _of_message,
    "consent": _of_consent,
    "notice": _of_notice,
    "recipient": _of_recipient,
    "identifier": _of_identifier,
}
