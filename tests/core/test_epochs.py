"""Epoch keys as files: named by month, made once, read late, destroyed for good."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from tabellion.core.batching import NOBODYS
from tabellion.core.clock import FakeClock
from tabellion.core.crypto import Key
from tabellion.core.epochs import Epochs, end, following, month
from tabellion.core.errors import HubError, Misconfigured
from tabellion.core.vault import KeyFile

THEN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "epochs"
    made.mkdir()
    return made


@pytest.fixture
def outer() -> KeyFile:
    return KeyFile(Key.new())


@pytest.fixture
def epochs(folder: Path, outer: KeyFile, clock: FakeClock) -> Epochs:
    return Epochs(folder, outer, clock)


def test_an_epoch_is_a_month_in_utc() -> None:
    assert month(THEN) == "2026-11"
    assert month(datetime(2026, 12, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))) == "2026-11"
    assert end("2026-11") == datetime(2026, 12, 1, tzinfo=UTC)
    assert end("2026-12") == datetime(2027, 1, 1, tzinfo=UTC)
    assert [following("2026-11"), following("2026-12")] == ["2026-12", "2027-01"]
    assert end("epoch-1") < THEN, "it is no month, and over"


async def test_a_key_is_made_once_and_read_again(epochs: Epochs, folder: Path, outer: KeyFile, clock) -> None:
    made = await epochs.make("2026-11")
    assert (await epochs.make("2026-11")).raw() == made.raw()
    assert (await Epochs(folder, outer, clock).open("2026-11")).raw() == made.raw()
    assert (await epochs.make("2026-12")).raw() != made.raw()
    assert made.raw() not in (folder / "2026-11.key").read_bytes()


def test_of_many_who_make_a_key_at_once_all_get_one(folder: Path, outer: KeyFile, clock: FakeClock) -> None:
    def make(_: int) -> bytes:
        return asyncio.run(Epochs(folder, outer, clock).make("2026-12")).raw()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(16)))) == 1
    assert [file.name for file in folder.iterdir()] == ["2026-12.key"]


async def test_a_key_moved_to_another_month_does_not_open(epochs: Epochs, folder: Path) -> None:
    await epochs.make("2026-11")
    (folder / "2026-11.key").rename(folder / "2026-12.key")
    with pytest.raises(HubError, match="unreadable"):
        await epochs.open("2026-12")


async def test_a_missing_key_and_a_destroyed_one_are_told_apart(epochs: Epochs) -> None:
    with pytest.raises(Misconfigured, match="restore it from its backup") as missing:
        await epochs.open("2026-11")
    assert missing.value.code == "keys_missing"
    await epochs.make("2026-11")
    epochs.destroy("2026-11", THEN)
    for ask in (epochs.open, epochs.make):
        with pytest.raises(HubError, match=r"destroyed at 2026-11-21 09:00 UTC.*older than the") as gone:
            await ask("2026-11")
        assert (gone.value.code, gone.value.status) == ("epoch_destroyed", 500)
        assert not isinstance(gone.value, NOBODYS), "a batch goes on without the one it concerns"
    assert epochs.destroyed_at("2026-11") == THEN


async def test_a_destruction_that_was_cut_off_is_finished(epochs: Epochs, folder: Path) -> None:
    await epochs.make("2026-11")
    kept = (folder / "2026-11.key").read_bytes()
    epochs.destroy("2026-11", THEN)
    (folder / "2026-11.key").write_bytes(kept)
    with pytest.raises(HubError, match="destroyed"):
        await epochs.open("2026-11")
    epochs.destroy("2026-11", THEN + timedelta(days=1))
    assert [file.name for file in folder.iterdir()] == ["2026-11.destroyed"]
    assert epochs.destroyed_at("2026-11") == THEN, "when it first was"


async def test_a_key_destroyed_by_another_process_leaves_memory_within_a_minute_of_use(
    epochs: Epochs, folder: Path, outer: KeyFile, clock: FakeClock
) -> None:
    await epochs.make("2026-11")
    await epochs.make("2026-12")
    Epochs(folder, outer, clock).destroy("2026-11", THEN)
    clock.advance(timedelta(seconds=60))
    await epochs.open("2026-12")
    assert set(epochs._keys) == {"2026-12"}


@pytest.mark.parametrize("name", ["../outer", "a/b", "", "A", "x" * 33])
async def test_a_name_from_the_database_is_never_a_path(epochs: Epochs, folder: Path, name: str) -> None:
    (folder.parent / "outer.key").write_bytes(b"kept")
    with pytest.raises(Misconfigured, match="can have no file"):
        await epochs.open(name)
    with pytest.raises(Misconfigured):
        epochs.destroy(name, THEN)
    assert (folder.parent / "outer.key").read_bytes() == b"kept"
