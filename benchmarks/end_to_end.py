"""Messages from acceptance to recorded outcome: through the API, the gate, the wire, a local vendor and back.

The hub is one process with every role; the vendor is another; the load a third; all on this machine's cores.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.http import bodies, load
from tabellion.app.demo.world import World
from tabellion.core.postgres import running_url

MESSAGES = 15_000


async def run() -> dict[str, Any]:
    """Messages a second from the first request to the last outcome, while accepting, and draining alone."""
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as folder:
        world = World(Path(folder))
        try:
            return await _measure(world)
        finally:
            await asyncio.to_thread(world.stop)


async def _measure(world: World) -> dict[str, Any]:
    await asyncio.to_thread(_open, world)
    connection = await asyncpg.connect(str(running_url(world.data)))
    url = f"{world.url}/v1/messages"
    await asyncio.to_thread(load, url, world.key, bodies(5_000))
    await _settled(connection, 5_000)
    began = time.perf_counter()
    accepted = await asyncio.to_thread(load, url, world.key, bodies(MESSAGES))
    await _settled(connection, 5_000 + MESSAGES)
    seconds = time.perf_counter() - began
    states = await connection.fetch("select state, count(*) from attempts group by state order by state")
    await connection.close()
    return {
        "messages": MESSAGES,
        "per_second": round(MESSAGES / seconds),
        "accepting": accepted,
        "attempts": {row["state"]: row["count"] for row in states},
        "goal": 1000,
    }


def _open(world: World) -> None:
    world.start_vendors()
    world.start_hub()
    world.command("workspace", "create", "bench")
    key = world.command("keys", "create", "--workspace", "bench", "--role", "admin", "--mode", "live")
    world.key = key["key"]
    world.accounts()


async def _settled(connection: "asyncpg.Connection[asyncpg.Record]", messages: int) -> None:
    """Return when so many messages have their outcome recorded."""
    while await connection.fetchval("select count(*) from messages where final") < messages:  # noqa: ASYNC110 - polled
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run()), indent=1) + "\n")
