"""Messages from acceptance to recorded outcome: through the API, the gate, the wire, a local vendor and back.

Measured twice, each time in a world of its own: with a vendor that reports nothing after its answer, and with two
signed status callbacks a message, both of them recorded. The hub is one process with every role; the vendor is another;
the load a third; all on this machine's cores. `hub_us` is the hub's own processor time a message: what it costs,
however busy the machine is.
"""

import asyncio
import json
import os
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
PEOPLE = 5_000
CALLBACKS = 2
"""A message: sent, and delivered."""


class Reporting(World):
    """A hub with a public address: the vendor reports there what became of each message."""

    @property
    def hub(self) -> int:
        """The process id of the hub."""
        assert self._hub is not None
        return self._hub.pid


class Quiet(Reporting):
    """A hub without one: vendors are not asked to report."""

    def _environment(self) -> dict[str, str]:
        return {name: value for name, value in super()._environment().items() if name != "TABELLION_PUBLIC_URL"}


async def run() -> dict[str, Any]:
    """Messages a second, from the first request to the last thing recorded of them, without callbacks and with."""
    quiet = await _run(Quiet, 0)
    reporting = await _run(Reporting, CALLBACKS)
    return {
        "messages": MESSAGES,
        "per_second": quiet["per_second"],
        "per_second_with_callbacks": reporting["per_second"],
        "hub_us": quiet["hub_us"],
        "hub_us_with_callbacks": reporting["hub_us"],
        "without_callbacks": quiet,
        "with_callbacks": reporting,
        "goal": 1000,
    }


async def _run(kind: type[Reporting], callbacks: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as folder:
        world = kind(Path(folder))
        try:
            return await _measure(world, callbacks)
        finally:
            await asyncio.to_thread(world.stop)


async def _measure(world: Reporting, callbacks: int) -> dict[str, Any]:
    await asyncio.to_thread(_open, world)
    connection = await asyncpg.connect(str(running_url(world.data)))
    url = f"{world.url}/v1/messages"
    await asyncio.to_thread(load, url, world.key, bodies(PEOPLE))
    await _settled(connection, PEOPLE, callbacks)
    used, began = _processor_time(world), time.perf_counter()
    accepted = await asyncio.to_thread(load, url, world.key, bodies(MESSAGES))
    await _settled(connection, PEOPLE + MESSAGES, callbacks)
    seconds, used = time.perf_counter() - began, _processor_time(world) - used
    states = await connection.fetch("select state, count(*) from attempts group by state order by state")
    await connection.close()
    return {
        "per_second": round(MESSAGES / seconds),
        "hub_us": round(used / MESSAGES * 1_000_000),
        "accepting": accepted,
        "attempts": {row["state"]: row["count"] for row in states},
    }


def _open(world: World) -> None:
    world.start_vendors()
    world.start_hub()
    world.command("workspace", "create", "bench")
    key = world.command("keys", "create", "--workspace", "bench", "--role", "admin", "--mode", "live")
    world.key = key["key"]
    world.accounts()


async def _settled(connection: "asyncpg.Connection[asyncpg.Record]", messages: int, callbacks: int) -> None:
    """Return when so many messages have their outcome recorded, and so many callbacks of each are normalised."""
    for sql, count in (
        ("select count(*) from messages where final", messages),
        ("select count(*) from callbacks where state = 'normalised'", messages * callbacks),
    ):
        while await connection.fetchval(sql) < count:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.05)


def _processor_time(world: Reporting) -> float:
    """Seconds of processor time that the hub's process, without its database, has used so far."""
    fields = Path(f"/proc/{world.hub}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run()), indent=1) + "\n")
