"""All SQL for `consent_entries` and `vendor_blocks`.

The column `log_index` holds ordinals (`ledger.ordinals`): in a log that has no successor they are its indexes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from tabellion.consent.questions import Question
from tabellion.consent.types import OLDEST, Basis, Decision, Kept, KeptEntry, Method, Rank, Scope, Standing, Strength
from tabellion.core.db import Tx, columns

_DECISION: Final[Mapping[str, Decision]] = {one.value: one for one in Decision}
_BASIS: Final[Mapping[str | None, Basis | None]] = {None: None} | {one.value: one for one in Basis}
_METHOD: Final[Mapping[str, Method]] = {one.value: one for one in Method}
_RANK: Final = tuple(Rank)
_STRENGTH: Final = tuple(Strength)
# Tables, because calling an enum costs more than the rest of the row and verdicts are many.

Place = tuple[UUID, bytes]
"""Workspace side and identifier hash."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A row as it is written."""

    standing: Standing
    leaf_hash: bytes
    subject_id: UUID
    identifier_kind: str | None
    source: str
    recorded_at: datetime
    applied: bool
    reason: str | None
    in_force: bool
    sealed: bytes
    notice: str | None = None
    notice_version: str | None = None
    ended_by: UUID | None = None


async def around_questions(tx: Tx, questions: Sequence[Question]) -> list[list[Standing]]:
    """For each question, the standing entries that name its identifier, or cover its whole person without naming it.

    Found by place in the list: hashing ids would cost more than the rules do.
    """
    found: list[list[Standing]] = [[] for _ in questions]
    rows = await tx.rows(
        """
        select asked.place, e.id, e.log_index, e.recipient_id, e.identifier_hash, e.person_scope, e.channel,
               e.purpose, e.decision, e.basis, e.method, e.rank, e.strength, e.effective_at, e.expires_at, e.lifts,
               e.sender
          from unnest($1::uuid[], $2::bytea[]) with ordinality as asked (workspace_id, identifier_hash, place)
          join consent_entries e
            on e.workspace_id = asked.workspace_id and e.identifier_hash = asked.identifier_hash
         where e.standing
         union all
        select asked.place, e.id, e.log_index, e.recipient_id, e.identifier_hash, e.person_scope, e.channel,
               e.purpose, e.decision, e.basis, e.method, e.rank, e.strength, e.effective_at, e.expires_at, e.lifts,
               e.sender
          from unnest($1::uuid[], $2::bytea[], $3::uuid[])
                 with ordinality as asked (workspace_id, identifier_hash, recipient_id, place)
          join consent_entries e on e.workspace_id = asked.workspace_id and e.recipient_id = asked.recipient_id
         where e.standing and e.person_scope and e.identifier_hash is distinct from asked.identifier_hash
        """,
        *columns([(one.workspace_id, one.identifier_hash, one.recipient_id) for one in questions], 3),
    )
    for place, *fields in rows:
        found[place - 1].append(_standing(fields))
    return found


async def around_decisions(
    tx: Tx, workspace_id: UUID, hashes: Sequence[bytes], recipient_ids: Sequence[UUID]
) -> list[Standing]:
    """The standing entries that name one of the identifiers or are about one of the persons."""
    rows = await tx.rows(
        """
        select e.id, e.log_index, e.recipient_id, e.identifier_hash, e.person_scope, e.channel, e.purpose,
               e.decision, e.basis, e.method, e.rank, e.strength, e.effective_at, e.expires_at, e.lifts,
               e.sender
          from consent_entries e
         where e.workspace_id = $1 and e.standing
           and (e.identifier_hash = any($2::bytea[]) or e.recipient_id = any($3::uuid[]))
        """,
        workspace_id, hashes, recipient_ids,
    )  # fmt: skip
    return [_standing(row) for row in rows]


def _standing(fields: Iterable[Any]) -> Standing:
    (
        entry_id, ordinal, recipient_id, identifier_hash, person_scope, channel, purpose, decision, basis, method,
        rank, strength, effective_at, expires_at, lifts, sender,
    ) = fields  # fmt: skip
    return Standing(
        entry_id,
        ordinal,
        recipient_id,
        identifier_hash,
        person_scope,
        channel,
        purpose,
        _DECISION[decision],
        _BASIS[basis],
        _METHOD[method],
        _RANK[rank],
        _STRENGTH[strength],
        effective_at or OLDEST,
        expires_at,
        frozenset(lifts),
        sender,
    )


