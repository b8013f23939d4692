"""Monthly rotation: what lives is wrapped under the current epoch, and the keys of empty epochs are destroyed in time.

In batches, each a transaction of its own. A round that is cut off is finished by the next; two at once do no harm:
only one goes on. No index by epoch: the table `epochs` says which of them may still hold keys, and while one may, the
keys are walked in the order of their primary key.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from tabellion.core.db import Database, Row, Tx, columns
from tabellion.core.epochs import GRACE, end
from tabellion.core.errors import HubError
from tabellion.core.log import Log
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import Vault, subject_context, workspace_context

BATCH: Final = 500
"""Keys of one transaction: 40 ms, and 7 of them on the event loop."""
LONG: Final = 600.0
"""Seconds that a look at all keys may take."""
_LOCK: Final = 0x6570_6F63_6873
"""The advisory lock that a rotating transaction holds."""
_LEAST, _MOST = (UUID(int=0),) * 2, (UUID(int=2**128 - 1),) * 2

Place = tuple[UUID, UUID]
"""Workspace side and person: where in the primary key of `subject_keys`."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One epoch: how many living keys are wrapped under it, since when none is, and when its key was destroyed."""

    name: str
    keys: int
    emptied_at: datetime | None
    destroyed_at: datetime | None


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
        for name in await db.run(lambda tx: _due(tx, tx.now - self.vault.window)):
            await self._destroy(db, name)

    async def _over(self, db: Database, current: str) -> list[str]:
        """The epochs whose months are over and which may still hold keys. Those that a restored database does not
        know to be destroyed are noted: their keys are not coming back.
        """
        now, found = db.clock.now(), []
        for name in await db.run(_open):
            if name == current or end(name) + GRACE > now:
                continue
            if at := self.vault.epochs.destroyed_at(name):
                await db.run(lambda tx, name=name, at=at: _set_destroyed(tx, name, at))  # type: ignore[misc]
                self.log.error("epoch.found_destroyed", epoch=name, destroyed_at=at)
            else:
                found.append(name)
        return found

    async def _wrap_anew(self, db: Database, old: Sequence[str]) -> None:
        """Walk all keys, and wrap those under old epochs under the current one, whichever that is by then."""
        total, after, going = 0, _LEAST, True
        while going and after != _MOST:
            after, done, going = await db.run(lambda tx, after=after: self._people(tx, old, after))  # type: ignore[misc]
            total += done
        done = BATCH
        while going and done:
            done, going = await db.run(lambda tx: self._sides(tx, old))
            total += done
        if total:
            self.log.info("keys.rewrapped", keys=total, epochs=old)

    async def _people(self, tx: Tx, old: Sequence[str], after: Place) -> tuple[Place, int, bool]:
        """The next place to go on from, how many were wrapped anew, and whether to go on: nobody else does it."""
        if not await _alone(tx):
            return after, 0, False
        current, upto = await self.vault.current(tx), await _boundary(tx, after, BATCH)
        places = await _lock_people(tx, old, after, upto)
        rows = [
            (row["workspace_id"], row["subject_id"], wrapped)
            for row in await _read_people(tx, places)
            if (wrapped := await self._again(row, current, subject_context(row["workspace_id"], row["subject_id"])))
        ]
        await _write_people(tx, current, rows)
        return upto, len(rows), True

    async def _sides(self, tx: Tx, old: Sequence[str]) -> tuple[int, bool]:
        if not await _alone(tx):
            return 0, False
        current, places = await self.vault.current(tx), await _lock_sides(tx, old, BATCH)
        rows = [
            (row["workspace_id"], row["use"], wrapped)
            for row in await _read_sides(tx, places)
            if (wrapped := await self._again(row, current, workspace_context(row["workspace_id"], row["use"])))
        ]
        await _write_sides(tx, current, rows)
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
            return not await _lives(tx, name) and await _set_emptied(tx, name)

        if await db.run(work, limit=LONG):
            self.log.info("epoch.emptied", epoch=name, destroyed_after=db.clock.now() + self.vault.window)

    async def _destroy(self, db: Database, name: str) -> None:
        """Destroy an epoch's key, unless something lives under it after all: that is wrapped anew, and waited for."""

        async def work(tx: Tx) -> bool | None:
            if not await _alone(tx) or end(name) + GRACE > tx.now:
                return None
            if await _lives(tx, name):
                await _set_living(tx, name)
                return False
            await asyncio.to_thread(self.vault.epochs.destroy, name, tx.now)
            await _set_destroyed(tx, name, tx.now)
            return True

        done = await db.run(work, limit=LONG)
        if done:
            self.log.info("epoch.destroyed", epoch=name)
        elif done is False:
            self.log.error("epoch.not_empty", epoch=name)

    async def _left(self, db: Database, old: Sequence[str]) -> int:
        """How many living keys are under these epochs."""
        if not old:
            return 0
        return sum(one.keys for one in await db.run(survey, limit=LONG) if one.name in old)


