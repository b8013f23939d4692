"""Rate limits per key: a token bucket each, in the memory of one process.

N processes that serve the API let up to N times the limit pass. Counting it together would cost each request a trip.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final
from uuid import UUID

from tabellion.core.clock import Clock
from tabellion.core.errors import Overloaded

MOST_BUCKETS: Final = 10_000


@dataclass(slots=True)
class Bucket:
    """`rate` tokens a second, at most a second's worth kept. `at` is of the monotonic clock."""

    rate: float
    tokens: float
    at: float

    def take(self, now: float) -> bool:
        self.tokens = min(self.rate, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`RateLimit-*`: the limit a second, what is left of it, and the seconds until it is whole again."""
        reset = ceil((self.rate - self.tokens) / self.rate)
        return [
            (b"ratelimit-limit", b"%d" % self.rate),
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


def limited() -> Overloaded:
    return Overloaded(
        "this key's rate limit is used up; wait, and send at most RateLimit-Limit a second", code="rate_limited"
    )
