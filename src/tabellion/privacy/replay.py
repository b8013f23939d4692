"""Erasing once more whom a restored database holds again; before that is done, the hub does not serve."""

from collections.abc import Sequence
from dataclasses import dataclass
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
from tabellion.privacy.erasure import SETTLE, Erasure, journaled
from tabellion.privacy.jobs import EXECUTE
from tabellion.privacy.journal import Erased
from tabellion.privacy.orders import Options, Progress, Regulation, State, Step, Type
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
        standing = await store.lock(tx, side, erased.regulation_id)
        if standing is not None and standing.state is State.CANCELLED:
            return False  # written down, not committed, and then taken back
        people = await self.erasure.recipients.unerased(tx, side, erased.recipient_ids)
        if not people:
            return False
        for one in people:
            person = await self._held(tx, side, one)
            if person is not None:
                await self._redo_of(tx, erased, person)
        return True

    async def _redo_of(self, tx: Tx, erased: Erased, person: Person) -> None:
        order = await self._order(tx, erased, person)
        await self.erasure.destroy(tx, order, person, erased.hashes)
        job = NewJob(WorkspaceId(order.workspace_id), EXECUTE, {"regulation": order.id.hex}, Lane.NORMAL)
        await enqueue(tx, [NewJob(job.workspace_id, job.kind, job.payload, job.lane, tx.now + SETTLE)])

    async def _held(self, tx: Tx, side: WorkspaceId, recipient_id: UUID) -> Person | None:
        """The person, locked. Of one from a backup so old that nobody can read it any more, the ids alone."""
        try:
            return await self.erasure.recipients.held(tx, side, recipient_id)
        except HubError as error:
            if error.code != EPOCH_DESTROYED:
                raise
            return await self.erasure.recipients.unread(tx, side, recipient_id)

    async def _order(self, tx: Tx, erased: Erased, person: Person) -> Regulation:
        """The order as the restored database has it, or made again, at the point where the tidying begins."""
        told = Regulation(
            workspace_id=erased.workspace_id,
            id=erased.regulation_id,
            type=Type.ERASE,
            state=State.RUNNING,
            recipient_id=erased.recipient_ids[0],
            recipient_ids=sorted({*erased.recipient_ids, *person.ids}, key=lambda one: one != erased.recipient_ids[0]),
            requested_by=erased.requested_by,
            verified_by=erased.verified_by,
            options=Options(keep_opt_outs=bool(erased.hashes)),
            created_at=erased.created_at,
            execute_at=erased.erased_at,
            due_at=erased.created_at,
            erased_at=erased.erased_at,
            backups_expire_at=self.erasure.vault.backups_expire_at(tx.now),
            progress=Progress(Step.MESSAGES),
        )
        await store.insert(tx, told)
        await store.write(tx, told)
        return told

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
