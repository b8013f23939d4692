"""Keys at rest: found again, never overwritten, never cached before they are durable, gone when destroyed."""

import asyncio
from datetime import timedelta
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
from tabellion.core.vault import FIRST_EPOCH, KeyFolder, Vault, open_vault

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


async def test_a_missing_epoch_key_is_not_replaced_by_a_new_one(tmp_path: Path, vault: Vault, clock: FakeClock) -> None:
    (tmp_path / "keys" / "epochs" / f"{FIRST_EPOCH}.key").unlink()
    with pytest.raises(Misconfigured, match=FIRST_EPOCH):
        await open_vault(KeyFolder(tmp_path / "keys"), clock)


async def test_an_epoch_key_opens_only_with_its_outer_key(tmp_path: Path, vault: Vault, clock: FakeClock) -> None:
    write_file(tmp_path / "keys" / "outer.key", Key.new().raw().hex().encode())
    with pytest.raises(HubError, match="unreadable"):
        await open_vault(KeyFolder(tmp_path / "keys"), clock)


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
