"""Rate limits: token buckets."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tabellion.access import limits as module
from tabellion.access.limits import AddressLimits, Limits, neighbourhood
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


def test_an_address_has_two_seconds_worth_at_once_and_then_its_rate():
    clock = FakeClock()
    limits, key = AddressLimits(clock), ids.new()
    assert [limits.admit(key, "192.0.2.1", 2)[1] for _ in range(6)] == [True] * 4 + [False] * 2
    assert limits.admit(key, "192.0.2.2", 2)[1]
    assert limits.admit(ids.new(), "192.0.2.1", 2)[1]
    bucket, within = limits.admit(key, "192.0.2.1", 2)
    headers = dict(bucket.headers())
    assert (within, headers[b"ratelimit-limit"], headers[b"ratelimit-remaining"]) == (False, b"4", b"0")
    assert headers[b"ratelimit-reset"] == b"2"
    clock.advance(timedelta(seconds=0.5001))
    assert [limits.admit(key, "192.0.2.1", 2)[1] for _ in range(2)] == [True, False]


def test_ipv6_is_limited_by_the_network_one_customer_has():
    assert neighbourhood("2001:db8:0:1::1") == neighbourhood("2001:db8:0:1:ffff::2") != neighbourhood("2001:db8:0:2::1")
    assert neighbourhood("::ffff:192.0.2.1") == neighbourhood("192.0.2.1") != neighbourhood("192.0.2.2")
    assert neighbourhood(None) == neighbourhood("nonsense") == ""


def test_addresses_are_forgotten_longest_unused_first_and_never_too_many_kept(monkeypatch):
    monkeypatch.setattr(module, "MOST_ADDRESSES", 3)
    limits, key = AddressLimits(FakeClock()), ids.new()
    for _ in range(2):
        limits.admit(key, "192.0.2.1", 1)
    for last in (2, 3, 1, 4, 5):
        limits.admit(key, f"192.0.2.{last}", 1)
    assert len(limits._buckets) == 3
    assert not limits.admit(key, "192.0.2.1", 1)[1], "used in between, it was not forgotten"


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
