"""What other domains call: enqueue, inside their own transaction; and what operators read."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.wake import Bell
from tabellion.jobs import store
from tabellion.jobs.types import DeadLetter, Lane, NewJob

DELAYED = "jobs.delayed"
"""The topic rung when a job was put off, so that the ticker looks at its time."""


def topic(lane: Lane) -> str:
    """The topic rung when the lane has new jobs."""
    return f"jobs.{lane.value}"


async def enqueue(tx: Tx, jobs: Sequence[NewJob], bell: Bell | None = None) -> None:
    """Put jobs into their lanes, or aside until their time, and wake the workers once tx has committed.

    Without a bell they are found at the next poll, 0.1 s later at most.
    """
    later = [job for job in jobs if job.run_at is not None and job.run_at > tx.now]
    now = [job for job in jobs if job.run_at is None or job.run_at <= tx.now] if later else jobs
    if now:
        await store.insert(tx, now)
    if later:
        await store.insert_delayed(tx, later)
    if bell is not None:
        topics = {*map(topic, {job.lane for job in now}), *([DELAYED] if later else [])}
        tx.after_commit(lambda: bell.ring(*topics))


async def tick(tx: Tx, most: int, bell: Bell) -> tuple[bool, datetime | None]:
    """Move up to `most` due jobs into their lanes. Says whether there may be more, and when the next one is due."""
    async with store.in_order(tx):
        moved = await store.move_due(tx, most)
        due = await store.next_due(tx)
    if moved:
        tx.after_commit(lambda: bell.ring(*map(topic, moved)))
    return sum(moved.values()) == most, due


async def waiting(tx: Tx, most: int = 10_000) -> dict[Lane, int]:
    """How many jobs each lane holds, counted up to `most`."""
    return await store.waiting(tx, list(Lane), most)


async def dead_letters(
    tx: Tx, workspace_id: WorkspaceId, before: UUID | None = None, most: int = 50
) -> list[DeadLetter]:
    """The workspace's dead letters, newest first; `before` is the last id of the page before."""
    return await store.dead_letters(tx, workspace_id, before, most)
