"""Erasing once more whom a restored database holds again; before that is done, the hub does not serve."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.epochs import EPOCH_DESTROYED
from tabellion.core.errors import HubError, Misconfigured
from tabellion.core.ids import WorkspaceId
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Lane, NewJob
from tabellion.ledger.types import Forked
from tabellion.privacy import regulation_store as store
from tabellion.privacy.erasure import BATCH, SETTLE, Erasure, journaled
from tabellion.privacy.jobs import EXECUTE
from tabellion.privacy.journal import Erased
from tabellion.privacy.orders import OPEN, Options, Progress, Regulation, State, Step, Type
from tabellion.recipients.erasing import Person

PAGE: Final = 500


@dataclass(frozen=True)
class Replay:
    erasure: Erasure

    async def run(self, db: Database) -> tuple[int, int]:
        """Bring journal and database together: how many erasures were done once more, and how many written again.

        Raises `Misconfigured` where a log of the ledger was rolled back too, and takes no entries until the operator
        starts its successor.
        """
        journal = await self.erasure.journal.read()
        again = 0
        for one in journal:
            again += await self._once_more(db, one)
        return again, await self._write_again(db, {one.regulation_id for one in journal})

    async def _once_more(self, db: Database, erased: Erased) -> bool:
        try:
            return await db.run(lambda tx: self._redo(tx, erased))
        except Forked as forked:
            raise Misconfigured(
                "erasures_not_replayed",
                f"{ids.show('reg', erased.regulation_id)} erased somebody whom this database holds again, and the"
                f" ledger takes no entry about it: {forked.detail} The hub does not serve before that",
            ) from None

    async def _redo(self, tx: Tx, erased: Erased) -> bool:
        """Erase those of the journal's people who are here; whether anybody was."""
        side = WorkspaceId(erased.workspace_id)
        people = await self._people(tx, side, erased)
        if not people:
            return False
        standing = await store.lock(tx, side, erased.regulation_id)
        if standing is not None and await self._left_alone(tx, side, standing, people):
            return False
        order = self._order(erased, people, tx.now)
        await store.insert(tx, order)
        for person in people:
            while await self.erasure.messages.cancel(tx, side, person.ids, BATCH) == BATCH:
                pass
            order = await self.erasure.destroy(tx, order, person, erased.hashes)
        await store.write(tx, order)
        await enqueue(tx, [NewJob(side, EXECUTE, {"regulation": order.id.hex}, Lane.NORMAL, tx.now + SETTLE)])
        return True

    async def _people(self, tx: Tx, side: WorkspaceId, erased: Erased) -> list[Person]:
        """Those of the journal's people who are here, locked: one that was merged since may be several again."""
        here = await self.erasure.recipients.unerased(tx, side, erased.recipient_ids)
        found = [await self._held(tx, side, one) for one in here]
        return list({one.root: one for one in found if one is not None}.values())

    async def _left_alone(self, tx: Tx, side: WorkspaceId, standing: Regulation, people: Sequence[Person]) -> bool:
        """Whether it was written down, not committed, and then taken back, or waits for the end of a legal hold."""
        if standing.state is State.CANCELLED:
            return True
        everyone = [one for person in people for one in person.ids]
        return standing.state in OPEN and await self.erasure.holds.stand(tx, side, everyone)

    async def _held(self, tx: Tx, side: WorkspaceId, recipient_id: UUID) -> Person | None:
        """The person, locked. Of one from a backup so old that nobody can read it any more, the ids alone."""
        try:
            return await self.erasure.recipients.held(tx, side, recipient_id)
        except HubError as error:
            if error.code != EPOCH_DESTROYED:
                raise
            return await self.erasure.recipients.unread(tx, side, recipient_id)

    def _order(self, erased: Erased, people: Sequence[Person], now: datetime) -> Regulation:
        """The order as the restored database has it, or made again, at the point where the tidying begins."""
        first, everyone = erased.recipient_ids[0], {one for person in people for one in person.ids}
        return Regulation(
            workspace_id=erased.workspace_id,
            id=erased.regulation_id,
            type=Type.ERASE,
            state=State.RUNNING,
            recipient_id=first,
            recipient_ids=sorted({*erased.recipient_ids, *everyone}, key=lambda one: one != first),
            requested_by=erased.requested_by,
            verified_by=erased.verified_by,
            options=Options(keep_opt_outs=bool(erased.hashes)),
            created_at=erased.created_at,
            execute_at=erased.erased_at,
            due_at=erased.created_at,
            approved_by=erased.approved_by,
            approved_at=erased.approved_at,
            erased_at=erased.erased_at,
            backups_expire_at=self.erasure.vault.backups_expire_at(now),
            progress=Progress(Step.MESSAGES),
        )

    async def _write_again(self, db: Database, known: set[object]) -> int:
        """Write into the journal what the database knows and the journal lost."""
        total, after = 0, None
        while page := await db.run(lambda tx, after=after: store.erased(tx, after, PAGE)):  # type: ignore[misc]
            lost = [one for one in page if one.id not in known]
            entries = [await db.run(lambda tx, one=one: self._journaled(tx, one)) for one in lost]  # type: ignore[misc]
            await self._append(entries)
            total, after = total + len(lost), (page[-1].workspace_id, page[-1].id)
        return total

    async def _journaled(self, tx: Tx, order: Regulation) -> Erased:
        hashes = await self.erasure.recipients.kept(tx, WorkspaceId(order.workspace_id), order.id)
        return journaled(order, hashes)

    async def _append(self, entries: Sequence[Erased]) -> None:
        if entries:
            await self.erasure.journal.append(entries)
