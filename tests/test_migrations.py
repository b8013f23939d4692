"""The schema: built from nothing, equal to the checked-in result, applied once by whoever comes first."""

import asyncio
import tempfile
from pathlib import Path

import asyncpg
import pytest

from tabellion.core.clock import SystemClock
from tabellion.core.errors import Misconfigured, Unavailable
from tabellion.core.postgres import Postgres
from tabellion.migrations import FOLDER, known, migrate, pending
from tabellion.migrations.schema import FILE, dump

OLDEST = Path("/usr/lib/postgresql/15/bin")


async def ask(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two migrations of this test's own."""
    (tmp_path / "0001_people.sql").write_text("create table people (id int primary key);\n")
    (tmp_path / "0002_names.sql").write_text(
        "-- Names.\nalter table people add name text;\ncreate index on people (name);\n"
    )
    return tmp_path


def test_the_schema_built_from_nothing_is_the_checked_in_one(database_url: str) -> None:
    assert dump(database_url) == FILE.read_text(encoding="utf-8"), (
        "the migrations changed the schema: run `make schema` and read its diff"
    )


def test_numbers_run_from_one_without_holes() -> None:
    assert [migration.number for migration in known()] == list(range(1, len(known()) + 1))


def test_no_migration_needs_more_than_the_oldest_postgresql_or_openssl() -> None:
    text = "\n".join(migration.sql.lower() for migration in known())
    assert [word for word in ("uuidv7(", "pgcrypto", "uuid-ossp", "virtual") if word in text] == []


@pytest.mark.skipif(not OLDEST.exists(), reason="PostgreSQL 15 of Debian is not installed")
async def test_the_schema_builds_on_the_oldest_postgresql() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        postgres = Postgres(Path(name) / "data", OLDEST, clock=SystemClock(), settings={"fsync": "off"})
        try:
            assert await migrate(await postgres.start()) == [migration.name for migration in known()]
        finally:
            await postgres.stop()


async def test_each_is_applied_once_and_in_order(empty_database_url: str, folder: Path) -> None:
    assert await pending(empty_database_url, folder) == ["0001_people", "0002_names"]
    assert await migrate(empty_database_url, folder) == ["0001_people", "0002_names"]
    assert await pending(empty_database_url, folder) == []
    assert await migrate(empty_database_url, folder) == []
    (folder / "0003_ages.sql").write_text("alter table people add age int;\n")
    assert await pending(empty_database_url, folder) == ["0003_ages"]
    assert await migrate(empty_database_url, folder) == ["0003_ages"]


async def test_several_at_once_apply_each_once(empty_database_url: str, folder: Path) -> None:
    done = await asyncio.gather(*(migrate(empty_database_url, folder) for _ in range(4)))
    assert sorted(done, key=len) == [[], [], [], ["0001_people", "0002_names"]]


async def test_one_that_fails_leaves_those_before_it_and_nothing_of_itself(
    empty_database_url: str, folder: Path
) -> None:
    (folder / "0003_broken.sql").write_text("create table half (id int);\nselect no_such_function();\n")
    with pytest.raises(Misconfigured, match="0003_broken failed: function no_such_function"):
        await migrate(empty_database_url, folder)
    assert await pending(empty_database_url, folder) == ["0003_broken"]
    assert await ask(empty_database_url, "select to_regclass('half')") is None


async def test_an_applied_file_that_changed_is_refused(empty_database_url: str, folder: Path) -> None:
    await migrate(empty_database_url, folder)
    (folder / "0001_people.sql").write_text("create table people (id bigint primary key);\n")
    for attempt in (migrate, pending):
        with pytest.raises(Misconfigured, match="0001_people was applied in another form") as refused:
            await attempt(empty_database_url, folder)
        assert refused.value.code == "migration_changed"


async def test_a_database_of_a_newer_hub_is_refused(empty_database_url: str, folder: Path) -> None:
    await migrate(empty_database_url, folder)
    (folder / "0002_names.sql").unlink()
    with pytest.raises(Misconfigured, match="0002_names, which this version does not know") as refused:
        await migrate(empty_database_url, folder)
    assert refused.value.code == "schema_newer"


async def test_two_files_with_one_number_are_refused(empty_database_url: str, folder: Path) -> None:
    (folder / "0002_other.sql").write_text("select 1;\n")
    with pytest.raises(Misconfigured, match="have one number"):
        await migrate(empty_database_url, folder)


async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await migrate(f"postgresql://tabellion@/tabellion?host={tmp_path}")


def test_the_package_ships_the_sql() -> None:
    assert (FOLDER / "0001_vault.sql").is_file()
