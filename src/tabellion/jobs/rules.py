"""When to try again, when to stop, and who gets the free slots. Values in, values out."""

import random
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from tabellion.jobs.types import Claimed, Dead, Lane, Later, Ruling

Item = TypeVar("Item")

WEIGHTS = {Lane.CRITICAL: 8, Lane.HIGH: 4, Lane.NORMAL: 3, Lane.BULK: 1}
MARGIN = 2000
"""How many ids a transaction may be overtaken by and still be found at once; the rescan finds the others."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Exponential waits with full jitter: a random part of `first` doubled per try, at most `longest`."""

    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(hours=1)
    longest_asked: timedelta = timedelta(hours=6)
    """A longer Retry-After is cut to this."""
    oldest: timedelta = timedelta(days=7)
    """No counted try starts later than this after the job could first run."""


SCHEDULE = Schedule()


def retry_at(
    now: datetime,
    tries: int,
    chance: random.Random,
    retry_after: timedelta | None = None,
    schedule: Schedule = SCHEDULE,
) -> datetime:
    """When to try again after `tries` earlier failures; never before a Retry-After that was asked for."""
    ceiling = min(schedule.longest, schedule.first * 2.0 ** min(tries, 30))
    asked = min(max(retry_after or timedelta(), timedelta()), schedule.longest_asked)
    return now + asked + ceiling * chance.random()


def settle(job: Claimed, ruling: Ruling, max_tries: int, schedule: Schedule = SCHEDULE) -> Ruling:
    """The ruling, or Dead where it would count a try that the job has no more."""
    if not isinstance(ruling, Later) or not ruling.counted:
        return ruling
    if job.tries + 1 >= max_tries:
        return Dead(f"gave up after {job.tries + 1} tries: {ruling.reason or 'no reason given'}")
    if ruling.run_at - job.enqueued_at > schedule.oldest:
        return Dead(f"gave up after {schedule.oldest.days} days: {ruling.reason or 'no reason given'}")
    return ruling


def watermark(before: int, seen: Collection[int]) -> int:
    """Where the next claim may start to look: what was visible below the lowest id seen has been claimed."""
    return max(before, min(seen) - MARGIN) if seen else before


def shares(free: int, running: Mapping[Lane, int], lanes: Collection[Lane], reserved: int) -> dict[Lane, int]:
    """Free slots dealt to the lanes that want some; those furthest below their weighted part come first.

    `reserved` slots are critical's alone. A lane that got hold of more than its part while the others were quiet gets
    none until it is back at its part.
    """
    kept = min(free, max(0, reserved - running[Lane.CRITICAL]))
    have = {lane: running[lane] + (kept if lane == Lane.CRITICAL else 0) for lane in lanes}
    dealt = _level(free - kept, have)
    if Lane.CRITICAL in dealt:
        dealt[Lane.CRITICAL] += kept
    return dealt


def _level(free: int, have: Mapping[Lane, int]) -> dict[Lane, int]:
    """Fill up to one level, measured in slots a weight; what rounding leaves goes by priority."""
    takers = sorted(have)
    total, weight = _sum(free, have, takers)
    while over := [lane for lane in takers if have[lane] * weight > total * WEIGHTS[lane]]:
        takers = [lane for lane in takers if lane not in over]
        total, weight = _sum(free, have, takers)
    dealt = {lane: total * WEIGHTS[lane] // weight - have[lane] if lane in takers else 0 for lane in have}
    for lane in takers[: free - sum(dealt.values())]:
        dealt[lane] += 1
    return dealt


def _sum(free: int, have: Mapping[Lane, int], takers: Sequence[Lane]) -> tuple[int, int]:
    return free + sum(have[lane] for lane in takers), sum(WEIGHTS[lane] for lane in takers)


def group(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """The items in groups of one key each, everything in the order of first sight."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def halves(items: Sequence[Item]) -> list[Sequence[Item]]:
    middle = len(items) // 2
    return [items[:middle], items[middle:]]


def parts(items: Sequence[Item], key: Callable[[Item], Hashable]) -> Sequence[Sequence[Item]]:
    """A failed batch cut smaller: by key while it has several, then in halves."""
    groups = group(items, key)
    return groups if len(groups) > 1 else halves(items)
