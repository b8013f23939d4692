"""All SQL for `recipients` and `identifiers`.

Look-ups by key are laterals over `unnest`: whatever the planner believes of a young or unanalysed table, each is a
probe of the whole key. A plain join was cached, on an empty table, as a scan of everything the workspace has.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from tabellion.core.db import Row, Tx, columns
from tabellion.recipients.types import Device, Health, HealthChange, Kind, Permission, Platform, PushProvider

_HEALTH: Final[Mapping[str, Health]] = {one.value: one for one in Health}
# A table, because calling an enum costs more than the rest of the row and look-ups are many.


class Found(msgspec.Struct, frozen=True, gc=False):
    """An identifier's row and the root it resolves to, without the value."""

    hash: bytes
    recipient_id: UUID
    address_only: bool
    source: str
    verified_at: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime
    health: Health = Health.OK
    health_reason: str | None = None
    shared: bool = False
    """Too many persons use it: it names nobody."""


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
    health: Health
    health_reason: str | None
    device: Device | None


class NewIdentifier(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A row to be; many are one JSON document of arrays."""

    hash: bytes
    kind: Kind
    recipient_id: UUID
    value: bytes
    email_domain: str | None
    match_hash: bytes | None
    verified: bool = False


class Description(msgspec.Struct, frozen=True, gc=False):
    """What an upsert says of a push token or a subscription: the device, or the value sealed anew."""

    hash: bytes
    device: Device | None
    value: bytes | None
    denied: bool = False
    """Only that the device shows nothing any more."""


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
        select i.hash, r.merged_into, r.address_only, i.source, i.verified_at, i.first_seen_at, i.last_seen_at,
               i.health, i.health_reason, i.shared_at is not null
          from unnest($2::bytea[]) as wanted (hash)
         cross join lateral (
               select hash, recipient_id, source, verified_at, first_seen_at, last_seen_at, health, health_reason,
                      shared_at
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
    return {row["hash"]: _found(row) for row in rows}


def _found(row: Row) -> Found:
    return Found(row[0], row[1], row[2], row[3], row[4], row[5], row[6], _HEALTH[row[7]], row[8], row[9])


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
                (workspace_id, hash, kind, recipient_id, value, email_domain, match_hash, source, first_seen_at,
                 last_seen_at)
            select $1, decode(made ->> 0, 'base64') as hash, made ->> 1, (made ->> 2)::uuid,
                   decode(made ->> 3, 'base64'), made ->> 4, decode(made ->> 5, 'base64'), $2, $3, $3
              from jsonb_array_elements($5::jsonb) as made
             order by hash
            on conflict (workspace_id, hash) do nothing
            returning recipient_id
        ), peopled as (
            insert into recipients (workspace_id, id, merged_into, address_only, created_at, updated_at)
            select $1, recipient_id, recipient_id, $4, $3, $3 from won
        )
        select recipient_id from won
        """,
        workspace_id, source, tx.now, address_only, made,
    )  # fmt: skip
    return {row["recipient_id"] for row in rows}


async def insert_recipients(tx: Tx, workspace_id: UUID, made: Sequence[Record]) -> None:
    """Add roots in their first version, as one JSON document."""
    await tx.execute(
        """
        insert into recipients (workspace_id, id, merged_into, address_only, locale, time_zone, traits, created_at,
                                updated_at)
        select $1, (made ->> 0)::uuid, (made ->> 0)::uuid, false, made ->> 1, made ->> 2,
               decode(made ->> 3, 'base64'), $2, $2
          from jsonb_array_elements($3::jsonb) as made
        """,
        workspace_id, tx.now, [(one.id, one.locale, one.time_zone, one.traits) for one in made],
    )  # fmt: skip


