"""Monthly rotation: what lives is wrapped under the current epoch, and the keys of empty epochs are destroyed in time.

In batches, each a transaction of its own. A round that is cut off is finished by the next; two at once do no harm:
only one goes on. No index by epoch: the table `epochs` says which of them may still hold keys, and while one may, the
keys are walked in the order of their primary key.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tabellion.core import rotation_store as store
from tabellion.core.db import Database, Row, Tx
from tabellion.core.epochs import GRACE, end
from tabellion.core.errors import HubError
from tabellion.core.log import Log
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import Vault, subject_context, workspace_context

BATCH: Final = 500
"""Keys of one transaction: 40 ms, and 7 of them on the event loop."""
LONG: Final = 600.0
"""Seconds that a look at all keys may take."""


@dataclass(frozen=True)
class Rotation:
    vault: Vault
    log: Log
    metrics: Metrics

    async def apply(self, db: Database) -> None:
        """One round. Safe beside another, beside erasures, and after one that was cut off."""
        current = await db.run(self.vault.prepare)
        if old := await self._over(db, current):
            await self._wrap_anew(db, old)
            for name in old:
                await self._empty(db, name)
        self.metrics.old_keys.set(await self._left(db, old))
        for name in await db.run(self._due):
            await self._destroy(db, name)

    async def _over(self, db: Database, current: str) -> list[str]:
        """The epochs whose months are over and which may still hold keys.

        One that was destroyed, unknown to a restored database, is noted: its key does not come back.
        """
        now, found = db.clock.now(), []
        for name in await db.run(store.in_use):
            if name == current or end(name) + GRACE > now:
                continue
            if at := self.vault.epochs.destroyed_at(name):
                await db.run(lambda tx, name=name, at=at: store.set_destroyed(tx, name, at))  # type: ignore[misc]
                self.log.error("epoch.found_destroyed", epoch=name, destroyed_at=at)
            else:
                found.append(name)
        return found

    async def _wrap_anew(self, db: Database, old: Sequence[str]) -> None:
        """Walk all keys, and wrap those under old epochs under the current one, whichever that is by then."""
        total, after, going = 0, store.LEAST, True
        while going and after != store.MOST:
            after, done, going = await db.run(lambda tx, after=after: self._people(tx, old, after))  # type: ignore[misc]
            total += done
        done = BATCH
        while going and done:
            done, going = await db.run(lambda tx: self._sides(tx, old))
            total += done
        if total:
            self.log.info("keys.rewrapped", keys=total, epochs=old)

    async def _people(self, tx: Tx, old: Sequence[str], after: store.Place) -> tuple[store.Place, int, bool]:
        """The next place to go on from, how many were wrapped anew, and whether to go on: nobody else does it."""
        if not await store.alone(tx):
            return after, 0, False
        current, upto = await self.vault.current(tx), await store.boundary(tx, after, BATCH)
        places = await store.lock_people(tx, old, after, upto)
        rows = [
            (row["workspace_id"], row["subject_id"], wrapped)
            for row in await store.read_people(tx, places)
            if (wrapped := await self._again(row, current, subject_context(row["workspace_id"], row["subject_id"])))
        ]
        await store.write_people(tx, current, rows)
        return upto, len(rows), True

    async def _sides(self, tx: Tx, old: Sequence[str]) -> tuple[int, bool]:
        if not await store.alone(tx):
            return 0, False
        current, places = await self.vault.current(tx), await store.lock_sides(tx, old, BATCH)
        rows = [
            (row["workspace_id"], row["use"], wrapped)
            for row in await store.read_sides(tx, places)
            if (wrapped := await self._again(row, current, workspace_context(row["workspace_id"], row["use"])))
        ]
        await store.write_sides(tx, current, rows)
        return len(rows), True

    async def _again(self, row: Row, current: str, context: str) -> bytes | None:
        """A key wrapped under the current epoch; None for one that does not open, which stays as it is."""
        under, anew = await self.vault.epochs.open(row["epoch"]), await self.vault.epochs.open(current)
        try:
            return anew.seal(under.open(row["wrapped"], context), context)
        except HubError as error:
            self.log.error("key.unreadable", error=error, workspace_id=row["workspace_id"], epoch=row["epoch"])
            return None

    async def _empty(self, db: Database, name: str) -> None:
        """Note since when an epoch holds nothing that lives."""

        async def work(tx: Tx) -> bool:
            return not await store.lives(tx, name) and await store.set_emptied(tx, name)

        if await db.run(work, limit=LONG):
            self.log.info("epoch.emptied", epoch=name, destroyed_after=db.clock.now() + self.vault.window)

    async def _destroy(self, db: Database, name: str) -> None:
        """Destroy an epoch's key, unless something lives under it after all: that is wrapped anew, and waited for."""

        async def work(tx: Tx) -> bool | None:
            if not await store.alone(tx) or name not in await self._due(tx):
                return None
            if await store.lives(tx, name):
                await store.set_living(tx, name)
                return False
            await asyncio.to_thread(self.vault.epochs.destroy, name, tx.now)
            await store.set_destroyed(tx, name, tx.now)
            return True

        done = await db.run(work, limit=LONG)
        if done:
            self.log.info("epoch.destroyed", epoch=name)
        elif done is False:
            self.log.error("epoch.not_empty", epoch=name)

    async def _due(self, tx: Tx) -> list[str]:
        """The epochs whose time has come. One whose month is not over by this clock is none of them, ever."""
        empty = await store.empty_since(tx, tx.now - self.vault.window)
        return [name for name in empty if end(name) + GRACE <= tx.now]

    async def _left(self, db: Database, old: Sequence[str]) -> int:
        """How many living keys are under these epochs."""
        if not old:
            return 0
        return sum(one.keys for one in await db.run(store.survey, limit=LONG) if one.name in old)
