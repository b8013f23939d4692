"""Recipients in bulk: `tabellion import recipients`, then look-ups and `POST /v1/recipients` with all of them loaded.

The import is the command itself, a process of its own beside the bundled PostgreSQL: two identifiers and a trait a
row, every value sealed. Its memory is read from the system while it runs: what it has after the first tenth, and the
most it ever has. `BENCH_RECIPIENTS` says how many rows (the first figure stands on them all).
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from benchmarks.http import load
from tabellion.access.service import find_workspace
from tabellion.app.demo.world import World
from tabellion.app.domains import domains
from tabellion.app.opening import opened
from tabellion.app.wiring import Hub
from tabellion.core.config import load as load_settings
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.types import RefObject, Resolved

ROWS = int(os.environ.get("BENCH_RECIPIENTS", "200000"))
WARM = 500
LOOKUPS = 5_000
POSTS = 8_000
ROUNDS = 3


class IdentifierOf(msgspec.Struct):
    kind: str
    value: str


class RecipientOf(msgspec.Struct):
    """The part of `POST /v1/recipients` that the benchmark sends."""

    identifiers: list[IdentifierOf]
    traits: dict[str, str]


async def run() -> dict[str, Any]:
    """Rows a second and memory of the import; look-up latencies and requests a second beside all that was loaded."""
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as folder:
        return await asyncio.to_thread(_measure, Path(folder), ROWS)


def _measure(folder: Path, rows: int) -> dict[str, Any]:
    world = World(folder)
    try:
        world.command("workspace", "create", "bench")
        figures = _import(world, _file(folder / "people.csv", rows))
        key: str = world.command(
            "keys", "create", "--workspace", "bench", "--role", "developer", "--mode", "test"
        )["key"]  # fmt: skip
        world.start_hub("--roles", "api")
        figures |= asyncio.run(_resolve(world, rows))
        load(f"{world.url}/v1/recipients", key, _bodies(0, 1_000))
        new = [load(f"{world.url}/v1/recipients", key, _bodies(one, POSTS)) for one in range(1, ROUNDS + 1)]
        known = [load(f"{world.url}/v1/recipients", key, _bodies(one, POSTS)) for one in range(1, ROUNDS + 1)]
        return figures | _told("post_new", new) | _told("post_known", known) | {"post_goal": 2000}
    finally:
        world.stop()


def email(number: int) -> str:
    return f"person{number}@example.org"


def _file(file: Path, rows: int) -> Path:
    with file.open("w") as stream:
        stream.write("email,phone,trait.plan\n")
        for number in range(rows):
            stream.write(f"{email(number)},+49151{10_000_000 + number},pro\n")
    return file


def _import(world: World, file: Path) -> dict[str, Any]:
    """The command's own report, and its resident memory."""
    words = ["import", "recipients", str(file), "--workspace", "bench", "--mode", "test", "--data", str(world.data)]
    command = [sys.executable, "-m", "tabellion", *words, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    seen = _memory(process)
    assert process.stdout is not None
    report: dict[str, Any] = json.loads(process.stdout.read())
    assert process.wait() == 0
    early = seen[len(seen) // 10]
    return {
        "rows": report["rows"],
        "import_per_second": report["per_second"],
        "import_goal": 5000,
        "import_mib_after_a_tenth": early,
        "import_mib_most": max(seen),
        "import_mib_growth": round(max(seen[len(seen) // 10 :]) - early, 1),
    }


def _memory(process: "subprocess.Popen[bytes]") -> list[float]:
    """Resident MiB, every quarter of a second until it ends."""
    seen = []
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        seen += [round(int(line.split()[1]) / 1024, 1) for line in status if line.startswith("VmRSS:")]
        time.sleep(0.25)
    return seen


async def _resolve(world: World, rows: int) -> dict[str, Any]:
    """Look-ups through the service, one a transaction, of people chosen at random among all, in milliseconds."""
    settings = load_settings({}, {"data": world.data}).settings
    async with opened(settings) as installation, domains(installation, settings) as hub:
        workspace = await installation.db.run(lambda tx: find_workspace(tx, "bench"))
        chance = Random(1)  # the same people in every run
        spent = [await _look_up(hub, workspace.test, email(chance.randrange(rows))) for _ in range(WARM + LOOKUPS)]
    ordered = sorted(spent[WARM:])
    return {
        "resolve_p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
        "resolve_p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
        "resolve_goal_p99_ms": 5,
    }


async def _look_up(hub: Hub, side: WorkspaceId, address: str) -> float:
    began = time.perf_counter()
    ref = hub.recipients.ref(side, RefObject(email=address), "")
    async with hub.around.db.transaction() as tx:
        [one] = await hub.recipients.resolve(tx, side, [ref], create=False)
    assert isinstance(one, Resolved)
    return time.perf_counter() - began


def _bodies(turn: int, count: int) -> list[bytes]:
    """People of one round: new in the first run of it, known in the second."""
    return [
        msgspec.json.encode(
            RecipientOf(
                [
                    IdentifierOf("email", f"r{turn}.{number}@example.net"),
                    IdentifierOf("phone", f"+44740{turn}{100_000 + number}"),
                ],
                {"plan": "pro"},
            )
        )
        for number in range(count)
    ]


def _told(name: str, reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ordered = sorted(reports, key=lambda one: one["per_second"])
    middle = ordered[len(ordered) // 2]
    return {
        name: list(reports),
        f"{name}_per_second": middle["per_second"],
        f"{name}_p99_ms": middle["p99_ms"],
        f"{name}_statuses": str(middle["statuses"]),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run()), indent=1) + "\n")
