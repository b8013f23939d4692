"""What being provable costs a change that is audited: keys made a second, with the log and with the table alone.

Both in one run, on one database. The ratio says more than the figures.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import cast

from tabellion.access.service import create_key, create_workspace
from tabellion.access.trail import Trail
from tabellion.access.types import Role, Workspace
from tabellion.app.opening import audited
from tabellion.core import ids
from tabellion.core.clock import SystemClock
from tabellion.core.db import Database, Tx, connect
from tabellion.core.ids import WorkspaceId
from tabellion.core.postgres import Postgres
from tabellion.core.vault import KeyFolder, open_vault
from tabellion.ledger.merkle import Frontier
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Appended, Head, Leaf, LogId
from tabellion.migrations import migrate

KEYS = 600
WRITERS = 8


class NoLog:
    """In place of the ledger: knows where an entry would stand, and asks the database nothing."""

    def __init__(self) -> None:
        self._size = 1

    async def hold(self, tx: Tx, side: WorkspaceId, log: str) -> Head:
        return Head(LogId(side, log, 1), "none", Frontier(), "", b"", tx.now)

    async def append(self, tx: Tx, side: WorkspaceId, leaves: list[Leaf], log: str) -> tuple[list[Appended], int]:
        self._size += len(leaves)
        return [Appended(self._size, b"", 1)], self._size


async def rate(db: Database, sides: list[Workspace], writers: int) -> float:
    """Keys a second."""

    async def one(workspace: Workspace) -> None:
        for _ in range(KEYS // writers):
            await db.run(lambda tx: create_key(tx, workspace, "live", Role.READONLY))

    for workspace in sides:
        await db.run(lambda tx, workspace=workspace: create_key(tx, workspace, "live", Role.READONLY))  # type: ignore[misc]
    begun = time.perf_counter()
    await asyncio.gather(*(one(sides[writer % len(sides)]) for writer in range(writers)))
    return round(KEYS / (time.perf_counter() - begun))


async def measure(db: Database, bare: Database) -> dict[str, float]:
    logged = [await db.run(lambda tx, n=n: create_workspace(tx, f"logged {n}")) for n in range(WRITERS)]  # type: ignore[misc]
    alone = [await db.run(lambda tx, n=n: create_workspace(tx, f"alone {n}")) for n in range(WRITERS)]  # type: ignore[misc]
    figures: dict[str, float] = {}
    for name, sides, writers in (("one_writer", 1, 1), ("8_writers_one_side", 1, 8), ("8_writers_8_sides", 8, 8)):
        table = figures[f"table_alone_{name}"] = await rate(bare, alone[:sides], writers)
        log = figures[f"with_the_log_{name}"] = await rate(db, logged[:sides], writers)
        figures[f"ratio_{name}"] = round(log / table, 2)
    return figures


async def run() -> dict[str, float]:
    """Keys made a second, by how many make them at once. On a server of its own."""
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as name:
        clock, keys = SystemClock(), KeyFolder(Path(name) / "keys")
        postgres = Postgres(Path(name) / "data", clock=clock)
        url = await postgres.start()
        try:
            await migrate(url)
            db, bare = [await connect(url, clock, size=WRITERS + 1) for _ in range(2)]
            vault = await open_vault(keys, clock, create=True)
            bare.provide(Trail(vault, cast(Ledger, NoLog())))
            async with audited(db, vault, keys, ids.new()):
                figures = await measure(db, bare)
            for one in (db, bare):
                await one.close()
            return figures
        finally:
            await postgres.stop()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
