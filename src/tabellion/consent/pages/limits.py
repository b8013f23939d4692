"""How much one source address may do on pages, in the memory of one process. Restrictions are never counted here."""

from datetime import timedelta
from typing import Final

from tabellion.access.limits import MOST_ADDRESSES, Bucket, neighbourhood
from tabellion.core.clock import Clock


class SourceLimits:
    """A bucket for each source address, as `access.limits` has them for keys, of so many within a time."""

    def __init__(self, clock: Clock, most: int, within: timedelta) -> None:
        self._clock = clock
        self._most = most
        self._seconds = int(within.total_seconds())
        self._buckets: dict[str, Bucket] = {}

    def admit(self, address: str | None) -> bool:
        """Whether a source may do this once more."""
        now, place = self._clock.monotonic(), neighbourhood(address)
        bucket = self._buckets.pop(place, None)
        if bucket is None:
            bucket = Bucket(self._most / self._seconds, self._most, now, self._seconds)
        self._buckets[place] = bucket  # the last in the order
        if len(self._buckets) > MOST_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return bucket.take(now)


class PageLimits:
    """What is counted: pages shown, codes asked for, codes tried and grants, confirmations asked for by browsers."""

    def __init__(self, clock: Clock) -> None:
        self.shown: Final = SourceLimits(clock, 120, timedelta(minutes=1))
        self.codes: Final = SourceLimits(clock, 10, timedelta(hours=1))
        self.grants: Final = SourceLimits(clock, 30, timedelta(hours=1))
        self.confirmations: Final = SourceLimits(clock, 20, timedelta(hours=1))
