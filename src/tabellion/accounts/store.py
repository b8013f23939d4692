"""All SQL for `accounts` and `account_pacing`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tabellion.accounts.types import Pace
from tabellion.core.db import Row, Tx, columns


@dataclass(frozen=True, slots=True)
class Stored:
    """An account's row, secrets sealed."""

    workspace_id: UUID
    id: UUID
    provider: str
    name: str
    settings: Mapping[str, Any]
    host: str
    secrets: bytes | None
    weight: int
    simulated: bool
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None
    keyword_replies: str | None = None
    brand: str | None = None


async def insert(tx: Tx, account: Stored) -> None:
    await tx.execute(
        """
        insert into accounts
            (workspace_id, id, provider, name, settings, host, secrets, weight, simulated, created_at, updated_at,
             keyword_replies, brand)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12)
        """,
        account.workspace_id, account.id, account.provider, account.name, account.settings, account.host,
        account.secrets, account.weight, account.simulated, tx.now, account.keyword_replies, account.brand,
    )  # fmt: skip


async def insert_simulated(tx: Tx, workspace_id: UUID, made: Sequence[tuple[UUID, str]]) -> None:
    """Make simulator accounts (id, provider) where the side has none of that provider."""
    await tx.execute(
        """
        insert into accounts
            (workspace_id, id, provider, name, settings, host, weight, simulated, created_at, updated_at)
        select $1, id, provider, provider || ' simulator', '{}', '', 1, true, $2, $2
          from unnest($3::uuid[], $4::text[]) as made (id, provider)
         order by provider
        on conflict (workspace_id, provider) where simulated do nothing
        """,
        workspace_id, tx.now, *columns(made, 2),
    )  # fmt: skip


async def update(tx: Tx, account: Stored) -> None:
    """Store the changed fields of a locked row."""
    await tx.execute(
        """
        update accounts
           set name = $3, settings = $4, host = $5, secrets = $6, weight = $7, disabled_at = $8, updated_at = $9,
               keyword_replies = $10, brand = $11
         where workspace_id = $1 and id = $2
        """,
        account.workspace_id, account.id, account.name, account.settings, account.host, account.secrets,
        account.weight, account.disabled_at, tx.now, account.keyword_replies, account.brand,
    )  # fmt: skip


async def lock(tx: Tx, workspace_id: UUID, account_id: UUID) -> bool:
    """Whether the account exists; from here on only this transaction changes it."""
    row = await tx.row(
        "select id from accounts where workspace_id = $1 and id = $2 for no key update", workspace_id, account_id
    )
    return row is not None


async def of_workspace(tx: Tx, workspace_id: UUID) -> list[Stored]:
    """All accounts of a side, disabled ones too, oldest first."""
    rows = await tx.rows(
        """
        select workspace_id, id, provider, name, settings, host, secrets, weight, simulated, created_at, updated_at,
               disabled_at, keyword_replies, brand
          from accounts
         where workspace_id = $1
         order by id
        """,
        workspace_id,
    )
    return [Stored(**row) for row in rows]


async def read(tx: Tx, workspace_id: UUID, account_id: UUID) -> Stored | None:
    row = await tx.row(
        """
        select workspace_id, id, provider, name, settings, host, secrets, weight, simulated, created_at, updated_at,
               disabled_at, keyword_replies, brand
          from accounts
         where workspace_id = $1 and id = $2
        """,
        workspace_id, account_id,
    )  # fmt: skip
    return Stored(**row) if row else None


async def page(tx: Tx, workspace_id: UUID, before: UUID | None, limit: int) -> list[Stored]:
    """Accounts of a side, newest first, made before the account `before`."""
    rows = await tx.rows(
        """
        select workspace_id, id, provider, name, settings, host, secrets, weight, simulated, created_at, updated_at,
               disabled_at, keyword_replies, brand
          from accounts
         where workspace_id = $1 and ($2::uuid is null or id < $2)
         order by id desc
         limit $3
        """,
        workspace_id, before, limit,
    )  # fmt: skip
    return [Stored(**row) for row in rows]


