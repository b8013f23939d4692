"""Names of a log's files in C2SP tlog-tiles (https://c2sp.org/tlog-tiles, read 2026-11-28), and of logs. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from tabellion.core.errors import NotFound

_FILE: Final = re.compile(
    r"(?P<kind>0|[1-9][0-9]?|entries)/(?P<index>(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)
_LOG: Final = re.compile(r"(?P<name>consent|audit|[0-9a-f]{32})(?:-(?P<generation>[1-9][0-9]{0,3}))?", re.ASCII)
_LEVELS: Final = 64
_FULL: Final = 256
LONGEST: Final = 64
"""Characters that the name of a file or a log can have."""


@dataclass(frozen=True, slots=True)
class File:
    """A tile, or the bundle of entries below one of level 0."""

    level: int | None
    """None: a bundle."""
    index: int
    width: int = _FULL


@dataclass(frozen=True, slots=True)
class LogName:
    """A log as an address names it: `audit`, or `audit-1` for one generation of it."""

    name: str
    generation: int | None
    """None: the one in use."""


def parse_file(text: str) -> File:
    """The file that is called `0/x001/x234/067.p/5` or `entries/000`. Raises `NotFound` for any other spelling."""
    found = _FILE.fullmatch(text) if len(text) <= LONGEST else None
    if found is None or found["index"].startswith("x000/"):
        raise _unknown()
    level = None if found["kind"] == "entries" else int(found["kind"])
    width = int(found["width"] or _FULL)
    if (level or 0) >= _LEVELS or (found["width"] and width >= _FULL):
        raise _unknown()
    return File(level, int(found["index"].replace("x", "").replace("/", "")), width)


def parse_log(text: str) -> LogName:
    """The log that an address names. Raises `NotFound` for what cannot be one."""
    found = _LOG.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        raise NotFound("not_found", "there is no such log; there are `consent` and `audit`")
    return LogName(found["name"], int(found["generation"]) if found["generation"] else None)


def _unknown() -> NotFound:
    return NotFound("not_found", "no file of a log is called so; see https://c2sp.org/tlog-tiles")
