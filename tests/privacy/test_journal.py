"""The erasure journal: what it says is what was written, whoever had the file meanwhile."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tabellion.core import ids
from tabellion.core.errors import Misconfigured
from tabellion.core.vault import KeyFolder
from tabellion.privacy.journal import Erased, Journal

AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def erased() -> Erased:
    return Erased(
        workspace_id=ids.new(),
        regulation_id=ids.new(),
        recipient_ids=[ids.new(), ids.new()],
        hashes=[bytes(32), b"h" * 32],
        requested_by="key_1",
        verified_by="ticket",
        created_at=AT,
        erased_at=AT,
    )


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys")
    folder.create()
    return folder


@pytest.fixture
def journal(keys: KeyFolder) -> Journal:
    return Journal(keys, keys.outer())


@pytest.fixture
def file(keys: KeyFolder) -> Path:
    return keys.path / "erasures.journal"


async def test_what_was_written_is_read_by_every_process_in_order(journal: Journal, keys: KeyFolder) -> None:
    assert await journal.read() == []
    first, second, third = erased(), erased(), erased()
    await journal.append([first, second])
    await Journal(keys, keys.outer()).append([third])
    assert await journal.read() == [first, second, third]


async def test_one_that_is_there_is_not_written_again(journal: Journal) -> None:
    one = erased()
    await journal.append([one])
    await journal.append([one])
    assert await journal.read() == [one]


async def test_a_line_that_a_crash_left_half_is_no_line(journal: Journal, file: Path) -> None:
    first, second = erased(), erased()
    await journal.append([first])
    with file.open("ab") as half:
        half.write(b'{"erased": {"workspace_id": "0')
    assert await journal.read() == [first]
    await journal.append([second])
    assert await journal.read() == [first, second]


@pytest.mark.parametrize("how", ["changed", "dropped", "moved", "forged", "garbage"])
async def test_a_line_that_is_not_as_it_was_written_is_noticed(journal: Journal, file: Path, how: str) -> None:
    await journal.append([erased(), erased(), erased()])
    lines = file.read_bytes().splitlines(keepends=True)
    second = json.loads(lines[1])
    match how:
        case "changed":
            second["erased"]["hashes"] = []
            lines[1] = json.dumps(second).encode() + b"\n"
        case "dropped":
            del lines[1]
        case "moved":
            lines[0], lines[1] = lines[1], lines[0]
        case "forged":
            lines[1] = lines[1].replace(b'"mac":"', b'"mac":"AA')
        case "garbage":
            lines[1] = b"\xff\n"
    file.write_bytes(b"".join(lines))
    with pytest.raises(Misconfigured) as refused:
        await journal.read()
    assert refused.value.code == "journal_damaged"
    with pytest.raises(Misconfigured):
        await journal.append([erased()])


async def test_a_journal_without_its_key_is_not_begun_anew(journal: Journal, keys: KeyFolder) -> None:
    await journal.append([erased()])
    (keys.path / "journal.key").unlink()
    with pytest.raises(Misconfigured) as refused:
        await journal.read()
    assert refused.value.code == "keys_missing"


async def test_it_names_nobody_and_is_closed_to_others(journal: Journal, file: Path) -> None:
    await journal.append([erased()])
    assert file.stat().st_mode & 0o077 == 0
