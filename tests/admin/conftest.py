"""Some routes over the real application, and keys for them."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import pytest

from tabellion.access.edge import Edge
from tabellion.access.keyring import KeyRing
from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Mode, Role, Workspace
from tabellion.app.http import create_app
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.log import stderr_log
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog, open_log
from tabellion.recipients.service import Recipients

Routes = Callable[[Edge], Sequence[Any]]


@pytest.fixture
async def client(db: Database, vault: Vault, clock: FakeClock, routes: Routes) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the routes that the test's module gives as `routes`."""
    keys = KeyRing(db)
    edge = Edge(db, keys, vault, stderr_log(clock, "error"), Metrics(process=False))
    transport = httpx.ASGITransport(app=create_app(edge, routes(edge)))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub.example") as opened:
        yield opened
    await keys.close()


@pytest.fixture
async def log(db: Database) -> EventLog:
    return await open_log(db)


@pytest.fixture
def recipients(vault: Vault, log: EventLog) -> Recipients:
    return Recipients(vault, log)


@pytest.fixture
async def workspace(db: Database) -> Workspace:
    return await db.run(lambda tx: create_workspace(tx, "acme"))


async def authorized(
    db: Database, workspace: Workspace, mode: Mode = "live", role: Role = Role.READONLY
) -> dict[str, str]:
    """The header of a new key."""
    _, secret = await db.run(lambda tx: create_key(tx, workspace, mode, role))
    return {"Authorization": f"Bearer {secret.reveal()}"}
