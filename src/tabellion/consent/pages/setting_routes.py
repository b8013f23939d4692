"""`/v1/page-settings`: how the pages of recipients behave."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get, put
from litestar.handlers import HTTPRouteHandler

from tabellion.access.edge import Edge
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.consent.pages import settings
from tabellion.consent.pages.settings import PageSettings
from tabellion.core.db import Tx


class PageSettingsView(msgspec.Struct, frozen=True):
    settings: PageSettings
    updated_at: datetime | None
    """When they were set; null for the default."""


def routes(edge: Edge) -> list[HTTPRouteHandler]:
    @get(
        "/v1/page-settings", opt={"scope": "settings:read"}, tags=["Pages"],
        summary="Read how the pages of recipients behave",
    )  # fmt: skip
    async def read_page_settings(caller: Caller) -> PageSettingsView:
        """What is set on this side, with the defaults of what is not."""
        async with edge.db.transaction() as tx:
            return PageSettingsView(*await settings.read(tx, caller.workspace_id))

    @put(
        "/v1/page-settings", tags=["Pages"], summary="Set how the pages of recipients behave",
        opt={"scope": "settings:write", "example": {"gpc": "restrict", "language": "de"}},
    )  # fmt: skip
    async def set_page_settings(
        request: Request[Any, Any, Any], caller: Caller, data: PageSettings
    ) -> Response[PageSettingsView]:
        """All of them: what is left out takes its default. Audited."""

        async def work(tx: Tx) -> tuple[int, PageSettingsView]:
            await settings.write(tx, caller.workspace_id, data)
            changed = msgspec.to_builtins(data)
            await audit(tx, caller.workspace_id, caller.actor, "page_settings.set", "page_settings", changed)
            return 200, PageSettingsView(*await settings.read(tx, caller.workspace_id))

        return await edge.mutate(request, caller, "settings:write", work)

    return [read_page_settings, set_page_settings]
