"""Rounds of retention: what is too old by its side's policy ends, in batches of their own transactions.

Any number at once do no harm, and one that is cut off is finished by the next. What a legal hold protects stays.
"""

from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar
from uuid import UUID

from msgspec.structs import asdict

from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError, Unavailable
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import Log
from tabellion.events import keeping
from tabellion.events.service import EventLog
from tabellion.events.types import START, Cursor, Event, Old
from tabellion.messages.service import Messages
from tabellion.privacy import store
from tabellion.privacy.days import Days, leading
from tabellion.privacy.idle import Idle
from tabellion.privacy.legal_holds import LegalHolds
from tabellion.privacy.proofs import Proofs
from tabellion.privacy.regulations import Regulations
from tabellion.privacy.service import Retention
from tabellion.privacy.types import Applied, Policy
from tabellion.webhooks.service import Webhooks

T = TypeVar("T")

BATCH: Final = 1_000
"""Rows of one transaction."""
SIDES: Final = 500
ORDERS: Final = 500
"""Erasures of idle recipients that may be open at once on a side: ledger and journal take other entries as well."""
PAGES: Final = 100
"""Pages of recipients that one round looks through on a side; the next goes on behind them."""


@dataclass(frozen=True)
class Rounds:
    retention: Retention
    messages: Messages
    webhooks: Webhooks
    holds: LegalHolds
    idle: Idle
    regulations: Regulations
    proofs: Proofs
    days: Days
    events: EventLog
    log: Log

    async def apply(self, db: Database) -> Applied:
        """One round over all sides; what it ended in all."""
        await self._say_who_holds_back(db)
        proofs = await self._unless_refused(self.proofs.expire(db), Counter[UUID](), of="proofs")
        events = await self._unless_refused(self.days.drop_old(db), Counter[UUID](), of="days")
        total, after = Applied(), None
        while sides := await db.run(lambda tx, after=after: store.sides(tx, after, SIDES)):  # type: ignore[misc]
            for side in sides:
                begun = Applied(events=events[side], proofs=proofs[side])
                doing = self.apply_to(db, WorkspaceId(side), begun)
                total += await self._unless_refused(doing, begun, workspace_id=side)
            after = sides[-1]
        await self.days.drop_empty(db)
        return total

    async def apply_to(self, db: Database, side: WorkspaceId, begun: Applied = Applied()) -> Applied:  # noqa: B008
        """One round on one side, of which this much was done already; where it ended anything, the log says so."""
        policy, at = await db.run(lambda tx: self.retention.policy(tx, side)), db.clock.now()
        done = begun + Applied(
            callbacks=await self._callbacks(db, side, policy),
            contents=await self._contents(db, side, policy),
            events=await self._events(db, side, policy),
            recipients=await self._recipients(db, side, policy),
        )

        async def tell(tx: Tx) -> None:
            await store.set_last_round(tx, side, at, done)
            if done != Applied():
                await self.events.append(tx, [Event(side, "retention.applied", asdict(done))])

        await db.run(tell)
        return done

    async def _unless_refused(self, doing: Awaitable[T], otherwise: T, **about: object) -> T:
        """What comes of a part of the round. One that fails keeps no other from its end; the next round tries again.

        Raises `Unavailable`: without a database all would fail.
        """
        try:
            return await doing
        except Unavailable:
            raise
        except HubError as error:
            self.log.warning("retention_failed", error=error, **about)
            return otherwise

    async def _say_who_holds_back(self, db: Database) -> None:
        """Name the follower that has not read what would end by now; its lag is measured as well."""
        slowest = await db.run(keeping.slowest)
        shortest, _ = await db.run(lambda tx: store.span(tx, Policy().events))
        if slowest is None or slowest.unread_since is None or shortest is None:
            return
        if slowest.unread_since < db.clock.now() - timedelta(days=shortest):
            self.log.warning("retention_held_back", by=slowest.name, since=slowest.unread_since)

    async def _callbacks(self, db: Database, side: WorkspaceId, policy: Policy) -> int:
        if policy.callbacks is None:
            return 0
        before, total, gone = _before(db, policy.callbacks), 0, BATCH

        async def forget(tx: Tx) -> int:
            return await self.webhooks.forget(tx, side, before, BATCH, await self.holds.held(tx, side))

        while gone == BATCH:
            gone = await db.run(forget)
            total += gone
        return total

    # Contents

    async def _contents(self, db: Database, side: WorkspaceId, policy: Policy) -> int:
        """Empty page after page. The mark stops before the first message that stays; the round goes on."""
        if policy.content is None:
            return 0
        before, total = _before(db, policy.content), 0
        cursor, open_, full = await db.run(lambda tx: store.mark(tx, side)), False, True
        while full:
            page, emptied = await db.run(
                lambda tx, cursor=cursor, open_=open_: self._empty(tx, side, cursor, before, open_)  # type: ignore[misc]
            )
            total, full = total + emptied, len(page) == BATCH
            cursor = page[-1][0] if page else cursor
            open_ = open_ or not all(final for _, final in page)
        return total

    async def _empty(
        self, tx: Tx, side: WorkspaceId, cursor: UUID | None, before: UUID, open_: bool
    ) -> tuple[list[tuple[UUID, bool]], int]:
        held = await self.holds.held(tx, side)
        page, emptied = await self.messages.empty(tx, side, cursor, before, BATCH, held)
        done = leading(page) if not open_ else []
        if done:
            await store.set_mark(tx, side, done[-1])
        return page, emptied

    # Events

    async def _events(self, db: Database, side: WorkspaceId, policy: Policy) -> int:
        """End page after page what every follower has read."""
        slowest = await db.run(keeping.slowest) if policy.events is not None else None
        if policy.events is None or slowest is None:
            return 0
        before, upto, total, after = db.clock.now() - timedelta(days=policy.events), slowest.cursor, 0, START

        async def end(tx: Tx, after: Cursor) -> tuple[list[Old], int]:
            page = await keeping.old(tx, side, after, upto, before, BATCH)
            return page, await keeping.end(tx, side, after, page, before, await self._spared(tx, side, page))

        while True:
            page, gone = await db.run(lambda tx, after=after: end(tx, after))  # type: ignore[misc]
            total += gone
            if len(page) < BATCH:
                return total
            after = page[-1].cursor

    async def _spared(self, tx: Tx, side: WorkspaceId, page: Sequence[Old]) -> list[Old]:
        """Of a page of old events those about people under a legal hold, and about messages that are not final."""
        held = set(await self.holds.held(tx, side))
        about = sorted({one.message_id for one in page if one.message_id})
        open_ = await self.messages.unfinished(tx, side, about) if about else set()
        return [one for one in page if one.recipient_id in held or one.message_id in open_]

    # Recipients

    async def _recipients(self, db: Database, side: WorkspaceId, policy: Policy) -> int:
        """Order the erasure of idle recipients, from where the last round stopped; at the end it begins anew."""
        if policy.recipients is None:
            return 0
        room = await db.run(lambda tx: self.regulations.room_to_retire(tx, side, ORDERS))
        after, total = await db.run(lambda tx: store.recipients_to(tx, side)), 0
        for _ in range(PAGES):
            if total >= room:
                break
            found, further = await db.run(lambda tx, after=after: self.idle.page(tx, side, after))  # type: ignore[misc]
            chosen = found[: room - total]
            total += await self._retire(db, side, chosen)
            after = chosen[-1] if len(chosen) < len(found) else further
            await db.run(lambda tx, after=after: store.set_recipients_to(tx, side, after))  # type: ignore[misc]
            if after is None:
                break
        return total

    async def _retire(self, db: Database, side: WorkspaceId, chosen: Sequence[UUID]) -> int:
        """Each in a transaction of its own: it locks the person. One that cannot be read is left for the next walk."""
        ordered = 0
        for one in chosen:
            doing = db.run(lambda tx, one=one: self.regulations.retire(tx, side, one))  # type: ignore[misc]
            ordered += (
                await self._unless_refused(doing, None, workspace_id=side, recipient=ids.show("rcp", one)) is not None
            )
        return ordered


def _before(db: Database, days: int) -> UUID:
    return ids.floor(db.clock.now() - timedelta(days=days))
