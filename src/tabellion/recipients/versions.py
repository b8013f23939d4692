"""All SQL for `recipient_versions`."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from tabellion.core.db import Row, Tx


class NewVersion(msgspec.Struct, frozen=True, gc=False):
    recipient_id: UUID
    version: int
    changed: Sequence[str]
    merged_into: UUID | None
    change: bytes | None


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A version's row, its change as stored."""

    version: int
    changed_at: datetime
    source: str
    actor: str
    merged_into: UUID | None
    change: bytes | None


async def insert(
    tx: Tx, workspace_id: UUID, made: Sequence[NewVersion], *, at: datetime, source: str, actor: str
) -> None:
    """Add versions as one JSON document."""
    await tx.execute(
        """
        insert into recipient_versions
            (workspace_id, recipient_id, version, changed_at, source, actor, changed, merged_into, change)
        select $1, (made ->> 0)::uuid, (made ->> 1)::integer, $2, $3, $4, string_to_array(made ->> 2, ','),
               (made ->> 3)::uuid, decode(made ->> 4, 'base64')
          from jsonb_array_elements($5::jsonb) as made
        """,
        workspace_id, at, source, actor,
        [(one.recipient_id, one.version, ",".join(one.changed), one.merged_into, one.change) for one in made],
    )  # fmt: skip


async def page(
    tx: Tx, workspace_id: UUID, recipient_id: UUID, *, above: int = 0, below: int | None = None, limit: int
) -> list[Kept]:
    """Versions between two, newest first."""
    rows = await tx.rows(
        """
        select version, changed_at, source, actor, merged_into, change
          from recipient_versions
         where workspace_id = $1 and recipient_id = $2 and version > $3 and ($4::integer is null or version < $4)
         order by version desc
         limit $5
        """,
        workspace_id, recipient_id, above, below, limit,
    )  # fmt: skip
    return [_kept(row) for row in rows]


async def first_after(tx: Tx, workspace_id: UUID, recipient_id: UUID, at: datetime) -> int | None:
    """The first version made after a moment.

    Those behind it are later too, whatever the clocks of their writers said.
    """
    found: int | None = await tx.value(
        """
        select min(version)
          from recipient_versions
         where workspace_id = $1 and recipient_id = $2 and changed_at > $3
        """,
        workspace_id, recipient_id, at,
    )  # fmt: skip
    return found


async def root_before(tx: Tx, workspace_id: UUID, recipient_id: UUID, below: int | None) -> UUID | None:
    """Whose the recipient was from its last merge or split before a version; None where there was none."""
    found: UUID | None = await tx.value(
        """
        select merged_into
          from recipient_versions
         where workspace_id = $1 and recipient_id = $2 and ($3::integer is null or version < $3)
           and merged_into is not null
         order by version desc
         limit 1
        """,
        workspace_id, recipient_id, below,
    )  # fmt: skip
    return found


def _kept(row: Row) -> Kept:
    return Kept(*row)