async def insert(tx: Tx, workspace_id: UUID, entries: Sequence[Entry]) -> None:
    await tx.execute(
        """
        insert into consent_entries
            (workspace_id, id, log_index, leaf_hash, subject_id, recipient_id, person_scope, identifier_kind,
             identifier_hash, channel, purpose, decision, basis, method, source, rank, strength, recorded_at,
             effective_at, expires_at, applied, reason, standing, lifts, sealed, notice, notice_version, sender,
             ended_by)
        select $1, id, log_index, leaf_hash, subject_id, recipient_id, person_scope, identifier_kind,
               identifier_hash, channel, purpose, decision, basis, method, source, rank, strength, recorded_at,
               effective_at, expires_at, applied, reason, standing, lifts::bigint[], sealed, notice, notice_version,
               sender, ended_by
          from unnest($2::uuid[], $3::bigint[], $4::bytea[], $5::uuid[], $6::uuid[], $7::boolean[], $8::text[],
                      $9::bytea[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
                      $16::smallint[], $17::smallint[], $18::timestamptz[], $19::timestamptz[], $20::timestamptz[],
                      $21::boolean[], $22::text[], $23::boolean[], $24::text[], $25::bytea[],
                      $26::text[], $27::text[], $28::text[], $29::uuid[])
            as made (id, log_index, leaf_hash, subject_id, recipient_id, person_scope, identifier_kind,
                     identifier_hash, channel, purpose, decision, basis, method, source, rank, strength, recorded_at,
                     effective_at, expires_at, applied, reason, standing, lifts, sealed, notice, notice_version,
                     sender, ended_by)
        """,
        workspace_id, *columns([_row(entry) for entry in entries], 28),
    )  # fmt: skip


def _row(entry: Entry) -> tuple[object, ...]:
    one = entry.standing
    return (
        one.id, one.ordinal, entry.leaf_hash, entry.subject_id, one.recipient_id, one.person_scope,
        entry.identifier_kind, one.identifier_hash, one.channel, one.purpose, one.decision, one.basis, one.method,
        entry.source, one.rank, one.strength, entry.recorded_at,
        None if one.effective_at == OLDEST else one.effective_at, one.expires_at, entry.applied, entry.reason,
        entry.in_force, "{" + ",".join(map(str, sorted(one.lifts))) + "}", entry.sealed,
        entry.notice, entry.notice_version, one.sender, entry.ended_by,
    )  # fmt: skip


async def end(tx: Tx, workspace_id: UUID, ended: Mapping[UUID, UUID | None]) -> None:
    """Let entries stand no longer, each because of another, or of none. The caller holds the rows of their people."""
    await tx.execute(
        """
        update consent_entries e
           set standing = false, ended_by = ended.by
          from unnest($2::uuid[], $3::uuid[]) as ended (id, by)
         where e.workspace_id = $1 and e.id = ended.id
        """,
        workspace_id, *columns(list(ended.items()), 2),
    )  # fmt: skip


async def restore(tx: Tx, workspace_id: UUID, entry_ids: Iterable[UUID]) -> None:
    """Let entries stand again. The caller holds the rows of their people."""
    await tx.execute(
        """
        update consent_entries
           set standing = true, ended_by = null
         where workspace_id = $1 and id = any($2::uuid[])
        """,
        workspace_id, sorted(entry_ids),
    )  # fmt: skip


async def suspended(tx: Tx, workspace_id: UUID, hashes: Sequence[bytes]) -> dict[UUID, dict[UUID, Standing]]:
    """By what was said by keyword of identifiers and stands: the grants that it had ended, or what it replaced had."""
    rows = await tx.rows(
        """
        with recursive said (by, id) as (
            select id, id
              from consent_entries
             where workspace_id = $1 and identifier_hash = any($2::bytea[]) and standing and strength > 0
               and method = 'keyword'
             union
            select said.by, e.id
              from said
              join consent_entries e on e.workspace_id = $1 and e.ended_by = said.id
             where e.strength > 0 and e.method = 'keyword')
        select said.by, e.id, e.log_index, e.recipient_id, e.identifier_hash, e.person_scope, e.channel, e.purpose,
               e.decision, e.basis, e.method, e.rank, e.strength, e.effective_at, e.expires_at, e.lifts,
               e.sender
          from said
          join consent_entries e on e.workspace_id = $1 and e.ended_by = said.id
         where e.strength = 0 and not e.standing
        """,
        workspace_id, hashes,
    )  # fmt: skip
    found: dict[UUID, dict[UUID, Standing]] = {}
    for by, *fields in rows:
        grant = _standing(fields)
        found.setdefault(by, {})[grant.id] = grant
    return found


