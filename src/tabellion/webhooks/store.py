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


async def of_people(
    tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], after: UUID | None, limit: int
) -> list[Callback]:
    """The callbacks sealed for people, oldest first, after one."""
    rows = await tx.rows(
        """
        select c.workspace_id, c.id, c.account_id, c.provider, c.received_at, c.digest, c.raw, c.recipient_id
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select workspace_id, id, account_id, provider, received_at, digest, raw, recipient_id
                 from callbacks
                where workspace_id = $1 and recipient_id = wanted.id and callbacks.id > $3
                order by callbacks.id
                limit $4) c
         order by c.id
         limit $4
        """,
        workspace_id, recipient_ids, after or ids.FIRST, limit,
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


async def erase(tx: Tx, workspace_id: UUID, callback_ids: Sequence[UUID]) -> int:
    """Keep of callbacks that they came; how many said more."""
    done = await tx.execute(
        """
        update callbacks
           set raw = '', state = 'erased'
         where workspace_id = $1 and id = any($2::uuid[]) and state <> 'erased'
        """,
        workspace_id, callback_ids,
    )  # fmt: skip
    return int(done.rpartition(" ")[2])


async def page_of(
    tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], after: UUID | None, most: int
) -> list[UUID]:
    """Callbacks sealed for people in the order of their ids, after one."""
    rows = await tx.rows(
        """
        select c.id
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select id
                 from callbacks
                where workspace_id = $1 and recipient_id = wanted.id and callbacks.id > $3
                order by callbacks.id
                limit $4) c
         order by c.id
         limit $4
        """,
        workspace_id, recipient_ids, after or ids.FIRST, most,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def delete(tx: Tx, workspace_id: UUID, before: UUID, spared: Sequence[UUID], most: int) -> int:
    """Delete the oldest callbacks before an id, but for those about the people spared; how many."""
    done = await tx.execute(
        """
        delete from callbacks
         where workspace_id = $1
           and id = any(array(select id
                                from callbacks
                               where workspace_id = $1 and id < $2
                                 and (recipient_id is null or recipient_id <> all($3::uuid[]))
                               order by id
                               limit $4))
        """,
        workspace_id, before, spared, most,
    )  # fmt: skip
    return int(done.rpartition(" ")[2])
