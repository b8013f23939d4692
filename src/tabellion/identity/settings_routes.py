"""`/v1/recipient-settings`: how a workspace side reads, resolves and keeps its recipients."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.handlers import HTTPRouteHandler

from tabellion.access.edge import Edge
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.vault import Vault
from tabellion.recipients.indexed_store import IndexState
from tabellion.recipients.preview import SHOWN, Preview, Previewing
from tabellion.recipients.settings import RecipientSettings, SettingsBook
from tabellion.recipients.traits import require_declarable


class SettingsView(msgspec.Struct, frozen=True):
    settings: RecipientSettings
    updated_at: datetime | None
    """When they were set; null for the default."""
    indexing: dict[str, IndexState]
    """Trait → how far it is searchable: `building`, then `ready`; `removing` until its plain values are gone."""


class BlockedView(msgspec.Struct, frozen=True):
    value: str
    kinds: list[str]
    """Of the identifiers that it is now."""
    recipients: int
    ids: list[str]
    """Up to 10 of them."""


class LimitView(msgspec.Struct, frozen=True):
    kind: str
    before: int
    after: int
    recipients: int
    """Who have more of the kind already, and keep them."""


class PreviewView(msgspec.Struct, frozen=True):
    blocked: list[BlockedView]
    """Of the values that would be blocked from then on, those that are identifiers now."""
    lowered: list[LimitView]
    shared: int
    """Devices and browsers that would be shared ones as soon as they are named with another person."""
    stale: int
    """Push tokens and web push subscriptions that would be stale within the hour."""
    complete: bool
    """False: the side has more identifiers than the counts of `lowered` look at, so there may be more."""


def routes(edge: Edge, vault: Vault, book: SettingsBook) -> list[HTTPRouteHandler]:
    previewing = Previewing(vault, book)

    async def shown(tx: Tx, caller: Caller) -> SettingsView:
        side = caller.workspace_id
        return SettingsView(*await book.read(tx, side), await book.indexing(tx, side))

    @get(
        "/v1/recipient-settings", opt={"scope": "settings:read"}, tags=["Recipients"],
        summary="Read how recipients are resolved and kept",
    )  # fmt: skip
    async def read_settings(caller: Caller) -> SettingsView:
        """What is set on this side, with the defaults of what is not."""
        async with edge.db.transaction() as tx:
            return await shown(tx, caller)

    @put(
        "/v1/recipient-settings", tags=["Recipients"], summary="Set how recipients are resolved and kept",
        opt={"scope": "settings:write", "example": {"default_region": "AT", "blocked_values": ["n/a"]}},
    )  # fmt: skip
    async def set_settings(
        request: Request[Any, Any, Any], caller: Caller, data: RecipientSettings
    ) -> Response[SettingsView]:
        """All of them: what is left out takes its default. Every process knows a second later. Audited.

        They count for what is named from then on: identifiers that are there stay. See what a change would come to
        with `POST /v1/recipient-settings/preview`. A trait that is new among `indexed_traits` is searchable once its
        index is built; of one that is left out, the plain values are deleted. `indexing` says how far that is.
        """
        require_declarable(data)

        async def work(tx: Tx) -> tuple[int, SettingsView]:
            await book.set(tx, caller.workspace_id, data)
            told = _told(data)
            await audit(tx, caller.workspace_id, caller.actor, "recipient_settings.set", "recipient_settings", told)
            return 200, await shown(tx, caller)

        return await edge.mutate(request, caller, "settings:write", work)

    @post(
        "/v1/recipient-settings/preview", status_code=200, tags=["Recipients"],
        summary="See what other settings would come to",
        opt={"scope": "settings:read", "example": {"blocked_values": ["n/a"], "stale_after_days": 90}},
    )  # fmt: skip
    async def preview_settings(caller: Caller, data: RecipientSettings) -> PreviewView:
        """Takes what `PUT` takes, all of it, and changes nothing. The key must be allowed to read recipients too.

        A value is looked for as the identifier it would be in each kind; where case is told apart, as it is written,
        in lower and upper case, and with capitals.
        """
        caller.require("recipients:read")
        async with edge.db.transaction() as tx:
            return _shown(await previewing.preview(tx, caller.workspace_id, data))

    return [read_settings, set_settings, preview_settings]


def _told(data: RecipientSettings) -> dict[str, Any]:
    """What is audited of settings: all of them, but of the values that are blocked how many, for they are addresses."""
    told: dict[str, Any] = msgspec.to_builtins(data)
    return told | {"blocked_values": len(data.blocked_values)}


def _shown(preview: Preview) -> PreviewView:
    return PreviewView(
        blocked=[
            BlockedView(
                one.value,
                [kind.value for kind in one.kinds],
                len(one.recipients),
                [ids.show("rcp", each) for each in one.recipients[:SHOWN]],
            )
            for one in preview.blocked
        ],
        lowered=[LimitView(one.kind.value, one.before, one.after, one.recipients) for one in preview.lowered],
        shared=preview.shared,
        stale=preview.stale,
        complete=preview.complete,
    )
