"""Reads `consent_entries` for the restrictions that are in force."""

from typing import Any, Final
from uuid import UUID

from tabellion.consent.suppressions.types import Standing, Wanted
from tabellion.consent.types import KeptEntry, Rank, Strength
from tabellion.core.db import Row, Tx

_KEPT: Final = tuple(name for name in KeptEntry.__dataclass_fields__ if name != "ordinal")


async def page(tx: Tx, workspace_id: UUID, wanted: Wanted, before: UUID | None, limit: int) -> list[Standing]:
    """Restrictions in force, newest first, recorded before the entry `before`."""
    rows = await tx.rows(
        """
        select id, log_index, leaf_hash, subject_id, recipient_id, channel, purpose, decision, basis, method, source,
               recorded_at, effective_at, expires_at, applied, standing, reason, sealed, notice, notice_version,
               identifier_kind, identifier_hash, person_scope, rank, strength,
               case method when 'keyword' then 'stop' when 'complaint' then 'complaint' when 'erasure' then 'erased'
                           else decision end as word
          from consent_entries
         where workspace_id = $1 and standing and strength > 0
           and ($2::bytea is null or identifier_hash = $2 or (person_scope and recipient_id = any($3::uuid[])))
           and ($4::text is null or channel = $4) and ($5::text is null or purpose = $5)
           and ($6::text is null
                or case method when 'keyword' then 'stop' when 'complaint' then 'complaint'
                               when 'erasure' then 'erased' else decision end = $6)
           and ($7::timestamptz is null or recorded_at >= $7)
           and ($8::uuid is null
                or log_index < (select log_index from consent_entries where workspace_id = $1 and id = $8))
         order by log_index desc
         limit $9
        """,
        workspace_id, wanted.hash, list(wanted.people), wanted.channel, wanted.purpose, wanted.reason, wanted.since,
        before, limit,
    )  # fmt: skip
    return [_standing(row) for row in rows]


async def after(tx: Tx, workspace_id: UUID, ordinal: int, limit: int) -> list[Standing]:
    """Restrictions in force, in the order they were recorded in, behind an ordinal."""
    rows = await tx.rows(
        """
        select id, log_index, leaf_hash, subject_id, recipient_id, channel, purpose, decision, basis, method, source,
               recorded_at, effective_at, expires_at, applied, standing, reason, sealed, notice, notice_version,
               identifier_kind, identifier_hash, person_scope, rank, strength,
               case method when 'keyword' then 'stop' when 'complaint' then 'complaint' when 'erasure' then 'erased'
                           else decision end as word
          from consent_entries
         where workspace_id = $1 and standing and strength > 0 and log_index > $2
         order by log_index
         limit $3
        """,
        workspace_id, ordinal, limit,
    )  # fmt: skip
    return [_standing(row) for row in rows]


async def read(tx: Tx, workspace_id: UUID, entry_id: UUID) -> Standing | None:
    """A restriction, whether it is in force or not."""
    row = await tx.row(
        """
        select id, log_index, leaf_hash, subject_id, recipient_id, channel, purpose, decision, basis, method, source,
               recorded_at, effective_at, expires_at, applied, standing, reason, sealed, notice, notice_version,
               identifier_kind, identifier_hash, person_scope, rank, strength,
               case method when 'keyword' then 'stop' when 'complaint' then 'complaint' when 'erasure' then 'erased'
                           else decision end as word
          from consent_entries
         where workspace_id = $1 and id = $2 and strength > 0
        """,
        workspace_id, entry_id,
    )  # fmt: skip
    return _standing(row) if row else None


def _standing(row: Row) -> Standing:
    kept: dict[str, Any] = {name: row[name] for name in _KEPT}
    return Standing(
        entry=KeptEntry(ordinal=row["log_index"], **kept),
        identifier_kind=row["identifier_kind"],
        identifier_hash=row["identifier_hash"],
        whole_person=row["person_scope"],
        rank=Rank(row["rank"]),
        strength=Strength(row["strength"]),
        reason=row["word"],
    )
