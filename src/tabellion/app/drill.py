"""`tabellion doctor drill`: what to do when it has happened, rehearsed on a copy in a database of its own."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tabellion.access import service
from tabellion.access.types import Mode
from tabellion.app.doctor import Finding, Level
from tabellion.app.opening import Opened, opened, say
from tabellion.core.config import Settings
from tabellion.core.db import Database, Tx, connect
from tabellion.core.errors import NotFound
from tabellion.core.postgres import Postgres
from tabellion.ledger import drills
from tabellion.ledger.copying import copy_log
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Head
from tabellion.migrations import migrate

PUBLISH: Final = (
    "what to do when it is so: run `tabellion ledger rotate-key`, publish GET /v1/ledger/keys where verifiers look and"
    " apart from this hub, tell the log's witnesses the new key, and say since when; docs/how-to-ledger-keys.md"
)


async def rehearse_ledger_key(settings: Settings, workspace: str | None, mode: Mode, log: str) -> list[Finding]:
    """What a stolen signing key comes to, and that rotating it helps. Changes nothing in the installation."""
    async with opened(settings) as installation, _scratch(settings, installation) as (target, folder):
        head = await installation.db.run(lambda tx: _wanted(tx, installation, workspace, mode, log))
        checkpoints = Checkpoints(folder)
        checkpoints.publish(head.origin, head.size, head.checkpoint)
        await checkpoints.flush()
        say(f"copying {head.size} entries of {head.origin} …")
        await copy_log(installation.db, target, head)
        ledger = Ledger(installation.vault, checkpoints, installation.install_id)
        steps = await drills.rehearse(target, ledger, head.log.workspace_id, head.log.name)
        await checkpoints.close()
    found = [Finding("copy", f"{head.origin} at {head.size}, in a database that is gone again")]
    found += [Finding(one.name, one.text, Level.OK if one.ok else Level.WRONG) for one in steps]
    return [*found, Finding("publish", PUBLISH)]


async def _wanted(tx: Tx, installation: Opened, workspace: str | None, mode: Mode, log: str) -> Head:
    """The log to rehearse with: the named one, or the largest."""
    ledger = Ledger(installation.vault, Checkpoints(installation.keys.checkpoints), installation.install_id)
    there = await ledger.heads(tx)
    if workspace is not None:
        side = (await service.find_workspace(tx, workspace)).side(mode)
        there = [one for one in there if (one.log.workspace_id, one.log.name) == (side, log)]
    if not there:
        raise NotFound("no_log", "there is no such log yet; it begins with its first entry, or when it is first read")
    return max(there, key=lambda one: one.size)


@asynccontextmanager
async def _scratch(settings: Settings, installation: Opened) -> AsyncIterator[tuple[Database, Path]]:
    """An empty database on a server of its own, and a folder for checkpoints. Both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tabellion-drill-") as name:
        folder = Path(name) / "checkpoints"
        folder.mkdir()
        postgres = Postgres(Path(name) / "data", settings.postgres_bin, clock=installation.clock, say=say)
        url = await postgres.start()
        try:
            await migrate(url)
            database = await connect(url, installation.clock, size=2)
            try:
                yield database, folder
            finally:
                await database.close()
        finally:
            await postgres.stop()
