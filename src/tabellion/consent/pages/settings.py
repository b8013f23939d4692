"""How a side's pages behave: what may be set, and `page_settings`, where it is kept."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from tabellion.core.db import Tx


class Gpc(StrEnum):
    """What a page does where a browser sends `Sec-GPC: 1` (Global Privacy Control)."""

    OFFER = "offer"
    """Offers to turn off all news and offers, chosen beforehand; what the person decides carries the signal."""
    RESTRICT = "restrict"
    """As `offer`, and whatever the person turns off turns off all news and offers with it."""
    IGNORE = "ignore"
    """Only notes the signal with what the person decides."""


class PageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a side may set about the pages its recipients see. What is left out has its default."""

    gpc: Gpc = Gpc.OFFER
    language: Annotated[str, Meta(pattern="^[a-z]{2}$", examples=["de"])] | None = None
    """Of a page where neither the person nor the browser names one there is; null: English."""


DEFAULT = PageSettings()


async def read(tx: Tx, workspace_id: UUID) -> tuple[PageSettings, datetime | None]:
    """What is set, and since when; None where it is the default."""
    row = await tx.row("select settings, updated_at from page_settings where workspace_id = $1", workspace_id)
    return (msgspec.convert(row["settings"], PageSettings), row["updated_at"]) if row else (DEFAULT, None)


async def write(tx: Tx, workspace_id: UUID, settings: PageSettings) -> None:
    await tx.execute(
        """
        insert into page_settings (workspace_id, settings, updated_at)
        values ($1, $2, $3)
        on conflict (workspace_id) do update set settings = excluded.settings, updated_at = excluded.updated_at
        """,
        workspace_id, msgspec.to_builtins(settings), tx.now,
    )  # fmt: skip
