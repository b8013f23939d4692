"""Words and values of keywords."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias
from uuid import UUID

from tabellion.core.ids import AccountId, RecipientId, WorkspaceId
from tabellion.providers.base import Channel, Signal

WINDOW: Final = timedelta(minutes=5)
"""Within which a keyword is answered, and answered once."""
RECEIVED: Final = "keyword.received"


class Keyword(StrEnum):
    STOP = "stop"
    START = "start"
    HELP = "help"


LocalWords: TypeAlias = Mapping[Keyword, Mapping[str, Sequence[str]]]
"""Words that a workspace has beside the built-in ones: by keyword, then by language."""

KEYWORDS: Final[Mapping[Signal, Keyword]] = {
    Signal.STOP: Keyword.STOP,
    Signal.UNSUBSCRIBED: Keyword.STOP,
    Signal.START: Keyword.START,
    Signal.RESUBSCRIBED: Keyword.START,
    Signal.HELP: Keyword.HELP,
}


@dataclass(frozen=True, slots=True)
class Heard:
    """What a reply means."""

    keyword: Keyword
    language: str
    """Of the word, as `de`."""
    unclear: bool = False
    """It refuses, and does not say STOP: marketing stops, and people look at it."""


@dataclass(frozen=True, slots=True)
class Received:
    """A keyword that came from a number, to be answered by whoever answers for its account."""

    workspace_id: WorkspaceId
    id: UUID
    keyword: Keyword
    recipient_id: RecipientId
    identifier_hash: bytes
    channel: Channel
    account_id: AccountId
    sender: str | None
    """Our number it was sent to."""
    language: str
    received_at: datetime
