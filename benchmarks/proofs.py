"""How long it takes to prove one of a million entries: through the service, and over HTTP on real sockets.

The log is made by appending, so its rows, tiles and head are those of a log that grew. Indexes and sizes are random:
a proof in an older tree needs the right edge of that one. A bare transaction in the same run says how busy the machine
is, and processor time is of this process alone.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from os import urandom
from pathlib import Path
from typing import Any

from benchmarks.http import load
from tabellion.access.service import find_workspace
from tabellion.app.demo.world import World
from tabellion.app.opening import opened
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.db import Database, Tx
from tabellion.core.ids import WorkspaceId
from tabellion.ledger.paths import LogName
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.reading import Reading
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf

ENTRIES = 1_000_000
TOGETHER = 40
"""Appends of 256 in one transaction: there is nobody else to let in."""
ASKED = 4_000
LOG = LogName("consent", None)
GOAL_MS = 5.0


@dataclass(frozen=True)
class Log:
    db: Database
    ledger: Ledger
    side: WorkspaceId
    dice: random.Random

    async def grow(self, entries: int) -> float:
        """Entries a second."""
        begun = time.perf_counter()
        for at in range(0, entries, 256 * TOGETHER):
            await self._append(min(256 * TOGETHER, entries - at))
        return round(entries / (time.perf_counter() - begun))

    async def _append(self, many: int) -> None:
        async def work(tx: Tx) -> None:
            for at in range(0, many, 256):
                made = [_leaf() for _ in range(min(256, many - at))]
                await self.ledger.append(tx, self.side, made)

        await self.db.run(work, limit=120)

    async def inclusion(self, index: int, size: int) -> None:
        reading = Reading(self.ledger)
        async with self.db.transaction() as tx:
            await reading.inclusion(tx, await reading.open(tx, self.side, LOG), index, size)

    async def bare(self, *_: int) -> None:
        """What any read costs here: a transaction with one statement."""
        async with self.db.transaction() as tx:
            await tx.value("select 1")

    async def consistency(self, old: int, new: int) -> None:
        reading = Reading(self.ledger)
        async with self.db.transaction() as tx:
            await reading.consistency(tx, await reading.open(tx, self.side, LOG), old, new)


def _leaf() -> Leaf:
    return Leaf(ids.new(), "consent", urandom(32), date(2026, 11, 21))


async def run(entries: int = ENTRIES, asked: int = ASKED) -> dict[str, Any]:
    """Milliseconds a proof: the middle one, and what 99 of 100 stay below."""
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as folder:
        world = World(Path(folder))
        try:
            await asyncio.to_thread(world.start_hub, "--roles", "api")
            return await _measure(world, entries, asked)
        finally:
            world.stop()


async def _measure(world: World, entries: int, asked: int) -> dict[str, Any]:
    world.command("workspace", "create", "bench")
    key = world.command("keys", "create", "--workspace", "bench", "--role", "readonly", "--mode", "test")["key"]
    async with opened(Settings(data=world.data)) as hub:
        checkpoints = Checkpoints(hub.keys.checkpoints)
        side = (await hub.db.run(lambda tx: find_workspace(tx, "bench"))).test
        log = Log(hub.db, Ledger(hub.vault, checkpoints, hub.install_id), side, random.Random(9162))
        figures: dict[str, Any] = {"entries": entries, "append_per_second": await log.grow(entries)}
        await checkpoints.flush()
        figures |= await _through_the_service(log, entries, asked)
    figures |= await asyncio.to_thread(_over_http, world.url, key, log.dice, entries, asked)
    return figures | {"goal_p99_ms": GOAL_MS}


async def _through_the_service(log: Log, entries: int, asked: int) -> dict[str, Any]:
    dice = log.dice
    now = [(dice.randrange(entries), entries) for _ in range(asked)]
    before = [(dice.randrange(size), size) for size in (dice.randint(1, entries) for _ in range(asked))]
    grown = [tuple(sorted((dice.randint(1, entries), dice.randint(1, entries)))) for _ in range(asked)]
    await _timed(log.inclusion, now[:200])
    return {
        "bare_transaction": await _timed(log.bare, now),
        "inclusion": await _timed(log.inclusion, now),
        "inclusion_older_trees": await _timed(log.inclusion, before),
        "consistency": await _timed(log.consistency, grown),
    }


async def _timed(prove: Callable[[int, int], Awaitable[None]], wanted: list[Any]) -> dict[str, float]:
    seconds, worked = [], time.process_time()
    for one in wanted:
        begun = time.perf_counter()
        await prove(*one)
        seconds.append(time.perf_counter() - begun)
    return _shown(seconds) | {"processor_ms": round((time.process_time() - worked) * 1000 / len(wanted), 2)}


def _shown(seconds: list[float]) -> dict[str, float]:
    seconds.sort()
    at = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}
    return {name: round(seconds[int(len(seconds) * part)] * 1000, 2) for name, part in at.items()}


def _over_http(url: str, key: str, dice: random.Random, entries: int, asked: int) -> dict[str, Any]:
    address = f"{url}/v1/ledger/proof/inclusion"
    asks = [f"index={dice.randrange(entries)}&size={entries}".encode() for _ in range(asked)]
    load(address, key, asks[:200], 1, method="GET")
    return {
        "http_one_connection": load(address, key, asks, 1, method="GET"),
        "http_16_connections": load(address, key, asks, 16, method="GET"),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run()), indent=1) + "\n")
