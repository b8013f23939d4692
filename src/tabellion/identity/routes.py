"""`/v1/recipients`: upsert, read, list, patch, batch."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, NamedTuple

from litestar import Request, Response, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter, Parameter

from tabellion.access.answers import Answer, Cursor, Limit, next_cursor, read_cursor
from tabellion.access.calls import Call
from tabellion.access.edge import Edge, hot
from tabellion.access.grouped import Grouped
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.identity.batch import Batch
from tabellion.identity.history_routes import AsOf, moment
from tabellion.identity.views import (
    BatchAnswer,
    BatchBody,
    ProfileBody,
    RecipientBody,
    RecipientPage,
    RecipientView,
    UpsertedView,
    page,
    shown,
)
from tabellion.recipients.history import History
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import KIND_FORM, Absorbed, Kind, NewRecipient, Recipient, Ref, Resolved, Upserted

Name = Annotated[str, Parameter(max_length=512)]
Wanted = Annotated[str | None, Parameter(max_length=512)]
OfKind = Annotated[
    str | None,
    Parameter(pattern=KIND_FORM, description="The kind of `value`: any, such as `device` or `external:crm`."),
]
OfAnyKind = Annotated[str | None, Parameter(max_length=4096, description="An identifier of `kind`.")]
IfMatch = Annotated[
    str | None,
    HeaderParameter(name="If-Match", max_length=512, description='The `ETag` of the version to change, as `"3"`.'),
]
_TAG = re.compile(r'\s*(?:W/)?"(\d{1,9})"\s*')
EXAMPLE = {
    "external_id": "crm-1042",
    "identifiers": [{"kind": "email", "value": "ann@example.org"}],
    "traits": {"plan": "pro"},
    "locale": "de-AT",
    "time_zone": "Europe/Vienna",
}
FOUND = ResponseSpec(UpsertedView, description="OK: it is a recipient that was there", generate_examples=False)
CHANGED = ResponseSpec(None, description="Precondition Failed: changed meanwhile", generate_examples=False)


class Upsertion(NamedTuple):
    """What one request asks for, and which key asked."""

    unit: NewRecipient
    actor: str


def upserting(
    recipients: Recipients, absorbed: Absorbed
) -> Callable[[Tx, WorkspaceId, list[Upsertion]], Awaitable[Sequence[Answer | HubError]]]:
    """The work of one batch of `POST /v1/recipients`, for `Grouped`: in order, neighbours of one key at once."""

    async def upsert(tx: Tx, workspace_id: WorkspaceId, asked: list[Upsertion]) -> Sequence[Answer | HubError]:
        answers: list[Upserted | HubError] = []
        for actor, some in groupby(asked, key=lambda one: one.actor):
            units = [one.unit for one in some]
            answers += await recipients.upsert(tx, workspace_id, units, absorbed=absorbed, actor=actor)
        return [one if isinstance(one, HubError) else _upserted(one) for one in answers]

    return upsert


def _upserted(one: Upserted) -> Answer:
    view = UpsertedView(ids.show("rcp", one.recipient_id), one.created, one.version)
    return Answer.json(201 if one.created else 200, view)


def routes(
    edge: Edge, vault: Vault, recipients: Recipients, absorbed: Absorbed, upsert: Grouped[Upsertion]
) -> list[HTTPRouteHandler]:
    """The routes of recipients. `absorbed` hears of each address-only recipient that becomes part of another."""
    batch, history = Batch(vault, recipients, absorbed), History(vault)

    async def upsert_recipient(call: Call[RecipientBody]) -> Answer:
        unit = recipients.unit(call.caller.workspace_id, list(call.body.named()), call.body.profile())
        return await upsert.answer(call, Upsertion(unit, call.caller.actor))

    post_recipient = hot(
        edge, "POST", "/v1/recipients", "recipients:write", RecipientBody, upsert_recipient, status=201,
        answer_type=UpsertedView, responses={200: FOUND}, example=EXAMPLE, tags=("Recipients",),
        summary="Create or update a recipient",
        description="The recipient that owns one of the identifiers, with what it lacked added; a new one (201) where"
        " none does.\n\nStrong identifiers say who it is; those of two known persons are a conflict: 409"
        " `identity_conflict`. Weak ones (`device`, `webpush`, `anonymous`) do not: a recipient who has nothing else"
        " becomes part of the one named, a known person's push token goes to whoever identified last, an anonymous id"
        " stays with the first. What more than 5 known persons used within 30 days names nobody any more; alone it is"
        " 409 `identifier_shared`.\n\nWhat programs write for nobody (`null`, `-1`, `test@test.com`, zeros, …) is"
        " refused: 422 `identifier_blocked`. So is more of a kind than a recipient may have, 422"
        " `too_many_identifiers`: unless set otherwise 10 each of `email`, `phone` and `whatsapp`, 50 each of `device`"
        " and `webpush`, 20 of `wallet`, 100 of `anonymous`, one of each `external:<system>`; those that are `invalid`"
        " do not count.",
    )  # fmt: skip

    @post(
        "/v1/recipients/batch", status_code=200, tags=["Recipients"], summary="Create or update up to 1,000 recipients",
        opt={"scope": "recipients:write", "example": {"items": [EXAMPLE]}},
    )  # fmt: skip
    async def upsert_recipients(
        request: Request[Any, Any, Any], caller: Caller, data: BatchBody
    ) -> Response[BatchAnswer]:
        """One answer an item, in order; a refused item stops no other. Items may name their own idempotency key."""

        async def work(tx: Tx) -> tuple[int, BatchAnswer]:
            return 200, BatchAnswer(await batch.upsert(tx, caller.workspace_id, data.items, caller.actor))

        return await edge.mutate(request, caller, "recipients:write", work)

    @get("/v1/recipients", opt={"scope": "recipients:read"}, tags=["Recipients"], summary="List or find recipients")
    async def list_recipients(
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
        external_id: Wanted = None,
        email: Wanted = None,
        phone: Wanted = None,
        kind: OfKind = None,
        value: OfAnyKind = None,
    ) -> RecipientPage:
        """All recipients, newest first; or the one with an identifier, also where only its address is known."""
        given = {Kind.EXTERNAL_ID: external_id, Kind.EMAIL: email, Kind.PHONE: phone}
        ref = _wanted(recipients, caller.workspace_id, given, kind, value)
        before = read_cursor(cursor)
        async with edge.db.transaction() as tx:
            if ref is not None:
                return page(await _found(tx, recipients, caller.workspace_id, ref), None)
            found = await recipients.page(tx, caller.workspace_id, before, limit)
        return page(found, next_cursor([one.id for one in found], limit))

    @get(
        "/v1/recipients/{recipient_id:str}", opt={"scope": "recipients:read"}, tags=["Recipients"],
        summary="Read a recipient",
    )  # fmt: skip
    async def read_recipient(caller: Caller, recipient_id: Name, as_of: AsOf = None) -> Response[RecipientView]:
        """The recipient; of one that was merged, the recipient it became part of. `ETag` is of the present alone."""
        wanted, at = ids.parse("rcp", recipient_id), moment(as_of)
        async with edge.db.transaction() as tx:
            if at is not None:
                return Answer.json(200, shown(await history.as_of(tx, caller.workspace_id, wanted, at))).response()
            found = (await recipients.read(tx, caller.workspace_id, [wanted])).get(wanted)
        if found is None:
            raise NotFound("recipient_not_found", f"there is no recipient {recipient_id} here; check id and key mode")
        return Answer.json(200, shown(found), _etag(found.version)).response()

    @patch(
        "/v1/recipients/{recipient_id:str}", tags=["Recipients"], summary="Change a recipient",
        opt={"scope": "recipients:write", "example": {"traits": {"plan": None}, "locale": "en"}},
        responses={412: CHANGED},
    )  # fmt: skip
    async def patch_recipient(
        request: Request[Any, Any, Any], caller: Caller, recipient_id: Name, data: ProfileBody, if_match: IfMatch = None
    ) -> Response[RecipientView]:
        """The recipient after the merge patch (RFC 7396). It is shown, so the key must be allowed to read it too."""
        caller.require("recipients:read")
        wanted, expected = ids.parse("rcp", recipient_id), versions(if_match)
        profile = recipients.profile(data.profile())
        answered: list[int] = []

        async def work(tx: Tx) -> tuple[int, RecipientView]:
            after = await recipients.patch(tx, caller.workspace_id, wanted, profile, expected, actor=caller.actor)
            answered.append(after.version)
            return 200, shown(after)

        response = await edge.mutate(request, caller, "recipients:write", work)
        response.headers.update(_etag(answered[-1]))
        return response

    return [post_recipient, upsert_recipients, list_recipients, read_recipient, patch_recipient]


def versions(if_match: str | None) -> Collection[int] | None:
    """The versions `If-Match` accepts; None where it accepts any. A tag that is none of ours matches nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    return {int(found[1]) for tag in if_match.split(",") if (found := _TAG.fullmatch(tag))}


def _etag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}


def _wanted(
    recipients: Recipients,
    workspace_id: WorkspaceId,
    named: Mapping[Kind, str | None],
    kind: str | None,
    value: str | None,
) -> Ref | None:
    """The identifier a list is asked for. Raises 400 where there are several, or one that is none."""
    given = [(one, one.value, text) for one, text in named.items() if text is not None]
    if (kind is None) != (value is None):
        raise HubError("invalid_parameter", "kind and value belong together: give both", 400)
    if kind is not None and value is not None:
        given.append((Kind(kind), "value", value))
    if len(given) > 1:
        raise HubError("invalid_parameter", "give at most one of external_id, email, phone, and kind with value", 400)
    if not given:
        return None
    [(one, name, text)] = given
    return recipients.asked_identifier(workspace_id, one, text, name)


async def _found(tx: Tx, recipients: Recipients, workspace_id: WorkspaceId, ref: Ref) -> list[Recipient]:
    [one] = await recipients.resolve(tx, workspace_id, [ref], create=False)
    if not isinstance(one, Resolved):
        return []
    return list((await recipients.read(tx, workspace_id, [one.recipient_id])).values())
