"""Pacing: departure clocks shared by all workers. An account has one only while its vendor, or a limit, slows it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from tabellion.accounts import rules, store
from tabellion.accounts.types import Pace
from tabellion.core.db import Tx

Pair = tuple[UUID, UUID]
"""Workspace side and account."""


async def reserve(
    tx: Tx, wanted: Sequence[Pair], kept: Mapping[int, datetime] = MappingProxyType({})
) -> list[datetime]:
    """A departure time for each, in order: now where nothing paces the account. One statement where nothing does.

    `kept` are times reserved before, by place: each still holds unless its account is paused now.
    """
    counts = Counter(wanted)
    paces = await store.lock_paces(tx, sorted(counts)) if counts else {}
    if not paces:
        return [tx.now] * len(wanted)
    holds = {place for place in kept if (pace := paces.get(wanted[place])) and pace.paused_until <= tx.now}
    anew = Counter(pair for place, pair in enumerate(wanted) if place not in holds)
    times: dict[Pair, Iterator[datetime]] = {}
    after: dict[Pair, Pace] = {}
    for pair, pace in paces.items():
        reserved, after[pair] = rules.departures(pace, anew[pair], tx.now)
        times[pair] = iter(reserved)
    await store.write_paces(tx, after)
    return [
        max(kept[place], tx.now) if place in holds else next(times[pair]) if pair in times else tx.now
        for place, pair in enumerate(wanted)
    ]


async def throttled(tx: Tx, pair: Pair, retry_after: float | None) -> None:
    """The vendor said "too many": go slower, and pause as long as it asked for."""
    pace = (await store.lock_paces(tx, [pair])).get(pair)
    if pace is None and await store.insert_pace(tx, pair, rules.shrunk(None, tx.now, retry_after)):
        return
    pace = pace or (await store.lock_paces(tx, [pair]))[pair]
    await store.write_paces(tx, {pair: rules.shrunk(pace, tx.now, retry_after)})


async def succeeded(tx: Tx, pairs: Iterable[Pair]) -> None:
    """The vendor took messages of these accounts: give back a little speed, at most once a second."""
    paces = await store.lock_paces(tx, sorted(set(pairs)))
    after = {pair: rules.grown(pace, tx.now) for pair, pace in paces.items()}
    changed = {pair: pace for pair, pace in after.items() if pace is not None and pace != paces[pair]}
    if changed:
        await store.write_paces(tx, changed)
    if free := [pair for pair, pace in after.items() if pace is None]:
        await store.delete_paces(tx, free)


async def limit(tx: Tx, pair: Pair, ceiling: float | None) -> None:
    """Set or lift the limit of an account that is locked."""
    before = (await store.lock_paces(tx, [pair])).get(pair)
    after = rules.limited(before, ceiling)
    if before is None and after is not None:
        if not await store.insert_pace(tx, pair, after):
            await limit(tx, pair, ceiling)
    elif before is not None and after is None:
        await store.delete_paces(tx, [pair])
    elif after is not None:
        await store.write_paces(tx, {pair: after})