async def settle(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], hashes: Sequence[bytes] | None) -> None:
    """Let what ended the grants of people end them for good: for identifiers (None: all), nothing brings them back."""
    await tx.execute(
        """
        update consent_entries
           set ended_by = null
         where workspace_id = $1 and recipient_id = any($2::uuid[]) and strength = 0 and ended_by is not null
           and ($3::bytea[] is null or identifier_hash = any($3::bytea[]))
        """,
        workspace_id, recipient_ids, hashes,
    )  # fmt: skip


async def add_lifts(tx: Tx, workspace_id: UUID, lifted: Iterable[tuple[UUID, int]]) -> None:
    """Let standing grants (entry id) lift restrictions (ordinal) recorded after them."""
    await tx.execute(
        """
        update consent_entries e
           set lifts = e.lifts || added.lifts
          from (select id, array_agg(log_index) as lifts
                  from unnest($2::uuid[], $3::bigint[]) as lifted (id, log_index)
                 group by id) as added
         where e.workspace_id = $1 and e.id = added.id
        """,
        workspace_id, *columns(sorted(lifted), 2),
    )  # fmt: skip


async def move(tx: Tx, workspace_id: UUID, from_id: UUID, to_id: UUID) -> list[UUID]:
    """Let everything about one person count for another from now on; the ids of these entries."""
    rows = await tx.rows(
        "update consent_entries set recipient_id = $3 where workspace_id = $1 and recipient_id = $2 returning id",
        workspace_id, from_id, to_id,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def give(tx: Tx, workspace_id: UUID, entry_ids: Sequence[UUID], to_id: UUID) -> None:
    """Let entries count for a person from now on."""
    await tx.execute(
        "update consent_entries set recipient_id = $3 where workspace_id = $1 and id = any($2::uuid[])",
        workspace_id, entry_ids, to_id,
    )  # fmt: skip


async def since(tx: Tx, workspace_id: UUID, recipient_id: UUID, ordinal: int) -> list[Standing]:
    """The standing restrictions of the whole person that were said about just this recipient after an entry.

    What came with a merge is not among them: it was said about somebody else, or by the merge.
    """
    rows = await tx.rows(
        """
        select e.id, e.log_index, e.recipient_id, e.identifier_hash, e.person_scope, e.channel, e.purpose,
               e.decision, e.basis, e.method, e.rank, e.strength, e.effective_at, e.expires_at, e.lifts,
               e.sender
          from consent_entries e
         where e.workspace_id = $1 and e.recipient_id = $2 and e.subject_id = $2 and e.log_index > $3 and e.standing
           and e.person_scope and e.strength > 0 and e.method <> 'merge'
         order by e.log_index
        """,
        workspace_id, recipient_id, ordinal,
    )  # fmt: skip
    return [_standing(row) for row in rows]


async def kept(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> set[Kept]:
    """The restrictions of persons that are in the ledger and never were in force."""
    rows = await tx.rows(
        """
        select recipient_id, identifier_hash, person_scope, channel, purpose, decision, effective_at
          from consent_entries
         where workspace_id = $1 and recipient_id = any($2::uuid[]) and strength > 0 and not applied
        """,
        workspace_id, recipient_ids,
    )  # fmt: skip
    return {Kept(Scope(*row[:5]), _DECISION[row[5]], row[6] or OLDEST) for row in map(tuple, rows)}


async def latest(tx: Tx, workspace_id: UUID, recipient_id: UUID) -> int:
    """The ordinal of the last entry that counts for a person; -1 where there is none."""
    found: int = await tx.value(
        "select coalesce(max(log_index), -1) from consent_entries where workspace_id = $1 and recipient_id = $2",
        workspace_id, recipient_id,
    )  # fmt: skip
    return found


@dataclass(frozen=True, slots=True)
class SealedEntry:
    id: UUID
    ordinal: int
    purpose: str
    subject_id: UUID
    sealed: bytes


async def sealed(tx: Tx, workspace_id: UUID, entry_ids: Sequence[UUID]) -> list[SealedEntry]:
    """The records of entries as they are kept; those of erased people are left out."""
    rows = await tx.rows(
        """
        select id, log_index, purpose, subject_id, sealed
          from consent_entries
         where workspace_id = $1 and id = any($2::uuid[]) and sealed is not null and subject_id is not null
         order by log_index
        """,
        workspace_id, entry_ids,
    )  # fmt: skip
    return [SealedEntry(*row) for row in rows]


async def forget(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], hashes: Sequence[bytes]) -> int:
    """Cut entries off from the people they are about; how many.

    Restrictions go on standing for those of their addresses that are among `hashes`. Nothing else stands.
    """
    done = await tx.execute(
        """
        update consent_entries e
           set subject_id = null, recipient_id = null, sealed = null, person_scope = false,
               standing = e.standing and stays, lifts = '{}', ended_by = null,
               identifier_hash = case when stays then e.identifier_hash end,
               identifier_kind = case when stays then e.identifier_kind end
          from (select id, strength > 0 and standing and identifier_hash = any($3::bytea[]) is true as stays
                  from consent_entries
                 where workspace_id = $1 and recipient_id = any($2::uuid[])) as theirs
         where e.workspace_id = $1 and e.id = theirs.id
        """,
        workspace_id, recipient_ids, hashes,
    )  # fmt: skip
    return int(done.rpartition(" ")[2])


async def of_people(
    tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], after: int, limit: int
) -> list[KeptEntry]:
    """The entries that count for people, in the order they were recorded in, behind an ordinal."""
    rows = await tx.rows(
        """
        select e.id, e.log_index, e.leaf_hash, e.subject_id, e.recipient_id, e.channel, e.purpose, e.decision,
               e.basis, e.method, e.source, e.recorded_at, e.effective_at, e.expires_at, e.applied, e.standing,
               e.reason, e.sealed
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select id, log_index, leaf_hash, subject_id, recipient_id, channel, purpose, decision, basis, method,
                      source, recorded_at, effective_at, expires_at, applied, standing, reason, sealed
                 from consent_entries
                where workspace_id = $1 and recipient_id = wanted.id and log_index > $3
                order by log_index
                limit $4) e
         order by e.log_index
         limit $4
        """,
        workspace_id, recipient_ids, after, limit,
    )  # fmt: skip
    return [KeptEntry(*row) for row in rows]


