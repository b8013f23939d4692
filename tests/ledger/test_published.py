import asyncio
from pathlib import Path

import pytest

from tabellion.core.errors import HubError
from tabellion.ledger.note import Checkpoint, Signer
from tabellion.ledger.published import Checkpoints

SIGNER = Signer.of("tabellion.log/ab/cd/1", bytes(32))


def signed(size: int, signer: Signer = SIGNER) -> str:
    return signer.sign(Checkpoint(signer.name, size, bytes(32)).text())


async def size_of(checkpoints: Checkpoints, origin: str = SIGNER.name) -> int | None:
    last = await checkpoints.last(origin)
    return None if last is None else last.size


async def test_a_flushed_checkpoint_is_there_for_every_process(tmp_path: Path) -> None:
    mine = Checkpoints(tmp_path)
    assert await size_of(mine) is None
    mine.publish(SIGNER.name, 3, signed(3))
    assert await size_of(mine) is None, "the commit does not wait for the file"
    await mine.close()
    assert await size_of(Checkpoints(tmp_path)) == 3
    assert await mine.last_note(SIGNER.name) == signed(3)
    assert await mine.origins() == [SIGNER.name]
    assert (tmp_path / "ab-cd-1.checkpoint").stat().st_mode & 0o077 == 0


async def test_a_larger_checkpoint_is_never_replaced_by_a_smaller(tmp_path: Path) -> None:
    """Neither by one's own that comes late, nor by another process'."""
    mine, other = Checkpoints(tmp_path), Checkpoints(tmp_path)
    mine.publish(SIGNER.name, 7, signed(7))
    mine.publish(SIGNER.name, 5, signed(5))
    await mine.close()
    other.publish(SIGNER.name, 6, signed(6))
    await other.close()
    assert await size_of(mine) == 7


async def test_each_log_has_its_own_file(tmp_path: Path) -> None:
    successor = Signer.of("tabellion.log/ab/cd/2", bytes(32))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.publish(SIGNER.name, 7, signed(7))
    checkpoints.publish(successor.name, 1, signed(1, successor))
    await checkpoints.close()
    assert await size_of(checkpoints) == 7
    assert await size_of(checkpoints, successor.name) == 1


async def test_a_failed_write_is_named_kept_and_made_good(tmp_path: Path) -> None:
    folder = tmp_path / "away"
    checkpoints = Checkpoints(folder)
    checkpoints.publish(SIGNER.name, 7, signed(7))
    await checkpoints.flush()
    assert checkpoints.failure
    folder.mkdir()
    await checkpoints.close()
    assert checkpoints.failure is None
    assert await size_of(checkpoints) == 7


async def test_whoever_closes_waits_for_what_was_begun(tmp_path: Path) -> None:
    """A writing that the timer had begun came to run after the close, or never: its coroutine was not awaited."""
    checkpoints = Checkpoints(tmp_path, wait=0)
    checkpoints.publish(SIGNER.name, 7, signed(7))
    others = asyncio.all_tasks()
    for _ in range(2):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() > others, "the timer began it, and it has not run"
    await checkpoints.close()
    assert asyncio.all_tasks() == others
    assert await size_of(checkpoints) == 7


async def test_whether_a_checkpoint_could_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    assert await Checkpoints(tmp_path).try_writing() is None
    assert {one.name for one in tmp_path.iterdir()} == {".lock"}
    assert "away" in (await Checkpoints(tmp_path / "away").try_writing() or "")


async def test_one_damaged_file_does_not_keep_the_others_back(tmp_path: Path) -> None:
    """And is not overwritten: it is evidence."""
    successor = Signer.of("tabellion.log/ab/cd/2", bytes(32))
    damaged = tmp_path / "ab-cd-1.checkpoint"
    damaged.write_text("rubbish")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.publish(SIGNER.name, 7, signed(7))
    checkpoints.publish(successor.name, 1, signed(1, successor))
    await checkpoints.close()
    assert await size_of(checkpoints, successor.name) == 1
    assert damaged.read_text() == "rubbish"
    assert "ab-cd-1.checkpoint" in (checkpoints.failure or "")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff\xfe", signed(7).replace("/1\n", "/3\n").encode()])
async def test_a_damaged_or_foreign_file_is_not_taken_for_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ab-cd-1.checkpoint").write_bytes(content)
    with pytest.raises(HubError) as refused:
        await Checkpoints(tmp_path).last(SIGNER.name)
    assert refused.value.code == "checkpoint_unreadable"


async def test_a_missing_folder_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="folder is missing"):
        await Checkpoints(tmp_path / "away").last(SIGNER.name)
