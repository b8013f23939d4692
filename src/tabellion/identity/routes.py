"""`/v1/recipients`: upsert, read, list, patch, batch."""

import re
from collections.abc import Collection
from typing import Annotated, Any

from litestar import Request, Response, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter, Parameter

from tabellion.access.answers import Answer, Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.identity.batch import Batch
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
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Absorbed, Kind, Recipient, Ref, Resolved

Name = Annotated[str, Parameter(max_length=512)]
Wanted = Annotated[str | None, Parameter(max_length=512)]
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


def routes(edge: Edge, vault: Vault, recipients: Recipients, absorbed: Absorbed) -> list[HTTPRouteHandler]:
    """The routes of recipients. `absorbed` hears of each address-only recipient that becomes part of another."""
    batch = Batch(vault, recipients, absorbed)

    @post(
        "/v1/recipients", status_code=201, opt={"scope": "recipients:write", "example": EXAMPLE}, tags=["Recipients"],
        summary="Create or update a recipient", responses={200: FOUND},
    )  # fmt: skip
    async def upsert_recipient(
        request: Request[Any, Any, Any], caller: Caller, data: RecipientBody
    ) -> Response[UpsertedView]:
        """The recipient that owns one of the identifiers, with what it lacked added; a new one (201) where none does.

        Identifiers of two recipients are a conflict: 409 `identity_conflict`.
        """
        unit = recipients.unit(caller.workspace_id, list(data.named()), data.profile())

        async def work(tx: Tx) -> tuple[int, UpsertedView]:
            [one] = await recipients.upsert(tx, caller.workspace_id, [unit], absorbed=absorbed)
            if isinstance(one, HubError):
                raise one
            return 201 if one.created else 200, UpsertedView(
                ids.show("rcp", one.recipient_id), one.created, one.version
            )

        return await edge.mutate(request, caller, "recipients:write", work)

    @post(
        "/v1/recipients/batch", status_code=200, tags=["Recipients"], summary="Create or update up to 1,000 recipients",
        opt={"scope": "recipients:write", "example": {"items": [EXAMPLE]}},
    )  # fmt: skip
    async def upsert_recipients(
        request: Request[Any, Any, Any], caller: Caller, data: BatchBody
    ) -> Response[BatchAnswer]:
        """One answer an item, in order; a refused item stops no other. Items may name their own idempotency key."""

        async def work(tx: Tx) -> tuple[int, BatchAnswer]:
            return 200, BatchAnswer(await batch.upsert(tx, caller.workspace_id, data.items))

        return await edge.mutate(request, caller, "recipients:write", work)

    @get("/v1/recipients", opt={"scope": "recipients:read"}, tags=["Recipients"], summary="List or find recipients")
    async def list_recipients(
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
        external_id: Wanted = None,
        email: Wanted = None,
        phone: Wanted = None,
    ) -> RecipientPage:
        """All recipients, newest first; or the one with an identifier, also where only its address is known."""
        ref = _wanted(recipients, caller.workspace_id, external_id, email, phone)
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
    async def read_recipient(caller: Caller, recipient_id: Name) -> Response[RecipientView]:
        """The recipient; of one that was merged, the recipient it became part of."""
        wanted = ids.parse("rcp", recipient_id)
        async with edge.db.transaction() as tx:
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
            after = await recipients.patch(tx, caller.workspace_id, wanted, profile, expected)
            answered.append(after.version)
            return 200, shown(after)

        response = await edge.mutate(request, caller, "recipients:write", work)
        response.headers.update(_etag(answered[-1]))
        return response

    return [upsert_recipient, upsert_recipients, list_recipients, read_recipient, patch_recipient]


def versions(if_match: str | None) -> Collection[int] | None:
    """The versions `If-Match` accepts; None where it accepts any. A tag that is none of ours matches nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    return {int(found[1]) for tag in if_match.split(",") if (found := _TAG.fullmatch(tag))}


def _etag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}


def _wanted(
    recipients: Recipients, workspace_id: WorkspaceId, external_id: str | None, email: str | None, phone: str | None
) -> Ref | None:
    """The identifier a list is asked for. Raises 400 where there are several, or one that is none."""
    given = [
        (kind, value)
        for kind, value in ((Kind.EXTERNAL_ID, external_id), (Kind.EMAIL, email), (Kind.PHONE, phone))
        if value is not None
    ]
    if len(given) > 1:
        raise HubError("invalid_parameter", "give at most one of external_id, email and phone", 400)
    if not given:
        return None
    kind, value = given[0]
    return recipients.asked_identifier(workspace_id, kind, value, kind)


async def _found(tx: Tx, recipients: Recipients, workspace_id: WorkspaceId, ref: Ref) -> list[Recipient]:
    [one] = await recipients.resolve(tx, workspace_id, [ref], create=False)
    if not isinstance(one, Resolved):
        return []
    return list((await recipients.read(tx, workspace_id, [one.recipient_id])).values())
