"""`/v1/recipient-settings`: how a workspace side reads, resolves and keeps its recipients."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get, put
from litestar.handlers import HTTPRouteHandler

from tabellion.access.edge import Edge
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.core.db import Tx
from tabellion.recipients.indexed_store import IndexState
from tabellion.recipients.settings import RecipientSettings, SettingsBook
from tabellion.recipients.traits import require_declarable


class SettingsView(msgspec.Struct, frozen=True):
    settings: RecipientSettings
    updated_at: datetime | None
    """When they were set; null for the default."""
    indexing: dict[str, IndexState]
    """Trait → how far it is searchable: `building`, then `ready`; `removing` until its plain values are gone."""


def routes(edge: Edge, book: SettingsBook) -> list[HTTPRouteHandler]:
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

        A trait that is new among `indexed_traits` is searchable once its index is built; of one that is left out, the
        plain values are deleted. `indexing` says how far that is.
        """
        require_declarable(data)

        async def work(tx: Tx) -> tuple[int, SettingsView]:
            await book.set(tx, caller.workspace_id, data)
            changed = msgspec.to_builtins(data)
            await audit(tx, caller.workspace_id, caller.actor, "recipient_settings.set", "recipient_settings", changed)
            return 200, await shown(tx, caller)

        return await edge.mutate(request, caller, "settings:write", work)

    return [read_settings, set_settings]
