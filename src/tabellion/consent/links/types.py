"""Words and values of links."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeAlias
from uuid import UUID

from tabellion.consent.types import Basis, Notice, Scheme
from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Channel
from tabellion.recipients.types import Identifier, Kind

LONGEST_PREFERENCES: Final = timedelta(days=7)
CONFIRM_WITHIN: Final = timedelta(hours=48)
"""How long a pending grant waits for the person."""
ASK_AGAIN: Final = timedelta(hours=24)
"""An address is asked to confirm once in so long, whatever for."""
CODE_LASTS: Final = timedelta(minutes=10)
CODE_TRIES: Final = 5
CODE_PAUSE: Final = timedelta(minutes=1)
"""Between two codes to one address."""
CODES_A_DAY: Final = 5

Base: TypeAlias = Callable[[Tx, WorkspaceId], Awaitable[str | None]]
"""Scheme, host and port under which people reach this hub for a side; None where they cannot."""


class Page(StrEnum):
    """What a token opens. The word stands in the address: `/r/{word}/{token}`."""

    UNSUBSCRIBE = "u"
    PREFERENCES = "p"
    CONFIRM = "c"


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """What an unsubscribe link names. It needs no person: it restricts the address, whosever it is by then."""

    identifier_hash: bytes
    kind: Kind
    channel: Channel
    purpose: str
    message_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """The one place that the page after an unsubscription is about."""

    identifier_hash: bytes
    channel: Channel
    purpose: str


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a preference link names, until it ends."""

    recipient_id: UUID
    expires_at: datetime
    only: Left | None = None
    """What alone it shows; None: all that the person has."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """The one pending entry that a confirm link names."""

    entry_id: UUID
    expires_at: datetime


Named: TypeAlias = Unsubscribe | Preferences | Confirm


@dataclass(frozen=True, slots=True)
class Opened:
    """A token that is one of ours: whose side, and what it names."""

    workspace_id: WorkspaceId
    named: Named


class LinkUnknown(NotFound):
    """Whatever is no token of ours, for whatever reason: nobody is told which."""

    def __init__(self) -> None:
        super().__init__("link_unknown", "there is nothing at this address; check that it is whole")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A grant that waits for the person's confirmation, as it was recorded."""

    entry_id: UUID
    recipient_id: UUID
    identifier: Identifier
    channel: Channel
    purpose: str
    basis: Basis | None
    recorded_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None = None
    notice: Notice | None = None
    scheme: Scheme | None = None
    jurisdiction: str | None = None
    grant_expires_at: datetime | None = None
    """When the grant would end by itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """An address of a person on a channel: what a code proves."""

    recipient_id: UUID
    identifier: Identifier
    channel: Channel


Fields: TypeAlias = dict[str, Any]
