"""`POST /v1/messages`, single and durable, 64 connections, against a bare ASGI route that group-commits one insert.

Both run as one process beside the same PostgreSQL; rounds alternate. The ratio is what the product costs over the
floor: authentication, recipient, verdicts, plan, sealing, message, event and job in one transaction.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.http import bodies, load, until_up
from tabellion.app.demo.world import World, free_port
from tabellion.core.postgres import running_url

MESSAGES = 8_000
ROUNDS = 7


async def run() -> dict[str, Any]:
    """Requests a second of both, each round's ratio, and the median ratio."""
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as folder:
        return await asyncio.to_thread(_measure, Path(folder))


def _measure(folder: Path) -> dict[str, Any]:
    world = World(folder)
    port = free_port()
    bare: subprocess.Popen[bytes] | None = None
    try:
        world.start_hub("--roles", "api")
        key = _key(world)
        bare = subprocess.Popen([sys.executable, "-m", "benchmarks.bare", str(running_url(world.data)), str(port)])
        until_up(f"http://127.0.0.1:{port}/health")
        return _rounds(f"{world.url}/v1/messages", key, f"http://127.0.0.1:{port}/")
    finally:
        if bare is not None:
            bare.terminate()
            bare.wait()
        world.stop()


def _rounds(hub: str, key: str, floor: str) -> dict[str, Any]:
    load(hub, key, bodies(5_000))  # the people exist from here on
    load(floor, "", bodies(1_000))
    pairs = [(load(hub, key, bodies(MESSAGES)), load(floor, "", bodies(MESSAGES))) for _ in range(ROUNDS)]
    return {
        "hub": [one for one, _ in pairs],
        "bare": [other for _, other in pairs],
        "ratios": [round(one["per_second"] / other["per_second"], 3) for one, other in pairs],
        "ratio": round(median(one["per_second"] / other["per_second"] for one, other in pairs), 3),
        "goal": 0.25,
    }


def _key(world: World) -> str:
    world.command("workspace", "create", "bench")
    key: str = world.command("keys", "create", "--workspace", "bench", "--role", "developer", "--mode", "test")["key"]
    return key


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run()), indent=1) + "\n")
