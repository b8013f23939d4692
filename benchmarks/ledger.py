"""How many entries a second the ledger appends: durable, in a signed tree, through the service.

A baseline in the same run commits the same rows with one bare `unnest` insert a transaction: no head, no lock, no
hashing, no signature. The ratio says what being provable costs; it is steadier than the absolute figures.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import date
from os import urandom
from pathlib import Path

from tabellion.core import ids
from tabellion.core.clock import SystemClock
from tabellion.core.db import Database, Tx, columns, connect
from tabellion.core.ids import WorkspaceId
from tabellion.core.postgres import Postgres
from tabellion.core.vault import KeyFolder, open_vault
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.rules import leaf_bytes
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf
from tabellion.migrations import migrate

ENTRIES = 51_200
SIDES = 4
Write = Callable[[WorkspaceId, list[Leaf]], Awaitable[object]]


def leaves(count: int) -> list[Leaf]:
    return [Leaf(ids.new(), "consent", urandom(32), date(2026, 11, 21)) for _ in range(count)]


async def rate(write: Write, entries: int, batch: int, sides: int) -> float:
    """Entries a second, in batches, by one writer a workspace side."""
    batches = max(1, entries // batch // sides)
    work = [(WorkspaceId(ids.new()), [leaves(batch) for _ in range(batches)]) for _ in range(sides)]

    async def one(side: WorkspaceId, given: list[list[Leaf]]) -> None:
        for made in given:
            await write(side, made)

    for side, _ in work:  # a tile is begun, so that batches and tiles do not end together
        await write(side, leaves(100))
    begun = time.perf_counter()
    await asyncio.gather(*(one(*each) for each in work))
    return round(batch * batches * sides / (time.perf_counter() - begun))


async def bare_insert(tx: Tx, side: WorkspaceId, made: list[Leaf]) -> str:
    entry_ids, entries = columns([(leaf.entry_id, leaf_bytes(leaf)) for leaf in made], 2)
    return await tx.execute(
        "insert into bare (workspace_id, entry_id, leaf) select $1, * from unnest($2::uuid[], $3::bytea[])",
        side, entry_ids, entries,
    )  # fmt: skip


async def measure(db: Database, ledger: Ledger, entries: int) -> dict[str, float]:
    async with db.transaction() as tx:
        await tx.execute(
            "create table if not exists bare"
            " (workspace_id uuid, entry_id uuid, leaf bytea, primary key (workspace_id, entry_id))"
        )

    async def append(side: WorkspaceId, made: list[Leaf]) -> object:
        return await db.run(lambda tx: ledger.append(tx, side, made))

    async def bare(side: WorkspaceId, made: list[Leaf]) -> object:
        return await db.run(lambda tx: bare_insert(tx, side, made))

    await rate(append, 2_560, 256, 1)
    figures = {
        "append_256_one_log": await rate(append, entries, 256, 1),
        "append_256_four_logs": await rate(append, entries, 256, SIDES),
        "append_16_one_log": await rate(append, entries // 8, 16, 1),
        "append_1_one_log": await rate(append, entries // 64, 1, 1),
        "bare_256": await rate(bare, entries, 256, 1),
        "bare_1": await rate(bare, entries // 64, 1, 1),
    }
    figures["ratio_256"] = round(figures["append_256_one_log"] / figures["bare_256"], 2)
    figures["ratio_1"] = round(figures["append_1_one_log"] / figures["bare_1"], 2)
    return figures


async def run(url: str | None = None, entries: int = ENTRIES) -> dict[str, float]:
    """Entries a second by batch size, and the ratio to the bare insert. Without a URL: on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as name:
        clock = SystemClock()
        postgres = None if url else Postgres(Path(name) / "data", clock=clock)
        address = url or (await postgres.start() if postgres else "")
        try:
            await migrate(address)
            db = await connect(address, clock, size=SIDES + 1)
            keys = KeyFolder(Path(name) / "keys")
            checkpoints = Checkpoints(keys.checkpoints)
            ledger = Ledger(await open_vault(keys, clock, create=True), checkpoints, ids.new())
            figures = await measure(db, ledger, entries)
            await checkpoints.close()
            await db.close()
            return figures
        finally:
            if postgres:
                await postgres.stop()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
