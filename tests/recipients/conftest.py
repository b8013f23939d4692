"""Recipients over a real database, twice: as two processes have them, each with a pool and a key cache of its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tabellion.core.clock import FakeClock
from tabellion.core.db import Database, Tx, connect
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.vault import KeyFolder, Vault, open_vault
from tabellion.events.service import open_log
from tabellion.recipients.service import Recipients


@dataclass
class Hub:
    """One process: its database and its service."""

    db: Database
    recipients: Recipients


@pytest.fixture
async def hub(db: Database, vault: Vault) -> Hub:
    return Hub(db, Recipients(vault, await open_log(db)))


@pytest.fixture
async def other_hub(hub: Hub, database_url: str, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Hub]:
    database = await connect(database_url, clock, size=10)
    vault = await open_vault(KeyFolder(tmp_path / "keys"), clock)
    yield Hub(database, Recipients(vault, await open_log(database)))
    await database.close()


@dataclass
class Absorptions:
    """The port to those above, noting what it was told."""

    seen: list[tuple[UUID, UUID]] = field(default_factory=list)

    async def __call__(self, tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId) -> None:
        self.seen.append((from_id, to_id))


@pytest.fixture
def absorbed() -> Absorptions:
    return Absorptions()


@dataclass
class Counting:
    """A transaction that counts its statements."""

    tx: Tx
    statements: list[str] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        return self.tx.now

    def after_commit(self, call: Any) -> None:
        self.tx.after_commit(call)

    async def rows(self, sql: str, *args: Any) -> Any:
        return await self._count(self.tx.rows, sql, args)

    async def row(self, sql: str, *args: Any) -> Any:
        return await self._count(self.tx.row, sql, args)

    async def value(self, sql: str, *args: Any) -> Any:
        return await self._count(self.tx.value, sql, args)

    async def execute(self, sql: str, *args: Any) -> Any:
        return await self._count(self.tx.execute, sql, args)

    async def _count(self, run: Any, sql: str, args: Any) -> Any:
        self.statements.append(" ".join(sql.split()))
        return await run(sql, *args)


async def wait_until_blocked(hub: Hub, connections: int = 1) -> None:
    """Return once so many connections wait for a lock."""
    blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while await hub.db.run(lambda tx: tx.value(blocked)) < connections:
        pass
