"""`/v1/consent-settings`: policies over purposes and channels."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get, put
from litestar.handlers import HTTPRouteHandler

from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.consent.settings import service
from tabellion.consent.settings.types import ConsentSettings
from tabellion.core.db import Tx


class ConsentSettingsView(msgspec.Struct, frozen=True):
    settings: ConsentSettings
    updated_at: datetime | None
    """When they were set; null for the default."""


def routes(edge: Edge) -> list[HTTPRouteHandler]:
    @get(
        "/v1/consent-settings", opt={"scope": "purposes:read"}, tags=["Purposes"],
        summary="Read the policies of consent",
    )  # fmt: skip
    async def read_settings(caller: Caller) -> ConsentSettingsView:
        """What is set on this side, with the defaults of what is not."""
        async with edge.db.transaction() as tx:
            return ConsentSettingsView(*await service.read(tx, caller.workspace_id))

    @put(
        "/v1/consent-settings", tags=["Purposes"], summary="Set the policies of consent",
        opt={"scope": "purposes:write", "example": {"cross_channel": {"sms": ["whatsapp"]}}},
    )  # fmt: skip
    async def set_settings(
        request: Request[Any, Any, Any], caller: Caller, data: ConsentSettings
    ) -> Response[ConsentSettingsView]:
        """All of them: what is left out takes its default. They count for what is said from then on. Audited.

        What makes an opt-out reach less needs a key of role compliance (403 `compliance_required`). What a policy adds
        to an opt-out stands in the ledger as an entry of its own, which says which entry and which policy brought it.
        """

        async def work(tx: Tx) -> tuple[int, ConsentSettingsView]:
            await service.set_settings(tx, caller, data)
            return 200, ConsentSettingsView(*await service.read(tx, caller.workspace_id))

        return await edge.mutate(request, caller, "purposes:write", work)

    return [read_settings, set_settings]
