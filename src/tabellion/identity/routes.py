"""`/v1/recipients`: upsert, read, list, patch, batch."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal, NamedTuple, Protocol
from uuid import UUID

from litestar import Request, Response, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter, Parameter

from tabellion.access.answers import Answer, Cursor, Limit, next_cursor, read_cursor
from tabellion.access.calls import Call
from tabellion.access.edge import Edge, hot
from tabellion.access.grouped import Grouped
from tabellion.access.public import accepted
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.identity import public
from tabellion.identity.batch import Batch
from tabellion.identity.history_routes import AsOf, moment
from tabellion.identity.views import (
    NOTHING,
    BatchAnswer,
    BatchBody,
    ProfileBody,
    RecipientBody,
    RecipientPage,
    RecipientView,
    UpsertedView,
    not_applied,
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
OfTrait = Annotated[
    str | None,
    Parameter(
        max_length=512,
        description="NAME:VALUE of a trait of `indexed_traits`, as `plan:pro`: the recipients that have it.",
    ),
]
Include = Annotated[
    Literal["contact_state"] | None,
    Parameter(description="Show also the traits that follow from consent, as reading one recipient does."),
]
Provenance = Annotated[bool, Parameter(description="Say of each field where it comes from, and since when.")]
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
    """What one request asks for, which key asked, and on whose behalf."""

    unit: NewRecipient
    actor: str
    source: str = "api"


class ContactState(Protocol):
    """The traits of recipients that follow from consent."""

    async def __call__(
        self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[Recipient], /
    ) -> Mapping[UUID, Mapping[str, Any]]: ...


def upserting(
    recipients: Recipients, absorbed: Absorbed
) -> Callable[[Tx, WorkspaceId, list[Upsertion]], Awaitable[Sequence[Answer | HubError]]]:
    """The work of one batch of `POST /v1/recipients`, for `Grouped`: in order, neighbours of one source at once."""

    async def upsert(tx: Tx, workspace_id: WorkspaceId, asked: list[Upsertion]) -> Sequence[Answer | HubError]:
        answers: list[Upserted | HubError] = []
        for (actor, source), some in groupby(asked, key=lambda one: (one.actor, one.source)):
            units = [one.unit for one in some]
            answers += await recipients.upsert(tx, workspace_id, units, absorbed=absorbed, source=source, actor=actor)
        return [one if isinstance(one, HubError) else _upserted(one) for one in answers]

    return upsert


def attaching(
    recipients: Recipients, absorbed: Absorbed
) -> Callable[[Tx, WorkspaceId, NewRecipient, Caller], Awaitable[None]]:
    """The port by which a decision makes the user it is about, or gives them an address that nobody else has."""

    async def attach(tx: Tx, workspace_id: WorkspaceId, user: NewRecipient, caller: Caller) -> None:
        source = caller.public.source if caller.public else "api"
        await recipients.upsert(tx, workspace_id, [user], absorbed=absorbed, source=source, actor=caller.actor)

    return attach


def _upserted(one: Upserted) -> Answer:
    view = UpsertedView(ids.show("rcp", one.recipient_id), one.created, one.version, not_applied(one.ignored))
    return Answer.json(201 if one.created else 200, view)


def routes(
    edge: Edge,
    vault: Vault,
    recipients: Recipients,
    absorbed: Absorbed,
    upsert: Grouped[Upsertion],
    contact_state: ContactState,
) -> list[HTTPRouteHandler]:
    """The routes of recipients. `absorbed` hears of each address-only recipient that becomes part of another."""
    batch, history = Batch(vault, recipients, absorbed), History(vault)

    async def upsert_recipient(call: Call[RecipientBody]) -> Answer:
        if call.caller.public is not None:
            asked = Upsertion(public.unit(recipients, call), call.caller.actor, call.caller.public.source)
            return await accepted(call, upsert.answer(call, asked))
        unit = recipients.unit(call.caller.workspace_id, list(call.body.named()), call.body.profile())
        return await upsert.answer(call, Upsertion(unit, call.caller.actor, call.body.source))

    post_recipient = hot(
        edge, "POST", "/v1/recipients", "recipients:write", RecipientBody, upsert_recipient, status=201,
        answer_type=UpsertedView, responses={200: FOUND}, example=EXAMPLE, tags=("Recipients",), public_key=True,
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
        " do not count.\n\nA trait of another type than `trait_types` of the settings declare is refused, 422"
        " `trait_type_wrong`, and so is one that follows from consent, 422 `trait_read_only`. A field that `source` may"
        " not set by their `authority` is left out, and the answer lists it in `ignored`.\n\nA public key names"
        " `anonymous`, `device` and `webpush` alone (403"
        " `user_token_required`), and changes nothing of a recipient who has an identifier of any other kind, but for a"
        " device's `permission` that is now `denied`. With a user token it is about that user, and may name what the"
        " token vouches for (otherwise 403 `user_token_mismatch`). It hears 202 in any case, also of a conflict.",
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
        trait: OfTrait = None,
        include: Include = None,
    ) -> RecipientPage:
        """All recipients or those with a trait, newest first; or the one with an identifier, be it all that is known.

        A trait that is not in `indexed_traits` of the settings is 400 `trait_not_indexed`; one that is declared, and
        whose index is being built, 409 `index_building`.
        """
        given = {Kind.EXTERNAL_ID: external_id, Kind.EMAIL: email, Kind.PHONE: phone}
        ref = _wanted(recipients, caller.workspace_id, given, kind, value)
        before, side = read_cursor(cursor), caller.workspace_id
        name, text = _having(trait, ref)
        async with edge.db.transaction() as tx:
            if ref is not None:
                found = await _found(tx, recipients, side, ref)
            elif name is not None:
                found = await recipients.having(tx, side, name, text, before, limit)
            else:
                found = await recipients.page(tx, side, before, limit)
            contacts = await contact_state(tx, side, found) if include else {}
        return page(found, contacts, None if ref else next_cursor([one.id for one in found], limit))

    @get(
        "/v1/recipients/{recipient_id:str}", opt={"scope": "recipients:read"}, tags=["Recipients"],
        summary="Read a recipient",
    )  # fmt: skip
    async def read_recipient(
        caller: Caller, recipient_id: Name, as_of: AsOf = None, provenance: Provenance = False
    ) -> Response[RecipientView]:
        """The recipient; of one that was merged, the recipient it became part of. `ETag` is of the present alone.

        The traits that follow from consent are those of now: `as_of` leaves them out.
        """
        wanted, at, side = ids.parse("rcp", recipient_id), moment(as_of), caller.workspace_id
        if at is not None and provenance:
            raise HubError("invalid_parameter", "provenance is of the present: leave out as_of, or ask history", 400)
        async with edge.db.transaction() as tx:
            if at is not None:
                return Answer.json(200, shown(await history.as_of(tx, side, wanted, at))).response()
            found = (await recipients.read(tx, side, [wanted])).get(wanted)
            if found is None:
                raise NotFound(
                    "recipient_not_found", f"there is no recipient {recipient_id} here; check id and key mode"
                )
            contacts = await contact_state(tx, side, [found])
            origins = await history.origins(tx, side, found.id) if provenance else None
        view = shown(found, contacts.get(found.id, NOTHING), origins=origins)
        return Answer.json(200, view, _etag(found.version)).response()

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
        profile = recipients.profile(caller.workspace_id, data.profile())
        answered: list[int] = []

        async def work(tx: Tx) -> tuple[int, RecipientView]:
            side = caller.workspace_id
            done = await recipients.patch(tx, side, wanted, profile, expected, source=data.source, actor=caller.actor)
            answered.append(done.recipient.version)
            contacts = await contact_state(tx, side, [done.recipient])
            return 200, shown(done.recipient, contacts.get(done.recipient.id, NOTHING), ignored=done.ignored)

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


def _having(trait: str | None, ref: Ref | None) -> tuple[str | None, str]:
    """The trait and the value that a list is asked for. Raises 400 where an identifier is asked for as well."""
    if trait is None:
        return None, ""
    name, colon, text = trait.partition(":")
    if ref is not None or not colon:
        raise HubError("invalid_parameter", "give trait as NAME:VALUE, and no identifier with it", 400)
    return name, text


async def _found(tx: Tx, recipients: Recipients, workspace_id: WorkspaceId, ref: Ref) -> list[Recipient]:
    [one] = await recipients.resolve(tx, workspace_id, [ref], create=False)
    if not isinstance(one, Resolved):
        return []
    return list((await recipients.read(tx, workspace_id, [one.recipient_id])).values())
