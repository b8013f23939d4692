"""All SQL of `retention` and `retention_marks`."""

from datetime import datetime
from uuid import UUID

import msgspec

from tabellion.core.db import Row, Tx
from tabellion.privacy.types import Applied, Policy, Round, Standing


async def read(tx: Tx, workspace_id: UUID) -> Standing:
    row = await tx.row(
        """
        select callbacks_days, content_days, events_days, recipients_days, proofs_days, proofs_by_purpose, updated_at
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
        events=row["events_days"],
        recipients=row["recipients_days"],
        proofs=row["proofs_days"],
        proofs_by_purpose=row["proofs_by_purpose"],
    )


async def write(tx: Tx, workspace_id: UUID, policy: Policy) -> None:
    await tx.execute(
        """
        insert into retention (workspace_id, callbacks_days, content_days, events_days, recipients_days, proofs_days,
                               proofs_by_purpose, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (workspace_id)
        do update set callbacks_days = excluded.callbacks_days, content_days = excluded.content_days,
                      events_days = excluded.events_days, recipients_days = excluded.recipients_days,
                      proofs_days = excluded.proofs_days, proofs_by_purpose = excluded.proofs_by_purpose,
                      updated_at = excluded.updated_at
        """,
        workspace_id, policy.callbacks, policy.content, policy.events, policy.recipients, policy.proofs,
        policy.proofs_by_purpose, tx.now,
    )  # fmt: skip


async def span(tx: Tx, otherwise: int | None) -> tuple[int | None, int | None]:
    """For how many days the sides keep events: the shortest that any does, and the longest, None for ever.

    `otherwise` is what a side does that has set nothing.
    """
    row = await tx.row(
        """
        select min(days) as shortest, case when bool_and(days is not null) then max(days) end as longest
          from (select case when r.workspace_id is null then $1::integer else r.events_days end as days
                  from workspace_sides s
                  left join retention r using (workspace_id)) as kept
        """,
        otherwise,
    )
    assert row is not None
    return row["shortest"], row["longest"]


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


# Marks


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


async def finals_to(tx: Tx, workspace_id: UUID) -> UUID | None:
    """The id up to which all of a side's messages are known to be final."""
    found: UUID | None = await tx.value("select finals_to from retention_marks where workspace_id = $1", workspace_id)
    return found


async def set_finals_to(tx: Tx, workspace_id: UUID, finals_to: UUID) -> None:
    """Move the mark on; never back."""
    await tx.execute(
        """
        insert into retention_marks (workspace_id, finals_to)
        values ($1, $2)
        on conflict (workspace_id)
        do update set finals_to = greatest(retention_marks.finals_to, excluded.finals_to)
        """,
        workspace_id, finals_to,
    )  # fmt: skip


async def recipients_to(tx: Tx, workspace_id: UUID) -> UUID | None:
    """After which recipient the walk over a side's recipients goes on; None where it begins."""
    found: UUID | None = await tx.value(
        "select recipients_to from retention_marks where workspace_id = $1", workspace_id
    )
    return found


async def set_recipients_to(tx: Tx, workspace_id: UUID, recipients_to: UUID | None) -> None:
    await tx.execute(
        """
        insert into retention_marks (workspace_id, recipients_to)
        values ($1, $2)
        on conflict (workspace_id) do update set recipients_to = excluded.recipients_to
        """,
        workspace_id, recipients_to,
    )  # fmt: skip


async def last_round(tx: Tx, workspace_id: UUID) -> Round | None:
    row = await tx.row(
        "select round_at, ended from retention_marks where workspace_id = $1 and round_at is not null", workspace_id
    )
    return Round(row["round_at"], msgspec.convert(row["ended"], Applied)) if row else None


async def set_last_round(tx: Tx, workspace_id: UUID, at: datetime, ended: Applied) -> None:
    await tx.execute(
        """
        insert into retention_marks (workspace_id, round_at, ended)
        values ($1, $2, $3)
        on conflict (workspace_id) do update set round_at = excluded.round_at, ended = excluded.ended
        """,
        workspace_id, at, ended,
    )  # fmt: skip
