"""The schema: numbered plain SQL, forward only, portable to PostgreSQL 15; and what applies it.

`0001_….sql` in number order, each in a transaction of its own, recorded with its checksum in `schema_migrations`. An
applied file never changes again: what it did is corrected by the next one. `schema.sql` beside them is their checked
result (`make schema` writes it, a test compares).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tabellion.core.db import connecting
from tabellion.core.errors import Misconfigured, Unavailable

FOLDER = Path(__file__).parent
OLDEST_POSTGRES = 15
LOCK = 0x7461_6265_6C6C
"""The advisory lock that migrating holds, so that two starting hubs take turns."""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known(folder: Path = FOLDER) -> list[Migration]:
    """The migrations of this version of the hub, in order."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    migrations = [Migration(int(file.stem[:4]), file.stem, file.read_text(encoding="utf-8")) for file in files]
    if len({migration.number for migration in migrations}) != len(migrations):
        raise Misconfigured("migration_changed", f"two files in {folder} have one number; give the newer one the next")
    return migrations


async def pending(url: str, folder: Path = FOLDER) -> list[str]:
    """The names of the migrations that the database at url still needs, in order. Changes nothing."""
    connection = await _connect(url)
    try:
        if not await connection.fetchval("select to_regclass('schema_migrations') is not null"):
            return [migration.name for migration in known(folder)]
        return [migration.name for migration in _missing(known(folder), await _applied(connection))]
    finally:
        await connection.close()


async def migrate(url: str, folder: Path = FOLDER) -> list[str]:
    """The names of the migrations applied now, in order; none when the database is up to date.

    Safe to run from several processes at once. One that fails leaves those before it applied and itself undone.
    """
    connection = await _connect(url)
    try:
        await connection.execute("select pg_advisory_lock($1)", LOCK)
        await _make_record(connection)
        missing = _missing(known(folder), await _applied(connection))
        for migration in missing:
            await _apply(connection, migration)
        return [migration.name for migration in missing]
    finally:
        await connection.close()


def _missing(migrations: list[Migration], applied: dict[int, tuple[str, str]]) -> list[Migration]:
    """Those not applied yet. Refuses a database whose applied migrations are not the beginning of ours."""
    ours = {migration.number: migration for migration in migrations}
    for number, (name, checksum) in applied.items():
        if number not in ours:
            raise Misconfigured(
                "schema_newer", f"the database has migration {name}, which this version does not know; run a newer one"
            )
        if ours[number].checksum != checksum:
            raise Misconfigured(
                "migration_changed",
                f"migration {name} was applied in another form than {ours[number].name} has now; restore its file and"
                " put the change into a new one",
            )
    return [migration for migration in migrations if migration.number not in applied]


async def _connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    with connecting():
        connection = await asyncpg.connect(url, server_settings={"application_name": "tabellion migrate"})
    if connection.get_server_version().major < OLDEST_POSTGRES:
        await connection.close()
        raise Misconfigured("postgres_version", f"the database is older than PostgreSQL {OLDEST_POSTGRES}; upgrade it")
    return connection


async def _make_record(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    if not await connection.fetchval("select to_regclass('schema_migrations') is not null"):
        await connection.execute(
            """
            create table schema_migrations (
                number int primary key,
                name text not null,
                checksum text not null,
                applied_at timestamptz not null default now()
            )
            """
        )


async def _applied(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[int, tuple[str, str]]:
    rows = await connection.fetch("select number, name, checksum from schema_migrations order by number")
    return {row["number"]: (row["name"], row["checksum"]) for row in rows}


async def _apply(connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration) -> None:
    try:
        async with connection.transaction():
            # Waiting for a busy table would make every other statement on it wait behind us.
            await connection.execute("set local lock_timeout = '5s'")
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into schema_migrations (number, name, checksum) values ($1, $2, $3)",
                migration.number, migration.name, migration.checksum,
            )  # fmt: skip
    except asyncpg.LockNotAvailableError as error:
        raise Unavailable(
            "migration_blocked", f"migration {migration.name} waits for a table in use ({error}); try again"
        ) from error
    except asyncpg.PostgresError as error:
        raise Misconfigured("migration_failed", f"migration {migration.name} failed: {error}") from error
