"""Everything of consent over HTTP."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from tests.consent.conftest import Hub, publish

from tabellion.access.edge import Edge
from tabellion.access.grouped import Grouped
from tabellion.access.keyring import KeyRing
from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import KeyOptions, Role, Workspace
from tabellion.app.http import create_app
from tabellion.consent import batch_routes, state_routes
from tabellion.consent import routes as consents
from tabellion.consent.public import PublicDecisions
from tabellion.consent.reading import Reading
from tabellion.consent.suppressions import routes
from tabellion.consent.suppressions.service import Suppressions
from tabellion.core.batching import Batcher
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import open_log as open_lines
from tabellion.core.telemetry import Metrics
from tabellion.identity.routes import attaching


@dataclass
class World:
    """One workspace over HTTP, its live side seen by an owner."""

    hub: Hub
    app: Any
    workspace: Workspace
    suppressions: Suppressions

    @property
    def side(self) -> WorkspaceId:
        return self.workspace.live

    async def client(self, role: Role = Role.OWNER, mode: Any = "live", **options: Any) -> httpx.AsyncClient:
        _, secret = await self.hub.db.run(lambda tx: create_key(tx, self.workspace, mode, role, KeyOptions(**options)))
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False, client=("127.0.0.1", 1))
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        return httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers)

    async def rows(self, sql: str) -> list[Any]:
        return await self.hub.rows(sql, self.side)


@asynccontextmanager
async def opened(hub: Hub) -> AsyncIterator[World]:
    keys, lines = KeyRing(hub.db), io.StringIO()
    edge = Edge(hub.db, keys, hub.vault, open_lines(lines, hub.clock, pretty=False), Metrics(process=False))
    suppressions = Suppressions(hub.recipients, hub.consent)
    record = Grouped(hub.db, hub.vault, consents.recording(hub.consent))
    recording = batch_routes.Recording(hub.db, hub.vault, hub.consent)
    public = PublicDecisions(hub.db, hub.recipients, hub.consent, attaching(hub.recipients, hub.consent.absorbed))
    check = Batcher(consents.checking(hub.db, hub.consent))
    app = create_app(
        edge,
        [
            *consents.routes(edge, hub.recipients, record, check, public),
            *batch_routes.routes(edge, hub.recipients, recording),
            *state_routes.routes(edge, Reading(hub.recipients, hub.consent)),
            *routes.routes(edge, hub.recipients, suppressions, record, recording),
            *routes.list_routes(edge, hub.recipients, suppressions),
        ],
    )
    workspace = await hub.db.run(lambda tx: create_workspace(tx, "acme"))
    await publish(hub.db, workspace.live)
    yield World(hub, app, workspace, suppressions)
    await keys.close()
    assert "ann@" not in lines.getvalue()
