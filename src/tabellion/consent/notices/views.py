"""What the routes of notices take and give."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from tabellion.access.problems import Problem
from tabellion.consent.notices.rules import KEY_FORM, LANGUAGE_FORM
from tabellion.consent.notices.types import Means, Notice, Served, ServedTo, Version
from tabellion.core import ids
from tabellion.recipients.types import ItemRef, RecipientRef

Key = Annotated[str, Meta(pattern=KEY_FORM, examples=["newsletter"])]
Language = Annotated[str, Meta(pattern=LANGUAGE_FORM, examples=["de-AT"])]
Title = Annotated[str, Meta(min_length=1, max_length=255)]
PurposeKeys = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=64)]],
    Meta(min_length=1, max_length=100, examples=[["marketing"]]),
]
Texts = Annotated[
    dict[str, str],
    Meta(
        min_length=1, max_length=100, description="By language (BCP 47), 64 KiB each.", examples=[{"en": "I agree …"}]
    ),
]
Line = Annotated[str, Meta(min_length=1, max_length=255)]
Moment = Annotated[datetime, Meta(tz=True)]
MOST: Final = 1_000


class NewNotice(Struct, frozen=True, forbid_unknown_fields=True):
    """What a text is about. Its words come with its versions."""

    id: Annotated[Key, Meta(description="Yours to choose; decisions name it.")]
    title: Title
    purposes: Annotated[PurposeKeys, Meta(description="What it asks for, or informs about.")]


class NoticePatch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What changes, for versions that are yet to be published."""

    title: Title | UnsetType = UNSET
    purposes: PurposeKeys | UnsetType = UNSET


class NoticeView(Struct, frozen=True):
    id: str
    title: str
    purposes: list[str]
    latest: Annotated[str | None, Meta(description="The version that was published last.")]
    created_at: datetime
    updated_at: datetime
    retired_at: datetime | None


class NoticePage(Struct, frozen=True):
    data: list[NoticeView]
    next_cursor: str | None


class VersionBody(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The words, in each language."""

    default_language: Annotated[Language, Meta(description="Of the text for who reads none of the others.")]
    texts: Texts
    version: Annotated[Key | None, Meta(description="Its name. Left out: the next number.")] = None
    publish: Annotated[bool, Meta(description="Publish it at once.")] = False


class DraftBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The words of a draft, instead of those it has."""

    default_language: Language
    texts: Texts


class VersionLine(Struct, frozen=True, kw_only=True):
    """A version without its words."""

    notice: str
    version: str
    default_language: str
    languages: list[str]
    created_at: datetime
    updated_at: datetime
    published_at: Annotated[datetime | None, Meta(description="null: a draft.")]
    published_by: str | None
    title: Annotated[str | None, Meta(description="The notice's when this was published.")]
    purposes: list[str] | None
    hash: Annotated[
        str | None,
        Meta(
            description="SHA-256 in hex over the RFC 8785 form of `{v: 1, notice, version, title, purposes,"
            " default_language, texts}`."
        ),
    ]


class VersionView(VersionLine, frozen=True, kw_only=True):
    texts: dict[str, str]


class VersionPage(Struct, frozen=True):
    data: list[VersionLine]
    next_cursor: str | None


class TextView(Struct, frozen=True):
    """One text, to be shown."""

    notice: str
    version: str
    language: str
    text: str
    hash: Annotated[str | None, Meta(description="Of the whole version; null: a draft.")]


# what was shown


class ServedBody(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """That a text was shown."""

    version: Annotated[Key, Meta(description="A published one.")]
    means: Annotated[Means, Meta(description="How it reached them.")] = Means.PAGE
    language: Annotated[Language | None, Meta(description="Left out: the version's default.")] = None
    recipient: Annotated[RecipientRef | None, Meta(description="To whom, where that is known.")] = None
    anonymous_id: Annotated[Line | None, Meta(description="The browser, where nobody knows yet who uses it.")] = None
    source: Annotated[Line, Meta(description="Where: a page, a shop. Of a public key its own counts.")] = "api"
    url: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    served_at: Annotated[Moment | None, Meta(description="Left out: now.")] = None
    evidence: Annotated[
        dict[str, Any] | None, Meta(description="What shows it. As that of a decision; at most 4 KB.")
    ] = None


class ServedItem(ServedBody, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    recipient: ItemRef | None = None
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255, pattern="^[ -~]+$")] | None = None


class ServedItems(Struct, frozen=True, forbid_unknown_fields=True):
    items: Annotated[list[ServedItem], Meta(min_length=1, max_length=MOST)]


class ServedView(Struct, frozen=True, omit_defaults=True):
    """What was shown. `url`, `to` and `evidence` only where they were asked for, and still open."""

    id: Annotated[str, Meta(examples=["srv_01kajgaw9dfk0vyj60ec19jtws"])]
    notice: str
    version: str
    language: str
    means: Means
    source: str
    served_at: datetime
    recorded_at: datetime
    recipient_id: str | None = None
    url: str | None = None
    to: str | None = None
    evidence: dict[str, Any] | None = None


class ServedPage(Struct, frozen=True):
    data: list[ServedView]
    next_cursor: str | None


class ServedEntry(Struct, frozen=True, omit_defaults=True):
    """What became of one item."""

    index: int
    status: int
    id: str | None = None
    error: Problem | None = None


class ServedEntries(Struct, frozen=True):
    data: list[ServedEntry]


def notice(one: Notice) -> NoticeView:
    return NoticeView(
        id=one.key,
        title=one.title,
        purposes=list(one.purposes),
        latest=one.latest,
        created_at=one.created_at,
        updated_at=one.updated_at,
        retired_at=one.retired_at,
    )


def _line(one: Version) -> dict[str, Any]:
    return {
        "notice": one.notice,
        "version": one.version,
        "default_language": one.default_language,
        "languages": sorted(one.texts),
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "published_at": one.published_at,
        "published_by": one.published_by,
        "title": one.title,
        "purposes": None if one.purposes is None else list(one.purposes),
        "hash": one.hash.hex() if one.hash else None,
    }


def version(one: Version) -> VersionView:
    return VersionView(**_line(one), texts=dict(one.texts))


def lines(some: Sequence[Version]) -> list[VersionLine]:
    return [VersionLine(**_line(one)) for one in some]


def served(one: Served, opened: ServedTo | None = None) -> ServedView:
    """The showing; with its evidence where that is given."""
    return ServedView(
        id=ids.show("srv", one.id),
        notice=one.notice,
        version=one.version,
        language=one.language,
        means=one.means,
        source=one.source,
        served_at=one.served_at,
        recorded_at=one.recorded_at,
        recipient_id=ids.show("rcp", one.recipient_id) if one.recipient_id else None,
        url=opened.url if opened else None,
        to=opened.to if opened else None,
        evidence=opened.evidence if opened else None,
    )
