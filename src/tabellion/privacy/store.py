"""All SQL of `retention`."""

from uuid import UUID

from tabellion.core.db import Row, Tx
from tabellion.privacy.types import Policy, Standing


async def read(tx: Tx, workspace_id: UUID) -> Standing:
    row = await tx.row(
        """
        select callbacks_days, content_days, proofs_days, proofs_by_purpose, updated_at
          from retention
         where workspace_id = $1
        """,
        workspace_id,
    )
    return Standing(_policy(row), row["updated_at"]) if row else Standing(Policy())


def _policy(row: Row) -> Policy:
    return Policy(
        callbacks=row["callbacks_days"],
        content=row["content_days"],
        proofs=row["proofs_days"],
        proofs_by_purpose=row["proofs_by_purpose"],
    )


async def write(tx: Tx, workspace_id: UUID, policy: Policy) -> None:
    await tx.execute(
        """
        insert into retention (workspace_id, callbacks_days, content_days, proofs_days, proofs_by_purpose, updated_at)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (workspace_id)
        do update set callbacks_days = excluded.callbacks_days, content_days = excluded.content_days,
                      proofs_days = excluded.proofs_days, proofs_by_purpose = excluded.proofs_by_purpose,
                      updated_at = excluded.updated_at
        """,
        workspace_id, policy.callbacks, policy.content, policy.proofs, policy.proofs_by_purpose, tx.now,
    )  # fmt: skip


async def sides(tx: Tx, after: UUID | None, most: int) -> list[UUID]:
    """Workspace sides in the order of their ids."""
    rows = await tx.rows(
        """
        select workspace_id
          from workspace_sides
         where $1::uuid is null or workspace_id > $1
         order by workspace_id
         limit $2
        """,
        after, most,
    )  # fmt: skip
    return [row["workspace_id"] for row in rows]


async def mark(tx: Tx, workspace_id: UUID) -> UUID | None:
    """The id up to which a side's messages are emptied; None before the first round."""
    found: UUID | None = await tx.value("select messages_to from retention_marks where workspace_id = $1", workspace_id)
    return found


async def set_mark(tx: Tx, workspace_id: UUID, messages_to: UUID) -> None:
    """Move the mark on; never back."""
    await tx.execute(
        """
        insert into retention_marks (workspace_id, messages_to)
        values ($1, $2)
        on conflict (workspace_id)
        do update set messages_to = greatest(retention_marks.messages_to, excluded.messages_to)
        """,
        workspace_id, messages_to,
    )  # fmt: skip
