"""Recipients in bulk: `tabellion import recipients`, then look-ups and `POST /v1/recipients` with all of them loaded.

    make bench ARGS=recipients          a million people; BENCH_RECIPIENTS says how many

Look-ups are of people chosen at random among all: through the service one after the other, which is what they cost, and
as `GET /v1/recipients?email=` over 16 connections. `POST` is of new people over 64 connections for 20 seconds, then of
the same people again. `scans` counts how often the server read a table of recipients whole, `read_a_row` and
`read_a_look_up` the index entries it read for a row imported and for a look-up through the service: a plan that was
made while a table was young and then kept shows there, on every machine.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec

from benchmarks import imported
from benchmarks.http import CONNECTIONS, load
from tabellion.access.service import find_workspace
from tabellion.app.demo.world import World
from tabellion.app.domains import domains
from tabellion.app.importing.run import AT_ONCE, MOST
from tabellion.app.opening import opened
from tabellion.app.wiring import Hub
from tabellion.core.clock import SystemClock
from tabellion.core.config import load as load_settings
from tabellion.core.db import Database, Tx, connect
from tabellion.core.ids import WorkspaceId
from tabellion.core.postgres import running_url
from tabellion.recipients.types import RefObject, Resolved

ROWS = int(os.environ.get("BENCH_RECIPIENTS", "1000000"))
WARM = 500
LOOK_UPS = 5_000
READERS = 16
SECONDS = 20.0
MOST_POSTS = 5_000
"""A second, prepared."""
TABLES = ("recipients", "identifiers", "subject_keys", "recipient_versions")


class IdentifierOf(msgspec.Struct):
    kind: str
    value: str


class RecipientOf(msgspec.Struct):
    """The part of `POST /v1/recipients` that the benchmark sends."""

    identifiers: list[IdentifierOf]
    traits: dict[str, str]


class Read(NamedTuple):
    """How often a table was read whole, and how many entries of indexes were read."""

    scans: int
    entries: int


async def run() -> dict[str, Any]:
    """Rows a second and memory of the import; look-up latencies and requests a second beside all that was loaded."""
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as folder:
        return await asyncio.to_thread(_measure, Path(folder), ROWS)


def _measure(folder: Path, rows: int) -> dict[str, Any]:
    world = World(folder)
    try:
        world.command("workspace", "create", "bench")
        key: str = world.command(
            "keys", "create", "--workspace", "bench", "--role", "developer", "--mode", "test"
        )["key"]  # fmt: skip
        world.start_hub("--roles", "api")
        url = str(running_url(world.data))
        before = asyncio.run(_so_far(url))
        figures = _settings() | imported.watch(world, imported.write(folder / "people.csv", rows), rows)
        figures["floor_per_second"] = asyncio.run(imported.floor(url, rows))
        figures["ratio"] = round(figures["import_per_second"] / figures["floor_per_second"], 3)
        figures |= asyncio.run(_resolve(world, rows, before))
        return figures | _over_http(f"{world.url}/v1/recipients", key, rows)
    finally:
        world.stop()


def _settings() -> dict[str, Any]:
    posts = {"connections": CONNECTIONS, "seconds": SECONDS}
    return {"settings": {"rows_a_batch": MOST, "batches_at_once": AT_ONCE, "readers": READERS, "posts": posts}}


def _over_http(url: str, key: str, rows: int) -> dict[str, Any]:
    chance = Random(2)  # the same people in every run
    queries = [f"email={imported.email(chance.randrange(rows))}".encode() for _ in range(LOOK_UPS)]
    load(url, key, queries[:WARM], READERS, method="GET")
    read = load(url, key, queries, READERS, method="GET")
    bodies = [_body(number) for number in range(int(SECONDS * MOST_POSTS))]
    load(url, key, bodies[:1_000])
    new = load(url, key, bodies[1_000:], within=SECONDS)
    known = load(url, key, bodies[1_000 : new["requests"]], within=SECONDS)
    told = _told("get", read) | _told("post_new", new) | _told("post_known", known)
    return told | {"post_goal": 2000, "http": {"get": read, "post_new": new, "post_known": known}}


async def _resolve(world: World, rows: int, first: Read) -> dict[str, Any]:
    """Look-ups through the service, one a transaction, in milliseconds, and what the server read for them."""
    settings = load_settings({}, {"data": world.data}).settings
    async with opened(settings) as installation, domains(installation, settings) as hub:
        workspace = await installation.db.run(lambda tx: find_workspace(tx, "bench"))
        chance = Random(1)  # the same people in every run
        wanted = [imported.email(chance.randrange(rows)) for _ in range(WARM + LOOK_UPS)]
        before = await _read(hub.around.db)
        spent = [await _look_up(hub, workspace.test, one) for one in wanted]
        after = await _read(hub.around.db)
    ordered = sorted(spent[WARM:])
    return {
        "resolve_p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
        "resolve_p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
        "resolve_goal_p99_ms": 5,
        "scans": after.scans - first.scans,
        "read_a_row": round((before.entries - first.entries) / rows, 2),
        "read_a_look_up": round((after.entries - before.entries) / len(wanted), 2),
    }


async def _look_up(hub: Hub, side: WorkspaceId, address: str) -> float:
    began = time.perf_counter()
    ref = hub.recipients.ref(side, RefObject(email=address), "")
    async with hub.around.db.transaction() as tx:
        [one] = await hub.recipients.resolve(tx, side, [ref], create=False)
    assert isinstance(one, Resolved)
    return time.perf_counter() - began


async def _so_far(url: str) -> Read:
    db = await connect(url, SystemClock(), size=1)
    try:
        return await _read(db)
    finally:
        await db.close()


async def _read(db: Database) -> Read:
    """What was read of the tables of recipients so far, that by this pool included."""

    async def counted(tx: Tx) -> Read:
        scans = await tx.value("select sum(seq_scan) from pg_stat_user_tables where relname = any($1)", TABLES)
        entries = await tx.value("select sum(idx_tup_read) from pg_stat_user_indexes where relname = any($1)", TABLES)
        return Read(int(scans), int(entries))

    await db.run(lambda tx: tx.execute("select pg_stat_force_next_flush()"))
    return await db.run(counted)


def _body(number: int) -> bytes:
    """A person nobody has, the same in every run."""
    named = [
        IdentifierOf("email", f"new{number}@example.net"),
        IdentifierOf("phone", f"+447400{100_000 + number}"),
    ]
    return msgspec.json.encode(RecipientOf(named, {"plan": "pro", "city": "London"}))


def _told(name: str, report: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{name}_per_second": report["per_second"],
        f"{name}_p50_ms": report["p50_ms"],
        f"{name}_p99_ms": report["p99_ms"],
        f"{name}_statuses": str(report["statuses"]),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run()), indent=1) + "\n")
