"""All SQL for `recipients` and `identifiers`.

Look-ups by key are laterals over `unnest`: whatever the planner believes of a young or unanalysed table, each is a
probe of the whole key. A plain join was cached, on an empty table, as a scan of everything the workspace has.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from tabellion.core.db import Row, Tx, columns
from tabellion.recipients.types import Kind


class Found(msgspec.Struct, frozen=True, gc=False):
    """An identifier's row and the root it resolves to, without the value."""

    hash: bytes
    recipient_id: UUID
    address_only: bool
    source: str
    verified_at: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime


class Root(msgspec.Struct, frozen=True, gc=False):
    recipient_id: UUID
    address_only: bool


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """An identifier's row with its value as stored."""

    workspace_id: UUID
    recipient_id: UUID
    kind: Kind
    hash: bytes
    value: bytes
    source: str
    verified_at: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime


class NewIdentifier(msgspec.Struct, frozen=True, gc=False):
    hash: bytes
    kind: Kind
    recipient_id: UUID
    value: bytes
    email_domain: str | None
    verified: bool = False


class Record(msgspec.Struct, frozen=True, gc=False):
    """A recipient's row, traits sealed, with the hash of its external_id."""

    id: UUID
    version: int
    address_only: bool
    locale: str | None
    time_zone: str | None
    traits: bytes | None
    created_at: datetime
    updated_at: datetime
    external_id: bytes | None
    erased: bool


async def find(tx: Tx, workspace_id: UUID, hashes: Sequence[bytes]) -> dict[bytes, Found]:
    rows = await tx.rows(
        """
        select i.hash, r.merged_into, r.address_only, i.source, i.verified_at, i.first_seen_at, i.last_seen_at
          from unnest($2::bytea[]) as wanted (hash)
         cross join lateral (
               select hash, recipient_id, source, verified_at, first_seen_at, last_seen_at
                 from identifiers
                where workspace_id = $1 and identifiers.hash = wanted.hash
                limit 1) i
         cross join lateral (
               select merged_into, address_only
                 from recipients
                where workspace_id = $1 and id = i.recipient_id
                limit 1) r
        """,
        workspace_id, hashes,
    )  # fmt: skip
    return {row["hash"]: Found(*row) for row in rows}