async def insert_identifiers(tx: Tx, workspace_id: UUID, made: Sequence[NewIdentifier], source: str) -> set[bytes]:
    """Add identifiers in the order of their hashes; the hashes of those that were free.

    Not free is also an external_id for a recipient that has one.
    """
    rows = await tx.rows(
        """
        insert into identifiers
            (workspace_id, hash, kind, recipient_id, value, email_domain, match_hash, source, verified_at,
             first_seen_at, last_seen_at)
        select $1, decode(made ->> 0, 'base64') as hash, made ->> 1, (made ->> 2)::uuid, decode(made ->> 3, 'base64'),
               made ->> 4, decode(made ->> 5, 'base64'), $2,
               case when (made ->> 6)::boolean then $3::timestamptz end, $3, $3
          from jsonb_array_elements($4::jsonb) as made
         order by hash
        on conflict do nothing
        returning hash
        """,
        workspace_id, source, tx.now, made,
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
               i.last_seen_at, i.health, i.health_reason, i.platform, i.push_provider, i.app, i.permission
          from unnest($1::uuid[], $2::uuid[]) as wanted (workspace_id, id)
         cross join lateral (
               select workspace_id, recipient_id, kind, hash, value, source, verified_at, first_seen_at, last_seen_at,
                      health, health_reason, platform, push_provider, app, permission
                 from identifiers
                where identifiers.workspace_id = wanted.workspace_id and identifiers.recipient_id = wanted.id
               offset 0) i
         order by i.first_seen_at, i.kind, i.hash
        """,
        *columns(sorted(pairs), 2),
    )
    return [_sealed(row) for row in rows]


def _sealed(row: Row) -> Sealed:
    return Sealed(
        workspace_id=row[0],
        recipient_id=row[1],
        kind=Kind(row[2]),
        hash=row[3],
        value=row[4],
        source=row[5],
        verified_at=row[6],
        first_seen_at=row[7],
        last_seen_at=row[8],
        health=_HEALTH[row[9]],
        health_reason=row[10],
        device=_device(row[11], row[12], row[13], row[14]),
    )


def _device(platform: str | None, provider: str | None, app: str | None, permission: str | None) -> Device | None:
    if platform is None or provider is None:
        return None
    return Device(Platform(platform), PushProvider(provider), app, Permission(permission) if permission else None)


async def counts(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> dict[UUID, dict[Kind, int]]:
    """How many identifiers of each kind recipients have, without those that are of no use any more."""
    rows = await tx.rows(
        """
        select wanted.id, i.kind, i.held
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select kind, count(*) as held
                 from identifiers
                where workspace_id = $1 and recipient_id = wanted.id and health <> 'invalid'
                group by kind) i
        """,
        workspace_id, recipient_ids,
    )  # fmt: skip
    found: dict[UUID, dict[Kind, int]] = {}
    for recipient_id, kind, held in rows:
        found.setdefault(recipient_id, {})[Kind(kind)] = held
    return found


async def known(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], nameless: Sequence[Kind]) -> set[UUID]:
    """Those of the recipients who have an identifier of another kind than `nameless`."""
    rows = await tx.rows(
        """
        select wanted.id
          from unnest($2::uuid[]) as wanted (id)
         where exists (
               select
                 from identifiers
                where workspace_id = $1 and recipient_id = wanted.id and kind <> all($3::text[]))
        """,
        workspace_id, recipient_ids, [kind.value for kind in nameless],
    )  # fmt: skip
    return {row["id"] for row in rows}


async def mailboxes(tx: Tx, workspace_id: UUID, hashes: Sequence[bytes]) -> list[tuple[bytes, UUID]]:
    """(hash, recipient) for each address that belongs to one of the mailboxes, by the hash of the mailbox."""
    rows = await tx.rows(
        """
        select wanted.hash, i.recipient_id
          from unnest($2::bytea[]) as wanted (hash)
         cross join lateral (
               select recipient_id from identifiers where workspace_id = $1 and identifiers.hash = wanted.hash
                union
               select recipient_id from identifiers where workspace_id = $1 and match_hash = wanted.hash) i
         order by wanted.hash, i.recipient_id
        """,
        workspace_id, hashes,
    )  # fmt: skip
    return [(row["hash"], row["recipient_id"]) for row in rows]


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
    """Note that identifiers of locked recipients were named again, and which of them are verified from now on.

    What is verified anew is healthy; a push token or a subscription that is named again is not stale.
    """
    await tx.execute(
        """
        update identifiers i
           set last_seen_at = $2,
               verified_at = case when named.verified then coalesce(i.verified_at, $2) else i.verified_at end,
               health = case when named.verified or i.health = 'stale' then 'ok' else i.health end,
               health_reason = case when named.verified or i.health = 'stale' then null else i.health_reason end,
               health_at = case when i.health <> 'ok' and (named.verified or i.health = 'stale') then $2
                                else i.health_at end,
               watched_at = case when i.watched_at = 'infinity' then $2 else i.watched_at end
          from unnest($3::bytea[], $4::boolean[]) as named (hash, verified)
         where i.workspace_id = $1 and i.hash = named.hash
        """,
        workspace_id, tx.now, *columns(sorted(named), 2),
    )  # fmt: skip


async def set_health(
    tx: Tx, workspace_id: UUID, changes: Sequence[tuple[bytes, Health, str | None]]
) -> list[HealthChange]:
    """Give identifiers (hash) a health and its reason; what changed, in the order of the hashes."""
    rows = await tx.rows(
        """
        with changed as (
            update identifiers i
               set health = wanted.health, health_reason = wanted.reason, health_at = $2
              from unnest($3::bytea[], $4::text[], $5::text[]) as wanted (hash, health, reason)
             where i.workspace_id = $1 and i.hash = wanted.hash and i.health <> wanted.health
               and (i.shared_at is null or wanted.health = 'invalid')
            returning i.hash, i.recipient_id, i.kind, i.health, i.health_reason
        )
        select recipient_id, kind, health, health_reason from changed order by hash
        """,
        workspace_id, tx.now, *columns(sorted(changes, key=lambda one: one[0]), 3),
    )  # fmt: skip
    return [HealthChange(row[0], Kind(row[1]), _HEALTH[row[2]], row[3]) for row in rows]


async def retire(tx: Tx, workspace_id: UUID, replaced: Sequence[tuple[bytes, UUID]]) -> None:
    """Note of push tokens (hash, recipient) that they are of no use any more, where they are the recipient's."""
    await tx.execute(
        """
        update identifiers i
           set health = 'invalid', health_reason = 'replaced', health_at = $2
          from unnest($3::bytea[], $4::uuid[]) as replaced (hash, recipient_id)
         where i.workspace_id = $1 and i.hash = replaced.hash and i.recipient_id = replaced.recipient_id
           and i.kind = 'device' and i.health <> 'invalid'
        """,
        workspace_id, tx.now, *columns(sorted(replaced), 2),
    )  # fmt: skip


