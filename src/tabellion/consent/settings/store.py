"""All SQL for `consent_settings`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from tabellion.core.db import Tx


async def read(tx: Tx, workspace_id: UUID) -> tuple[Mapping[str, Any] | None, datetime | None]:
    """What is set, and when it was; nothing where it is the default."""
    row = await tx.row("select settings, updated_at from consent_settings where workspace_id = $1", workspace_id)
    return (row["settings"], row["updated_at"]) if row else (None, None)


async def write(tx: Tx, workspace_id: UUID, settings: Mapping[str, Any]) -> None:
    await tx.execute(
        """
        insert into consent_settings (workspace_id, settings, updated_at)
        values ($1, $2, $3)
        on conflict (workspace_id) do update set settings = excluded.settings, updated_at = excluded.updated_at
        """,
        workspace_id, settings, tx.now,
    )  # fmt: skip
