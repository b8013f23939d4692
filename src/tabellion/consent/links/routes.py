"""`POST /v1/recipients/{id}/links`: links for mail that a customer sends on their own."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from msgspec import Meta

from tabellion.access.edge import Edge
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.consent.links.service import Links
from tabellion.consent.links.types import LONGEST_PREFERENCES, Preferences, Unsubscribe
from tabellion.consent.record import mismatch, unknown_purpose
from tabellion.consent.service import Consent
from tabellion.consent.types import KINDS, PurposeClass
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, FieldError, Invalid, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Channel
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Identifier, IdentifierRef, Recipient, RefObject

Name = Annotated[str, Parameter(max_length=255)]
LONGEST = int(LONGEST_PREFERENCES.total_seconds())


class LinkBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The link wanted."""

    kind: Literal["unsubscribe", "preferences"]
    channel: Annotated[Channel | None, Meta(description="Of an unsubscribe link, which needs one.")] = None
    purpose: Annotated[str, Meta(min_length=1, max_length=64, examples=["marketing"])] | None = None
    """Of an unsubscribe link, which needs one: what it ends."""
    identifier: Annotated[
        IdentifierRef | None, Meta(description="Which address, where the recipient has several of the channel.")
    ] = None
    expires_in: Annotated[int, Meta(ge=60, le=LONGEST)] = LONGEST
    """Seconds that a preference link works. An unsubscribe link never ends."""


class LinkView(msgspec.Struct, frozen=True):
    kind: str
    url: str
    """Whoever has it can use it: put it into mail to this recipient, and nowhere else."""
    expires_at: datetime | None
    headers: dict[str, str]
    """For the mail itself, of an unsubscribe link: RFC 2369 and RFC 8058. Sign both with DKIM."""


def routes(edge: Edge, links: Links, consent: Consent, recipients: Recipients) -> list[HTTPRouteHandler]:
    async def named(tx: Tx, side: WorkspaceId, person: Recipient, data: LinkBody) -> Unsubscribe | Preferences:
        if data.kind == "preferences":
            return Preferences(person.id, tx.now + timedelta(seconds=data.expires_in))
        channel, purpose = _required(data)
        purposes = await consent.purposes(tx, side)
        if purpose not in purposes:
            raise unknown_purpose(purposes)
        if purposes[purpose].purpose_class is PurposeClass.SECURITY:
            raise _essential()
        wanted = recipients.ref(side, RefObject(identifier=data.identifier), "") if data.identifier else None
        if wanted and wanted.kind not in KINDS.get(channel, ()):
            raise mismatch(channel, wanted)
        hash_ = await recipients.hashed(tx, side, wanted) if wanted else None
        address = _address(channel, person.identifiers, hash_)
        return Unsubscribe(address.hash, address.kind, channel, purpose)

    @post(
        "/v1/recipients/{recipient_id:str}/links", status_code=201, tags=["Pages"], summary="Make a link for mail",
        opt={"scope": "consents:write",
             "example": {"kind": "unsubscribe", "channel": "email", "purpose": "marketing"}},
    )  # fmt: skip
    async def make_link(
        request: Request[Any, Any, Any], caller: Caller, recipient_id: Name, data: LinkBody
    ) -> Response[LinkView]:
        """A link to a page of this recipient, for mail you send without the hub. Audited.

        An unsubscribe link restricts and can do nothing else; it works for ever, also after the recipient was erased.
        A preference link shows what the recipient agreed to, with masked addresses, for a week at most.
        """
        wanted, side = ids.parse("rcp", recipient_id), caller.workspace_id

        async def work(tx: Tx) -> tuple[int, LinkView]:
            person = (await recipients.read(tx, side, [wanted])).get(wanted)
            if person is None:
                raise _unknown(recipient_id)
            meant = await named(tx, side, person, data)
            url = await _url(links, tx, side, meant)
            detail = {"kind": data.kind, "channel": data.channel, "purpose": data.purpose}
            await audit(tx, side, caller.actor, "link.created", ids.show("rcp", person.id), detail)
            return 201, _shown(data.kind, url, meant)

        return await edge.mutate(request, caller, "consents:write", work)

    return [make_link]


async def _url(links: Links, tx: Tx, side: WorkspaceId, meant: Unsubscribe | Preferences) -> str:
    match meant:
        case Unsubscribe():
            url = await links.unsubscribe_url(tx, side, meant)
        case Preferences():
            url = await links.preferences_url(tx, side, meant)
    if url is None:
        raise Conflict(
            "no_public_url", "nobody could open the link: set TABELLION_PUBLIC_URL to where this hub is reached"
        )
    return url


def _required(data: LinkBody) -> tuple[Channel, str]:
    if data.channel is None:
        detail = "an unsubscribe link is about one channel"
        raise Invalid("channel_required", detail, FieldError("/channel", detail))
    if data.purpose is None:
        detail = "an unsubscribe link is about one purpose"
        raise Invalid("purpose_required", detail, FieldError("/purpose", detail))
    return data.channel, data.purpose


def _address(channel: Channel, addresses: Sequence[Identifier], hash_: bytes | None) -> Identifier:
    """The one address of the channel, or the one named."""
    fitting = [one for one in addresses if one.kind in KINDS.get(channel, ()) and hash_ in (None, one.hash)]
    if len(fitting) == 1:
        return fitting[0]
    if hash_ is not None:
        detail = "the recipient does not have this identifier; add it to the recipient first"
        raise Invalid("identifier_unknown", detail, FieldError("/identifier", detail))
    detail = f"name the identifier: the recipient has none, or several, that channel {channel} reaches"
    raise Invalid("identifier_required", detail, FieldError("/identifier", detail))


def _essential() -> Invalid:
    detail = "a link must not end messages of class security: what opens mail to look at it could; use another purpose"
    return Invalid("purpose_essential", detail, FieldError("/purpose", detail))


def _shown(kind: str, url: str, meant: Unsubscribe | Preferences) -> LinkView:
    match meant:
        case Unsubscribe():
            one_click = {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
            return LinkView(kind, url, None, one_click if meant.channel is Channel.EMAIL else {})
        case Preferences():
            return LinkView(kind, url, meant.expires_at, {})


def _unknown(recipient_id: str) -> NotFound:
    return NotFound(
        "recipient_not_found", f"there is no recipient {recipient_id} here; check the id and the key's mode"
    )