async def page(tx: Tx, workspace_id: UUID, recipient_id: UUID, before: UUID | None, limit: int) -> list[KeptEntry]:
    """The entries that count for a person, newest first, recorded before the entry `before`."""
    rows = await tx.rows(
        """
        select id, log_index, leaf_hash, subject_id, recipient_id, channel, purpose, decision, basis, method, source,
               recorded_at, effective_at, expires_at, applied, standing, reason, sealed, notice, notice_version
          from consent_entries
         where workspace_id = $1 and recipient_id = $2
           and ($3::uuid is null
                or log_index < (select log_index from consent_entries where workspace_id = $1 and id = $3))
         order by log_index desc
         limit $4
        """,
        workspace_id, recipient_id, before, limit,
    )  # fmt: skip
    return [KeptEntry(*row) for row in rows]


async def entry(tx: Tx, workspace_id: UUID, entry_id: UUID) -> KeptEntry | None:
    row = await tx.row(
        """
        select id, log_index, leaf_hash, subject_id, recipient_id, channel, purpose, decision, basis, method, source,
               recorded_at, effective_at, expires_at, applied, standing, reason, sealed, notice, notice_version
          from consent_entries
         where workspace_id = $1 and id = $2
        """,
        workspace_id, entry_id,
    )  # fmt: skip
    return KeptEntry(*row) if row else None


async def notices(tx: Tx, workspace_id: UUID, entry_ids: Sequence[UUID]) -> dict[UUID, tuple[str, str]]:
    """The notice and version that entries name; those that name none are left out."""
    rows = await tx.rows(
        """
        select id, notice, notice_version
          from consent_entries
         where workspace_id = $1 and id = any($2::uuid[]) and notice is not null
        """,
        workspace_id, entry_ids,
    )  # fmt: skip
    return {row["id"]: (row["notice"], row["notice_version"]) for row in rows}


