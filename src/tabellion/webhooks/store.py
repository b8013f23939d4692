"""All SQL of `callbacks`."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from tabellion.core import ids
from tabellion.core.db import Tx, columns
from tabellion.webhooks.types import Callback, Sealed


async def insert(tx: Tx, callbacks: Sequence[Callback]) -> set[UUID]:
    """The ids of those stored; one that is here already is left out."""
    rows = [(c.workspace_id, c.id, c.account_id, c.provider, c.digest, c.raw) for c in callbacks]
    stored = await tx.rows(
        """
        insert into callbacks (workspace_id, id, account_id, provider, received_at, digest, state, raw)
        select workspace_id, id, account_id, provider, $1, digest, 'received', raw
          from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[], $7::bytea[])
               as new (workspace_id, id, account_id, provider, digest, raw)
         order by workspace_id, digest
            on conflict (workspace_id, digest) do nothing
        returning id
        """,
        tx.now, *columns(rows, 6),
    )  # fmt: skip
    return {row["id"] for row in stored}


async def read(tx: Tx, pairs: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Callback]:
    rows = await tx.rows(
        """
        select c.workspace_id, c.id, c.account_id, c.provider, c.received_at, c.digest, c.raw, c.recipient_id
          from callbacks c
          join unnest($1::uuid[], $2::uuid[]) as wanted (workspace_id, id)
            on wanted.workspace_id = c.workspace_id and wanted.id = c.id
        """,
        *columns(pairs, 2),
    )
    return {
        (row["workspace_id"], row["id"]): Callback(
            workspace_id=row["workspace_id"],
            id=row["id"],
            account_id=row["account_id"],
            provider=row["provider"],
            received_at=row["received_at"],
            digest=row["digest"],
            raw=row["raw"],
            recipient_id=row["recipient_id"],
        )
        for row in rows
    }


async def nth_after(tx: Tx, workspace_id: UUID, after: UUID | None, count: int) -> UUID | None:
    """The id of the count-th callback after one, if there are as many."""
    found: UUID | None = await tx.value(
        """
        select id
          from callbacks
         where workspace_id = $1 and id > $2
         order by id
        offset $3
         limit 1
        """,
        workspace_id, after or ids.FIRST, count - 1,
    )  # fmt: skip
    return found


async def of_people(
    tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], after: UUID | None, through: UUID | None, limit: int
) -> list[Callback]:
    """The callbacks sealed for people, oldest first, after one, up to and with `through`."""
    rows = await tx.rows(
        """
        select workspace_id, id, account_id, provider, received_at, digest, raw, recipient_id
          from callbacks
         where workspace_id = $1 and id > $3 and id <= $4 and recipient_id = any($2::uuid[])
         order by id
         limit $5
        """,
        workspace_id, recipient_ids, after or ids.FIRST, through or ids.LAST, limit,
    )  # fmt: skip
    return [Callback(*row) for row in rows]


async def mark(
    tx: Tx, states: Sequence[tuple[UUID, UUID, str]], sealed: Mapping[tuple[UUID, UUID], Sealed] = MappingProxyType({})
) -> None:
    """Store what became of callbacks: (workspace_id, id, state); and those that were sealed anew, for whom."""
    rows = [
        (side, id_, state, new.recipient_id, new.raw or b"") if (new := sealed.get((side, id_))) else
        (side, id_, state, None, None)
        for side, id_, state in states
    ]  # fmt: skip
    await tx.execute(
        """
        update callbacks c
           set state = new.state,
               recipient_id = coalesce(new.recipient_id, c.recipient_id),
               raw = coalesce(new.raw, c.raw)
          from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::bytea[])
               as new (workspace_id, id, state, recipient_id, raw)
         where c.workspace_id = new.workspace_id and c.id = new.id
        """,
        *columns(rows, 5),
    )


async def page(tx: Tx, workspace_id: UUID, after: UUID | None, most: int) -> list[Callback]:
    """Callbacks of a workspace side that are not known to be about one person, in the order of their ids."""
    rows = await tx.rows(
        """
        select workspace_id, id, account_id, provider, received_at, digest, raw, recipient_id
          from callbacks
         where workspace_id = $1 and ($2::uuid is null or id > $2) and recipient_id is null
           and octet_length(raw) > 0
         order by id
         limit $3
        """,
        workspace_id, after, most,
    )  # fmt: skip
    return [Callback(**row) for row in rows]


async def erase(tx: Tx, workspace_id: UUID, callback_ids: Sequence[UUID]) -> None:
    """Keep of callbacks that they came."""
    await tx.execute(
        """
        update callbacks
           set raw = '', state = 'erased'
         where workspace_id = $1 and id = any($2::uuid[])
        """,
        workspace_id, callback_ids,
    )  # fmt: skip


async def erase_of(
    tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], after: UUID | None, upto: UUID | None
) -> int:
    """Keep of the callbacks about people between two ids that they came; how many there were."""
    done = await tx.execute(
        """
        update callbacks
           set raw = '', state = 'erased'
         where workspace_id = $1 and ($3::uuid is null or id > $3) and ($4::uuid is null or id <= $4)
           and recipient_id = any($2::uuid[]) and state <> 'erased'
        """,
        workspace_id, recipient_ids, after, upto,
    )  # fmt: skip
    return int(done.rpartition(" ")[2])


async def delete(tx: Tx, workspace_id: UUID, before: UUID, most: int) -> int:
    """Delete the oldest callbacks before an id; how many."""
    done = await tx.execute(
        """
        delete from callbacks
         where workspace_id = $1
           and id = any(array(select id
                                from callbacks
                               where workspace_id = $1 and id < $2
                               order by id
                               limit $3))
        """,
        workspace_id, before, most,
    )  # fmt: skip
    return int(done.rpartition(" ")[2])
