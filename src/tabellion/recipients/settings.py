"""How a workspace side reads, resolves and keeps its recipients: what may be set, and what is set, in memory."""

from collections import Counter
from collections.abc import Set
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tabellion.core.db import Database, Tx
from tabellion.core.ids import WorkspaceId
from tabellion.recipients import indexed_store
from tabellion.recipients import settings_store as store
from tabellion.recipients.indexed_store import IndexState
from tabellion.recipients.resolution import USUAL, Policy
from tabellion.recipients.rules import LIMITS
from tabellion.recipients.types import Kind, KindName

OVERLAP: Final = timedelta(minutes=1)
"""How far a look reaches back behind the last one: for what committed late, and for clocks that differ."""

Region = Annotated[str, Meta(pattern="^[A-Z]{2}$", examples=["AT"])]
Value = Annotated[str, Meta(min_length=1, max_length=512)]
Source = Annotated[str, Meta(pattern="^[a-z0-9_.:-]{1,64}$", examples=["crm", "import:people.csv"])]
"""Where a value comes from, as requests name it."""
TraitName = Annotated[str, Meta(pattern=r"^[^:\u0000-\u001f\u007f]{1,64}$", examples=["plan"])]
"""A trait that settings speak of: one at the top, without a colon in its name."""


class Nulls(StrEnum):
    """What null does where somebody is upserted: it clears the field, or leaves it as it is."""

    CLEAR = "clear"
    IGNORE = "ignore"


class TraitType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    """`2026-11-21`."""
    DATETIME = "datetime"
    """RFC 3339, with a zone."""


Most = Annotated[int, Meta(ge=1, le=1000)]


class SharedDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From when on a device or a browser is a shared one, and its identifier names nobody any more."""

    people: Annotated[int, Meta(ge=1, le=1000)] = 5
    """More known persons than these named with it, …"""
    days: Annotated[int, Meta(ge=1, le=3650)] = 30
    """… within so many days."""


class RecipientSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a workspace side may set. What is left out has its default."""

    default_region: Region | None = None
    """The country in which phone numbers without `+` are read; null: they need the `+`."""
    blocked_values: Annotated[list[Value], Meta(max_length=1000)] = []
    """What no identifier may be, beside what programs commonly write where they have none. In any case."""
    priority: Annotated[list[KindName], Meta(max_length=64)] = []
    """Kinds of identifiers, first the one that says most; those left out follow in the usual order.

    That is `external_id`, `email`, `phone`, `whatsapp`, `wallet`, `external:*`, and behind all others `device`,
    `webpush`, `anonymous`: these name a device, not a person, and never come before what names a person.
    """
    limits: Annotated[dict[KindName, Most], Meta(max_length=64)] = {}
    """How many identifiers of a kind a recipient may be given; of `external_id` one."""
    shared_device: SharedDevice = SharedDevice()
    stale_after_days: Annotated[int, Meta(ge=1, le=3650)] | None = 270
    """Push tokens and web push subscriptions not named for so long are stale; null: never."""
    authority: Annotated[
        dict[TraitName, Annotated[list[Source], Meta(min_length=1, max_length=20)]], Meta(max_length=100)
    ] = {}
    """Trait, `locale` or `time_zone` → the sources that may set it, the highest first. Of others the last one counts.

    A name before a colon stands for all behind it: `import` for `import:people.csv`.
    """
    nulls: Annotated[dict[Source, Nulls], Meta(max_length=100)] = {}
    """Source → what a null in an upsert or an import does; `default` is for those not named. A patch always clears."""
    trait_types: Annotated[dict[TraitName, TraitType], Meta(max_length=200)] = {}
    """What a trait must be, besides null. Values that stand are not looked at again."""
    indexed_traits: Annotated[list[TraitName], Meta(max_length=20)] = []
    """Traits that recipients can be found by: their values are stored as plain text, all others are sealed."""

    def __post_init__(self) -> None:
        if twice := sorted(kind for kind, times in Counter(self.priority).items() if times > 1):
            raise ValueError(f"field `priority` names {twice[0]} twice")
        if self.limits.get(Kind.EXTERNAL_ID, 1) != 1:
            raise ValueError("field `limits`: a recipient has one external_id")

    @property
    def policy(self) -> Policy:
        """What is set about resolution, as its rules take it."""
        return Policy(
            priority=tuple(map(Kind, self.priority)),
            limits={**LIMITS, **{Kind(kind): most for kind, most in self.limits.items()}},
            people=self.shared_device.people,
            within=timedelta(days=self.shared_device.days),
        )

    def null_of(self, source: str) -> Nulls:
        """What a null of a source does in an upsert."""
        if not self.nulls:
            return Nulls.CLEAR
        named = (self.nulls.get(one) for one in (source, source.partition(":")[0], "default"))
        return next((one for one in named if one is not None), Nulls.CLEAR)


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
        self._policies: dict[WorkspaceId, Policy] = {}
        self._read_at: datetime | None = None

    def of(self, workspace_id: WorkspaceId) -> RecipientSettings:
        return self._settings.get(workspace_id, DEFAULT)

    def region(self, workspace_id: WorkspaceId) -> str | None:
        return self.of(workspace_id).default_region

    def blocked(self, workspace_id: WorkspaceId) -> Set[str]:
        """What no identifier of this side may be beside the built-in values, in lower case."""
        return self._blocked.get(workspace_id, self._everywhere)

    def policy(self, workspace_id: WorkspaceId) -> Policy:
        """How this side resolves identifiers."""
        return self._policies.get(workspace_id, USUAL)

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

    async def indexing(self, tx: Tx, workspace_id: WorkspaceId) -> dict[str, IndexState]:
        """How far each trait is searchable that is, will be or was."""
        return await indexed_store.states(tx, workspace_id)

    async def set(self, tx: Tx, workspace_id: WorkspaceId, settings: RecipientSettings) -> None:
        """Set all of it. Other processes know a second after the commit; indexes follow in the background."""
        await store.write(tx, workspace_id, msgspec.to_builtins(settings))
        await indexed_store.declare(tx, workspace_id, settings.indexed_traits)
        tx.after_commit(lambda: self._take(workspace_id, settings))

    def _take(self, workspace_id: WorkspaceId, settings: RecipientSettings) -> None:
        self._settings[workspace_id] = settings
        self._blocked[workspace_id] = self._everywhere | {value.lower() for value in settings.blocked_values}
        self._policies[workspace_id] = settings.policy
