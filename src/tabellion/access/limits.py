"""Rate limits per key, and of public keys per address: a token bucket each, in the memory of one process.

N processes that serve the API let up to N times the limit pass. Counting it together would cost each request a trip.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final
from uuid import UUID

from tabellion.core.clock import Clock
from tabellion.core.errors import Overloaded

MOST_BUCKETS: Final = 10_000
MOST_ADDRESSES: Final = 50_000
BURST: Final = 2
"""Seconds' worth that an address may use at once: a page that opens says several things."""


@dataclass(slots=True)
class Bucket:
    """`rate` tokens a second, at most `seconds`' worth kept. `at` is of the monotonic clock."""

    rate: float
    tokens: float
    at: float
    seconds: int = 1

    def take(self, now: float) -> bool:
        self.tokens = min(self.rate * self.seconds, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`RateLimit-*`: how many at once, what is left of that, and the seconds until it is whole again."""
        most = self.rate * self.seconds
        reset = ceil((most - self.tokens) / self.rate)
        return [
            (b"ratelimit-limit", b"%d" % most),
            (b"ratelimit-remaining", b"%d" % int(self.tokens)),
            (b"ratelimit-reset", b"%d" % reset),
        ]


class Limits:
    """The buckets of the keys that have a limit: their own, or the installation's `default`. None is no limit."""

    def __init__(self, clock: Clock, default: int | None = None) -> None:
        self._clock = clock
        self._default = default
        self._buckets: dict[UUID, Bucket] = {}

    def admit(self, key_id: UUID, own: int | None) -> tuple[Bucket | None, bool]:
        """The bucket of this key, where it has a limit, and whether the request may go on."""
        rate = own or self._default
        if rate is None:
            return None, True
        now = self._clock.monotonic()
        bucket = self._buckets.get(key_id)
        if bucket is None or bucket.rate != rate:
            bucket = self._add(key_id, Bucket(rate, rate, now))
        return bucket, bucket.take(now)

    def _add(self, key_id: UUID, bucket: Bucket) -> Bucket:
        if len(self._buckets) >= MOST_BUCKETS:
            self._buckets.clear()
        self._buckets[key_id] = bucket
        return bucket


class AddressLimits:
    """The buckets of public keys: one for each key and address it is used from.

    Those longest unused are forgotten first: whoever waits a while has a whole one anyway.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[tuple[UUID, str], Bucket] = {}

    def admit(self, key_id: UUID, address: str | None, rate: int) -> tuple[Bucket, bool]:
        """The bucket of this address, and whether the request may go on."""
        now, place = self._clock.monotonic(), (key_id, neighbourhood(address))
        bucket = self._buckets.pop(place, None)
        if bucket is None or bucket.rate != rate:
            bucket = Bucket(rate, rate * BURST, now, BURST)
        self._buckets[place] = bucket  # the last in the order
        if len(self._buckets) > MOST_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return bucket, bucket.take(now)


def neighbourhood(address: str | None) -> str:
    """What is limited as one: an IPv4 address, or the /64 that a single IPv6 customer has at least."""
    try:
        known = ip_address(address or "")
    except ValueError:
        return ""
    if not isinstance(known, IPv6Address):
        return str(known)
    return str(known.ipv4_mapped or known.packed[:8].hex())


def crowded() -> Overloaded:
    return Overloaded("too many requests from this address; wait a second, and send fewer", code="rate_limited")


def limited() -> Overloaded:
    return Overloaded(
        "this key's rate limit is used up; wait, and send at most RateLimit-Limit a second", code="rate_limited"
    )
