"""All SQL on `jobs`, `delayed` and `dead_letters`.

A job is fenced by (id, lease token): every statement that changes a claimed row matches the pair, so a worker that lost
its lease changes nothing.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from tabellion.core import ids
from tabellion.core.db import Row, Tx, columns
from tabellion.core.ids import WorkspaceId
from tabellion.jobs.types import Claimed, DeadLetter, Lane, NewJob

TABLE = {
    Lane.CRITICAL: "jobs_critical",
    Lane.HIGH: "jobs_high",
    Lane.NORMAL: "jobs_normal",
    Lane.BULK: "jobs_bulk",
}
"""The lanes' own tables: a plan on `jobs` for a lane named by a parameter is made anew at every execution."""
Tokens: TypeAlias = Mapping[int, UUID]
"""Job ids, each with the token it is held under."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The token one claim gives to all its jobs, and how long it holds."""

    token: UUID
    until: datetime


@dataclass(frozen=True, slots=True)
class Returned:
    """A job on its way back: `tries` as it will be then, and whether `lost` must run first."""

    job: Claimed
    run_at: datetime
    tries: int
    lost: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class Buried:
    """A job that stops here."""

    job: Claimed
    tries: int
    lost: bool
    error: str


@asynccontextmanager
async def in_order(tx: Tx) -> AsyncIterator[None]:
    """Have the statements inside read an index in its order, and stop at their limit.

    The planner believes the last vacuum: for a queue that was empty then it prefers to collect all rows and sort them,
    and a cached plan stays when a million jobs arrive. Besides, only an index scan marks the dead entries it meets.
    """
    await tx.execute("set local enable_bitmapscan = off")
    yield
    await tx.execute("set local enable_bitmapscan = default")


async def insert(tx: Tx, jobs: Sequence[NewJob]) -> None:
    await tx.execute(
        """
        insert into jobs (workspace_id, kind, payload, lane, enqueued_at)
        select (job ->> 0)::uuid, job ->> 1, job -> 2, (job ->> 3)::smallint, $2
          from jsonb_array_elements($1::jsonb) as job
        """,
        jobs,
        tx.now,
    )


async def insert_delayed(tx: Tx, jobs: Sequence[NewJob]) -> None:
    await tx.execute(
        """
        insert into delayed (workspace_id, kind, payload, lane, run_at, enqueued_at)
        select (job ->> 0)::uuid, job ->> 1, job -> 2, (job ->> 3)::smallint,
               (job ->> 4)::timestamptz, (job ->> 4)::timestamptz
          from jsonb_array_elements($1::jsonb) as job
        """,
        jobs,
    )


async def last_id(tx: Tx) -> int:
    """The highest id given out so far. Jobs that commit after a later claim have, almost always, higher ones."""
    last: int = await tx.value("select last_value from job_ids")
    return last


async def claim(tx: Tx, lane: Lane, above: int, most: int, lease: Lease) -> list[Claimed]:
    """Up to `most` jobs of the lane with ids above the watermark, now under the lease.

    An expired lease counts as a try and leaves `lost` set; one that was given back leaves `lost` set only.
    """
    rows = await tx.rows(
        f"""
        update {TABLE[lane]}
           set lease_token = $5, lease_until = $6,
               lost = lost or lease_token is not null,
               tries = tries + case when lease_until > '-infinity' then 1 else 0 end
         where lane = $1
           and id = any(array(select id
                                from {TABLE[lane]}
                               where lane = $1 and id > $2 and (lease_until is null or lease_until < $3)
                               order by id
                               limit $4
                                 for update skip locked))
        returning id, workspace_id, kind, payload, tries, enqueued_at, lost
        """,
        lane,
        above,
        tx.now,
        most,
        lease.token,
        lease.until,
    )
    return [_claimed(row, lane, lease.token) for row in rows]


async def claim_these(tx: Tx, lane: Lane, tokens: Tokens, lease: Lease) -> list[Claimed]:
    """Those of the jobs that are still ours, or nobody's, now under the lease."""
    rows = await tx.rows(
        f"""
        update {TABLE[lane]}
           set lease_token = $4, lease_until = $5,
               lost = lost or coalesce(lease_token <> ($2::jsonb ->> id::text)::uuid, false),
               tries = tries + case when lease_until > '-infinity'
                                     and lease_token <> ($2::jsonb ->> id::text)::uuid then 1 else 0 end
         where lane = $1
           and id = any(array(select id
                                from {TABLE[lane]}
                               where lane = $1
                                 and id = any(array(select jsonb_object_keys($2::jsonb)::bigint))
                                 and (lease_until is null or lease_until < $3
                                      or lease_token = ($2::jsonb ->> id::text)::uuid)
                                 for update skip locked))
        returning id, workspace_id, kind, payload, tries, enqueued_at, lost
        """,
        lane,
        tokens,
        tx.now,
        lease.token,
        lease.until,
    )
    return [_claimed(row, lane, lease.token) for row in rows]


def _claimed(row: Row, lane: Lane, token: UUID) -> Claimed:
    id_, workspace_id, kind, payload, tries, enqueued_at, lost = row
    return Claimed(id_, lane, workspace_id, kind, payload, tries, token, enqueued_at, lost)


