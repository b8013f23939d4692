"""Use cases of the event log: append, read, keep its days, and tell how far its followers are."""

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from tabellion.core.db import Database, Tx
from tabellion.core.errors import Unavailable
from tabellion.core.ids import WorkspaceId
from tabellion.core.wake import Bell
from tabellion.events import store
from tabellion.events.types import END, EVERYTHING, START, Cursor, Event, Horizon, Lag, Page, Recorded, Wanted

APPENDED = "events.appended"
"""The topic rung when events were appended."""
AHEAD = 7
"""Days made ahead of time."""
THROUGH = 20_000
"""Events that one listing looks through for those wanted."""


class EventLog:
    """The log in its current era. Open one with `open_log`."""

    def __init__(self, era: int, bell: Bell | None = None) -> None:
        self.era = era
        self._bell = bell

    async def append(self, tx: Tx, events: Sequence[Event]) -> None:
        """Record what happened, in this order, with the transaction that made it so."""
        if not events:
            return
        await store.insert(tx, self.era, events)
        if bell := self._bell:
            tx.after_commit(lambda: bell.ring(APPENDED))


async def open_log(db: Database, bell: Bell | None = None) -> EventLog:
    """The log, in a new era where the database is not the one the last era was written in.

    After a dump and restore the new cluster's transaction ids start low: without a new era, new events would sort
    before old ones and followers would never see them.
    """

    async def open_(tx: Tx) -> int:
        await store.lock_eras(tx)
        era, sound = await store.current_era(tx)
        if not sound:
            era += 1
            await store.open_era(tx, era)
        return era

    log = EventLog(await db.run(open_, limit=60), bell)
    with contextlib.suppress(Unavailable):  # until the next round of housekeeping the default partition takes all
        await db.run(ensure_partitions)
    return log


async def list_events(
    tx: Tx,
    workspace_id: WorkspaceId,
    *,
    after: Cursor = START,
    wanted: Wanted = EVERYTHING,
    limit: int = 50,
    through: int = THROUGH,
) -> Page:
    """The workspace side's events after a cursor, oldest first. A poller that goes on from the page's end misses none.

    Looks through so many events at most: where few are wanted, a page may be short or empty and yet lead on.
    """
    if wanted.recipients is not None and not wanted.recipients:
        return Page([], after)
    if wanted.message_id is not None:
        events = await store.page_of_message(tx, workspace_id, after, wanted, limit)
        return Page(events, events[-1].cursor if events else after, len(events) == limit)
    # The bound first: what lies before it now is all that ever will.
    bound = None if wanted == EVERYTHING else await store.nth_after(tx, workspace_id, after, through)
    events = await store.page(tx, workspace_id, after, bound or END, wanted, limit)
    if bound is not None and len(events) < limit:
        return Page(events, bound, more=True)
    return Page(events, events[-1].cursor if events else after, len(events) == limit)


async def of_message(tx: Tx, workspace_id: WorkspaceId, message_id: UUID) -> list[Recorded]:
    """Everything that happened to a message so far, in order."""
    return await store.of_message(tx, workspace_id, message_id)


async def unlink(
    tx: Tx, workspace_id: WorkspaceId, recipient_ids: Sequence[UUID], after: Cursor, through: int = THROUGH
) -> tuple[Cursor | None, int]:
    """Cut the next events off from people who are erased. Where to go on, None at the end; and how many it were.

    Looks through so many events at most.
    """
    upto = await store.nth_after(tx, workspace_id, after, through)
    return upto, await store.unlink(tx, workspace_id, recipient_ids, after, upto or END)


async def ensure_partitions(tx: Tx, ahead: int = AHEAD) -> None:
    """Make the partitions of today and the days to come that are not there. One maker at a time.

    What was recorded on a day nobody had made lies in the default partition; it moves into its day here.
    """
    await store.lock_eras(tx)
    there = set(await store.partitions(tx))
    for number in range(ahead + 1):
        day = (tx.now + timedelta(days=number)).date()
        if day not in there:
            await store.create_partition(tx, day)


async def lags(tx: Tx) -> list[Lag]:
    """How far each follower is behind. The number is of positions: those of transactions rolled back count as well."""
    newest = await store.last_position(tx)
    behind = []
    for name, place in (await store.places(tx)).items():
        first = await store.next_after(tx, place)
        seconds = max(0.0, (tx.now - first[0]).total_seconds()) if first else 0.0
        behind.append(Lag(name, seconds, max(1, newest - place.cursor.position) if first else 0))
    return behind


async def horizon(tx: Tx) -> Horizon:
    """The oldest open writing transaction of the cluster: whatever it is doing, all followers wait for it.

    Of another role's transactions we see those only that `pg_read_all_stats` lets us see.
    """
    return await store.horizon(tx)


async def counts(tx: Tx) -> dict[str, int]:
    """How many events of each type there have been, as far as the `counts` follower has read."""
    return await store.counts(tx)