async def describe(
    tx: Tx, workspace_id: UUID, described: Sequence[Description]
) -> dict[bytes, tuple[Permission | None, Permission | None]]:
    """Note what is said of tokens and subscriptions; the permissions before and after, where they differ."""
    rows = await tx.rows(
        """
        update identifiers i
           set platform = coalesce(said.platform, i.platform),
               push_provider = coalesce(said.push_provider, i.push_provider),
               app = coalesce(said.app, i.app), permission = coalesce(said.permission, i.permission),
               value = coalesce(said.value, i.value)
          from unnest($2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[])
            as said (hash, platform, push_provider, app, permission, value)
         cross join lateral (
               select permission
                 from identifiers
                where workspace_id = $1 and identifiers.hash = said.hash
                limit 1) before
         where i.workspace_id = $1 and i.hash = said.hash
        returning i.hash, before.permission as was, i.permission as now
        """,
        workspace_id,
        *columns(sorted((_described(one) for one in described), key=lambda row: row[0]), 6),
    )  # fmt: skip
    return {row["hash"]: (_permission(row["was"]), _permission(row["now"])) for row in rows if row["was"] != row["now"]}


def _described(one: Description) -> tuple[bytes, str | None, str | None, str | None, str | None, bytes | None]:
    device = one.device
    if device is None:
        return one.hash, None, None, None, Permission.DENIED if one.denied else None, one.value
    return one.hash, device.platform, device.provider, device.app, device.permission, one.value


def _permission(word: str | None) -> Permission | None:
    return Permission(word) if word else None


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


async def carry_restriction(tx: Tx, workspace_id: UUID, absorbed: Sequence[tuple[UUID, UUID]]) -> None:
    """Restrict the processing of (from, into) those into whom somebody restricted was merged."""
    await tx.execute(
        """
        update recipients r
           set restricted_at = coalesce(r.restricted_at, lost.restricted_at)
          from unnest($2::uuid[], $3::uuid[]) as absorbed (from_id, into_id)
          join recipients lost on lost.workspace_id = $1 and lost.id = absorbed.from_id
         where r.workspace_id = $1 and r.id = absorbed.into_id and lost.restricted_at is not null
        """,
        workspace_id, *columns(sorted(absorbed), 2),
    )  # fmt: skip


async def part(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], root_id: UUID) -> None:
    """Make a recipient that was merged, and those that had become part of it, a root and its parts again."""
    await tx.execute(
        """
        update recipients
           set merged_into = $3, updated_at = $4
         where workspace_id = $1 and id = any($2::uuid[])
        """,
        workspace_id, recipient_ids, root_id, tx.now,
    )  # fmt: skip
