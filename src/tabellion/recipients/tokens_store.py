"""All SQL of `identifier_claims`, and about identifiers that change hands, are shared, or fall silent."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from tabellion.core.db import Tx, columns
from tabellion.recipients.types import Health, HealthChange, Kind


class Handed(msgspec.Struct, frozen=True, gc=False):
    """An identifier that another recipient has from now on, its value sealed for them."""

    hash: bytes
    recipient_id: UUID
    value: bytes


class Looked(msgspec.Struct, frozen=True):
    """One look at what has been silent."""

    rows: int
    stale: Sequence[HealthChange]


async def kinds(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> dict[UUID, dict[Kind, int]]:
    """How many identifiers of each kind recipients have, of no use or not."""
    rows = await tx.rows(
        """
        select wanted.id, i.kind, i.held
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select kind, count(*) as held
                 from identifiers
                where workspace_id = $1 and recipient_id = wanted.id
                group by kind) i
        """,
        workspace_id, recipient_ids,
    )  # fmt: skip
    found: dict[UUID, dict[Kind, int]] = {}
    for recipient_id, kind, held in rows:
        found.setdefault(recipient_id, {})[Kind(kind)] = held
    return found


async def claim(tx: Tx, workspace_id: UUID, claims: Sequence[tuple[bytes, UUID, datetime]], since: datetime) -> None:
    """Note which known persons identifiers (hash) were named with, and when; what was before `since` is forgotten."""
    await tx.execute(
        "delete from identifier_claims where workspace_id = $1 and hash = any($2::bytea[]) and seen_at < $3",
        workspace_id, sorted({hash_ for hash_, _, _ in claims}), since,
    )  # fmt: skip
    await tx.execute(
        """
        insert into identifier_claims (workspace_id, hash, recipient_id, seen_at)
        select $1, hash, recipient_id, seen_at
          from unnest($2::bytea[], $3::uuid[], $4::timestamptz[]) as made (hash, recipient_id, seen_at)
         order by hash, recipient_id
        on conflict (workspace_id, hash, recipient_id)
        do update set seen_at = greatest(identifier_claims.seen_at, excluded.seen_at)
        """,
        workspace_id, *columns(sorted(claims), 3),
    )  # fmt: skip


async def claimants(tx: Tx, workspace_id: UUID, hashes: Collection[bytes], since: datetime) -> dict[bytes, int]:
    """How many persons each identifier was named with since then; those merged meanwhile are one."""
    rows = await tx.rows(
        """
        select wanted.hash, count(distinct r.merged_into) as people
          from unnest($2::bytea[]) as wanted (hash)
         cross join lateral (
               select recipient_id
                 from identifier_claims
                where workspace_id = $1 and identifier_claims.hash = wanted.hash and seen_at >= $3
               offset 0) c
         cross join lateral (
               select merged_into
                 from recipients
                where workspace_id = $1 and id = c.recipient_id
                limit 1) r
         group by wanted.hash
        """,
        workspace_id, sorted(hashes), since,
    )  # fmt: skip
    return {row["hash"]: row["people"] for row in rows}


async def share(tx: Tx, workspace_id: UUID, hashes: Collection[bytes]) -> None:
    """Let identifiers of locked recipients resolve to nobody, and let nothing be sent to them."""
    await tx.execute(
        """
        update identifiers
           set shared_at = $3, health = 'held', health_reason = 'shared', health_at = $3
         where workspace_id = $1 and hash = any($2::bytea[])
        """,
        workspace_id, sorted(hashes), tx.now,
    )  # fmt: skip


async def hand(tx: Tx, workspace_id: UUID, handed: Sequence[Handed], source: str) -> None:
    """Give identifiers to other recipients, all locked, as if these had them first.

    What the vendor said of a token stays true: its health goes with it.
    """
    await tx.execute(
        """
        update identifiers i
           set recipient_id = handed.recipient_id, value = handed.value, source = $2, verified_at = null,
               first_seen_at = $3, last_seen_at = $3, watched_at = null, permission = null
          from unnest($4::bytea[], $5::uuid[], $6::bytea[]) as handed (hash, recipient_id, value)
         where i.workspace_id = $1 and i.hash = handed.hash
        """,
        workspace_id, source, tx.now, *columns(sorted((one.hash, one.recipient_id, one.value) for one in handed), 3),
    )  # fmt: skip


async def sides(tx: Tx) -> list[UUID]:
    """The workspace sides that have push tokens or subscriptions: a probe of the index for each."""
    rows = await tx.rows(
        """
        with recursive sides as (
            (select workspace_id
               from identifiers
              where kind in ('device', 'webpush')
              order by workspace_id, coalesce(watched_at, first_seen_at)
              limit 1)
            union all
            select (select workspace_id
                      from identifiers
                     where kind in ('device', 'webpush') and identifiers.workspace_id > sides.workspace_id
                     order by workspace_id, coalesce(watched_at, first_seen_at)
                     limit 1)
              from sides
             where sides.workspace_id is not null
        )
        select workspace_id from sides where workspace_id is not null
        """
    )
    return [row["workspace_id"] for row in rows]


async def look(tx: Tx, workspace_id: UUID, before: datetime, most: int) -> Looked:
    """Look at tokens and subscriptions not looked at since `before`; those not named since then are stale.

    The others come up again when they could be. What somebody else writes this moment was just named, and is left.
    """
    rows = await tx.rows(
        """
        with due as (
            select hash, health, last_seen_at < $2 as silent
              from identifiers
             where workspace_id = $1 and kind in ('device', 'webpush') and coalesce(watched_at, first_seen_at) < $2
             order by coalesce(watched_at, first_seen_at)
             limit $3
               for no key update skip locked
        )
        update identifiers i
           set health = case when due.silent and due.health in ('ok', 'soft_bouncing') then 'stale' else i.health end,
               health_reason = case when due.silent and due.health in ('ok', 'soft_bouncing') then 'not_seen'
                                    else i.health_reason end,
               health_at = case when due.silent and due.health in ('ok', 'soft_bouncing') then $4 else i.health_at end,
               watched_at = case when due.silent then 'infinity' else i.last_seen_at end
          from due
         where i.workspace_id = $1 and i.hash = due.hash
        returning i.recipient_id, i.kind, i.health_reason, due.silent and due.health in ('ok', 'soft_bouncing')
        """,
        workspace_id, before, most, tx.now,
    )  # fmt: skip
    changes = [HealthChange(row[0], Kind(row[1]), Health.STALE, row[2]) for row in rows if row[3]]
    return Looked(len(rows), changes)


# what a change of settings would do; each looks at `most` rows at most


async def overdue(tx: Tx, workspace_id: UUID, before: datetime, most: int) -> int:
    """How many tokens and subscriptions would be stale by a look now."""
    found: int = await tx.value(
        """
        select count(*) filter (where silent)
          from (select last_seen_at < $2 and health in ('ok', 'soft_bouncing') as silent
                  from identifiers
                 where workspace_id = $1 and kind in ('device', 'webpush')
                   and coalesce(watched_at, first_seen_at) < $2
                 limit $3) looked
        """,
        workspace_id, before, most,
    )  # fmt: skip
    return found


async def crowded(tx: Tx, workspace_id: UUID, limits: Sequence[tuple[Kind, int]], most: int) -> dict[Kind, int]:
    """How many recipients have more of a kind than a limit; those with a use alone count."""
    rows = await tx.rows(
        """
        select kind, count(*) as recipients
          from (select limits.kind, looked.recipient_id
                  from (select kind, recipient_id, health
                          from identifiers
                         where workspace_id = $1
                         limit $4) looked
                  join unnest($2::text[], $3::integer[]) as limits (kind, most) on limits.kind = looked.kind
                 where looked.health <> 'invalid'
                 group by limits.kind, looked.recipient_id, limits.most
                having count(*) > limits.most) crowded
         group by kind
        """,
        workspace_id, *columns([(kind.value, most_) for kind, most_ in limits], 2), most,
    )  # fmt: skip
    return {Kind(row["kind"]): row["recipients"] for row in rows}


async def crowds(tx: Tx, workspace_id: UUID, since: datetime, people: int, most: int) -> int:
    """How many identifiers that are not shared were named with more known persons than `people` since then."""
    found: int = await tx.value(
        """
        select count(*)
          from (select hash
                  from (select hash, seen_at from identifier_claims where workspace_id = $1 limit $4) looked
                 where seen_at >= $2
                 group by hash
                having count(*) > $3) crowds
         cross join lateral (
               select shared_at
                 from identifiers
                where workspace_id = $1 and identifiers.hash = crowds.hash
                limit 1) i
         where i.shared_at is null
        """,
        workspace_id, since, people, most,
    )  # fmt: skip
    return found


async def systems(tx: Tx, workspace_id: UUID, most: int) -> list[Kind]:
    """The kinds `external:<system>` that there are."""
    rows = await tx.rows(
        """
        select distinct kind
          from (select kind from identifiers where workspace_id = $1 limit $2) looked
         where kind like 'external:%'
         order by kind
        """,
        workspace_id, most,
    )  # fmt: skip
    return [Kind(row["kind"]) for row in rows]


async def size(tx: Tx, workspace_id: UUID, most: int) -> int:
    """How many identifiers there are, up to so many."""
    found: int = await tx.value(
        "select count(*) from (select from identifiers where workspace_id = $1 limit $2) looked", workspace_id, most
    )
    return found
