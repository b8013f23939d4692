"""`tabellion import recipients` under watch: rows a second, memory and processor time at every tenth of the file.

The command is a process of its own beside the bundled PostgreSQL, as an operator runs it: two identifiers and three
traits a row, every value sealed. How far it is it says itself, in the file of its progress. The floor is the least that
stores as many values: `unnest` into two bare tables, 1,000 people a transaction, made beforehand.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tabellion.app.demo.world import World
from tabellion.core import ids
from tabellion.core.clock import SystemClock
from tabellion.core.db import Database, Tx, connect

TENTHS = 10
TICKS = os.sysconf("SC_CLK_TCK")
BATCH = 1000
FLOOR = 100_000
"""People of the floor, at most: it does not grow slower with more."""


class Rows(msgspec.Struct):
    rows: int


class Place(msgspec.Struct):
    """The part of an import's progress that is read here."""

    count: Rows


class Seen(msgspec.Struct):
    """The process at one moment."""

    rows: int
    seconds: float
    mib: float
    cpu: float


def email(number: int) -> str:
    return f"person{number}@example.org"


def phone(number: int) -> str:
    return f"+49151{10_000_000 + number}"


def write(file: Path, rows: int) -> Path:
    with file.open("w") as stream:
        stream.write("email,phone,trait.plan,trait.city,trait.age\n")
        for number in range(rows):
            stream.write(f"{email(number)},{phone(number)},pro,Vienna,{number % 90}\n")
    return file


def watch(world: World, file: Path, rows: int) -> dict[str, Any]:
    """The command's own report, and what was seen of it at every tenth."""
    words = ["import", "recipients", str(file), "--workspace", "bench", "--mode", "test", "--data", str(world.data)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tabellion", *words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    tenths = _tenths(process, file.with_name(f"{file.name}.progress"), rows)
    assert process.stdout is not None
    report: dict[str, Any] = json.loads(process.stdout.read())
    assert process.wait() == 0
    assert report["created"] == rows
    fifth, last = tenths[1].mib, tenths[-1].mib
    return {
        "rows": rows,
        "import_per_second": report["per_second"],
        "import_goal": 5000,
        "import_us_a_row": round((tenths[-1].cpu - tenths[0].cpu) / (rows - tenths[0].rows) * 1e6),
        "import_mib_at_a_fifth": fifth,
        "import_mib_at_the_end": last,
        "import_mib_growth": round(last - fifth, 1),
        "import_tenths": [_told(*pair) for pair in zip([Seen(0, 0.0, 0.0, 0.0), *tenths], tenths, strict=False)],
    }


def _tenths(process: "subprocess.Popen[bytes]", progress: Path, rows: int) -> list[Seen]:
    """What was seen when each tenth of the rows was in; the last one is the last look before it ended."""
    since = time.monotonic()
    tenths: list[Seen] = []
    seen = Seen(0, 0.0, 0.0, 0.0)
    while process.poll() is None:
        if found := _look(process.pid, progress, since, seen.rows):
            seen = found
            if seen.rows >= rows * (len(tenths) + 1) / TENTHS and len(tenths) < TENTHS - 1:
                tenths.append(seen)
        time.sleep(0.05)
    return [*tenths, msgspec.structs.replace(seen, rows=rows, seconds=time.monotonic() - since)]


def _look(pid: int, progress: Path, since: float, before: int) -> Seen | None:
    """None where the process just ended."""
    try:
        count = msgspec.json.decode(progress.read_bytes(), type=Place).count.rows
    except FileNotFoundError:
        count = before
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = [int(line.split()[1]) for line in status if line.startswith("VmRSS:")]
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / TICKS
    return Seen(count, time.monotonic() - since, round(kib[0] / 1024, 1), cpu) if kib else None


def _told(before: Seen, now: Seen) -> dict[str, Any]:
    seconds = now.seconds - before.seconds
    return {"rows": now.rows, "per_second": round((now.rows - before.rows) / seconds), "mib": now.mib}


# the floor


async def floor(url: str, rows: int) -> int:
    """People a second of the least that stores them."""
    db = await connect(url, SystemClock(), size=1)
    try:
        await db.run(_tables)
        batches = min(rows, FLOOR) // BATCH
        spent = sum([await _store(db) for _ in range(batches)])
        return round(batches * BATCH / spent)
    finally:
        await db.run(lambda tx: tx.execute("drop table bare_people, bare_names"))
        await db.close()


async def _tables(tx: Tx) -> None:
    await tx.execute("create table bare_people (id uuid primary key, traits bytea not null)")
    await tx.execute("create table bare_names (hash bytea primary key, person uuid not null, value bytea not null)")


async def _store(db: Database) -> float:
    """Seconds that one batch took."""
    people = [ids.new() for _ in range(BATCH)]
    traits = [os.urandom(80) for _ in people]
    names = [(os.urandom(32), one, os.urandom(50)) for one in people * 2]

    async def work(tx: Tx) -> None:
        await tx.execute("insert into bare_people select * from unnest($1::uuid[], $2::bytea[])", people, traits)
        columns: Sequence[Any] = list(zip(*names, strict=True))
        await tx.execute("insert into bare_names select * from unnest($1::bytea[], $2::uuid[], $3::bytea[])", *columns)

    began = time.perf_counter()
    await db.run(work)
    return time.perf_counter() - began