async def survey(tx: Tx) -> list[Standing]:
    """Every epoch that there was or that a living key names, oldest first. Looks at all keys."""
    rows = await tx.rows(
        """
        with living as (
            select epoch, count(*) as keys
              from (select epoch from subject_keys where wrapped is not null
                    union all
                    select epoch from workspace_keys) as every
             group by epoch
        )
        select coalesce(name, epoch) as name, coalesce(keys, 0) as keys, emptied_at, destroyed_at
          from epochs
          full join living on epoch = name
         order by made_at nulls first, name
        """
    )
    return [Standing(row["name"], row["keys"], row["emptied_at"], row["destroyed_at"]) for row in rows]


async def _alone(tx: Tx) -> bool:
    """Whether no other process rotates now; if so, none does until this transaction ends."""
    taken: bool = await tx.value("select pg_try_advisory_xact_lock($1)", _LOCK)
    return taken


async def _open(tx: Tx) -> list[str]:
    """The epochs that keys may be wrapped under."""
    rows = await tx.rows("select name from epochs where emptied_at is null and destroyed_at is null order by name")
    return [row["name"] for row in rows]


async def _due(tx: Tx, before: datetime) -> list[str]:
    """The epochs that have been empty for so long."""
    rows = await tx.rows(
        "select name from epochs where emptied_at <= $1 and destroyed_at is null order by emptied_at, name", before
    )
    return [row["name"] for row in rows]


async def _lives(tx: Tx, name: str) -> bool:
    """Whether a living key is wrapped under an epoch. Looks at all keys where none is."""
    found: bool = await tx.value(
        """
        select exists (select from subject_keys where epoch = $1 and wrapped is not null)
            or exists (select from workspace_keys where epoch = $1)
        """,
        name,
    )
    return found


async def _set_emptied(tx: Tx, name: str) -> bool:
    """Whether that was news."""
    done = await tx.execute("update epochs set emptied_at = $2 where name = $1 and emptied_at is null", name, tx.now)
    return done == "UPDATE 1"


async def _set_living(tx: Tx, name: str) -> None:
    await tx.execute("update epochs set emptied_at = null where name = $1", name)


async def _set_destroyed(tx: Tx, name: str, at: datetime) -> None:
    await tx.execute("update epochs set destroyed_at = $2 where name = $1", name, at)


async def _boundary(tx: Tx, after: Place, most: int) -> Place:
    """The place of the last of the next `most` people; the end of all, where there are fewer."""
    row = await tx.row(
        """
        select workspace_id, subject_id
          from subject_keys
         where (workspace_id, subject_id) > ($1, $2)
         order by workspace_id, subject_id
        offset $3 - 1
         limit 1
        """,
        *after, most,
    )  # fmt: skip
    return (row["workspace_id"], row["subject_id"]) if row else _MOST


async def _lock_people(tx: Tx, old: Sequence[str], after: Place, upto: Place) -> list[Place]:
    """Those within these places whose living key is under an old epoch, locked; but who is being erased is left."""
    rows = await tx.rows(
        """
        select workspace_id, subject_id
          from subject_keys
         where (workspace_id, subject_id) > ($1, $2) and (workspace_id, subject_id) <= ($3, $4)
           and epoch = any($5::text[]) and wrapped is not null
           for no key update skip locked
        """,
        *after, *upto, old,
    )  # fmt: skip
    return [(row["workspace_id"], row["subject_id"]) for row in rows]


async def _read_people(tx: Tx, places: Sequence[Place]) -> list[Row]:
    return await tx.rows(
        """
        select workspace_id, subject_id, epoch, wrapped
          from unnest($1::uuid[], $2::uuid[]) as place (workspace_id, subject_id)
          join subject_keys using (workspace_id, subject_id)
        """,
        *columns(places, 2),
    )


async def _write_people(tx: Tx, epoch: str, rows: Sequence[tuple[UUID, UUID, bytes]]) -> None:
    await tx.execute(
        """
        update subject_keys as held
           set epoch = $4, wrapped = anew.wrapped
          from unnest($1::uuid[], $2::uuid[], $3::bytea[]) as anew (workspace_id, subject_id, wrapped)
         where held.workspace_id = anew.workspace_id and held.subject_id = anew.subject_id
           and held.wrapped is not null
        """,
        *columns(rows, 3), epoch,
    )  # fmt: skip


async def _lock_sides(tx: Tx, old: Sequence[str], most: int) -> list[tuple[UUID, str]]:
    rows = await tx.rows(
        """
        select workspace_id, use
          from workspace_keys
         where epoch = any($1::text[])
         limit $2
           for no key update skip locked
        """,
        old, most,
    )  # fmt: skip
    return [(row["workspace_id"], row["use"]) for row in rows]


async def _read_sides(tx: Tx, places: Sequence[tuple[UUID, str]]) -> list[Row]:
    return await tx.rows(
        """
        select workspace_id, use, epoch, wrapped
          from unnest($1::uuid[], $2::text[]) as place (workspace_id, use)
          join workspace_keys using (workspace_id, use)
        """,
        *columns(places, 2),
    )


async def _write_sides(tx: Tx, epoch: str, rows: Sequence[tuple[UUID, str, bytes]]) -> None:
    await tx.execute(
        """
        update workspace_keys as held
           set epoch = $4, wrapped = anew.wrapped
          from unnest($1::uuid[], $2::text[], $3::bytea[]) as anew (workspace_id, use, wrapped)
         where held.workspace_id = anew.workspace_id and held.use = anew.use
        """,
        *columns(rows, 3), epoch,
    )  # fmt: skip
