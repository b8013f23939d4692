"""What the hub itself states in the ledger: entries that follow from others, as many at once as it takes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from tabellion.consent import record as records
from tabellion.consent.batch import Batch
from tabellion.consent.recording import LOG, Recorder
from tabellion.consent.types import Incoming, NewDecision, Outcome, Placed, Purposes, Standing
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId

MOST: Final = 256
"""Entries that the ledger takes at once."""


Said = TypeVar("Said")


@dataclass(frozen=True, slots=True)
class Stated:
    """One entry, decided already: what it says, of whom, what it does, and since when."""

    new: NewDecision
    placed: Placed
    outcome: Outcome
    effective_at: datetime


async def state(
    recorder: Recorder,
    tx: Tx,
    workspace_id: WorkspaceId,
    purposes: Purposes,
    standing: Sequence[Standing],
    said: Sequence[Said],
    entries: Callable[[Sequence[Said]], Iterable[Stated]],
) -> list[UUID]:
    """Record statements in order; `entries` makes those of one batch. The ids of what was recorded."""
    made: list[UUID] = []
    log = await recorder.ledger.origin(tx, workspace_id, LOG) if said else ""
    for first in range(0, len(said), MOST):
        batch = Batch(purposes, tx.now, standing)
        made += [_write(batch, one, log, tx.now) for one in entries(said[first : first + MOST])]
        await recorder.state(tx, workspace_id, purposes, batch, log)
    return made


def _write(batch: Batch, one: Stated, log: str, now: datetime) -> UUID:
    entry_id, new, scope = ids.new(), one.new, one.placed.scope
    incoming = Incoming(
        scope, new.decision, new.basis, new.method, one.outcome.rank, one.effective_at, expires_at=new.expires_at
    )
    record = records.committed(entry_id, log, one.placed, new, one.outcome, one.effective_at, now)
    batch.write(entry_id, new, incoming, one.placed, one.outcome, record)
    return entry_id
