"""Words and values of accounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from msgspec import UNSET, UnsetType

from tabellion.access.types import Mode
from tabellion.core.db import Tx
from tabellion.core.errors import FieldError, HubError, Invalid
from tabellion.core.ids import AccountId, WorkspaceId
from tabellion.providers.base import Channel, ProviderSettings


class KeywordReplies(StrEnum):
    """Who answers STOP, START and HELP."""

    VENDOR = "vendor"
    HUB = "hub"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Account:
    """A vendor account ready for use: settings decoded, secrets inside; on a test side, pointed at our simulator."""

    id: AccountId
    workspace_id: WorkspaceId
    provider: str
    name: str
    settings: ProviderSettings
    weight: int
    channels: frozenset[Channel]
    enabled: bool = True
    keyword_replies: KeywordReplies = KeywordReplies.HUB
    brand: str | None = None
    """The key of the brand whose senders these are; None: not known."""


@dataclass(frozen=True, slots=True)
class Configured:
    """An account as people see it."""

    id: AccountId
    provider: str
    name: str
    settings: Mapping[str, Any]
    """Secrets are dots."""
    weight: int
    rate: float | None
    """At most so many messages a second; None: no limit was set."""
    channels: frozenset[Channel]
    simulated: bool
    enabled: bool
    readable: bool
    """False: its secrets do not open for this host and must be given again."""
    created_at: datetime
    updated_at: datetime
    keyword_replies: KeywordReplies
    brand: str | None


@dataclass(frozen=True, slots=True)
class NewAccount:
    provider: str
    settings: Mapping[str, Any]
    name: str | None = None
    weight: int = 1
    rate: float | None = None
    keyword_replies: KeywordReplies | None = None
    """None: the vendor where it handles keywords, else the hub."""
    brand: str | None = None


@dataclass(frozen=True, slots=True)
class AccountPatch:
    """What to change; UNSET stays. Settings are a merge patch; a secret given as its mask stays."""

    settings: Mapping[str, Any] | UnsetType = UNSET
    name: str | UnsetType = UNSET
    weight: int | UnsetType = UNSET
    rate: float | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    keyword_replies: KeywordReplies | UnsetType | None = UNSET
    brand: str | UnsetType | None = UNSET


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an account goes now."""

    rate: float
    """Departures a second."""
    ceiling: float | None
    next_at: datetime
    paused_until: datetime
    shrunk_at: datetime
    grown_at: datetime


class ModeOf(Protocol):
    """Whether a workspace side is the live or the test one."""

    async def __call__(self, tx: Tx, workspace_id: WorkspaceId, /) -> Mode: ...


class SecretsRequired(Invalid):
    """Secrets are bound to a host, and the host changed (or they no longer open)."""

    def __init__(self, *names: str) -> None:
        errors = [FieldError(f"/settings/{name}", "give it again, for the new host") for name in names]
        detail = f"the host of the account changed; give its secrets again: {', '.join(names)}"
        super().__init__("secrets_required", detail, *errors)


class HostRefused(HubError):
    """A vendor host that this installation does not allow."""

    def __init__(self, host: str) -> None:
        super().__init__(
            "host_not_allowed",
            f"{host} is not the vendor's own host; the operator must allow it (TABELLION_ALLOW_PRIVATE_NETWORKS)",
            422,
        )


class UnfitInPublic(Invalid):
    """Settings that would carry secrets in clear text, or knock at strange ports, of a host anybody may be at."""

    def __init__(self, host: str, unfit: Mapping[str, str]) -> None:
        errors = [FieldError(f"/settings/{name}", detail) for name, detail in unfit.items()]
        detail = (
            f"{host} is not in a network that the operator opened (TABELLION_ALLOW_PRIVATE_NETWORKS):"
            f" {'; '.join(unfit.values())}"
        )
        super().__init__("settings_invalid", detail, *errors)
