"""What answers look like."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.access.answers import Answer, encode, next_cursor, read_cursor
from tabellion.access.problems import translate
from tabellion.core.errors import Conflict, FieldError, HubError, Invalid


class Seen(msgspec.Struct):
    at: datetime
    inside: list[Any]
    said: dict[str, str]


@given(st.integers(-60_000_000_000, 250_000_000_000), st.integers(0, 999_999), st.integers(-14, 14))
def test_times_are_utc_with_milliseconds(seconds, microseconds, hours):
    aware = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=microseconds)
    aware = aware.astimezone(timezone(timedelta(hours=hours)))
    shown = msgspec.json.decode(encode({"at": aware}))["at"]
    assert len(shown) == len("2026-11-21T09:00:00.000Z")
    assert shown.endswith("Z")
    assert timedelta(0) <= aware - datetime.fromisoformat(shown) < timedelta(milliseconds=1)


def test_times_are_found_wherever_they_are_and_text_is_left_alone():
    at = datetime(2026, 11, 21, 9, 0, 0, 120000, UTC)
    seen = Seen(at, [{"x": (at,)}], {"note": "2026-11-21T09:00:00Z"})
    assert msgspec.json.decode(encode(seen)) == {
        "at": "2026-11-21T09:00:00.120Z",
        "inside": [{"x": ["2026-11-21T09:00:00.120Z"]}],
        "said": {"note": "2026-11-21T09:00:00Z"},
    }


@given(st.lists(st.uuids(), min_size=1, max_size=5))
def test_a_cursor_leads_to_the_last_of_its_page(found):
    cursor = next_cursor(found, len(found))
    assert cursor is not None
    assert read_cursor(cursor) == found[-1]
    assert next_cursor(found, len(found) + 1) is None
    assert read_cursor(None) is None


@pytest.mark.parametrize("cursor", ["", "x", "~" * 22, "a" * 23, "ä" * 22])
def test_a_made_up_cursor_is_refused(cursor):
    with pytest.raises(HubError) as refused:
        read_cursor(cursor)
    assert refused.value.status == 400


def test_a_refusal_is_a_problem_with_places():
    answer = Answer.refusal(Invalid("invalid_request", "check it", FieldError("/to/email", "is empty")))
    assert answer.media_type == "application/problem+json"
    assert msgspec.json.decode(answer.body) == {
        "type": "urn:tabellion:problem:invalid_request",
        "title": "Unprocessable Entity",
        "status": 422,
        "code": "invalid_request",
        "detail": "check it",
        "errors": [{"pointer": "/to/email", "detail": "is empty"}],
    }


def test_a_problem_without_places_has_no_errors():
    assert "errors" not in msgspec.json.decode(Answer.refusal(Conflict("taken", "take another")).body)


def test_a_fault_of_ours_says_nothing_of_itself():
    answer = Answer.refusal(HubError("unreadable", "a sealed value (answer) does not open with its key", 500))
    assert b"sealed" not in answer.body


def test_an_unknown_exception_is_nothing_a_client_may_know():
    assert translate(RuntimeError("postgresql://user:secret@host")) is None


def test_a_transaction_that_took_too_long_is_overload():
    error = translate(TimeoutError())
    assert error is not None
    assert (error.status, error.headers["Retry-After"]) == (429, "1")
