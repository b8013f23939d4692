"""What tests stand on: a real PostgreSQL, a fresh database each, a clock that stands still, keys, a workspace.

Each test process runs its own bundled server and migrates one template in it; a test gets a clone.
"""

import asyncio
import io
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from tabellion.access.service import create_workspace
from tabellion.app.opening import audited
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.core import ids
from tabellion.core.clock import FakeClock, SystemClock
from tabellion.core.db import Database, connect
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import open_log
from tabellion.core.postgres import Postgres
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import KeyFolder, Vault, open_vault
from tabellion.core.wake import Bell
from tabellion.events.service import open_log as open_event_log
from tabellion.ledger.published import Checkpoints
from tabellion.migrations import migrate
from tabellion.simulators.server import Simulators

# A busy machine is not a defect: examples are judged by what they do, never by how long it took.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "deadlock_timeout": "50ms",
}
"""For databases that need not outlive their test. Crash tests start a server of their own, without."""
TEMPLATE = "tabellion"
MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes free there that make it worth using: a new database is copied in a seventh of the time it takes on a disk."""


@dataclass
class Server:
    postgres: Postgres
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def clone(self) -> str:
        """The URL of a new database with every migration applied."""
        name = f"test_{next(self.numbers)}"
        await self._admin(f"create database {name} template {TEMPLATE} strategy file_copy owner tabellion")
        return self.url(name)

    async def empty(self) -> str:
        """The URL of a new database with nothing in it."""
        name = f"test_{next(self.numbers)}"
        await self._admin(f"create database {name} template template0 strategy file_copy owner tabellion")
        return self.url(name)

    async def drop(self, url: str) -> None:
        name = url.partition("@/")[2].partition("?")[0]
        await self._admin(f"drop database if exists {name} with (force)")

    def url(self, name: str) -> str:
        return self.postgres.admin_url(name).replace("//postgres@", "//tabellion@")

    async def _admin(self, statement: str) -> None:
        connection = await asyncpg.connect(self.postgres.admin_url())
        await connection.execute(statement)
        await connection.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The PostgreSQL of this test process, with the migrated template in it."""
    folder = Path(tempfile.mkdtemp(prefix="tabellion-test-", dir=_in_memory()))
    postgres = Postgres(folder / "data", clock=SystemClock(), settings=FAST)

    async def begin() -> None:
        await migrate(await postgres.start())

    try:
        asyncio.run(begin())
        yield Server(postgres)
    finally:
        asyncio.run(postgres.stop())
        shutil.rmtree(folder, ignore_errors=True)


def _in_memory() -> Path | None:
    """A folder in memory with room for many databases; None where there is none."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None


@pytest.fixture
async def database_url(server: Server) -> AsyncIterator[str]:
    """A database of this test's own, migrated."""
    url = await server.clone()
    yield url
    await server.drop(url)


@pytest.fixture
async def empty_database_url(server: Server) -> AsyncIterator[str]:
    """A database of this test's own, not migrated."""
    url = await server.empty()
    yield url
    await server.drop(url)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def vault(tmp_path: Path, clock: FakeClock) -> Vault:
    return await open_vault(KeyFolder(tmp_path / "keys"), clock, create=True)


@pytest.fixture
async def checkpoints(vault: Vault, tmp_path: Path) -> AsyncIterator[Checkpoints]:
    """Outside the database. Closed, so that no writing is begun when the loop ends."""
    made = Checkpoints(tmp_path / "keys" / "checkpoints")
    yield made
    await made.close()


@pytest.fixture
def install_id() -> UUID:
    return ids.new()


@pytest.fixture
async def db(
    database_url: str, clock: FakeClock, vault: Vault, install_id: UUID, tmp_path: Path
) -> AsyncIterator[Database]:
    """The test's database, on which what is audited goes to the ledger too."""
    database = await connect(database_url, clock, size=10)
    async with audited(database, vault, KeyFolder(tmp_path / "keys"), install_id):
        yield database
    await database.close()


@pytest.fixture
async def workspace_id(db: Database) -> WorkspaceId:
    """The live side of a fresh workspace."""
    workspace = await db.run(lambda tx: create_workspace(tx, "fixture"))
    return workspace.live


@pytest.fixture
async def simulators(clock: FakeClock) -> AsyncIterator[SimulatorAddress]:
    """The vendors, on loopback, with callbacks as fast as they can."""
    vendors = Simulators(SystemClock(), pace=0.0)
    yield await vendors.start()
    await vendors.stop()


@pytest.fixture
async def surroundings(
    db: Database, vault: Vault, simulators: SimulatorAddress, tmp_path: Path, install_id: UUID
) -> Surroundings:
    """What a process has before it has domains, on this test's database and clock."""
    bell = Bell()
    return Surroundings(
        db=db,
        clock=db.clock,
        log=open_log(io.StringIO(), db.clock),
        metrics=Metrics(process=False),
        bell=bell,
        vault=vault,
        keys=KeyFolder(tmp_path / "keys"),
        events=await open_event_log(db, bell),
        install_id=install_id,
        simulator=simulators,
        local_url="http://127.0.0.1:1",
        public_url=None,
    )


@pytest.fixture
async def hub(surroundings: Surroundings) -> AsyncIterator[Hub]:
    """Every domain, wired as in a running process."""
    wired = wire(surroundings)
    yield wired
    await wired.close()
