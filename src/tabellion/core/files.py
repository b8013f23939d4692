"""Small files that must be whole: written at once, made only once, or destroyed so that nothing stays in them."""

import os
import tempfile
from pathlib import Path


def write_file(file: Path, content: bytes) -> None:
    """Write content to file so that a crash leaves the old or the new whole, readable by the owner only."""
    written = _aside(file.parent, content)
    try:
        written.replace(file)
    except BaseException:
        written.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def write_new(file: Path, content: bytes) -> bool:
    """Write content to file where there is none, whole or not at all; whether it was made here.

    Of several who make one file at once, in whichever process, exactly one does; nothing is ever replaced.
    """
    written = _aside(file.parent, content)
    try:
        os.link(written, file)
    except FileExistsError:
        return False
    finally:
        written.unlink(missing_ok=True)
    sync_folder(file.parent)
    return True


def destroy_file(file: Path) -> None:
    """Overwrite file and remove it, durably. One that is gone already is no error: a second try finishes the first."""
    try:
        with file.open("r+b", buffering=0) as stream:
            stream.write(os.urandom(file.stat().st_size))
            os.fsync(stream.fileno())
    except FileNotFoundError:
        return
    file.unlink()
    sync_folder(file.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _aside(folder: Path, content: bytes) -> Path:
    """A new file in the folder with this content, on disk."""
    handle, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)
