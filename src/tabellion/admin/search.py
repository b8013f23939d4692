"""`/v1/search`: what one string names, on one workspace side: an id, an address, an external id, a vendor's id."""

import re
from typing import Annotated, Final, Literal

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tabellion.access.edge import Edge
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.messages.service import Messages
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Kind, Ref, Resolved

MOST: Final = 50
"""Hits of one kind: a vendor's id names few messages, and whoever wants all of them has a list."""
ADDRESSES: Final = frozenset({Kind.EMAIL.value, Kind.PHONE.value})
_ID: Final = re.compile(r"(?P<kind>rcp|msg|att)_[0-9a-hjkmnp-tv-z]{26}")
Text = Annotated[str, Parameter(min_length=1, max_length=512, description="An id, an address, or another system's id.")]


class Hit(msgspec.Struct, frozen=True):
    """One thing found."""

    kind: Literal["recipient", "message"]
    id: str
    found_by: str
    """What the text was taken for: `id`, `email`, `phone`, `external_id`, `provider_message_id`."""
    path: str
    """Where to read it."""


class SearchAnswer(msgspec.Struct, frozen=True):
    data: list[Hit]


class Search:
    """Looks in one place after the other; what the key may not read is not looked for."""

    def __init__(self, recipients: Recipients, messages: Messages) -> None:
        self._recipients = recipients
        self._messages = messages

    async def run(self, tx: Tx, caller: Caller, text: str) -> list[Hit]:
        """Everything that text names, recipients first. Audited where it was taken for an address."""
        side, hits = caller.workspace_id, list[Hit]()
        if "recipients:read" in caller.scopes:
            refs = self._refs(side, text)
            for named, ref in refs:
                hits += await self._recipient(tx, side, ref, named)
            await _audited(tx, caller, [named for named, _ in refs if named in ADDRESSES], hits)
        if "messages:read" in caller.scopes:
            hits += await self._by_id(tx, side, text)
            named_so = await self._messages.named(tx, side, text, MOST)
            hits += [_message(ids.show("msg", one), "provider_message_id") for one in named_so]
        return hits

    def _refs(self, side: WorkspaceId, text: str) -> list[tuple[str, Ref]]:
        """Whom text may name, each with what it was taken for."""
        found = _ID.fullmatch(text)
        if found:
            return [("id", Ref(id=ids.parse("rcp", text)))] if found["kind"] == "rcp" else []
        kinds = [Kind.EXTERNAL_ID]
        if "@" in text:
            kinds.append(Kind.EMAIL)
        elif text[:1] in "+ ":
            kinds.append(Kind.PHONE)
        refs = []
        for kind in kinds:
            try:
                refs.append((kind.value, self._recipients.asked_identifier(side, kind, text, "q")))
            except HubError:  # no address after all: nobody has it
                continue
        return refs

    async def _recipient(self, tx: Tx, side: WorkspaceId, ref: Ref, named: str) -> list[Hit]:
        [one] = await self._recipients.resolve(tx, side, [ref], create=False)
        if not isinstance(one, Resolved):
            return []
        shown = ids.show("rcp", one.recipient_id)
        return [Hit("recipient", shown, named, f"/v1/recipients/{shown}")]

    async def _by_id(self, tx: Tx, side: WorkspaceId, text: str) -> list[Hit]:
        """The message of an id, or of an attempt's."""
        found = _ID.fullmatch(text)
        if not found or found["kind"] == "rcp":
            return []
        wanted = ids.parse(found["kind"], text)
        if found["kind"] == "att":
            attempt = (await self._messages.find(tx, [(side, wanted)])).get((side, wanted))
            return [_message(ids.show("msg", attempt.message_id), "id")] if attempt else []
        return [_message(text, "id")] if await self._messages.exists(tx, side, wanted) else []


async def _audited(tx: Tx, caller: Caller, named: list[str], hits: list[Hit]) -> None:
    """Note that an address was looked for, and whose it is: not which, because no erasure reaches that."""
    if named:
        detail = {"by": named, "found": [one.id for one in hits]}
        await audit(tx, caller.workspace_id, caller.actor, "address.searched", "recipients", detail)


def _message(shown: str, named: str) -> Hit:
    return Hit("message", shown, named, f"/v1/messages/{shown}")


def routes(edge: Edge, search: Search) -> list[HTTPRouteHandler]:
    @get("/v1/search", opt={"scope": "search:read"}, tags=["Search"], summary="Find what one string names")
    async def find(caller: Caller, q: Text) -> SearchAnswer:
        """Recipients by id, address or external id; messages by id, by an attempt's id or by the vendor's.

        Exact: an address is compared in its normal form, nothing is guessed. What the key may not read is left out.
        Looking for an address is audited, without it.
        """
        async with edge.db.transaction() as tx:
            return SearchAnswer(await search.run(tx, caller, q))

    return [find]