async def roots(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> dict[UUID, Root]:
    """The merge root of each recipient that exists and is not erased."""
    rows = await tx.rows(
        """
        select wanted.id, root.id as root_id, root.address_only
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select merged_into
                 from recipients
                where workspace_id = $1 and recipients.id = wanted.id
                limit 1) r
         cross join lateral (
               select id, address_only, erased_at
                 from recipients
                where workspace_id = $1 and recipients.id = r.merged_into
                limit 1) root
         where root.erased_at is null
        """,
        workspace_id, recipient_ids,
    )  # fmt: skip
    return {row["id"]: Root(row["root_id"], row["address_only"]) for row in rows}


async def merged(tx: Tx, workspace_id: UUID, roots_: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    """(root, recipient) for each recipient that became part of one of the roots."""
    rows = await tx.rows(
        """
        select wanted.id as root_id, r.id
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select id
                 from recipients
                where workspace_id = $1 and merged_into = wanted.id and merged_into <> recipients.id
               offset 0) r
        """,
        workspace_id, roots_,
    )  # fmt: skip
    return [(row["root_id"], row["id"]) for row in rows]


async def insert_addresses(
    tx: Tx, workspace_id: UUID, made: Sequence[NewIdentifier], *, address_only: bool, source: str
) -> set[UUID]:
    """Make one recipient an identifier, in the order of the hashes; the ids of those whose identifier was free.

    Waits for another transaction that is making the same identifier.
    """
    rows = await tx.rows(
        """
        with won as (
            insert into identifiers
                (workspace_id, hash, kind, recipient_id, value, email_domain, source, first_seen_at, last_seen_at)
            select $1, hash, kind, recipient_id, value, email_domain, $2, $3, $3
              from unnest($5::bytea[], $6::text[], $7::uuid[], $8::bytea[], $9::text[])
                as made (hash, kind, recipient_id, value, email_domain)
             order by hash
            on conflict (workspace_id, hash) do nothing
            returning recipient_id
        ), peopled as (
            insert into recipients (workspace_id, id, merged_into, address_only, created_at, updated_at)
            select $1, recipient_id, recipient_id, $4, $3, $3 from won
        )
        select recipient_id from won
        """,
        workspace_id, source, tx.now, address_only,
        *columns([(one.hash, one.kind.value, one.recipient_id, one.value, one.email_domain) for one in made], 5),
    )  # fmt: skip
    return {row["recipient_id"] for row in rows}


async def insert_recipients(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> None:
    await tx.execute(
        """
        insert into recipients (workspace_id, id, merged_into, address_only, created_at, updated_at)
        select $1, id, id, false, $2, $2
          from unnest($3::uuid[]) as made (id)
         order by id
        """,
        workspace_id, tx.now, recipient_ids,
    )  # fmt: skip


async def insert_identifiers(tx: Tx, workspace_id: UUID, made: Sequence[NewIdentifier], source: str) -> set[bytes]:
    """Add identifiers in the order of their hashes; the hashes of those that were free.

    Not free is also an external_id for a recipient that has one.
    """
    rows = await tx.rows(
        """
        insert into identifiers
            (workspace_id, hash, kind, recipient_id, value, email_domain, source, verified_at, first_seen_at,
             last_seen_at)
        select $1, hash, kind, recipient_id, value, email_domain, $2, case when verified then $3::timestamptz end,
               $3, $3
          from unnest($4::bytea[], $5::text[], $6::uuid[], $7::bytea[], $8::text[], $9::boolean[])
            as made (hash, kind, recipient_id, value, email_domain, verified)
         order by hash
        on conflict do nothing
        returning hash
        """,
        workspace_id, source, tx.now,
        *columns(
            [(one.hash, one.kind.value, one.recipient_id, one.value, one.email_domain, one.verified) for one in made], 6
        ),
    )  # fmt: skip
    return {row["hash"] for row in rows}


async def withdraw(tx: Tx, workspace_id: UUID, hashes: Sequence[bytes], recipient_ids: Sequence[UUID]) -> None:
    """Take back identifiers and recipients that this very transaction made."""
    await tx.execute(
        "delete from identifiers where workspace_id = $1 and hash = any($2::bytea[])", workspace_id, hashes
    )
    await tx.execute(
        "delete from recipients where workspace_id = $1 and id = any($2::uuid[])", workspace_id, recipient_ids
    )


async def lock(tx: Tx, pairs: Iterable[tuple[UUID, UUID]], *, skip_locked: bool) -> dict[tuple[UUID, UUID], UUID]:
    """Lock rows in order; (workspace, recipient) → `merged_into` as it stands under the lock.

    A lock of its own and never joined with a read: one statement would read the state from before it waited.
    """
    wanted = columns(sorted(pairs), 2)
    rows = await (_lock_free(tx, wanted) if skip_locked else _lock(tx, wanted))
    return {(row["workspace_id"], row["id"]): row["merged_into"] for row in rows}


async def _lock(tx: Tx, wanted: list[list[UUID]]) -> list[Row]:
    return await tx.rows(
        """
        select r.workspace_id, r.id, r.merged_into
          from (select workspace_id, id
                  from unnest($1::uuid[], $2::uuid[]) as pair (workspace_id, id)
                 order by workspace_id, id) wanted
         cross join lateral (
               select workspace_id, id, merged_into
                 from recipients
                where recipients.workspace_id = wanted.workspace_id and recipients.id = wanted.id
                  for no key update) r
        """,
        *wanted,
    )


async def _lock_free(tx: Tx, wanted: list[list[UUID]]) -> list[Row]:
    return await tx.rows(
        """
        select r.workspace_id, r.id, r.merged_into
          from (select workspace_id, id
                  from unnest($1::uuid[], $2::uuid[]) as pair (workspace_id, id)
                 order by workspace_id, id) wanted
         cross join lateral (
               select workspace_id, id, merged_into
                 from recipients
                where recipients.workspace_id = wanted.workspace_id and recipients.id = wanted.id
                  for no key update skip locked) r
        """,
        *wanted,
    )


async def identifiers(tx: Tx, pairs: Iterable[tuple[UUID, UUID]]) -> list[Sealed]:
    """The identifiers of (workspace, recipient) pairs, first seen first."""
    rows = await tx.rows(
        """
        select i.workspace_id, i.recipient_id, i.kind, i.hash, i.value, i.source, i.verified_at, i.first_seen_at,
               i.last_seen_at
          from unnest($1::uuid[], $2::uuid[]) as wanted (workspace_id, id)
         cross join lateral (
               select workspace_id, recipient_id, kind, hash, value, source, verified_at, first_seen_at, last_seen_at
                 from identifiers
                where identifiers.workspace_id = wanted.workspace_id and identifiers.recipient_id = wanted.id
               offset 0) i
         order by i.first_seen_at, i.kind, i.hash
        """,
        *columns(sorted(pairs), 2),
    )
    return [Sealed(row[0], row[1], Kind(row[2]), *row[3:]) for row in rows]


async def records(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> dict[UUID, Record]:
    rows = await tx.rows(
        """
        select r.id, r.version, r.address_only, r.locale, r.time_zone, r.traits, r.created_at, r.updated_at,
               i.hash as external_id, r.erased_at is not null as erased
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select id, version, address_only, locale, time_zone, traits, created_at, updated_at, erased_at
                 from recipients
                where workspace_id = $1 and recipients.id = wanted.id
                limit 1) r
          left join lateral (
               select hash
                 from identifiers
                where workspace_id = $1 and recipient_id = wanted.id and kind = 'external_id'
                limit 1) i on true
        """,
        workspace_id, recipient_ids,
    )  # fmt: skip
    return {row["id"]: Record(*row) for row in rows}


async def page(tx: Tx, workspace_id: UUID, before: UUID | None, limit: int) -> list[UUID]:
    """Ids of full recipients, newest first, made before the recipient `before`."""
    rows = await tx.rows(
        """
        select id
          from recipients
         where workspace_id = $1 and ($2::uuid is null or id < $2) and not address_only and merged_into = id
           and erased_at is null
         order by id desc
         limit $3
        """,
        workspace_id, before, limit,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def write(tx: Tx, workspace_id: UUID, changed: Sequence[Record]) -> None:
    """Store the changed fields of rows that are locked."""
    await tx.execute(
        """
        update recipients r
           set version = changed.version, address_only = changed.address_only, locale = changed.locale,
               time_zone = changed.time_zone, traits = changed.traits, updated_at = $2
          from unnest($3::uuid[], $4::integer[], $5::boolean[], $6::text[], $7::text[], $8::bytea[])
            as changed (id, version, address_only, locale, time_zone, traits)
         where r.workspace_id = $1 and r.id = changed.id
        """,
        workspace_id, tx.now,
        *columns(
            [(one.id, one.version, one.address_only, one.locale, one.time_zone, one.traits) for one in changed], 6
        ),
    )  # fmt: skip


async def touch(tx: Tx, workspace_id: UUID, named: Sequence[tuple[bytes, bool]]) -> None:
    """Note that identifiers of locked recipients were named again, and which of them are verified from now on."""
    await tx.execute(
        """
        update identifiers i
           set last_seen_at = $2, verified_at = case when named.verified then coalesce(i.verified_at, $2)
                                                     else i.verified_at end
          from unnest($3::bytea[], $4::boolean[]) as named (hash, verified)
         where i.workspace_id = $1 and i.hash = named.hash
        """,
        workspace_id, tx.now, *columns(sorted(named), 2),
    )  # fmt: skip


async def move(tx: Tx, workspace_id: UUID, moved: Sequence[tuple[bytes, UUID, bytes]]) -> None:
    """Give identifiers (hash) to another recipient, their values sealed anew."""
    await tx.execute(
        """
        update identifiers i
           set recipient_id = moved.recipient_id, value = moved.value
          from unnest($2::bytea[], $3::uuid[], $4::bytea[]) as moved (hash, recipient_id, value)
         where i.workspace_id = $1 and i.hash = moved.hash
        """,
        workspace_id, *columns(sorted(moved), 3),
    )  # fmt: skip


async def merge(tx: Tx, workspace_id: UUID, absorbed: Sequence[tuple[UUID, UUID]]) -> None:
    """Point (from, into) roots, and all that point to `from` already, at the new root.

    The root by its id: it points at itself, and no index holds those that do.
    """
    await tx.execute(
        """
        update recipients r
           set merged_into = absorbed.into_id, updated_at = $2
          from unnest($3::uuid[], $4::uuid[]) as absorbed (from_id, into_id)
         where r.workspace_id = $1
           and (r.id = absorbed.from_id or (r.merged_into = absorbed.from_id and r.merged_into <> r.id))
        """,
        workspace_id, tx.now, *columns(sorted(absorbed), 2),
    )  # fmt: skip
