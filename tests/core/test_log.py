"""The log: what it prints, what it never prints, and that nobody can forge a line."""

import io
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core.clock import FakeClock
from tabellion.core.crypto import Key, Secret
from tabellion.core.errors import HubError
from tabellion.core.log import LONGEST, Bridge, Log, open_log, plain
from tabellion.core.telemetry import Metrics


def opened(pretty: bool = False, level: str = "info") -> tuple[Log, io.StringIO]:
    stream = io.StringIO()
    return open_log(stream, FakeClock(), pretty=pretty, level=level), stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class Colour(StrEnum):
    RED = "red"


class Person(msgspec.Struct):
    email: str


@dataclass
class Account:
    token: str


class Text(str):
    def __str__(self) -> str:
        return "hunter2"


def test_a_line_says_when_how_bad_and_what():
    log, stream = opened()
    log.info("message.sent", count=3, ok=True, nothing=None, share=0.5)
    log.bind(worker=1).warning("lag")
    assert lines(stream) == [
        {"at": "2026-11-21T09:00:00.000Z", "level": "info", "event": "message.sent", "count": 3, "ok": True,
         "nothing": None, "share": 0.5},
        {"at": "2026-11-21T09:00:00.000Z", "level": "warning", "worker": 1, "event": "lag"},
    ]  # fmt: skip


def test_a_wide_line_is_a_line_like_others():
    log, stream = opened()
    log.line("request", {"status": 200, "secret": Secret("hunter2")})
    assert lines(stream) == [
        {"at": "2026-11-21T09:00:00.000Z", "level": "info", "event": "request", "status": 200, "secret": "<Secret>"}
    ]


def test_quiet_logs_keep_quiet():
    log, stream = opened(level="warning")
    log.debug("no")
    log.info("no")
    log.line("no", {})
    log.error("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


@pytest.mark.parametrize("pretty", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        Secret("hunter2"),
        Key(b"hunter2".ljust(32, b".")),
        b"hunter2",
        bytearray(b"hunter2"),
        memoryview(b"hunter2"),
        Person("hunter2"),
        Account("hunter2"),
        ValueError("hunter2"),
        Text("x"),
        object,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_hold_a_secret_is_never_printed(pretty, value):
    log, stream = opened(pretty)
    log.info("x", value=value, deep=[{"inside": (value,)}], inside={"by": {"name": value}})
    log.bind(value=value).line("x", {"value": value, "list": [value]})
    assert "hunter" not in stream.getvalue()
    assert "68756e74657232" not in stream.getvalue()
    assert "aHVudGVy" not in stream.getvalue()


def test_names_of_types_and_sizes_are_printed_instead():
    assert plain([Secret("x"), b"12345", Person("x"), memoryview(b"12")]) == [
        "<Secret>", "<5 bytes>", "<Person>", "<2 bytes>",
    ]  # fmt: skip


def test_ids_times_and_enums_are_readable():
    values = [UUID(int=1), datetime(2026, 11, 21, tzinfo=UTC), timedelta(seconds=90), Colour.RED, Path("/a/b")]
    assert plain(values) == [
        "00000000-0000-0000-0000-000000000001", "2026-11-21T00:00:00+00:00", "0:01:30", "red", "/a/b",
    ]  # fmt: skip


@given(st.text(), st.booleans())
def test_no_text_makes_a_second_line_or_drives_a_terminal(text, pretty):
    log, stream = opened(pretty)
    log.info("x", value=text, inside=[text], keyed={text: 1})
    written = stream.getvalue()
    assert written.endswith("\n")
    assert written[:-1].isprintable()


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.binary(), inner),
))  # fmt: skip
def test_every_value_makes_a_readable_line(value):
    log, stream = opened()
    log.info("x", value=value)
    assert [line["event"] for line in lines(stream)] == ["x"]


def test_endless_values_come_to_an_end():
    log, stream = opened()
    circle: list[Any] = []
    circle.append(circle)
    log.info(
        "x", circle=circle, long="x" * 10_000_000, wide=list(range(1_000_000)), fields=dict.fromkeys(range(10_000))
    )
    assert len(stream.getvalue()) < 4 * LONGEST


def fail(message: str) -> None:
    hidden = "hunter2"
    raise RuntimeError(f"{message} {hidden}")


def test_an_exception_is_its_type_and_place_without_its_words():
    log, stream = opened()
    try:
        fail("ann@example.org")
    except RuntimeError as error:
        log.error("failed", error=error)
    [line] = lines(stream)
    assert line["error"]["type"] == "RuntimeError"
    assert [place.split(" ")[1] for place in line["error"]["at"]] == [
        "test_an_exception_is_its_type_and_place_without_its_words", "fail",
    ]  # fmt: skip
    assert "ann@" not in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_our_own_errors_may_speak():
    log, stream = opened()
    cause = OSError("ann@example.org")
    error = HubError("database_away", "try again", 503)
    error.__cause__ = cause
    log.error("failed", error=error)
    [line] = lines(stream)
    assert line["error"] == {"type": "HubError", "at": [], "message": "try again [database_away]", "cause": "OSError"}


def test_people_get_a_traceback():
    log, stream = opened(pretty=True)
    try:
        fail("it broke")
    except RuntimeError as error:
        log.error("failed", error=error, count=1)
    text = stream.getvalue()
    assert text.startswith("09:00:00.000 error   failed  error=<RuntimeError> count=1\n  Traceback")
    assert "in fail" in text
    assert "it broke" in text


def test_a_terminal_gets_the_readable_form():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    open_log(stream, FakeClock()).info("ready", address="http://127.0.0.1:8080")
    assert stream.getvalue() == "09:00:00.000 info    ready  address=http://127.0.0.1:8080\n"


def test_what_libraries_say_is_carried_over():
    log, stream = opened()
    logger = logging.getLogger("a.library")
    logger.propagate = False
    logger.addHandler(Bridge(log))
    try:
        logger.warning("it %s\nforged", "did")
        logger.debug("no")
        fail("x")
    except RuntimeError:
        logger.exception("it failed")
    finally:
        logger.handlers.clear()
    warned, failed = lines(stream)
    assert (warned["level"], warned["logger"], warned["message"]) == ("warning", "a.library", "it did\\nforged")
    assert failed["error"]["type"] == "RuntimeError"


def test_metrics_of_two_processes_do_not_meet():
    one, other = Metrics(process=False), Metrics(process=False)
    one.answered("GET", "/v1/x", 200, 0.002)
    one.answered("GET", "/v1/x", 200, 0.002)
    one.batch("messages")(17)
    text = one.render().decode()
    assert 'tabellion_http_requests_total{method="GET",route="/v1/x",status="200"} 2.0' in text
    assert 'tabellion_http_request_seconds_bucket{le="0.0025",route="/v1/x"} 2.0' in text
    assert 'tabellion_batch_units_sum{batch="messages"} 17.0' in text
    assert "/v1/x" not in other.render().decode()


def test_metrics_of_the_process_are_there_by_default():
    assert b"process_resident_memory_bytes" in Metrics().render()
