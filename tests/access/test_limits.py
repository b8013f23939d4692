"""Rate limits: token buckets."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tabellion.access.limits import Limits
from tabellion.core import ids
from tabellion.core.clock import FakeClock


def test_there_is_no_limit_by_default():
    limits = Limits(FakeClock())
    assert all(limits.admit(ids.new(), None) == (None, True) for _ in range(1000))


def test_a_key_is_refused_once_its_second_is_used_up_and_taken_again_later():
    clock = FakeClock()
    limits, key = Limits(clock), ids.new()
    assert [limits.admit(key, 3)[1] for _ in range(5)] == [True, True, True, False, False]
    clock.advance(timedelta(seconds=1 / 3 + 0.001))
    assert [limits.admit(key, 3)[1] for _ in range(2)] == [True, False]


def test_keys_do_not_share_a_bucket():
    limits = Limits(FakeClock(), default=1)
    one, other = ids.new(), ids.new()
    assert [limits.admit(key, None)[1] for key in (one, other, one, other)] == [True, True, False, False]


def test_a_keys_own_limit_goes_before_the_default():
    limits, key = Limits(FakeClock(), default=1), ids.new()
    assert [limits.admit(key, 2)[1] for _ in range(3)] == [True, True, False]


def test_headers_say_what_is_left():
    limits, key = Limits(FakeClock()), ids.new()
    limits.admit(key, 10)
    bucket, _ = limits.admit(key, 10)
    assert bucket is not None
    assert dict(bucket.headers()) == {
        b"ratelimit-limit": b"10", b"ratelimit-remaining": b"8", b"ratelimit-reset": b"1",
    }  # fmt: skip


@given(st.integers(1, 50), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_no_more_than_the_rate_gets_through(rate, waits):
    """In any stretch of time t: at most rate * t, and one second's worth of burst."""
    clock = FakeClock()
    limits, key = Limits(clock), ids.new()
    admitted = 0
    for wait in waits:
        clock.advance(timedelta(seconds=wait))
        admitted += limits.admit(key, rate)[1]
    assert admitted <= rate * (clock.monotonic() - waits[0]) + rate + 1e-6
