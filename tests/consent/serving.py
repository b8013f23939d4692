"""A whole hub over HTTP, and clients with keys of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx

from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Mode, Role, Workspace
from tabellion.app.routes import App, build
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.core.config import Settings


@dataclass
class Served:
    """One workspace of a hub, over HTTP."""

    hub: Hub
    app: App
    workspace: Workspace
    stack: AsyncExitStack

    async def client(self, role: Role = Role.OWNER, mode: Mode = "test") -> httpx.AsyncClient:
        _, secret = await self.hub.around.db.run(lambda tx: create_key(tx, self.workspace, mode, role))
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        opened = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app.asgi), base_url="http://hub.example", headers=headers
        )
        return await self.stack.enter_async_context(opened)

    async def audited(self, action: str, mode: Mode = "test") -> list[tuple[str, dict[str, Any]]]:
        """Target and detail of what was audited under this word, oldest first."""
        sql = "select target, detail from audit where workspace_id = $1 and action = $2 order by id"
        rows = await self.hub.around.db.run(lambda tx: tx.rows(sql, self.workspace.side(mode), action))
        return [(row["target"], row["detail"]) for row in rows]


async def serve(surroundings: Surroundings, name: str = "acme") -> AsyncIterator[Served]:
    """For a fixture."""
    wired = wire(surroundings)
    workspace = await wired.around.db.run(lambda tx: create_workspace(tx, name))
    async with AsyncExitStack() as stack:
        yield Served(wired, build(wired, Settings()), workspace, stack)
    await wired.close()