async def renew(tx: Tx, lane: Lane, tokens: Tokens, until: datetime) -> None:
    """Lengthen those of the leases that are still ours."""
    await tx.execute(
        f"""
        update {TABLE[lane]}
           set lease_until = $3
         where lane = $1
           and id = any(array(select jsonb_object_keys($2::jsonb)::bigint))
           and lease_token = ($2::jsonb ->> id::text)::uuid
        """,
        lane,
        tokens,
        until,
    )


async def release(tx: Tx, lane: Lane, tokens: Tokens) -> None:
    """End those of the leases that are still ours. The next claim runs `lost` for these jobs but counts no try."""
    await tx.execute(
        f"""
        update {TABLE[lane]}
           set lease_until = '-infinity'
         where lane = $1
           and id = any(array(select jsonb_object_keys($2::jsonb)::bigint))
           and lease_token = ($2::jsonb ->> id::text)::uuid
        """,
        lane,
        tokens,
    )


async def delete(tx: Tx, lane: Lane, tokens: Tokens) -> list[int]:
    """Delete those of the jobs that are still ours, and return their ids."""
    rows = await tx.rows(
        f"""
        delete from {TABLE[lane]}
         where lane = $1
           and id = any(array(select jsonb_object_keys($2::jsonb)::bigint))
           and lease_token = ($2::jsonb ->> id::text)::uuid
        returning id
        """,
        lane,
        tokens,
    )
    return [row[0] for row in rows]


async def delay(tx: Tx, returned: Sequence[Returned]) -> None:
    await tx.execute(
        """
        insert into delayed (run_at, lane, workspace_id, kind, payload, tries, lost, error, enqueued_at)
        select run_at, lane, workspace_id, kind, payload, tries, lost, error, enqueued_at
          from unnest($1::timestamptz[], $2::smallint[], $3::uuid[], $4::text[], $5::jsonb[],
                      $6::integer[], $7::boolean[], $8::text[], $9::timestamptz[])
            as back (run_at, lane, workspace_id, kind, payload, tries, lost, error, enqueued_at)
        """,
        *columns(
            [(one.run_at, *_stem(one.job), one.tries, one.lost, one.error, one.job.enqueued_at) for one in returned],
            9,
        ),
    )


async def bury(tx: Tx, buried: Sequence[Buried]) -> None:
    await tx.execute(
        """
        insert into dead_letters (workspace_id, id, lane, kind, payload, tries, lost, error, enqueued_at, died_at)
        select workspace_id, id, lane, kind, payload, tries, lost, error, enqueued_at, $10
          from unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::text[], $5::jsonb[],
                      $6::integer[], $7::boolean[], $8::text[], $9::timestamptz[])
            as dead (id, lane, workspace_id, kind, payload, tries, lost, error, enqueued_at)
        """,
        *columns(
            [(ids.new(), *_stem(one.job), one.tries, one.lost, one.error, one.job.enqueued_at) for one in buried],
            9,
        ),
        tx.now,
    )


def _stem(job: Claimed) -> tuple[Lane, WorkspaceId, str, Mapping[str, Any]]:
    return job.lane, job.workspace_id, job.kind, job.payload


async def move_due(tx: Tx, most: int) -> dict[Lane, int]:
    """Move up to `most` due jobs into their lanes, earliest first, and return how many each lane got.

    Delayed rows are never updated, so a locked row's ctid stays its own.
    """
    rows = await tx.rows(
        """
        with due as (
            delete from delayed
             where ctid = any(array(select ctid
                                      from delayed
                                     where run_at <= $1
                                     order by run_at, id
                                     limit $2
                                       for update skip locked))
            returning run_at, id, lane, workspace_id, kind, payload, tries, lost, error, enqueued_at
        ), moved as (
            insert into jobs (lane, workspace_id, kind, payload, tries, lost, error, enqueued_at)
            select lane, workspace_id, kind, payload, tries, lost, error, enqueued_at
              from due
             order by run_at, id
            returning lane
        )
        select lane, count(*) from moved group by lane
        """,
        tx.now,
        most,
    )
    return {Lane(row[0]): row[1] for row in rows}


async def next_due(tx: Tx) -> datetime | None:
    due: datetime | None = await tx.value("select min(run_at) from delayed")
    return due


async def waiting(tx: Tx, lanes: Collection[Lane], most: int) -> dict[Lane, int]:
    """How many jobs each lane holds, counted up to `most`."""
    rows = await tx.rows(
        """
        select lane, (select count(*) from (select from jobs where jobs.lane = lanes.lane limit $2) as first)
          from unnest($1::smallint[]) as lanes (lane)
        """,
        list(lanes),
        most,
    )
    return {Lane(row[0]): row[1] for row in rows}


async def dead_letters(tx: Tx, workspace_id: WorkspaceId, before: UUID | None, most: int) -> list[DeadLetter]:
    """The workspace's dead letters with ids below `before`, newest first."""
    rows = await tx.rows(
        """
        select id, workspace_id, lane, kind, payload, tries, error, enqueued_at, died_at
          from dead_letters
         where workspace_id = $1 and ($2::uuid is null or id < $2)
         order by id desc
         limit $3
        """,
        workspace_id,
        before,
        most,
    )
    return [DeadLetter(row[0], row[1], Lane(row[2]), *row[3:]) for row in rows]
