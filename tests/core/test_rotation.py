"""Monthly rotation: all that lives is wrapped anew, erasure is never undone, and an epoch ends in time, not before."""

import asyncio
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copy
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tabellion.core import ids, rotation
from tabellion.core import rotation_store as store
from tabellion.core.clock import FakeClock
from tabellion.core.crypto import Key
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import open_log
from tabellion.core.rotation import Rotation
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import WINDOW, KeyFolder, Vault, open_vault, subject_context
from tabellion.migrations import FOLDER, migrate

ANN, BEN, CLEO = UUID(int=1), UUID(int=2), UUID(int=3)
HOUR = timedelta(hours=1)


@dataclass
class World:
    """The keys of one workspace side, on the last evening of November."""

    db: Database
    clock: FakeClock
    folder: Path
    vault: Vault
    side: WorkspaceId
    lines: io.StringIO

    def rotation(self, vault: Vault | None = None) -> Rotation:
        log = open_log(self.lines, self.clock, pretty=False)
        return Rotation(vault or self.vault, log, Metrics(process=False))

    async def round(self) -> None:
        await self.rotation().apply(self.db)

    async def reopened(self) -> Vault:
        """Another process."""
        return await open_vault(KeyFolder(self.folder), self.clock)

    async def keys(self, *people: UUID, vault: Vault | None = None) -> dict[UUID, bytes]:
        found = await self.db.run(lambda tx: (vault or self.vault).subjects(tx, self.side, people))
        return {person: key.raw() for person, key in found.items()}

    async def lookup(self, vault: Vault | None = None) -> bytes:
        return (await self.db.run(lambda tx: (vault or self.vault).workspace(tx, self.side, "lookup"))).raw()

    async def erase(self, *people: UUID) -> None:
        assert await self.db.run(lambda tx: self.vault.destroy(tx, self.side, people)) == len(people)

    async def execute(self, sql: str, *args: Any) -> None:
        async with self.db.transaction() as tx:
            await tx.execute(sql, *args)

    async def standing(self) -> dict[str, tuple[int, datetime | None, datetime | None]]:
        found = await self.db.run(store.survey)
        return {one.name: (one.keys, one.emptied_at, one.destroyed_at) for one in found}

    async def epochs(self) -> dict[UUID, str | None]:
        """Under which epoch each person's key is; None for a destroyed one."""
        async with self.db.transaction() as tx:
            rows = await tx.rows("select subject_id, epoch, wrapped from subject_keys order by subject_id")
        return {row["subject_id"]: row["epoch"] if row["wrapped"] else None for row in rows}

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.lines.getvalue().splitlines()) if line["event"] == event]

    def files(self) -> set[str]:
        """The epochs whose keys there are."""
        return {file.stem for file in (self.folder / "epochs").glob("*.key")}


@pytest.fixture
async def world(db: Database, vault: Vault, clock: FakeClock, tmp_path: Path) -> World:
    """Of a side that nobody made: making it would be audited, which takes a key."""
    clock.moment = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
    return World(db, clock, tmp_path / "keys", vault, WorkspaceId(UUID(int=7)), io.StringIO())


async def test_when_a_month_is_over_all_that_lives_is_wrapped_anew(world: World) -> None:
    made, lookup = await world.keys(ANN, BEN, CLEO), await world.lookup()
    await world.erase(BEN)
    await world.round()
    assert await world.epochs() == {ANN: "2026-11", BEN: None, CLEO: "2026-11"}, "the month is not over"
    world.clock.advance(2 * HOUR)
    await world.round()
    assert set((await world.epochs()).values()) == {"2026-11", None}, "clocks differ: others may be in the old month"
    world.clock.advance(HOUR)
    await world.round()
    assert await world.epochs() == {ANN: "2026-12", BEN: None, CLEO: "2026-12"}
    assert await world.standing() == {
        "2026-11": (0, world.clock.now(), None),
        "2026-12": (3, None, None),
        "2027-01": (0, None, None),
    }
    del made[BEN]
    other = await world.reopened()
    assert await world.keys(ANN, BEN, CLEO, vault=other) == made
    assert await world.lookup(other) == lookup
    assert [(one["keys"], one["epochs"]) for one in world.logged("keys.rewrapped")] == [(3, ["2026-11"])]
    [emptied] = world.logged("epoch.emptied")
    assert (emptied["epoch"], emptied["destroyed_after"]) == ("2026-11", "2027-01-05T01:00:00+00:00")


