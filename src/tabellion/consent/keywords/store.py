"""All SQL for `keywords_received`."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from tabellion.consent.keywords.types import WINDOW, Keyword, Received
from tabellion.core.db import Tx, columns
from tabellion.core.ids import AccountId, RecipientId, WorkspaceId
from tabellion.providers.base import Channel

KEPT = timedelta(days=1)


async def note(tx: Tx, workspace_id: UUID, received: Sequence[Received]) -> set[UUID]:
    """Keep keywords of one number and word each, and forget those of days before. The ids of those to be answered.

    Left out is whoever said the same within the time in which it was to be answered.
    """
    await tx.execute(
        "delete from keywords_received where workspace_id = $1 and received_at < $2", workspace_id, tx.now - KEPT
    )
    rows = await tx.rows(
        """
        insert into keywords_received
            (workspace_id, identifier_hash, signal, id, recipient_id, account_id, channel, sender, language,
             received_at)
        select $1, identifier_hash, signal, id, recipient_id, account_id, channel, sender, language, $2
          from unnest($4::bytea[], $5::text[], $6::uuid[], $7::uuid[], $8::uuid[], $9::text[], $10::text[],
                      $11::text[])
            as said (identifier_hash, signal, id, recipient_id, account_id, channel, sender, language)
         order by identifier_hash, signal
        on conflict (workspace_id, identifier_hash, signal) do update
           set id = excluded.id, recipient_id = excluded.recipient_id, account_id = excluded.account_id,
               channel = excluded.channel, sender = excluded.sender, language = excluded.language,
               received_at = excluded.received_at
         where keywords_received.received_at <= $3
        returning id
        """,
        workspace_id, tx.now, tx.now - WINDOW, *columns([_row(one) for one in received], 8),
    )  # fmt: skip
    return {row["id"] for row in rows}


def _row(one: Received) -> tuple[object, ...]:
    return (
        one.identifier_hash, one.keyword, one.id, one.recipient_id, one.account_id, one.channel, one.sender,
        one.language,
    )  # fmt: skip


async def read(tx: Tx, workspace_id: UUID, ids: Sequence[UUID]) -> list[Received]:
    """Those of the keywords that are kept, and were not said again since they were to be answered."""
    rows = await tx.rows(
        """
        select id, signal, recipient_id, identifier_hash, channel, account_id, sender, language, received_at
          from keywords_received
         where workspace_id = $1 and id = any($2::uuid[])
         order by received_at, id
        """,
        workspace_id, ids,
    )  # fmt: skip
    return [
        Received(
            workspace_id=WorkspaceId(workspace_id),
            id=row["id"],
            keyword=Keyword(row["signal"]),
            recipient_id=RecipientId(row["recipient_id"]),
            identifier_hash=row["identifier_hash"],
            channel=Channel(row["channel"]),
            account_id=AccountId(row["account_id"]),
            sender=row["sender"],
            language=row["language"],
            received_at=row["received_at"],
        )
        for row in rows
    ]


async def forget(tx: Tx, workspace_id: UUID, hashes: Sequence[bytes]) -> None:
    """Forget what was said from numbers."""
    await tx.execute(
        "delete from keywords_received where workspace_id = $1 and identifier_hash = any($2::bytea[])",
        workspace_id, hashes,
    )  # fmt: skip
