"""`/v1/messages`: send, list, read, timeline, explain."""

from dataclasses import replace
from typing import Annotated, Any

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tabellion.access.answers import Answer, Cursor, Limit, Person, next_cursor, read_cursor
from tabellion.access.calls import Call
from tabellion.access.edge import Edge, hot
from tabellion.access.grouped import Grouped
from tabellion.access.types import Caller
from tabellion.consent.types import BUILT_IN
from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.messages import views
from tabellion.messages.requests import SendMessage, send
from tabellion.messages.service import Messages, Send
from tabellion.messages.store import Filter
from tabellion.messages.types import Status
from tabellion.providers.base import Channel
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Ref

EXAMPLE = {
    "to": {"email": "ann@example.org"},
    "purpose": "transactional",
    "content": {"subject": "Hi", "text": "Hello"},
}
Name = Annotated[str, Parameter(max_length=255)]
Address = Annotated[str | None, Parameter(max_length=512, description="An e-mail address or a phone number with `+`.")]
Wanted = Annotated[str | None, Parameter(max_length=255)]
# Not the enums themselves: the framework would take the word `null` for left out.
AStatus = Annotated[str | None, Parameter(pattern=f"^({'|'.join(Status)})$", schema_extra={"enum": list(Status)})]
AChannel = Annotated[str | None, Parameter(pattern=f"^({'|'.join(Channel)})$", schema_extra={"enum": list(Channel)})]


def accepting(messages: Messages) -> Any:
    """The work of one batch of `POST /v1/messages`, for `Grouped`."""

    async def accept(tx: Tx, workspace_id: WorkspaceId, sends: list[Send]) -> list[Answer | HubError]:
        found = await messages.accept(tx, workspace_id, sends)
        return [one if isinstance(one, HubError) else Answer.json(202, views.accepted(one)) for one in found]

    return accept


async def of_person(
    tx: Tx, recipients: Recipients, workspace_id: WorkspaceId, wanted: Filter, person: Ref | None, at: Ref | None
) -> Filter | None:
    """The filter for the messages of a person, to an address, or both; None where there can be none."""
    named = person or at
    if named is None:
        return wanted
    people = await recipients.meant(tx, workspace_id, named)
    hashed = await recipients.hashed(tx, workspace_id, at) if at else None
    wanted = replace(wanted, address=hashed.hex() if hashed else None)
    match people:
        case []:
            return None
        case [one]:
            return replace(wanted, recipient_id=one)
        case _:
            return replace(wanted, recipient_ids=people)


def routes(
    edge: Edge, db: Database, recipients: Recipients, messages: Messages, accept: Grouped[Send]
) -> list[HTTPRouteHandler]:
    async def send_message(call: Call[SendMessage]) -> Answer:
        to = recipients.glance(call.caller.workspace_id, call.body.to, "/to")
        return await accept.answer(call, send(call.body, to, sorted(BUILT_IN)))

    @get("/v1/messages", opt={"scope": "messages:read"}, tags=["Messages"], summary="List messages, newest first")
    async def list_messages(
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
        recipient: Person = None,
        address: Address = None,
        status: AStatus = None,
        purpose: Wanted = None,
        channel: AChannel = None,
        provider_message_id: Wanted = None,
        tag: Wanted = None,
    ) -> views.MessagePage:
        """Of a person, also what was sent before a merge; of an address, what was planned for it, sent or not."""
        side, before = caller.workspace_id, read_cursor(cursor)
        wanted = Filter(
            status=status, purpose=purpose, channel=channel, provider_message_id=provider_message_id, tag=tag
        )
        person = recipients.asked(side, recipient) if recipient is not None else None
        at = recipients.asked_identifier(side, None, address, "address") if address is not None else None
        async with db.transaction() as tx:
            whose = await of_person(tx, recipients, side, wanted, person, at)
            found = await messages.page(tx, side, whose, before=before, limit=limit) if whose else []
        onward = next_cursor([message.id for message, _ in found], limit)
        return views.MessagePage([views.view(*one) for one in found], onward)

    @get("/v1/messages/{message_id:str}", opt={"scope": "messages:read"}, tags=["Messages"], summary="Read a message")
    async def read_message(caller: Caller, message_id: Name) -> views.MessageView:
        async with db.transaction() as tx:
            return views.view(*await messages.read(tx, caller.workspace_id, ids.parse("msg", message_id)))

    @get(
        "/v1/messages/{message_id:str}/timeline",
        opt={"scope": "messages:read"},
        tags=["Messages"],
        summary="What happened to a message, in order",
    )
    async def read_timeline(caller: Caller, message_id: Name) -> views.Timeline:
        async with db.transaction() as tx:
            return views.timeline(await messages.timeline(tx, caller.workspace_id, ids.parse("msg", message_id)))

    @get(
        "/v1/messages/{message_id:str}/explain",
        opt={"scope": "messages:read"},
        tags=["Messages"],
        summary="Why a message went where it went, or nowhere",
    )
    async def explain_message(caller: Caller, message_id: Name) -> views.Explanation:
        async with db.transaction() as tx:
            return views.explain(*await messages.read(tx, caller.workspace_id, ids.parse("msg", message_id)))

    post_message = hot(
        edge,
        "POST",
        "/v1/messages",
        "messages:write",
        SendMessage,
        send_message,
        answer_type=views.AcceptedMessage,
        status=202,
        example=EXAMPLE,
        summary="Send a message to a recipient",
        tags=("Messages",),
    )
    return [post_message, list_messages, read_message, read_timeline, explain_message]
