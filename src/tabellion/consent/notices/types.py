"""Words and values of notices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from tabellion.recipients.types import Ref


class Means(StrEnum):
    """How a text reached somebody."""

    PAGE = "page"
    APP = "app"
    EMAIL = "email"
    MESSAGE = "message"
    LINK = "link"
    VERBAL = "verbal"
    PAPER = "paper"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Notice:
    """What one text is about. Its words are in its versions."""

    id: UUID
    key: str
    """Chosen by the customer; what the API calls its id."""
    title: str
    purposes: Sequence[str]
    created_at: datetime
    updated_at: datetime
    retired_at: datetime | None = None
    """Nobody is to be shown it since. What rests on it stands."""
    latest: str | None = None
    """The version that was published last."""


@dataclass(frozen=True, slots=True)
class Version:
    """The words of a notice, in each of its languages. Once published they never change."""

    id: UUID
    notice: str
    version: str
    default_language: str
    texts: Mapping[str, str]
    """By language (BCP 47)."""
    created_at: datetime
    updated_at: datetime
    title: str | None = None
    """The notice's when this was published, as `purposes` are; None before."""
    purposes: Sequence[str] | None = None
    published_at: datetime | None = None
    published_by: str | None = None
    hash: bytes | None = None
    """SHA-256 of the canonical form of what was published."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a decision needs to know of a version: None of it ever changes but that the notice may be retired."""

    hash: bytes
    purposes: frozenset[str]
    default_language: str
    languages: frozenset[str]
    retired: bool
    published_at: datetime


class ServedTo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The evidence of one showing, sealed: what says about a person more than that they were shown a text."""

    url: str | None = None
    to: str | None = None
    """The identifier that it was shown to, as it was named; of an anonymous id the id."""
    evidence: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NewServed:
    """That a text was shown, as it arrived."""

    notice: str
    version: str
    language: str | None
    """None: the version's default."""
    means: Means
    source: str
    actor: str
    recipient: Ref | None
    served_at: datetime | None
    """None: now."""
    shown: ServedTo
    id: UUID


@dataclass(frozen=True, slots=True)
class Served:
    """That a text was shown, as it is kept."""

    id: UUID
    notice: str
    version: str
    language: str
    recipient_id: UUID | None
    identifier_hash: bytes | None = field(repr=False)
    means: Means
    source: str
    actor: str
    served_at: datetime
    recorded_at: datetime
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Named:
    """What a notice that a decision names turned out to be."""

    committed: Mapping[str, Any]
    """The notice object of the record."""
    known: bool
    """It is there, and this version of it was published."""
    warnings: tuple[str, ...] = ()
    adopts: UUID | None = None
    """The showing to nobody known that was to the person who decided."""
