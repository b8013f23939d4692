"""Notices over HTTP, beside consents."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from tests.consent.conftest import Hub

from tabellion.access.edge import Edge
from tabellion.access.grouped import Grouped
from tabellion.access.keyring import KeyRing
from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import KeyOptions, Role, Workspace
from tabellion.app.http import create_app
from tabellion.consent import routes as consents
from tabellion.consent.notices import routes, served_routes
from tabellion.consent.notices.service import Notices
from tabellion.consent.notices.serving import Serving
from tabellion.consent.public import PublicDecisions
from tabellion.core.batching import Batcher
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import open_log as open_lines
from tabellion.core.telemetry import Metrics
from tabellion.events.service import open_log
from tabellion.identity.routes import attaching

NEWSLETTER: dict[str, Any] = {"id": "newsletter", "title": "Newsletter", "purposes": ["marketing"]}
TEXTS: dict[str, Any] = {"default_language": "en", "texts": {"en": "Yes, send me news.", "de": "Ja, schickt Neues."}}
GRANT: dict[str, Any] = {
    "recipient": {"email": "ann@example.org"}, "channel": "email", "purpose": "marketing", "decision": "granted",
    "basis": "consent", "method": "form", "source": "signup", "notice": {"id": "newsletter", "version": "1"},
    "evidence": {"url": "https://example.org/signup"},
}  # fmt: skip


@dataclass
class World:
    """One workspace over HTTP."""

    hub: Hub
    app: Any
    workspace: Workspace
    serving: Serving

    @property
    def side(self) -> WorkspaceId:
        return self.workspace.live

    async def client(self, role: Role = Role.OWNER, **options: Any) -> httpx.AsyncClient:
        mode = "live"
        _, secret = await self.hub.db.run(
            lambda tx: create_key(tx, self.workspace, mode, role, KeyOptions(**options))  # type: ignore[arg-type]
        )
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False, client=("127.0.0.1", 1))
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        return httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers)

    async def rows(self, sql: str) -> list[Any]:
        return await self.hub.rows(sql, self.side)


@pytest.fixture
async def world(hub: Hub) -> AsyncIterator[World]:
    keys, lines, events = KeyRing(hub.db), io.StringIO(), await open_log(hub.db)
    edge = Edge(hub.db, keys, hub.vault, open_lines(lines, hub.clock, pretty=False), Metrics(process=False))
    notices, serving = Notices(events, hub.consent.purposes), Serving(hub.vault, hub.recipients, events)
    serve = Grouped(hub.db, hub.vault, served_routes.serving(serving))
    record = Grouped(hub.db, hub.vault, consents.recording(hub.consent))
    public = PublicDecisions(hub.db, hub.recipients, hub.consent, attaching(hub.recipients, hub.consent.absorbed))
    check = Batcher(consents.checking(hub.db, hub.consent))
    app = create_app(
        edge,
        [
            *routes.routes(edge, notices),
            *routes.version_routes(edge, notices),
            *served_routes.routes(edge, hub.vault, hub.recipients, notices, serving, serve),
            *consents.routes(edge, hub.recipients, record, check, public),
        ],
    )
    workspace = await hub.db.run(lambda tx: create_workspace(tx, "acme"))
    yield World(hub, app, workspace, serving)
    await keys.close()
    assert "ann@" not in lines.getvalue()


@pytest.fixture
async def api(world: World) -> httpx.AsyncClient:
    """With a newsletter whose version 1 is published."""
    api = await world.client()
    assert (await api.post("/v1/notices", json=NEWSLETTER)).status_code == 201
    made = await api.post("/v1/notices/newsletter/versions", json=TEXTS | {"publish": True})
    assert made.status_code == 201, made.text
    return api
