"""`/v1/messages`: send, list, read, timeline, explain."""

from typing import Annotated, Any

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tabellion.access.answers import Answer, Cursor, Limit, next_cursor, read_cursor
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

EXAMPLE = {
    "to": {"email": "ann@example.org"},
    "purpose": "transactional",
    "content": {"subject": "Hi", "text": "Hello"},
}
Name = Annotated[str, Parameter(max_length=255)]
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


def routes(
    edge: Edge, db: Database, recipients: Recipients, messages: Messages, accept: Grouped[Send]
) -> list[HTTPRouteHandler]:
    async def send_message(call: Call[SendMessage]) -> Answer:
        to = recipients.ref(call.caller.workspace_id, call.body.to, "/to")
        return await accept.answer(call, send(call.body, to, sorted(BUILT_IN)))

    @get("/v1/messages", opt={"scope": "messages:read"}, tags=["Messages"], summary="List messages, newest first")
    async def list_messages(
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
        recipient: Wanted = None,
        status: AStatus = None,
        purpose: Wanted = None,
        channel: AChannel = None,
        provider_message_id: Wanted = None,
        tag: Wanted = None,
    ) -> views.MessagePage:
        person = ids.parse("rcp", recipient) if recipient else None
        state, way = Status(status) if status else None, Channel(channel) if channel else None
        wanted = Filter(person, state, purpose, way, provider_message_id, tag)
        before = read_cursor(cursor)
        async with db.transaction() as tx:
            found = await messages.page(tx, caller.workspace_id, wanted, before=before, limit=limit)
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
