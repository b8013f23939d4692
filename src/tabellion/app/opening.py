"""What every command needs before it works: the database, the keys folder, the installation."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from tabellion.access.trail import Trail
from tabellion.core import ids
from tabellion.core.clock import Clock, SystemClock
from tabellion.core.config import Settings
from tabellion.core.db import Database, Tx, connect
from tabellion.core.errors import Misconfigured
from tabellion.core.files import write_file
from tabellion.core.postgres import Postgres, running_url
from tabellion.core.vault import KeyFolder, Vault, open_vault
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.migrations import migrate

LONG = 600.0
"""Seconds: setting up an installation waits for whoever else does it."""
OWNER = "installation"
"""The file in the keys folder that names the installation it belongs to."""


@dataclass(frozen=True)
class Opened:
    """An installation, ready to work on."""

    url: str
    db: Database
    clock: Clock
    vault: Vault
    keys: KeyFolder
    install_id: UUID
    ledger: Ledger
    """Of what works without domains. A hub that is wired has its own."""
    postgres: Postgres | None
    """The bundled server, where this process runs it."""


def say(line: str) -> None:
    """A line for people, beside the output."""
    sys.stderr.write(line + "\n")


def installed(settings: Settings) -> bool:
    """Whether there is a database to open: the operator's own, or one that was made here before."""
    return settings.database_url is not None or (settings.data / "pg").exists()


@asynccontextmanager
async def database(settings: Settings, *, beside: bool) -> AsyncIterator[tuple[str, Postgres | None]]:
    """The URL of the database: the operator's own, a running hub's (where `beside`), or a bundled one started now."""
    if settings.database_url is not None:
        yield settings.database_url.reveal(), None
        return
    if beside and (running := running_url(settings.data)):
        yield running, None
        return
    postgres = Postgres(settings.data, settings.postgres_bin, clock=SystemClock(), say=say)
    url = await postgres.start()
    try:
        yield url, postgres
    finally:
        await postgres.stop()


@asynccontextmanager
async def opened(
    settings: Settings, *, make: bool = False, beside: bool = True, connections: int = 2
) -> AsyncIterator[Opened]:
    """The installation, migrated, with its keys. Where there is none yet, it is made, or refused."""
    keys = KeyFolder(settings.keys_folder)
    if not make and not installed(settings):
        raise Misconfigured(
            "not_installed", f"there is nothing in {settings.data}; start the hub with `tabellion up`, or name --data"
        )
    async with database(settings, beside=beside) as (url, postgres):
        await migrate(url)
        clock = SystemClock()
        db = await connect(url, clock, size=connections)
        try:
            install_id = await _installation(db, keys)
            vault = await open_vault(keys, clock, window=timedelta(days=settings.backup_window))
            await db.run(vault.prepare if make else vault.check)
            async with audited(db, vault, keys, install_id) as ledger:
                yield Opened(url, db, clock, vault, keys, install_id, ledger, postgres)
        finally:
            await db.close()


@asynccontextmanager
async def audited(db: Database, vault: Vault, keys: KeyFolder, install_id: UUID) -> AsyncIterator[Ledger]:
    """The ledger, with what is audited on this database from now on in it."""
    checkpoints = Checkpoints(keys.checkpoints)
    ledger = Ledger(vault, checkpoints, install_id)
    db.provide(Trail(vault, ledger))
    try:
        yield ledger
    finally:
        await checkpoints.close()


async def _installation(db: Database, keys: KeyFolder) -> UUID:
    """The installation's id, made with its keys in a new database. Keys are never made a second time."""

    async def read_or_make(tx: Tx) -> UUID:
        await tx.execute("select pg_advisory_xact_lock(7089325712)")
        known: UUID | None = await tx.value("select install_id from installation")
        if known is not None:
            _require_own(keys, known)
            return known
        await open_vault(keys, db.clock, create=True)
        made = _owner(keys) or ids.new()
        write_file(keys.path / OWNER, f"{made}\n".encode())
        await tx.execute("insert into installation (install_id, created_at) values ($1, $2)", made, tx.now)
        return made

    return await db.run(read_or_make, limit=LONG)


def _require_own(keys: KeyFolder, install_id: UUID) -> None:
    """Refuse the keys of another installation: what they seal, nobody could open with the right ones later."""
    if _owner(keys) not in (None, install_id):
        raise Misconfigured(
            "keys_of_other",
            f"{keys.path} belongs to another installation; name the keys folder of this database with --keys",
        )


def _owner(keys: KeyFolder) -> UUID | None:
    file = keys.path / OWNER
    return UUID(file.read_text().strip()) if file.exists() else None