async def by_ids(tx: Tx, account_ids: Sequence[UUID]) -> list[Stored]:
    """Those of the accounts that exist, of whichever side: a vendor's callback names the account alone."""
    rows = await tx.rows(
        """
        select workspace_id, id, provider, name, settings, host, secrets, weight, simulated, created_at, updated_at,
               disabled_at, keyword_replies, brand
          from accounts
         where id = any($1::uuid[])
         order by workspace_id, id
        """,
        account_ids,
    )
    return [Stored(**row) for row in rows]


# pacing


async def ceilings(tx: Tx, workspace_id: UUID, account_ids: Sequence[UUID]) -> dict[UUID, float]:
    """The limits that were set."""
    rows = await tx.rows(
        """
        select account_id, ceiling
          from account_pacing
         where workspace_id = $1 and account_id = any($2::uuid[]) and ceiling is not null
        """,
        workspace_id, account_ids,
    )  # fmt: skip
    return {row["account_id"]: row["ceiling"] for row in rows}


async def lock_paces(tx: Tx, pairs: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Pace]:
    """The paces of those (workspace, account) that have one, locked in order."""
    rows = await tx.rows(
        """
        select p.workspace_id, p.account_id, p.rate, p.ceiling, p.next_at, p.paused_until, p.shrunk_at, p.grown_at
          from unnest($1::uuid[], $2::uuid[]) as wanted (workspace_id, account_id)
          join account_pacing p on p.workspace_id = wanted.workspace_id and p.account_id = wanted.account_id
         order by p.workspace_id, p.account_id
           for no key update of p
        """,
        *columns(pairs, 2),
    )
    return {(row["workspace_id"], row["account_id"]): _pace(row) for row in rows}


async def write_paces(tx: Tx, paces: Mapping[tuple[UUID, UUID], Pace]) -> None:
    """Store paces whose rows are locked."""
    rows = [
        (*pair, one.rate, one.ceiling, one.next_at, one.paused_until, one.shrunk_at, one.grown_at)
        for pair, one in paces.items()
    ]
    await tx.execute(
        """
        update account_pacing p
           set rate = new.rate, ceiling = new.ceiling, next_at = new.next_at, paused_until = new.paused_until,
               shrunk_at = new.shrunk_at, grown_at = new.grown_at
          from unnest($1::uuid[], $2::uuid[], $3::double precision[], $4::double precision[], $5::timestamptz[],
                      $6::timestamptz[], $7::timestamptz[], $8::timestamptz[])
            as new (workspace_id, account_id, rate, ceiling, next_at, paused_until, shrunk_at, grown_at)
         where p.workspace_id = new.workspace_id and p.account_id = new.account_id
        """,
        *columns(rows, 8),
    )


async def insert_pace(tx: Tx, pair: tuple[UUID, UUID], pace: Pace) -> bool:
    """Whether the account had no pace; another transaction that gives it one is waited for."""
    row = await tx.row(
        """
        insert into account_pacing
            (workspace_id, account_id, rate, ceiling, next_at, paused_until, shrunk_at, grown_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (workspace_id, account_id) do nothing
        returning account_id
        """,
        *pair, pace.rate, pace.ceiling, pace.next_at, pace.paused_until, pace.shrunk_at, pace.grown_at,
    )  # fmt: skip
    return row is not None


async def delete_paces(tx: Tx, pairs: Sequence[tuple[UUID, UUID]]) -> None:
    await tx.execute(
        """
        delete from account_pacing p
         using unnest($1::uuid[], $2::uuid[]) as gone (workspace_id, account_id)
         where p.workspace_id = gone.workspace_id and p.account_id = gone.account_id
        """,
        *columns(pairs, 2),
    )


def _pace(row: Row) -> Pace:
    return Pace(*row[2:])
