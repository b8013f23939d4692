"""All SQL of what witnesses cosigned, and of the heads that may be shown."""

from collections.abc import Sequence
from datetime import datetime

from tabellion.core.db import Row, Tx, columns
from tabellion.core.ids import WorkspaceId
from tabellion.ledger.types import LogId, Published
from tabellion.ledger.witness.types import Due, Lag, Standing, Trouble


async def due(tx: Tx, policy: bytes) -> list[Due]:
    """The heads of all workspaces' logs that are not published under the policy, the longest waiting first."""
    rows = await tx.rows(
        """
        select head.workspace_id, head.log, head.generation, head.origin, head.size, head.checkpoint
          from ledger_heads head
          left join ledger_published shown using (workspace_id, log, generation)
         where head.closed_at is null
           and (shown.size is null or shown.size < head.size or shown.policy <> $1)
         order by shown.published_at nulls first, head.origin
        """,
        policy,
    )  # fmt: skip
    return [_due(row) for row in rows]


async def all_due(tx: Tx) -> list[Due]:
    """The heads of all workspaces' logs in use."""
    rows = await tx.rows(
        """
        select workspace_id, log, generation, origin, size, checkpoint
          from ledger_heads
         where closed_at is null
         order by origin
        """
    )
    return [_due(row) for row in rows]


async def published(tx: Tx, workspace_id: WorkspaceId, name: str, policy: bytes) -> Published | None:
    """The head of the log in use that was published last, if that was under this policy."""
    row = await tx.row(
        """
        select shown.size, shown.checkpoint
          from ledger_heads head
          join ledger_published shown using (workspace_id, log, generation)
         where head.workspace_id = $1 and head.log = $2 and head.closed_at is null and shown.policy = $3
        """,
        workspace_id, name, policy,
    )  # fmt: skip
    return Published(row["size"], row["checkpoint"], witnessed=True) if row else None


async def last_published(tx: Tx, log: LogId) -> Published | None:
    """The head of a generation that was published last, under whatever policy that was."""
    row = await tx.row(
        """
        select size, checkpoint
          from ledger_published
         where workspace_id = $1 and log = $2 and generation = $3
        """,
        *log,
    )
    return Published(row["size"], row["checkpoint"], witnessed=True) if row else None


async def publish(tx: Tx, log: LogId, size: int, checkpoint: str, policy: bytes) -> bool:
    """Let this head be shown, unless a larger one is already: whoever was slower changes nothing."""
    shown = await tx.value(
        """
        insert into ledger_published (workspace_id, log, generation, size, checkpoint, policy, published_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (workspace_id, log, generation) do update
           set size = excluded.size,
               checkpoint = excluded.checkpoint,
               policy = excluded.policy,
               published_at = excluded.published_at
         where ledger_published.size < excluded.size
            or (ledger_published.size = excluded.size and ledger_published.policy <> excluded.policy)
        returning true
        """,
        *log, size, checkpoint, policy, tx.now,
    )  # fmt: skip
    return bool(shown)


async def sizes(tx: Tx, log: LogId) -> dict[str, int]:
    """By verifier key: the size that each witness cosigned last of this log, as far as we know."""
    rows = await tx.rows(
        "select witness, size from ledger_witnesses where workspace_id = $1 and log = $2 and generation = $3", *log
    )
    return {row["witness"]: row["size"] for row in rows}


async def record(tx: Tx, log: LogId, standings: Sequence[Standing]) -> None:
    """Keep what a round learnt of the witnesses. Trouble counts from its first round."""
    rows = [
        (
            one.member.key.line(),
            one.size,
            tx.now if one.cosignature else None,
            one.unhelpful.trouble if one.unhelpful else None,
        )
        for one in sorted(standings, key=lambda one: one.member.key.line())
    ]
    await tx.execute(
        """
        insert into ledger_witnesses as known (
            workspace_id, log, generation, witness, size, cosigned_at, trouble, trouble_since
        )
        select $1, $2, $3, witness, size, cosigned_at, trouble, case when trouble is not null then $8::timestamptz end
          from unnest($4::text[], $5::bigint[], $6::timestamptz[], $7::text[])
               as learnt (witness, size, cosigned_at, trouble)
        on conflict (workspace_id, log, generation, witness) do update
           set size = excluded.size,
               cosigned_at = coalesce(excluded.cosigned_at, known.cosigned_at),
               trouble = excluded.trouble,
               trouble_since = case when excluded.trouble is not null
                                    then coalesce(known.trouble_since, excluded.trouble_since) end
        """,
        *log, *columns(rows, 4), tx.now,
    )  # fmt: skip


async def log_keys(tx: Tx, log: LogId, size: int) -> list[bytes]:
    """The public keys that signed this log at this size: one that was replaced before says nothing about it."""
    rows = await tx.rows(
        """
        select public_key
          from ledger_keys
         where workspace_id = $1 and log = $2 and generation = $3
           and from_size <= $4 and (to_size is null or to_size >= $4)
        """,
        *log, size,
    )  # fmt: skip
    return [row["public_key"] for row in rows]


async def verifier_keys(tx: Tx) -> list[tuple[str, bytes]]:
    """Origin and public key of all logs in use, of all workspaces: what a witness is told to trust."""
    rows = await tx.rows(
        """
        select head.origin, signing.public_key
          from ledger_heads head
          join ledger_keys signing using (workspace_id, log, generation)
         where head.closed_at is null
         order by head.origin, signing.from_size
        """
    )
    return [(row["origin"], row["public_key"]) for row in rows]


async def lags(tx: Tx, policy: bytes, settled: datetime, stale: datetime) -> list[Lag]:
    """The logs of all workspaces that are behind: unchanged since `settled`, or not published again since `stale`."""
    rows = await tx.rows(
        """
        select head.origin, head.size, case when shown.policy = $1 then shown.size end as published
          from ledger_heads head
          left join ledger_published shown using (workspace_id, log, generation)
         where head.closed_at is null
           and (shown.size is null or shown.size < head.size or shown.policy <> $1)
           and (head.updated_at < $2 or shown.published_at < $3)
         order by head.origin
        """,
        policy, settled, stale,
    )  # fmt: skip
    return [Lag(row["origin"], row["size"], row["published"]) for row in rows]


async def troubles(tx: Tx) -> list[Trouble]:
    """The witnesses that do not do their part, of all workspaces' logs in use."""
    rows = await tx.rows(
        """
        select known.witness, head.origin, known.trouble, known.trouble_since
          from ledger_witnesses known
          join ledger_heads head using (workspace_id, log, generation)
         where head.closed_at is null and known.trouble is not null
         order by known.witness, head.origin
        """
    )
    return [Trouble(row["witness"], row["origin"], row["trouble"], row["trouble_since"]) for row in rows]


def _due(row: Row) -> Due:
    log = LogId(row["workspace_id"], row["log"], row["generation"])
    return Due(log, row["origin"], row["size"], row["checkpoint"])