async def test_batches_are_bounded_and_a_round_that_was_cut_off_is_finished(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [UUID(int=number) for number in range(1, 12)]
    made = await world.keys(*people)
    written: list[int] = []
    write = store.write_people

    async def fail_the_third(tx: Tx, epoch: str, rows: Any) -> None:
        written.append(len(rows))
        await write(tx, epoch, rows)
        if len(written) == 3:
            raise HubError("cut_off", "the process ended")

    monkeypatch.setattr(rotation, "BATCH", 3)
    monkeypatch.setattr(store, "write_people", fail_the_third)
    world.clock.advance(3 * HOUR)
    with pytest.raises(HubError, match="the process ended"):
        await world.round()
    assert list((await world.epochs()).values()).count("2026-12") == 6
    assert (await world.standing())["2026-11"] == (5, None, None)
    await world.rotation(await world.reopened()).apply(world.db)
    assert written == [3, 3, 3, 0, 0, 3, 2]
    assert set((await world.epochs()).values()) == {"2026-12"}
    assert await world.keys(*people, vault=await world.reopened()) == made


async def test_several_processes_at_once_wrap_everything_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "BATCH", 2)
    people = [UUID(int=number) for number in range(1, 20)]
    made = await world.keys(*people)
    world.clock.advance(3 * HOUR)
    rounds = [world.rotation(await world.reopened()).apply(world.db) for _ in range(4)]
    await asyncio.gather(*rounds)
    await world.round()
    assert set((await world.epochs()).values()) == {"2026-12"}
    assert sum(one["keys"] for one in world.logged("keys.rewrapped")) == len(people)
    assert len(world.logged("epoch.emptied")) == 1
    assert await world.keys(*people, vault=await world.reopened()) == made


async def test_a_key_that_is_being_destroyed_stays_destroyed(world: World) -> None:
    """Erasure first: rotation passes by, and comes again."""
    await world.keys(ANN, BEN)
    world.clock.advance(3 * HOUR)
    async with world.db.transaction() as erasing:
        await world.vault.destroy(erasing, world.side, [ANN])
        await world.round()
        assert (await world.standing())["2026-11"][:2] == (1, None), "who knows whether the erasure commits"
    assert await world.epochs() == {ANN: None, BEN: "2026-12"}
    await world.round()
    assert (await world.standing())["2026-11"][:2] == (0, world.clock.now())
    assert await world.keys(ANN, vault=await world.reopened()) == {}


async def test_an_erasure_that_waits_for_rotation_destroys_what_it_wrote(world: World) -> None:
    """Rotation first: the erasure sees the key as it was, waits, and must destroy the new one."""
    await world.keys(ANN, BEN)
    world.clock.advance(3 * HOUR)
    await world.db.run(world.vault.prepare)
    async with world.db.transaction() as rotating:
        step = await world.rotation()._people(rotating, ["2026-11"], store.LEAST)
        assert step == (store.MOST, 2, True)
        erasing = asyncio.create_task(world.erase(ANN))
        await blocked(world.db)
    await erasing
    assert await world.epochs() == {ANN: None, BEN: "2026-12"}


async def test_an_erasure_between_the_walk_and_the_lock_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.keys(ANN, BEN)
    world.clock.advance(3 * HOUR)

    async def meanwhile(tx: Tx, after: store.Place, most: int) -> store.Place:
        found = await boundary(tx, after, most)
        await world.erase(ANN)
        return found

    boundary = store.boundary
    monkeypatch.setattr(store, "boundary", meanwhile)
    await world.round()
    assert await world.epochs() == {ANN: None, BEN: "2026-12"}


async def blocked(db: Database) -> None:
    """Return once a statement waits for a lock."""
    waits = 0
    while not waits:
        async with db.transaction() as tx:
            waits = await tx.value(
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            )


