"""The routes of recipients and accounts over bare ASGI, with keys of two workspaces."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import pytest

from tabellion.access.edge import Edge
from tabellion.access.grouped import Grouped
from tabellion.access.keyring import KeyRing
from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Mode, Role, Workspace
from tabellion.app.http import create_app
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database, Tx
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.log import open_log as open_lines
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import Vault
from tabellion.events.service import open_log
from tabellion.identity import history_routes
from tabellion.identity.routes import Upsertion, routes, upserting
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Recipient

Client = Callable[..., Awaitable[httpx.AsyncClient]]


@dataclass
class Absorptions:
    seen: list[tuple[UUID, UUID]] = field(default_factory=list)

    async def __call__(self, tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId) -> None:
        self.seen.append((from_id, to_id))


async def no_contact_state(tx: Tx, workspace_id: WorkspaceId, people: Sequence[Recipient]) -> dict[UUID, Any]:
    """Nobody decided anything: consent is not among these domains."""
    return {}


@pytest.fixture
async def recipients(db: Database, vault: Vault) -> Recipients:
    return Recipients(vault, await open_log(db))


@pytest.fixture
async def absorbed() -> Absorptions:
    return Absorptions()


@pytest.fixture
async def client(
    db: Database, vault: Vault, clock: FakeClock, recipients: Recipients, absorbed: Absorptions
) -> AsyncIterator[Client]:
    """Gives a client with a key of the role, mode and workspace asked for."""
    keys = KeyRing(db)
    lines = io.StringIO()
    edge = Edge(db, keys, vault, open_lines(lines, clock, pretty=False), Metrics(process=False))
    upsert: Grouped[Upsertion] = Grouped(db, vault, upserting(recipients, absorbed))
    app = create_app(
        edge,
        [*routes(edge, vault, recipients, absorbed, upsert, no_contact_state), *history_routes.routes(edge, vault)],
    )
    workspaces: dict[str, Workspace] = {}

    async def make(role: Role = Role.OWNER, mode: Mode = "live", workspace: str = "acme") -> httpx.AsyncClient:
        if workspace not in workspaces:
            workspaces[workspace] = await db.run(lambda tx: create_workspace(tx, workspace))
        _, secret = await db.run(lambda tx: create_key(tx, workspaces[workspace], mode, role))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        return httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers)

    yield make
    await keys.close()
    assert "@example.org" not in lines.getvalue()
