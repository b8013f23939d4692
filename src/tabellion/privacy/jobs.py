"""`regulation.execute`: carries an erasure on, batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Begun, Claimed, Dead, Done, Lane, Later, NewJob, Ruling
from tabellion.privacy import regulation_store as store
from tabellion.privacy.erasure import Erasure
from tabellion.privacy.orders import State
from tabellion.recipients.service import Recipients

EXECUTE: Final = "regulation.execute"
MOST: Final = 10
"""Orders that one transaction carries on."""
AGAIN: Final = timedelta(hours=1)
"""After which an order whose job gave up is tried anew."""
SOON: Final = timedelta(milliseconds=50)


@dataclass(frozen=True)
class Execute:
    erasure: Erasure
    recipients: Recipients
    name: str = EXECUTE
    max_tries: int = 50

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        """One batch of each order. The people of all of them are locked first, in the order of their ids."""
        turn = {job.id for job in sorted(jobs, key=lambda one: one.id)[:MOST]}
        orders = {
            job.id: await store.read(tx, job.workspace_id, UUID(job.payload["regulation"]))
            for job in jobs
            if job.id in turn
        }
        people = {(one.workspace_id, one.recipient_id) for one in orders.values() if one}
        await self.recipients.lock(tx, people, skip_locked=False)
        return [await self._carry_on(tx, job) if job.id in turn else _soon(tx) for job in jobs]

    async def _carry_on(self, tx: Tx, job: Claimed) -> Begun:
        order = await store.lock(tx, WorkspaceId(job.workspace_id), UUID(job.payload["regulation"]))
        if order is None or order.state not in (State.SCHEDULED, State.RUNNING):
            return Done()
        if order.execute_at > tx.now:
            return Later(order.execute_at, counted=False)
        _, wait = await self.erasure.go_on(tx, order)
        return Done() if wait is None else Later(tx.now + wait, counted=False)

    async def perform(self, work: None) -> None:
        raise AssertionError("an order has nothing to perform outside the database")

    async def finish(self, tx: Tx, results: Sequence[tuple[Claimed, None, bool]]) -> Sequence[Ruling]:
        return [Dead("an order has nothing to finish") for _ in results]

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        return None

    async def died(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        """Tried anew, for nobody else could carry the order on: its dead letter says what failed."""
        at = tx.now + AGAIN
        again = [NewJob(WorkspaceId(job.workspace_id), EXECUTE, job.payload, Lane.NORMAL, at) for job in jobs]
        await enqueue(tx, again)


def _soon(tx: Tx) -> Later:
    return Later(tx.now + SOON, counted=False)