async def test_a_key_is_destroyed_when_the_window_is_over_and_not_before(world: World) -> None:
    await world.keys(ANN)
    erased = world.clock.now()
    await world.erase(ANN)
    expires = world.vault.backups_expire_at(erased)
    world.clock.advance(3 * HOUR)
    await world.round()
    emptied = world.clock.now()
    world.clock.advance(WINDOW - HOUR)
    for _ in range(3):
        assert ("2026-11" in world.files()) is (world.clock.now() - emptied <= WINDOW)
        await world.round()
        assert ("2026-11" in world.files()) is (world.clock.now() - emptied < WINDOW)
        world.clock.advance(HOUR)
    assert (await world.standing())["2026-11"][2] == emptied + WINDOW
    assert erased + WINDOW <= emptied + WINDOW <= expires
    assert [one["epoch"] for one in world.logged("epoch.destroyed")] == ["2026-11"]
    assert world.files() == {"2026-12", "2027-01", "2027-02"}, "the current one, and the next"


async def test_a_key_under_which_something_lives_is_never_destroyed(world: World) -> None:
    """A process of the version before still wraps under an epoch that was found empty."""
    made = await world.keys(ANN)
    await world.execute("create table before as select * from subject_keys")
    world.clock.advance(3 * HOUR)
    await world.round()
    await world.execute("delete from subject_keys")
    await world.execute("insert into subject_keys select * from before")
    world.clock.advance(WINDOW)
    await world.round()
    assert "2026-11" in world.files()
    assert [one["epoch"] for one in world.logged("epoch.not_empty")] == ["2026-11"]
    assert (await world.standing())["2026-11"] == (1, None, None)
    await world.round()
    emptied = world.clock.now()
    assert (await world.standing())["2026-11"] == (0, emptied, None), "and the window begins again"
    assert await world.keys(ANN, vault=await world.reopened()) == made
    world.clock.advance(WINDOW)
    await world.round()
    assert "2026-11" not in world.files()


async def test_a_round_whose_end_got_lost_destroys_once_more_and_notes_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key was gone before the commit that says so."""
    await world.db.run(world.vault.prepare)
    world.clock.advance(3 * HOUR)
    await world.round()
    world.clock.advance(WINDOW)

    async def fail(tx: Tx, name: str, at: datetime) -> None:
        raise HubError("cut_off", "the process ended")

    with monkeypatch.context() as patched, pytest.raises(HubError):
        patched.setattr(store, "set_destroyed", fail)
        await world.round()
    assert "2026-11" not in world.files()
    await world.round()
    assert (await world.standing())["2026-11"][2] == world.clock.now()


async def test_the_current_epoch_is_not_destroyed_whatever_the_table_says(world: World) -> None:
    await world.db.run(world.vault.prepare)
    await world.execute("update epochs set emptied_at = '2020-01-01'")
    await world.round()
    assert world.files() == {"2026-11", "2026-12"}


async def test_an_epoch_found_in_use_by_another_process_is_not_destroyed_by_one_that_looked_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its window began again in between."""
    await world.db.run(world.vault.prepare)
    world.clock.advance(3 * HOUR)
    await world.round()
    world.clock.advance(WINDOW)

    async def meanwhile(tx: Tx) -> bool:
        await world.execute("update epochs set emptied_at = $1", world.clock.now())
        return await alone(tx)

    alone = store.alone
    monkeypatch.setattr(store, "alone", meanwhile)
    await world.round()
    assert "2026-11" in world.files()


async def test_a_backup_from_before_an_erasure_opens_until_the_key_is_destroyed_and_never_again(world: World) -> None:
    made = await world.keys(ANN, BEN)
    await world.execute("create table subject_backup as select * from subject_keys")
    await world.execute("create table epoch_backup as select * from epochs")
    await world.erase(ANN)
    world.clock.advance(3 * HOUR)
    await world.round()
    await restore(world)
    assert await world.keys(ANN, BEN, vault=await world.reopened()) == made, "within the window, a backup is good"
    await world.erase(ANN)
    await world.round()
    world.clock.advance(WINDOW)
    await world.round()
    await restore(world)
    other = await world.reopened()
    await world.db.run(other.prepare)
    with pytest.raises(HubError, match="older than the backup window") as refused:
        await world.keys(ANN, vault=other)
    assert refused.value.code == "epoch_destroyed"
    assert set(await world.keys(CLEO, vault=other)) == {CLEO}, "nobody else is touched"
    assert await opened_by_any(world) == []
    await world.rotation(other).apply(world.db)
    [line] = world.logged("epoch.found_destroyed")
    assert line["epoch"] == "2026-11"
    assert (await world.standing())["2026-11"][0] == 2, "what does not open stays as it is"


