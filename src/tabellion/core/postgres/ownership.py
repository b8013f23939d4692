"""One owner per data directory, and how others find what it runs."""

import asyncio
import fcntl
import os
from pathlib import Path

from tabellion.core.errors import Misconfigured
from tabellion.core.postgres import pidfile

LOCK = "owner.lock"
URL = "database.url"


async def own(data: Path) -> int:
    """The held lock of a data directory, made if need be: a file descriptor that gives it up when it is closed.

    The kernel closes it when we die, however we die. Refuses, and names the holder, when another process has it.
    """
    lock = _open(data)
    if not await _locked(lock):
        owner = os.pread(lock, 32, 0).decode().strip()
        os.close(lock)
        raise Misconfigured(
            "data_in_use",
            f"{data} is in use by {_named(owner)}; stop that process first, or name another directory with --data",
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def running_url(data: Path) -> str | None:
    """Where the database of this directory answers, if a living process runs it."""
    try:
        with (data / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        file = data / URL
        return file.read_text().strip() if file.exists() else None
    except PermissionError:
        raise Misconfigured(
            "data_unusable", f"{data} belongs to another user; run as the one who runs the hub"
        ) from None
    return None


def _open(data: Path) -> int:
    try:
        # Others may pass through, because the cluster in it may be another user's; they may not list it.
        data.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        return os.open(data / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Misconfigured(
            "data_unusable", f"{data} cannot be used ({error.strerror}); name another directory with --data"
        ) from None


async def _locked(lock: int) -> bool:
    """Whether we got the lock. Asks for a second: `running_url` of another process takes it for a moment."""
    for _ in range(10):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(0.1)
        else:
            return True
    return False


def _named(owner: str) -> str:
    command = pidfile.command_of(int(owner)) if owner.isdigit() else ""
    return f"process {owner or 'unknown'}" + (f" ({command[:120]})" if command else "")
