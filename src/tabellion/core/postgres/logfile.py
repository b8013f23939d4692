"""The server's own log, bounded: the file it writes, and the one before it.

Not PostgreSQL's `logging_collector`: its files bound the age or the size, not both, and what the server says when it
does not start would lie in another file than what it says when it does.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

BOUND = 16 << 20
"""Bytes. Twice that is the most the log ever takes."""


def outgrown(log: Path, bound: int = BOUND) -> bool:
    """Whether the log is longer than it may be."""
    try:
        return log.stat().st_size > bound
    except FileNotFoundError:
        return False


def begin_anew(log: Path) -> None:
    """Empty the log, with what was in it kept beside it as `postgres.log.1`, over what was kept there before.

    It is copied, not renamed: the server holds it open, for appending, and so goes on at its new beginning. A line
    written in between is lost, and all of it where the disk has no room for the copy: room is then what is needed.
    """
    with suppress(OSError):
        kept = os.open(log.with_name(log.name + ".1"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with log.open("rb") as old, open(kept, "wb") as new:
            shutil.copyfileobj(old, new)
    os.truncate(log, 0)
