"""What the migrations make, as text: `python -m tabellion.migrations.schema` (`make schema`) writes `schema.sql`."""

import asyncio
import re
import subprocess
import tempfile
from pathlib import Path

from tabellion.core.clock import SystemClock
from tabellion.core.postgres import Postgres
from tabellion.core.postgres.programs import bundled
from tabellion.migrations import FOLDER, migrate

FILE = FOLDER / "schema.sql"
HEAD = "-- What the migrations beside this file make of an empty database. Written by `make schema`; not applied.\n\n"
TEMPORARY = {"fsync": "off", "shared_buffers": "32MB"}


def dump(url: str) -> str:
    """The schema of the database at url, without what differs from run to run."""
    command = [str(bundled() / "pg_dump"), "--schema-only", "--no-owner", "--no-privileges", "--dbname", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return HEAD + normalised(done.stdout)


def normalised(dumped: str) -> str:
    """pg_dump's text without comments, session settings and its random \\restrict marks."""
    noise = re.compile(r"^(--|SET |SELECT pg_catalog\.set_config|\\(un)?restrict )")
    lines = [line.rstrip() for line in dumped.splitlines() if not noise.match(line)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


async def build() -> str:
    """The schema built from nothing, on a server that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tabellion-schema-") as folder:
        postgres = Postgres(Path(folder) / "data", clock=SystemClock(), settings=TEMPORARY)
        url = await postgres.start()
        try:
            await migrate(url)
            return await asyncio.to_thread(dump, url)
        finally:
            await postgres.stop()


if __name__ == "__main__":
    FILE.write_text(asyncio.run(build()), encoding="utf-8")
