"""Small files: whole or not there, made once by however many, destroyed with what was in them."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tabellion.core.files import destroy_file, write_file, write_new


def test_a_written_file_is_whole_private_and_alone(tmp_path: Path) -> None:
    file = tmp_path / "one"
    write_file(file, b"old")
    write_file(file, b"new")
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("write", [write_file, write_new])
def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_other(tmp_path: Path, write) -> None:
    file = tmp_path / "one"
    write_file(file, b"old")
    with pytest.raises(TypeError):
        write(file, "not bytes")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_of_many_who_make_a_file_one_does_and_it_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "one"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: write_new(file, bytes([number]) * 4), range(32)))
    assert made.count(True) == 1
    assert file.read_bytes() == bytes([made.index(True)]) * 4
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_destroyed_file_is_gone_and_what_it_held_too_also_by_another_name(tmp_path: Path) -> None:
    file, other = tmp_path / "one", tmp_path / "other"
    write_file(file, b"secret")
    os.link(file, other)
    destroy_file(file)
    destroy_file(file)
    assert not file.exists()
    assert len(other.read_bytes()) == 6
    assert other.read_bytes() != b"secret"
