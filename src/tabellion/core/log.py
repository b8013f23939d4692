"""The log: one wide structured line a request and an attempt, as JSON, or readable on a terminal.

Redaction is by type and by allow-list: text, numbers, times and ids are printed, `Secret`, `Key` and bytes never, and
of any other object only the name of its type. A value cannot forge a line or drive a terminal: whatever is not
printable is escaped.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping, Sequence, Set
from datetime import date, datetime, timedelta
from enum import Enum
from math import isfinite
from pathlib import Path
from typing import Any, Final, Protocol, TextIO, TypeAlias
from uuid import UUID

import msgspec
import structlog

from tabellion.core.clock import Clock
from tabellion.core.errors import HubError

Event: TypeAlias = MutableMapping[str, Any]
Draw: TypeAlias = Callable[[Any, str, Event], str]

LONGEST: Final = 2_000
MOST_ITEMS: Final = 100
DEEPEST: Final = 6
FRAMES: Final = 12
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log(structlog.typing.FilteringBoundLogger, Protocol):
    """What one logs to: `log.info("account.created", account=id)`."""

    def line(self, event: str, fields: Mapping[str, object]) -> None:
        """`info`, for the one wide line a request or an attempt: a third of the cost, nothing bound."""
        ...


def open_log(stream: TextIO, clock: Clock, *, pretty: bool | None = None, level: str = "info") -> Log:
    """A log that writes to stream: for people when it is a terminal (or `pretty`), else one JSON object a line."""
    readable = stream.isatty() if pretty is None else pretty
    draw = _pretty(clock) if readable else _json(clock)
    log: Log = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[draw],
        wrapper_class=_with_line(LEVELS[level], draw),
        cache_logger_on_first_use=False,
    ).bind()
    return log


def _with_line(level: int, draw: Draw) -> Any:
    base: Any = structlog.make_filtering_bound_logger(level)

    class Wide(base):  # type: ignore[misc]
        def line(self, event: str, fields: Mapping[str, object]) -> None:
            if level <= LEVELS["info"]:
                self._logger.msg(draw(self._logger, "info", {"event": event, **fields}))

    return Wide


class Bridge(logging.Handler):
    """Carries what libraries say to the standard library's logging into the log."""

    def __init__(self, log: Log, level: int = logging.INFO) -> None:
        super().__init__(level)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._log.log(record.levelno, "library", logger=record.name, message=record.getMessage(), error=error)


def plain(value: object, depth: int = 0) -> Any:
    """What may be printed of value: see the module's first lines."""
    draw = _DRAWN.get(type(value))
    if draw is not None:
        return draw(value)
    match value:
        case Enum():
            return plain(value.value, depth)
        case Path():
            return _printable(str(value))
        case str():
            return _printable(str.__str__(value))
        case bytes() | bytearray() | memoryview():
            return _size(value)
        case Mapping() | Sequence() | Set() if depth < DEEPEST:
            return _inside(value, depth + 1)
        case _:
            return f"<{type(value).__name__}>"


def _inside(value: "Mapping[Any, Any] | Sequence[Any] | Set[Any]", depth: int) -> Any:
    if isinstance(value, Mapping):
        return {str(plain(key, depth)): plain(one, depth) for key, one in list(value.items())[:MOST_ITEMS]}
    return [plain(one, depth) for one in list(value)[:MOST_ITEMS]]


def _printable(text: str) -> str:
    """The text, cut to a bounded length, with line breaks, control and direction characters escaped."""
    if len(text) <= LONGEST and text.isprintable():
        return text
    cut = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in cut)


def _same(value: Any) -> Any:
    return value


def _size(value: Any) -> str:
    return f"<{len(value)} bytes>"


def _finite(value: float) -> float | str:
    return value if isfinite(value) else str(value)


_DRAWN: Final[Mapping[type, Callable[[Any], Any]]] = {
    str: _printable,
    int: _same,
    bool: _same,
    float: _finite,
    type(None): _same,
    UUID: str,
    datetime: datetime.isoformat,
    date: date.isoformat,
    timedelta: str,
    bytes: _size,
    bytearray: _size,
    memoryview: _size,
}
"""How values of these very types are drawn; a subclass is not trusted to be like its parent."""


def _json(clock: Clock) -> Draw:
    encode = msgspec.json.Encoder().encode
    known = _DRAWN.get

    def draw(logger: Any, method: str, event: Event) -> str:
        if isinstance(event.get("error"), BaseException):
            event["error"] = _place(event["error"])
        line: dict[str, Any] = {"at": clock.now().isoformat(timespec="milliseconds")[:-6] + "Z", "level": method}
        for name, value in event.items():
            simple = known(type(value))
            line[name] = simple(value) if simple is not None else plain(value)
        return encode(line).decode()

    return draw


def _place(error: BaseException) -> dict[str, Any]:
    """An exception as its type and where it was raised. Its message may quote a person: only our own is kept."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return {
        "type": type(error).__name__,
        "at": [f"{Path(frame.filename).stem}:{frame.lineno} {frame.name}" for frame in frames],
        **({"message": str(error)} if isinstance(error, HubError) else {}),
        **({"cause": type(error.__cause__).__name__} if error.__cause__ else {}),
        **{name: str(getattr(error, name)) for name in ("sqlstate", "constraint_name") if getattr(error, name, None)},
    }


def _pretty(clock: Clock) -> Draw:
    def draw(logger: Any, method: str, event: Event) -> str:
        error = event.get("error")
        frames = traceback.format_exception(error) if isinstance(error, BaseException) else []
        fields = {name: plain(value) for name, value in event.items()}
        head = f"{clock.now():%H:%M:%S.%f}"[:-3] + f" {method:<7} {fields.pop('event')}"
        told = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        lines = "".join(frames).splitlines()
        return "\n".join([f"{head}  {told}".rstrip(), *(f"  {_printable(line)}" for line in lines)])

    return draw


def stderr_log(clock: Clock, level: str = "info") -> Log:
    """The usual log of a process."""
    return open_log(sys.stderr, clock, level=level)
