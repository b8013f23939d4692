"""Keys at rest: found again, never overwritten, never cached before they are durable, gone when destroyed."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.crypto import Key
from tabellion.core.db import Database
from tabellion.core.errors import HubError, Misconfigured
from tabellion.core.files import write_file
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import KeyFolder, Vault, open_vault

ANN, BEN = UUID(int=1), UUID(int=2)


async def subjects(db: Database, vault: Vault, workspace_id: WorkspaceId, *people: UUID) -> dict[UUID, bytes]:
    async with db.transaction() as tx:
        keys = await vault.subjects(tx, workspace_id, people)
    return {person: key.raw() for person, key in keys.items()}


async def reopened(vault_folder: Path, clock: FakeClock) -> Vault:
    return await open_vault(KeyFolder(vault_folder), clock)


async def destroy(db: Database, person: UUID) -> None:
    async with db.transaction() as tx:
        await tx.execute(
            "update subject_keys set wrapped = null, destroyed_at = $2 where subject_id = $1", person, tx.now
        )


async def test_each_person_has_a_key_that_another_process_finds_again(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, tmp_path: Path
) -> None:
    made = await subjects(db, vault, workspace_id, ANN, BEN, ANN)
    assert made[ANN] != made[BEN]
    assert await subjects(db, await reopened(tmp_path / "keys", clock), workspace_id, ANN, BEN) == made
    assert await subjects(db, vault, WorkspaceId(ids.new()), ANN) != {ANN: made[ANN]}


async def test_the_database_holds_no_key_that_opens_anything_by_itself(
    db: Database, vault: Vault, workspace_id: WorkspaceId
) -> None:
    made = await subjects(db, vault, workspace_id, ANN)
    async with db.transaction() as tx:
        wrapped = await tx.value("select wrapped from subject_keys where subject_id = $1", ANN)
    assert made[ANN] not in wrapped


async def test_a_key_of_a_rolled_back_transaction_is_not_kept(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, tmp_path: Path
) -> None:
    async def make_and_fail() -> None:
        async with db.transaction() as tx:
            await vault.subjects(tx, workspace_id, [ANN])
            await vault.workspace(tx, workspace_id, "lookup")
            raise HubError("refused", "something else went wrong")

    with pytest.raises(HubError):
        await make_and_fail()
    made = await subjects(db, vault, workspace_id, ANN)
    other = await reopened(tmp_path / "keys", clock)
    assert await subjects(db, other, workspace_id, ANN) == made
    async with db.transaction() as tx:
        lookup = await vault.workspace(tx, workspace_id, "lookup")
    async with db.transaction() as tx:
        assert (await other.workspace(tx, workspace_id, "lookup")).raw() == lookup.raw()


async def test_two_who_make_one_key_at_once_get_the_same(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, tmp_path: Path
) -> None:
    others = [await reopened(tmp_path / "keys", clock) for _ in range(4)]
    made = await asyncio.gather(*(subjects(db, one, workspace_id, ANN, BEN) for one in (vault, *others)))
    assert all(one == made[0] for one in made)


async def test_a_destroyed_key_is_left_out_and_never_made_again(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, tmp_path: Path
) -> None:
    await subjects(db, vault, workspace_id, ANN, BEN)
    await destroy(db, ANN)
    vault.forget(workspace_id, ANN)
    assert set(await subjects(db, vault, workspace_id, ANN, BEN)) == {BEN}
    assert set(await subjects(db, await reopened(tmp_path / "keys", clock), workspace_id, ANN, BEN)) == {BEN}


async def test_a_key_destroyed_elsewhere_leaves_the_cache_within_a_minute(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    await subjects(db, vault, workspace_id, ANN)
    await destroy(db, ANN)
    clock.advance(timedelta(seconds=61))
    assert await subjects(db, vault, workspace_id, ANN) == {}


async def test_a_workspace_has_one_key_a_use(db: Database, vault: Vault, workspace_id: WorkspaceId) -> None:
    async with db.transaction() as tx:
        lookup = await vault.workspace(tx, workspace_id, "lookup")
        assert (await vault.workspace(tx, workspace_id, "lookup")).raw() == lookup.raw()
        assert (await vault.workspace(tx, workspace_id, "answers")).raw() != lookup.raw()
        assert (await vault.workspace(tx, WorkspaceId(ids.new()), "lookup")).raw() != lookup.raw()


async def test_the_keys_folder_is_closed_to_others(tmp_path: Path, vault: Vault) -> None:
    keys = tmp_path / "keys"
    assert keys.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in keys.rglob("*.key")} == {0o600}


async def test_an_existing_keys_folder_is_never_made_anew(tmp_path: Path, vault: Vault, clock: FakeClock) -> None:
    before = {file: file.read_bytes() for file in (tmp_path / "keys").rglob("*.key")}
    await open_vault(KeyFolder(tmp_path / "keys"), clock, create=True)
    assert {file: file.read_bytes() for file in (tmp_path / "keys").rglob("*.key")} == before


async def test_a_missing_keys_folder_is_an_operators_matter(tmp_path: Path, clock: FakeClock) -> None:
    with pytest.raises(Misconfigured, match="restore the keys folder") as refused:
        await open_vault(KeyFolder(tmp_path / "lost"), clock)
    assert refused.value.code == "keys_missing"
    assert not (tmp_path / "lost").exists()


async def test_a_missing_epoch_key_is_not_replaced_by_a_new_one(
    db: Database, tmp_path: Path, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    await subjects(db, vault, workspace_id, ANN)
    file = tmp_path / "keys" / "epochs" / "2026-11.key"
    file.unlink()
    other = await reopened(tmp_path / "keys", clock)
    for ask in (other.check, other.prepare, other.current):
        with pytest.raises(Misconfigured, match="2026-11") as refused:
            await db.run(ask)
        assert refused.value.code == "keys_missing"
    with pytest.raises(Misconfigured, match="2026-11"):
        await subjects(db, other, workspace_id, ANN, BEN)
    assert not file.exists()


async def test_an_epoch_key_opens_only_with_its_outer_key(
    db: Database, tmp_path: Path, vault: Vault, clock: FakeClock
) -> None:
    write_file(tmp_path / "keys" / "outer.key", Key.new().raw().hex().encode())
    with pytest.raises(HubError, match="unreadable"):
        await db.run((await reopened(tmp_path / "keys", clock)).current)


async def test_processes_with_keys_folders_of_their_own_do_not_wrap_apart(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, tmp_path: Path
) -> None:
    """Each made a key of the month: rows of the one would be closed to the other, and its backup no help."""
    await subjects(db, vault, workspace_id, ANN)
    other = await open_vault(KeyFolder(tmp_path / "elsewhere"), clock, create=True)
    with pytest.raises(Misconfigured, match="share one keys folder") as refused:
        await subjects(db, other, workspace_id, BEN)
    assert refused.value.code == "keys_differ"


async def test_rows_of_an_unknown_epoch_say_which_key_to_restore(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    await subjects(db, vault, workspace_id, ANN)
    async with db.transaction() as tx:
        await tx.execute("update subject_keys set epoch = 'epoch-9'")
    clock.advance(timedelta(minutes=2))
    with pytest.raises(Misconfigured, match="epoch-9"):
        await subjects(db, vault, workspace_id, ANN)


async def test_a_wrapped_key_moved_to_another_person_does_not_open(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    await subjects(db, vault, workspace_id, ANN, BEN)
    async with db.transaction() as tx:
        await tx.execute(
            "update subject_keys set wrapped = (select wrapped from subject_keys where subject_id = $1)", ANN
        )
    clock.advance(timedelta(minutes=2))
    with pytest.raises(HubError, match="unreadable"):
        await subjects(db, vault, workspace_id, BEN)


# months


async def epochs_of(db: Database) -> dict[UUID, str]:
    async with db.transaction() as tx:
        rows = await tx.rows("select subject_id, epoch from subject_keys order by subject_id")
    return {row["subject_id"]: row["epoch"] for row in rows}


async def test_a_new_month_wraps_under_its_own_epoch_without_a_restart(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, tmp_path: Path
) -> None:
    clock.moment = datetime(2026, 11, 30, 23, 59, 59, 999000, tzinfo=UTC)
    made = await subjects(db, vault, workspace_id, ANN)
    clock.advance(timedelta(milliseconds=1))
    made |= await subjects(db, vault, workspace_id, BEN)
    async with db.transaction() as tx:
        lookup = await vault.workspace(tx, workspace_id, "lookup")
        assert await tx.value("select epoch from workspace_keys where use = 'lookup'") == "2026-12"
    assert await epochs_of(db) == {ANN: "2026-11", BEN: "2026-12"}
    other = await reopened(tmp_path / "keys", clock)
    assert await subjects(db, other, workspace_id, ANN, BEN) == made
    async with db.transaction() as tx:
        assert (await other.workspace(tx, workspace_id, "lookup")).raw() == lookup.raw()


async def test_an_epoch_that_another_process_made_is_found(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, tmp_path: Path
) -> None:
    other = await reopened(tmp_path / "keys", clock)
    await subjects(db, other, workspace_id, ANN)
    clock.advance(timedelta(days=30))
    made = await subjects(db, vault, workspace_id, BEN)
    assert await subjects(db, other, workspace_id, BEN) == made


async def test_processes_that_come_to_a_new_month_at_once_share_its_key(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, tmp_path: Path
) -> None:
    await subjects(db, vault, workspace_id, ANN)
    clock.advance(timedelta(days=10))
    processes = [await reopened(tmp_path / "keys", clock) for _ in range(6)]
    people = [UUID(int=number) for number in range(10, 16)]
    made = await asyncio.gather(
        *(subjects(db, one, workspace_id, person) for one, person in zip(processes, people, strict=True))
    )
    together = {person: key for one in made for person, key in one.items()}
    assert await subjects(db, await reopened(tmp_path / "keys", clock), workspace_id, *people) == together
    assert set((await epochs_of(db)).values()) == {"2026-11", "2026-12"}


async def test_the_next_months_key_is_made_ahead_and_a_folder_from_before_is_good(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, tmp_path: Path
) -> None:
    assert await db.run(vault.prepare) == "2026-11"
    ahead = tmp_path / "keys" / "epochs" / "2026-12.key"
    ahead.unlink()  # restored from a copy that did not have it
    other = await reopened(tmp_path / "keys", clock)
    await db.run(other.check)
    assert await db.run(other.prepare) == "2026-11"
    assert ahead.exists()
    clock.advance(timedelta(days=20))
    await subjects(db, other, workspace_id, ANN)
    assert await epochs_of(db) == {ANN: "2026-12"}


async def test_an_epoch_found_empty_gets_no_more_keys(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    """This clock is behind: another process has seen the month end, and may destroy the key one day."""
    await db.run(vault.prepare)
    async with db.transaction() as tx:
        await tx.execute("update epochs set emptied_at = $1 where name = '2026-11'", tx.now)
    await subjects(db, vault, workspace_id, ANN)
    assert await epochs_of(db) == {ANN: "2026-11"}, "asked once a minute"
    clock.advance(timedelta(seconds=61))
    await subjects(db, vault, workspace_id, BEN)
    assert await epochs_of(db) == {ANN: "2026-11", BEN: "2026-12"}


async def test_making_keys_asks_for_the_epoch_once_a_minute(
    db: Database, vault: Vault, workspace_id: WorkspaceId
) -> None:
    await subjects(db, vault, workspace_id, ANN)
    async with db.transaction() as tx:
        await tx.execute("drop table epochs cascade")
    assert set(await subjects(db, vault, workspace_id, ANN, BEN)) == {ANN, BEN}


# destroying


async def test_destroyed_keys_are_counted_left_out_and_forgotten_at_once(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    stranger = WorkspaceId(ids.new())
    await subjects(db, vault, workspace_id, ANN, BEN)
    await subjects(db, vault, stranger, ANN)
    assert await db.run(lambda tx: vault.destroy(tx, workspace_id, [ANN, ANN, UUID(int=9)])) == 1
    assert set(await subjects(db, vault, workspace_id, ANN, BEN)) == {BEN}
    assert set(await subjects(db, vault, stranger, ANN)) == {ANN}
    async with db.transaction() as tx:
        assert await tx.value("select count(*) from subject_keys where destroyed_at = $1", clock.now()) == 1
    clock.advance(timedelta(days=1))
    assert await db.run(lambda tx: vault.destroy(tx, workspace_id, [ANN])) == 0, "and when it was stays"


async def test_a_destruction_that_is_rolled_back_forgets_nothing(
    db: Database, vault: Vault, workspace_id: WorkspaceId
) -> None:
    made = await subjects(db, vault, workspace_id, ANN)

    async def fail() -> None:
        async with db.transaction() as tx:
            await vault.destroy(tx, workspace_id, [ANN])
            raise HubError("refused", "something else went wrong")

    with pytest.raises(HubError):
        await fail()
    assert await subjects(db, vault, workspace_id, ANN) == made


async def test_the_minute_of_a_cached_key_begins_when_it_was_read(
    db: Database, vault: Vault, workspace_id: WorkspaceId, clock: FakeClock, tmp_path: Path
) -> None:
    """It began when the reading transaction ended, which may be much later than another's destruction."""
    await subjects(db, vault, workspace_id, ANN)
    other = await reopened(tmp_path / "keys", clock)
    async with db.transaction() as tx:
        assert set(await other.subjects(tx, workspace_id, [ANN])) == {ANN}
        await db.run(lambda tx: vault.destroy(tx, workspace_id, [ANN]))
        clock.advance(timedelta(seconds=50))
    clock.advance(timedelta(seconds=11))
    assert await subjects(db, other, workspace_id, ANN) == {}


async def test_backups_expire_a_window_after_the_month_is_over(vault: Vault) -> None:
    window = timedelta(days=35)
    for now in (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 30, 23, 59, tzinfo=UTC)):
        assert vault.backups_expire_at(now) == datetime(2026, 12, 2, tzinfo=UTC) + window
    assert vault.backups_expire_at(datetime(2026, 12, 1, tzinfo=UTC)) == datetime(2027, 1, 2, tzinfo=UTC) + window
