"""Retries, shares, halving: the laws."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core import ids
from tabellion.core.ids import WorkspaceId
from tabellion.jobs.rules import MARGIN, SCHEDULE, WEIGHTS, parts, retry_at, settle, shares, watermark
from tabellion.jobs.types import Claimed, Dead, Done, Lane, Later

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
lanes = st.sets(st.sampled_from(Lane), min_size=1).map(sorted)


def job(tries: int = 0, age: timedelta = timedelta()) -> Claimed:
    side = WorkspaceId(UUID(int=1))
    return Claimed(1, Lane.NORMAL, side, "test.rules", {}, tries, ids.new(), NOW - age)


@given(st.integers(0, 200), st.integers())
def test_a_wait_is_a_random_part_of_a_ceiling_that_doubles(tries: int, seed: int) -> None:
    wait = retry_at(NOW, tries, random.Random(seed)) - NOW
    assert timedelta() <= wait <= min(SCHEDULE.longest, SCHEDULE.first * 2 ** min(tries, 12))


def test_jitter_is_full() -> None:
    chance = random.Random(3)
    waits = [(retry_at(NOW, 5, chance) - NOW).total_seconds() for _ in range(1000)]
    assert min(waits) < 1
    assert max(waits) > 31
    assert 14 < sum(waits) / len(waits) < 18


@given(st.integers(0, 20), st.integers(), st.timedeltas(timedelta(days=-1), timedelta(days=30)))
def test_a_retry_after_is_honoured_and_clamped(tries: int, seed: int, asked: timedelta) -> None:
    wait = retry_at(NOW, tries, random.Random(seed), asked) - NOW
    clamped = min(max(asked, timedelta()), SCHEDULE.longest_asked)
    assert clamped <= wait <= clamped + SCHEDULE.longest


def test_a_counted_try_too_many_is_death_with_its_reason() -> None:
    later = Later(NOW, reason="timed out")
    assert settle(job(tries=1), later, 3) == later
    assert settle(job(tries=2), later, 3) == Dead("gave up after 3 tries: timed out")


def test_a_counted_try_too_late_is_death() -> None:
    late = settle(job(age=SCHEDULE.oldest), Later(NOW + timedelta(seconds=1), reason="timed out"), 3)
    assert late == Dead("gave up after 7 days: timed out")


@pytest.mark.parametrize("ruling", [Done(), Dead("no"), Later(NOW + timedelta(days=90), counted=False)])
def test_what_counts_no_try_stays_as_it_is(ruling: Done | Dead | Later) -> None:
    assert settle(job(tries=99), ruling, 3) == ruling


@given(st.integers(0, 1 << 40), st.lists(st.integers(0, 1 << 40)))
def test_a_watermark_never_goes_back_and_leaves_a_margin(before: int, seen: list[int]) -> None:
    mark = watermark(before, seen)
    assert mark >= before
    assert mark == before or mark == min(seen) - MARGIN


@given(
    free=st.integers(0, 300),
    running=st.fixed_dictionaries({lane: st.integers(0, 300) for lane in Lane}),
    lanes=lanes,
    reserved=st.integers(0, 20),
)
def test_shares_give_all_that_is_free_but_what_is_kept_for_critical(
    free: int, running: dict[Lane, int], lanes: list[Lane], reserved: int
) -> None:
    dealt = shares(free, running, lanes, reserved)
    kept = min(free, max(0, reserved - running[Lane.CRITICAL]))
    assert set(dealt) == set(lanes)
    assert all(share >= 0 for share in dealt.values())
    assert sum(dealt.values()) == (free if Lane.CRITICAL in lanes else free - kept)
    if Lane.CRITICAL in lanes:
        assert dealt[Lane.CRITICAL] >= kept


@given(
    slots=st.integers(32, 512),
    holder=st.sampled_from(Lane),
    lanes=lanes,
    chance=st.randoms(use_true_random=False),
)
def test_every_lane_gets_its_guaranteed_share_however_the_slots_were_taken(
    slots: int, holder: Lane, lanes: list[Lane], chance: random.Random
) -> None:
    """One lane holds all; as its jobs end, the slots go to the others until each has its weighted part."""
    running = dict.fromkeys(Lane, 0) | {holder: slots}
    wanting = sorted({*lanes, holder})
    for _ in range(slots):
        ended = min(running[holder], chance.randint(1, 40))
        running[holder] -= ended
        free = slots - sum(running.values())
        for lane, share in shares(free, running, wanting, 0).items():
            running[lane] += share
    weight = sum(WEIGHTS[lane] for lane in wanting)
    for lane in wanting:
        assert running[lane] >= slots * WEIGHTS[lane] // weight - 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers()), min_size=2))
def test_parts_are_smaller_and_lose_nothing(items: list[tuple[str, int]]) -> None:
    smaller = parts(items, lambda item: item[0])
    assert sorted(item for part in smaller for item in part) == sorted(items)
    assert all(0 < len(part) < len(items) for part in smaller)
    if len({name for name, _ in items}) > 1:
        assert all(len({name for name, _ in part}) == 1 for part in smaller)
