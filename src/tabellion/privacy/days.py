"""Days of the event log that end whole: those nobody keeps anything of, and those that hold nothing any more."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from tabellion.core import ids
from tabellion.core.db import WRITE_LIMIT, Database, Tx
from tabellion.core.errors import Overloaded, Unavailable
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import Log
from tabellion.events import keeping
from tabellion.events.store import SLACK
from tabellion.messages.service import Messages
from tabellion.privacy import store
from tabellion.privacy.legal_holds import LegalHolds
from tabellion.privacy.types import Policy

T = TypeVar("T")

BATCH: Final = 1_000
SIDES: Final = 500
LONG: Final = 600.0
"""Seconds that it may take to count the events of a day."""


@dataclass(frozen=True)
class Days:
    messages: Messages
    holds: LegalHolds
    log: Log

    async def drop_old(self, db: Database) -> Counter[UUID]:
        """Drop the days that no side's policy keeps any more; how many events of each side that ended.

        A day stays, and ends by the side, while a legal hold stands anywhere, or a message of then is not final.
        """
        gone: Counter[UUID] = Counter()
        _, longest = await db.run(lambda tx: store.span(tx, Policy().events))
        if longest is None or await db.run(self.holds.anywhere):
            return gone
        read = await db.run(lambda tx: keeping.read_days(tx, tx.now - timedelta(days=longest)))
        for day in await self._final(db, read):
            counted = await self._tried(db, day, keeping.count, LONG)
            if counted is not None and await self._tried(db, day, self._drop):
                gone.update(counted)
        return gone

    async def drop_empty(self, db: Database) -> int:
        """Drop the days that hold nothing any more; how many."""
        shortest, _ = await db.run(lambda tx: store.span(tx, Policy().events))
        if shortest is None:
            return 0
        old = await db.run(lambda tx: keeping.days(tx, tx.now - timedelta(days=shortest)))
        return sum([bool(await self._tried(db, day, keeping.drop_empty)) for day in old])

    async def _drop(self, tx: Tx, day: date) -> bool:
        return not await self.holds.anywhere(tx) and await keeping.drop(tx, day)

    async def _final(self, db: Database, days: Sequence[date]) -> list[date]:
        """Those of the days, oldest first, before whose end no message began that is not final."""
        if not days:
            return []
        bound, after = ids.floor(_settled(days[-1])), None
        while sides := await db.run(lambda tx, after=after: store.sides(tx, after, SIDES)):  # type: ignore[misc]
            for side in sides:
                bound = min(bound, await self._first_open(db, WorkspaceId(side), bound))
            after = sides[-1]
        return [day for day in days if ids.floor(_settled(day)) <= bound]

    async def _first_open(self, db: Database, side: WorkspaceId, before: UUID) -> UUID:
        """The first message of a side before an id that is not final; that id where there is none.

        How far all are final is noted, so each message is looked at once in its life.
        """
        while True:
            page = await db.run(lambda tx: self._page(tx, side, before))
            first = next((one for one, final in page if not final), None)
            if first is not None or len(page) < BATCH:
                return first or before

    async def _page(self, tx: Tx, side: WorkspaceId, before: UUID) -> list[tuple[UUID, bool]]:
        page = await self.messages.finals(tx, side, await store.finals_to(tx, side), before, BATCH)
        if done := leading(page):
            await store.set_finals_to(tx, side, done[-1])
        return page

    async def _tried(
        self, db: Database, day: date, doing: Callable[[Tx, date], Awaitable[T]], limit: float = WRITE_LIMIT
    ) -> T | None:
        """What came of it; None where the day is being read, or takes too long: then it goes with a later round."""
        try:
            return await db.run(lambda tx: doing(tx, day), limit)
        except (Unavailable, Overloaded) as error:
            self.log.warning("retention_waits", day=day, error=error)
            return None


def leading(page: Sequence[tuple[UUID, bool]]) -> list[UUID]:
    """The ids before the first message that is not final."""
    first = next((place for place, (_, final) in enumerate(page) if not final), len(page))
    return [one for one, _ in page[:first]]


def _settled(day: date) -> datetime:
    """When no clock was in the day any more: a message that an event of it is about began before."""
    return keeping.end_of(day) + SLACK
