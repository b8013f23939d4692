"""What a purpose says, as the API takes it and the table keeps it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from tabellion.consent.types import ANSWER, Basis, OptOutScope, Purpose, PurposeClass, QuietHours

KEY: Final = r"^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*$"
MOST: Final = 200
"""Purposes that a side may have beside the built-in ones, archived ones among them."""
DAYS: Final[Mapping[str, int]] = {"Y": 365, "M": 30, "W": 7, "D": 1}
_DURATION: Final = re.compile(r"P(?=[0-9])(?:([0-9]+)Y)?(?:([0-9]+)M)?(?:([0-9]+)W)?(?:([0-9]+)D)?", re.ASCII)

Title = Annotated[str, Meta(min_length=1, max_length=100, examples=["Our newsletter"])]
Text = Annotated[str, Meta(min_length=1, max_length=1000)]
Language = Annotated[str, Meta(pattern="^[a-z]{2,3}(-[A-Z]{2})?$", examples=["de"])]
Duration = Annotated[
    str,
    Meta(
        pattern="^P([1-9][0-9]{0,3}Y)?([1-9][0-9]{0,3}M)?([1-9][0-9]{0,3}W)?([1-9][0-9]{0,3}D)?$",
        min_length=3,
        examples=["P2Y"],
        description="ISO 8601, in years (365 days), months (30 days), weeks and days.",
    ),
]


class PurposeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that a purpose says beside its key."""

    title: Title
    titles: Annotated[dict[Language, Title], Meta(max_length=100)] = {}
    description: Text | None = None
    descriptions: Annotated[dict[Language, Text], Meta(max_length=100)] = {}
    purpose_class: PurposeClass = msgspec.field(name="class")
    basis: Basis
    brand: str | None = None
    parent: str | None = None
    unknown: Literal["denied", "allowed"] = "denied"
    accepts_asserted: bool = False
    soft_opt_in: bool = False
    min_age: Annotated[int, Meta(ge=1, le=120)] | None = None
    consent_ttl: Duration | None = None
    quiet_hours: QuietHours | None = None
    opt_out_scope: OptOutScope = OptOutScope.PURPOSE

    def purpose(self, key: str, *, archived: bool = False, unused: bool = False) -> Purpose:
        """As the rules take it."""
        return Purpose(
            key=key,
            title=self.title,
            purpose_class=self.purpose_class,
            basis=self.basis,
            unknown_allowed=self.unknown == "allowed",
            accepts_asserted=self.accepts_asserted,
            soft_opt_in=self.soft_opt_in,
            parent=self.parent,
            consent_ttl=duration(self.consent_ttl) if self.consent_ttl else None,
            brand=self.brand,
            min_age=self.min_age,
            quiet_hours=self.quiet_hours,
            opt_out_scope=self.opt_out_scope,
            archived=archived,
            unused=unused,
            answers=key == ANSWER,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A purpose as it is kept."""

    key: str
    settings: PurposeSettings
    used_at: datetime | None
    archived_at: datetime | None
    created_at: datetime | None
    """None for a built-in one that nobody changed."""
    updated_at: datetime | None

    @property
    def purpose(self) -> Purpose:
        """As the rules take it."""
        return self.settings.purpose(self.key, archived=self.archived_at is not None, unused=self.used_at is None)


def settings_of(purpose: Purpose) -> PurposeSettings:
    """What a built-in purpose says."""
    return PurposeSettings(
        title=purpose.title,
        purpose_class=purpose.purpose_class,
        basis=purpose.basis,
        unknown="allowed" if purpose.unknown_allowed else "denied",
        accepts_asserted=purpose.accepts_asserted,
    )


def read_settings(kept: Mapping[str, Any]) -> PurposeSettings:
    return msgspec.convert(kept, PurposeSettings)


def duration(text: str) -> timedelta:
    """The days of an ISO 8601 duration, a year as 365 of them and a month as 30."""
    found = _DURATION.fullmatch(text)
    assert found is not None, "checked where it came in"
    return timedelta(days=sum(int(one or 0) * days for one, days in zip(found.groups(), DAYS.values(), strict=True)))
