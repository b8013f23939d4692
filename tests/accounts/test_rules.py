"""Departure clocks, growing and shrinking, vendor hosts."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.accounts import rules
from tabellion.accounts.rules import CustomHosts
from tabellion.accounts.types import Pace
from tabellion.core.addresses import AddressPolicy
from tabellion.providers.base import ProviderSettings

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def pace(rate: float, ceiling: float | None = None, **at: datetime) -> Pace:
    moments = dict.fromkeys(("next_at", "paused_until", "shrunk_at", "grown_at"), NOW - timedelta(hours=1))
    return Pace(rate=rate, ceiling=ceiling, **(moments | at))


def test_departures_are_evenly_spaced_from_now() -> None:
    times, after = rules.departures(pace(10), 3, NOW)
    assert times == [NOW, NOW + SECOND / 10, NOW + SECOND / 5]
    assert after.next_at == NOW + SECOND * 0.3


def test_nothing_departs_in_a_pause() -> None:
    times, _ = rules.departures(pace(10, paused_until=NOW + SECOND * 5), 1, NOW)
    assert times == [NOW + SECOND * 5]


@given(
    st.floats(0.2, 2000),
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 3000)), min_size=1, max_size=12),
)
def test_however_it_is_asked_a_clock_never_lets_more_depart_than_its_rate(
    rate: float, asked: list[tuple[int, int]]
) -> None:
    clock, now, times = pace(rate), NOW, []
    for count, wait in asked:
        now += timedelta(milliseconds=wait)
        reserved, clock = rules.departures(clock, count, now)
        assert all(time >= now for time in reserved)
        times += reserved
    assert times == sorted(times)
    for earlier, later in pairwise(times):
        assert (later - earlier).total_seconds() >= 1 / rate - 1e-5


def test_the_first_refusal_starts_a_clock_and_the_next_ones_halve_it() -> None:
    first = rules.shrunk(None, NOW, None)
    assert first.rate == rules.START_RATE
    again = rules.shrunk(first, NOW + SECOND, None)
    assert again.rate == rules.START_RATE / 2
    burst = rules.shrunk(again, NOW + SECOND * 1.5, None)
    assert burst.rate == again.rate


def test_a_refusal_pauses_as_long_as_it_says_within_bounds_and_never_shortens_a_pause() -> None:
    paused = rules.shrunk(None, NOW, 30)
    assert paused.paused_until == NOW + SECOND * 30
    assert rules.shrunk(paused, NOW, 1).paused_until == NOW + SECOND * 30
    assert rules.shrunk(None, NOW, 1e9).paused_until == NOW + rules.LONGEST_PAUSE
    assert rules.shrunk(None, NOW, -5).paused_until == NOW


def test_a_rate_never_shrinks_to_a_stop() -> None:
    slow = pace(1)
    for turn in range(20):
        slow = rules.shrunk(slow, NOW + SECOND * turn, None)
    assert slow.rate == rules.LOWEST_RATE


def test_successes_win_a_little_back_once_a_second_and_not_in_a_pause() -> None:
    slow = pace(10)
    after = rules.grown(slow, NOW)
    assert after is not None
    assert after.rate == 10 + rules.GROWTH
    assert rules.grown(after, NOW + SECOND / 2) == after
    waiting = pace(10, paused_until=NOW + SECOND)
    assert rules.grown(waiting, NOW) == waiting


def test_growth_ends_at_the_limit_that_was_set_or_frees_the_account() -> None:
    limited = rules.grown(pace(9, ceiling=10), NOW)
    assert limited is not None
    assert limited.rate == 10
    assert rules.grown(pace(rules.FREE_RATE - 1), NOW) is None


def test_a_limit_is_a_clock_from_the_start_and_lifting_it_keeps_only_what_the_vendor_caused() -> None:
    limited = rules.limited(None, 5)
    assert limited is not None
    assert (limited.rate, limited.ceiling) == (5, 5)
    assert rules.limited(limited, None) is None
    throttled = rules.shrunk(limited, NOW, None)
    kept = rules.limited(throttled, None)
    assert kept is not None
    assert (kept.rate, kept.ceiling) == (2.5, None)
    lowered = rules.limited(pace(200), 50)
    assert lowered is not None
    assert (lowered.rate, lowered.ceiling) == (50, 50)


# hosts


class Vendor(ProviderSettings, frozen=True, kw_only=True):
    base_url: str = "https://api.vendor.example:443"

    def host(self) -> str:
        return self.base_url


class Mail(ProviderSettings, frozen=True, kw_only=True):
    server: str

    def host(self) -> str:
        return f"smtp://{self.server}:25"


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        (Vendor(), True),
        (Vendor(base_url="https://evil.example:443"), False),
        (Vendor(base_url="https://93.184.216.34:443"), False),
        (Vendor(base_url="http://127.0.0.1:80"), False),
        (Vendor(base_url="http://169.254.169.254:80"), False),
        (Mail(server="smtp.example.org"), True),
        (Mail(server="93.184.216.34"), True),
        (Mail(server="127.0.0.1"), False),
        (Mail(server="localhost"), False),
        (Mail(server="LOCALHOST."), False),
        (Mail(server="mail.localhost"), False),
        (Mail(server="10.0.0.5"), False),
        (Mail(server="::1"), False),
        (Mail(server="169.254.169.254"), False),
    ],
)
def test_without_permission_only_vendors_and_public_mail_servers_are_reached(
    settings: ProviderSettings, allowed: bool
) -> None:
    assert CustomHosts().allows(settings) is allowed


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        (Vendor(base_url="http://10.1.2.3:8080"), True),
        (Vendor(base_url="http://10.2.2.3:8080"), False),
        (Vendor(base_url="https://93.184.216.34:443"), False),
        (Vendor(base_url="https://proxy.example:443"), True),
        (Vendor(base_url="https://other.example:443"), False),
        (Mail(server="10.1.0.9"), True),
        (Mail(server="169.254.169.254"), False),
    ],
)
def test_the_operator_allows_networks_and_names_but_never_metadata(settings: ProviderSettings, allowed: bool) -> None:
    policy = AddressPolicy.of(["10.1.0.0/16", "169.254.0.0/16"])
    assert CustomHosts(policy, frozenset({"proxy.example"})).allows(settings) is allowed