async def pending(
    tx: Tx, workspace_id: UUID, recipient_id: UUID, since: datetime
) -> dict[tuple[bytes, str, str], tuple[UUID, datetime]]:
    """By identifier, channel and purpose of a person the grant that waits for confirmation, and when it was recorded.

    Nothing was recorded of the three after it.
    """
    rows = await tx.rows(
        """
        select id, identifier_hash, channel, purpose, recorded_at
          from consent_entries e
         where workspace_id = $1 and recipient_id = $2 and decision = 'pending' and recorded_at > $3
           and identifier_hash is not null
           and not exists (
               select
                 from consent_entries later
                where later.workspace_id = $1 and later.recipient_id = $2 and later.log_index > e.log_index
                  and later.identifier_hash = e.identifier_hash and later.channel = e.channel
                  and later.purpose = e.purpose)
        """,
        workspace_id, recipient_id, since,
    )  # fmt: skip
    return {(row["identifier_hash"], row["channel"], row["purpose"]): (row["id"], row["recorded_at"]) for row in rows}


async def decided(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], since: datetime) -> set[UUID]:
    """Those about whom the last entry was recorded since a time."""
    rows = await tx.rows(
        """
        select wanted.id
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select recorded_at
                 from consent_entries
                where workspace_id = $1 and recipient_id = wanted.id
                order by log_index desc
                limit 1) e
         where e.recorded_at >= $3
        """,
        workspace_id, recipient_ids, since,
    )  # fmt: skip
    return {row["id"] for row in rows}


async def block(tx: Tx, workspace_id: UUID, blocked: Sequence[tuple[bytes, str, UUID]]) -> None:
    """Note numbers (identifier hash) that the vendor refuses to send to from a sender, and the entries that say so."""
    await tx.execute(
        """
        insert into vendor_blocks (workspace_id, identifier_hash, sender, entry_id, blocked_at)
        select distinct on (identifier_hash, sender) $1::uuid, identifier_hash, sender, entry_id, $2::timestamptz
          from unnest($3::bytea[], $4::text[], $5::uuid[]) as blocked (identifier_hash, sender, entry_id)
         order by identifier_hash, sender, entry_id
        on conflict (workspace_id, identifier_hash, sender)
        do update set entry_id = excluded.entry_id, blocked_at = excluded.blocked_at
        """,
        workspace_id, tx.now, *columns(blocked, 3),
    )  # fmt: skip


async def lift_blocks(tx: Tx, workspace_id: UUID, lifted: Sequence[tuple[bytes, str]]) -> None:
    """Forget that the vendor refuses to send to numbers (identifier hash) from a sender, or from none it had named."""
    await tx.execute(
        """
        delete from vendor_blocks b
         using unnest($2::bytea[], $3::text[]) as lifted (identifier_hash, sender)
         where b.workspace_id = $1 and b.identifier_hash = lifted.identifier_hash and b.sender in (lifted.sender, '')
        """,
        workspace_id, *columns(lifted, 2),
    )  # fmt: skip


async def unblock(tx: Tx, workspace_id: UUID, hashes: Sequence[bytes]) -> None:
    """Forget what vendors refuse to send to identifiers."""
    await tx.execute(
        "delete from vendor_blocks where workspace_id = $1 and identifier_hash = any($2::bytea[])",
        workspace_id, hashes,
    )  # fmt: skip


async def blocks(tx: Tx, places: Iterable[Place]) -> dict[Place, frozenset[str]]:
    """The senders that each identifier is blocked for; those without a block are left out."""
    rows = await tx.rows(
        """
        select b.workspace_id, b.identifier_hash, array_agg(b.sender) as senders
          from unnest($1::uuid[], $2::bytea[]) as asked (workspace_id, identifier_hash)
          join vendor_blocks b
            on b.workspace_id = asked.workspace_id and b.identifier_hash = asked.identifier_hash
         group by b.workspace_id, b.identifier_hash
        """,
        *columns(list(places), 2),
    )
    return {(row["workspace_id"], row["identifier_hash"]): frozenset(row["senders"]) for row in rows}
