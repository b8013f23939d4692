"""`/v1/notices/{id}/served`: say that a text was shown, and list to whom it was."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tabellion.access.answers import Answer, Cursor, Limit, Person, next_cursor, read_cursor
from tabellion.access.calls import Call
from tabellion.access.edge import Edge, hot
from tabellion.access.grouped import Grouped
from tabellion.access.itemised import entries, key_of, settle
from tabellion.access.public import Accepted, accepted
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.consent.notices import views
from tabellion.consent.notices.rules import tag
from tabellion.consent.notices.service import Notices
from tabellion.consent.notices.serving import Serving
from tabellion.consent.notices.types import NewServed, ServedTo
from tabellion.consent.notices.views import ServedBody, ServedEntries, ServedItems, ServedPage, ServedView
from tabellion.consent.record import require_canonical
from tabellion.consent.routes import said_time
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import FieldError, HubError, Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import IdentifierRef, Kind, RecipientRef, Ref, RefObject
from tabellion.recipients.vouching import Names, names

Name = Annotated[str, Parameter(max_length=64)]
OfVersion = Annotated[str | None, Parameter(max_length=64, description="Of this version alone.")]
Disclose = Annotated[
    bool, Parameter(description="Show the evidence too. Needs `recipients:read`, and each such reading is audited.")
]
LARGEST = 4_096
"""Bytes of what shows it."""
SHOWN = {"version": "1", "language": "en", "means": "page", "url": "https://example.org/signup"}


def serving(
    shown: Serving,
) -> Callable[[Tx, WorkspaceId, list[NewServed]], Awaitable[Sequence[Answer | HubError]]]:
    """The work of one batch of `POST /v1/notices/{id}/served`, for `Grouped`."""

    async def record(tx: Tx, workspace_id: WorkspaceId, some: list[NewServed]) -> Sequence[Answer | HubError]:
        made = await shown.record(tx, workspace_id, some)
        return [one if isinstance(one, HubError) else Answer.json(201, views.served(one)) for one in made]

    return record


def routes(
    edge: Edge,
    vault: Vault,
    recipients: Recipients,
    notices: Notices,
    shown: Serving,
    serve: Grouped[NewServed],
) -> list[HTTPRouteHandler]:
    record = serving(shown)

    async def say_shown(call: Call[ServedBody]) -> Answer:
        caller, body = call.caller, call.body
        if caller.public is None:
            return await serve.answer(call, _new(recipients, caller, call.path["notice_id"], body, ""))
        _require(recipients, caller, names(recipients, caller.workspace_id, call.visit.user), body)
        new = _new(recipients, caller, call.path["notice_id"], body, "")
        return await accepted(call, serve.answer(call, new), lambda said: Accepted(id=_id(said, new)))

    post_shown = hot(
        edge, "POST", "/v1/notices/{notice_id:str}/served", "consents:write", ServedBody, say_shown, status=201,
        answer_type=ServedView, example=SHOWN, tags=("Notices",), summary="Say that a notice was shown",
        public_key=True,
        description="To a recipient, to a browser by its anonymous id, or to nobody who is known yet. A decision that"
        " names the `id` in `notice.served` says by that which text in which language the person saw; what was shown"
        " to nobody known then becomes the person's. What tells of the person is sealed with their key and erased with"
        " them.\n\nA public key names people by an address or an id, not by an `external_id` or a wallet (403"
        " `user_token_required`). It hears 202 and an `id` in any case; `source` is the key's.",
    )  # fmt: skip

    @post(
        "/v1/notices/{notice_id:str}/served/batch", status_code=200, tags=["Notices"],
        summary="Say of up to 1,000 that a notice was shown to them",
        opt={"scope": "consents:write", "example": {"items": [SHOWN]}},
    )  # fmt: skip
    async def say_many_shown(
        request: Request[Any, Any, Any], caller: Caller, notice_id: Name, data: ServedItems
    ) -> Response[ServedEntries]:
        """One answer an item, in order; a refused item stops no other. Items may name their own idempotency key."""
        path = f"/v1/notices/{notice_id}/served/batch"
        keys = [key_of(path, one.idempotency_key, one) for one in data.items]
        stated = [_stated(recipients, caller, notice_id, one, f"/items/{at}") for at, one in enumerate(data.items)]

        async def work(tx: Tx) -> tuple[int, ServedEntries]:
            async def fresh(places: Sequence[int]) -> Sequence[Answer | HubError]:
                sound = {at: one for at in places if isinstance(one := stated[at], NewServed)}
                done = dict(zip(sound, await record(tx, caller.workspace_id, list(sound.values())), strict=True))
                return [done[at] if at in done else stated[at] for at in places]  # type: ignore[misc]

            answers = await settle(tx, vault, caller.workspace_id, keys, fresh)
            return 200, msgspec.json.decode(entries(answers).body, type=ServedEntries)

        return await edge.mutate(request, caller, "consents:write", work)

    @get(
        "/v1/notices/{notice_id:str}/served", opt={"scope": "notices:read"}, tags=["Notices"],
        summary="List to whom a notice was shown, newest first",
    )  # fmt: skip
    async def list_shown(
        caller: Caller,
        notice_id: Name,
        limit: Limit = 50,
        cursor: Cursor = None,
        version: OfVersion = None,
        recipient: Person = None,
        disclose: Disclose = False,
    ) -> ServedPage:
        """Of all, of a version, or to one person."""
        before, side = read_cursor(cursor), caller.workspace_id
        if disclose:
            caller.require("recipients:read")
        person = recipients.asked(side, recipient) if recipient is not None else None

        async def work(tx: Tx) -> ServedPage:
            await notices.read(tx, side, notice_id)
            found = await shown.page(tx, side, notice_id, version, person, before, limit)
            if disclose:
                await audit(tx, side, caller.actor, "served.disclosed", notice_id, {"count": len(found)})
            told = [views.served(one, opened if disclose else None) for one, opened in found]
            return ServedPage(told, next_cursor([one.id for one, _ in found], limit))

        return await edge.db.run(work)

    return [post_shown, say_many_shown, list_shown]


def _stated(recipients: Recipients, caller: Caller, notice_id: str, body: ServedBody, at: str) -> NewServed | HubError:
    try:
        return _new(recipients, caller, notice_id, body, at)
    except HubError as refusal:
        return refusal


def _new(recipients: Recipients, caller: Caller, notice_id: str, body: ServedBody, at: str) -> NewServed:
    """What was shown, as a key states it. Raises `Invalid` below the pointer `at`."""
    named = _named(body, at)
    if body.evidence is not None:
        require_canonical(body.evidence, f"{at}/evidence", LARGEST)
    return NewServed(
        id=ids.new(),
        notice=notice_id,
        version=body.version,
        language=tag(body.language) if body.language else None,
        means=body.means,
        source=caller.public.source if caller.public else body.source,
        actor=caller.actor,
        recipient=recipients.ref(caller.workspace_id, named[0], at + named[1]) if named else None,
        served_at=said_time(body.served_at, f"{at}/served_at"),
        shown=ServedTo(body.url, body.anonymous_id, body.evidence),
    )


def _named(body: ServedBody, at: str) -> tuple[RecipientRef, str] | None:
    """Whom the body names, and where."""
    if body.recipient is not None and body.anonymous_id is not None:
        detail = "name a recipient or an anonymous id, not both"
        raise Invalid("invalid_request", detail, FieldError(f"{at}/anonymous_id", detail))
    if body.anonymous_id is not None:
        return RefObject(identifier=IdentifierRef(Kind.ANONYMOUS, body.anonymous_id)), "/anonymous_id"
    return (body.recipient, "/recipient") if body.recipient is not None else None


def _require(recipients: Recipients, caller: Caller, known: Names, body: ServedBody) -> None:
    """Raise 403 for names that could be guessed one after the other, or that the token does not vouch for."""
    if body.recipient is None:
        return
    ref: Ref = recipients.ref(caller.workspace_id, body.recipient, "/recipient")
    if not known.may_name(ref):
        raise known.refusal(["/recipient"])


def _id(said: Answer, new: NewServed) -> str:
    """The id of what was kept: that of the first of equal requests. Of what was refused an id that nothing has."""
    if said.status == 201:
        return msgspec.json.decode(said.body, type=ServedView).id
    return ids.show("srv", new.id)
