"""How a workspace side reads, resolves and keeps its recipients: what may be set, and what is set, in memory."""

from collections.abc import Set
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tabellion.core.db import Database, Tx
from tabellion.core.ids import WorkspaceId
from tabellion.recipients import settings_store as store

OVERLAP: Final = timedelta(minutes=1)
"""How far a look reaches back behind the last one: for what committed late, and for clocks that differ."""

Region = Annotated[str, Meta(pattern="^[A-Z]{2}$", examples=["AT"])]
Value = Annotated[str, Meta(min_length=1, max_length=512)]


class RecipientSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a workspace side may set. What is left out has its default."""

    default_region: Region | None = None
    """The country in which phone numbers without `+` are read; null: they need the `+`."""
    blocked_values: Annotated[list[Value], Meta(max_length=1000)] = []
    """What no identifier may be, beside what programs commonly write where they have none. In any case."""


DEFAULT: Final = RecipientSettings()


class SettingsBook:
    """The settings of every side, as of a second ago at most where `refresh` is called so often.

    Asked for with every request, so a look into memory.
    """

    def __init__(self, blocked: Set[str] = frozenset()) -> None:
        """`blocked` are values, in lower case, that no identifier of any side may have."""
        self._everywhere = blocked
        self._settings: dict[WorkspaceId, RecipientSettings] = {}
        self._blocked: dict[WorkspaceId, Set[str]] = {}
        self._read_at: datetime | None = None

    def of(self, workspace_id: WorkspaceId) -> RecipientSettings:
        return self._settings.get(workspace_id, DEFAULT)

    def region(self, workspace_id: WorkspaceId) -> str | None:
        return self.of(workspace_id).default_region

    def blocked(self, workspace_id: WorkspaceId) -> Set[str]:
        """What no identifier of this side may be beside the built-in values, in lower case."""
        return self._blocked.get(workspace_id, self._everywhere)

    async def refresh(self, db: Database) -> None:
        """Take in what was set since the last time."""
        began = db.clock.now()
        since = self._read_at - OVERLAP if self._read_at else None
        for side, settings in (await db.run(lambda tx: store.since(tx, since))).items():
            self._take(WorkspaceId(side), msgspec.convert(settings, RecipientSettings))
        self._read_at = began

    async def read(self, tx: Tx, workspace_id: WorkspaceId) -> tuple[RecipientSettings, datetime | None]:
        """What is set, read now, and since when; None where it is the default."""
        settings, updated_at = await store.read(tx, workspace_id)
        return (msgspec.convert(settings, RecipientSettings) if settings else DEFAULT), updated_at

    async def set(self, tx: Tx, workspace_id: WorkspaceId, settings: RecipientSettings) -> None:
        """Set all of it. Other processes know a second after the commit."""
        await store.write(tx, workspace_id, msgspec.to_builtins(settings))
        tx.after_commit(lambda: self._take(workspace_id, settings))

    def _take(self, workspace_id: WorkspaceId, settings: RecipientSettings) -> None:
        self._settings[workspace_id] = settings
        self._blocked[workspace_id] = self._everywhere | {value.lower() for value in settings.blocked_values}
