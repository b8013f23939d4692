"""All SQL for `reviews`."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tabellion.core.db import Row, Tx, columns
from tabellion.identity.review_types import Review, ReviewKind, ReviewState


@dataclass(frozen=True, slots=True)
class NewItem:
    """A row as it is written, should there be none about the same."""

    id: UUID
    kind: ReviewKind
    dedupe: bytes
    recipients: Sequence[UUID]
    source: str
    evidence: bytes
    seen: int


async def put(tx: Tx, workspace_id: UUID, items: Sequence[NewItem]) -> dict[bytes, tuple[UUID, ReviewState, bool]]:
    """Open items; of what is open or rejected already, note that it was seen again. By key: id, state, whether new.

    What is open shows the latest evidence from then on. The keys must be distinct. Locks them in their order.
    """
    rows = await tx.rows(
        """
        insert into reviews
            (workspace_id, id, kind, state, dedupe, recipients, source, evidence, seen, created_at, last_seen_at)
        select $1, id, kind, 'open', dedupe, recipients::uuid[], source, evidence, seen, $2, $2
          from unnest($3::uuid[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::bytea[], $9::integer[])
                 as made (id, kind, dedupe, recipients, source, evidence, seen)
         order by dedupe
        on conflict (workspace_id, dedupe)
              where state = 'open' or (state = 'rejected' and kind <> 'unclear_reply') do update
           set seen = reviews.seen + excluded.seen,
               last_seen_at = excluded.last_seen_at,
               recipients = case when reviews.state = 'open' then excluded.recipients else reviews.recipients end,
               source = case when reviews.state = 'open' then excluded.source else reviews.source end,
               evidence = case when reviews.state = 'open' then excluded.evidence else reviews.evidence end
        returning dedupe, id, state
        """,
        workspace_id, tx.now,
        *columns(
            [(one.id, one.kind, one.dedupe, _array(one.recipients), one.source, one.evidence, one.seen)
             for one in items], 7,
        ),
    )  # fmt: skip
    made = {one.id for one in items}
    return {row["dedupe"]: (row["id"], ReviewState(row["state"]), row["id"] in made) for row in rows}


async def read(tx: Tx, workspace_id: UUID, review_id: UUID) -> Review | None:
    row = await tx.row(
        """
        select id, kind, state, dedupe, recipients, source, evidence, seen, created_at, last_seen_at, decided_at,
               decided_by, reason
          from reviews
         where workspace_id = $1 and id = $2
        """,
        workspace_id, review_id,
    )  # fmt: skip
    return _review(row) if row else None


async def lock(tx: Tx, workspace_id: UUID, review_id: UUID) -> None:
    """Hold an item until the transaction ends. What you decide on must be read in a statement after this one."""
    await tx.execute(
        "select from reviews where workspace_id = $1 and id = $2 for no key update", workspace_id, review_id
    )


async def page(
    tx: Tx, workspace_id: UUID, state: ReviewState | None, kind: ReviewKind | None, before: UUID | None, limit: int
) -> list[Review]:
    """Items, newest first, opened before the item `before`."""
    rows = await tx.rows(
        """
        select id, kind, state, dedupe, recipients, source, evidence, seen, created_at, last_seen_at, decided_at,
               decided_by, reason
          from reviews
         where workspace_id = $1 and ($2::text is null or state = $2) and ($3::text is null or kind = $3)
           and ($4::uuid is null or id < $4)
         order by id desc
         limit $5
        """,
        workspace_id, state, kind, before, limit,
    )  # fmt: skip
    return [_review(row) for row in rows]


async def decide(
    tx: Tx, workspace_id: UUID, review_id: UUID, state: ReviewState, actor: str, reason: bytes | None
) -> None:
    await tx.execute(
        """
        update reviews
           set state = $3, decided_at = $4, decided_by = $5, reason = $6
         where workspace_id = $1 and id = $2
        """,
        workspace_id, review_id, state, tx.now, actor, reason,
    )  # fmt: skip


async def forget(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], actor: str) -> None:
    """Drop what items that concern recipients show, and that they concerned them; what is open is superseded."""
    await tx.execute(
        """
        update reviews
           set evidence = null,
               reason = null,
               recipients = array(select one from unnest(recipients) as one where one <> all($2::uuid[])),
               state = case when state = 'open' then 'superseded' else state end,
               decided_at = coalesce(decided_at, $3),
               decided_by = coalesce(decided_by, $4)
         where workspace_id = $1 and recipients && $2::uuid[]
        """,
        workspace_id, recipient_ids, tx.now, actor,
    )  # fmt: skip


def _array(values: Sequence[UUID]) -> str:
    """An array as text: rows that go through `unnest` hold no arrays of different lengths."""
    return f"{{{','.join(map(str, values))}}}"


def _review(row: Row) -> Review:
    return Review(
        id=row["id"],
        kind=ReviewKind(row["kind"]),
        state=ReviewState(row["state"]),
        dedupe=row["dedupe"],
        recipients=row["recipients"],
        source=row["source"],
        sealed=row["evidence"],
        seen=row["seen"],
        created_at=row["created_at"],
        last_seen_at=row["last_seen_at"],
        decided_at=row["decided_at"],
        decided_by=row["decided_by"],
        reason=row["reason"],
    )