async def restore(world: World) -> None:
    for table, backup in (("subject_keys", "subject_backup"), ("epochs", "epoch_backup")):
        await world.execute(f"delete from {table}")
        await world.execute(f"insert into {table} select * from {backup}")


async def opened_by_any(world: World) -> list[str]:
    """The key files of the folder that open a key of the backup."""
    outer, found = KeyFolder(world.folder).outer(), []
    async with world.db.transaction() as tx:
        rows = await tx.rows("select subject_id, wrapped from subject_backup")
    for file in (world.folder / "epochs").glob("*.key"):
        key = Key(await outer.unwrap(file.read_bytes(), f"epoch:{file.stem}"))
        for row in rows:
            try:
                key.open(row["wrapped"], subject_context(world.side, row["subject_id"]))
            except HubError:
                continue
            found.append(file.stem)
    return found


async def test_a_key_that_does_not_open_is_left_and_keeps_its_epoch(world: World) -> None:
    await world.keys(ANN, BEN)
    await world.execute("update subject_keys set wrapped = 'broken' where subject_id = $1", ANN)
    world.clock.advance(3 * HOUR)
    rotating = world.rotation()
    await rotating.apply(world.db)
    assert await world.epochs() == {ANN: "2026-11", BEN: "2026-12"}
    assert [one["epoch"] for one in world.logged("key.unreadable")] == ["2026-11"]
    assert rotating.metrics.registry.get_sample_value("tabellion_keys_under_old_epochs") == 1
    await world.execute("delete from subject_keys where subject_id = $1", ANN)
    await rotating.apply(world.db)
    assert rotating.metrics.registry.get_sample_value("tabellion_keys_under_old_epochs") == 0


# from before there were months


async def test_an_installation_from_before_moves_to_months(world: World) -> None:
    old = await world.vault.epochs.make("epoch-1")
    keys = {ANN: Key.new(), BEN: Key.new()}
    for person, key in keys.items():
        await world.execute(
            """
            insert into subject_keys (workspace_id, subject_id, epoch, wrapped, created_at)
            values ($1, $2, 'epoch-1', $3, $4)
            """,
            world.side, person, old.seal(key.raw(), subject_context(world.side, person)), world.clock.now(),
        )  # fmt: skip
    await world.execute("insert into epochs (name, made_at) values ('epoch-1', '2026-01-01')")
    made = {person: key.raw() for person, key in keys.items()}
    assert await world.keys(ANN, BEN) == made
    await world.round()
    assert await world.epochs() == {ANN: "2026-11", BEN: "2026-11"}
    assert (await world.standing())["epoch-1"] == (0, world.clock.now(), None)
    assert await world.keys(ANN, BEN, vault=await world.reopened()) == made
    world.clock.advance(WINDOW)
    await world.round()
    assert "epoch-1" not in world.files()
    assert await world.keys(ANN, BEN, vault=await world.reopened()) == made


@pytest.mark.parametrize("installed", [True, False])
async def test_the_migration_knows_the_epoch_of_an_old_installation(
    empty_database_url: str, tmp_path: Path, installed: bool
) -> None:
    for file in FOLDER.glob("0*.sql"):
        if file.name < "0016":
            copy(file, tmp_path)
    await migrate(empty_database_url, tmp_path)
    connection = await asyncpg.connect(empty_database_url)
    if installed:
        await connection.execute("insert into installation (install_id, created_at) values ($1, now())", ids.new())
    await migrate(empty_database_url)
    found = await connection.fetch("select name, mark, emptied_at, destroyed_at from epochs")
    await connection.close()
    assert [tuple(row) for row in found] == [("epoch-1", None, None, None)] * installed
