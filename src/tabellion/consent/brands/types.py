"""Words and values of brands."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

OWN: Final = "default"
"""The key of the brand that every side has: it is named after the workspace until a row says otherwise."""
MOST: Final = 100
"""Brands that a side may have."""


@dataclass(frozen=True, slots=True)
class Brand:
    """In whose name we write."""

    key: str
    name: str
    contact: str | None = None
    """What HELP answers: how a person reaches the brand."""
    url: str | None = None
    postal_address: str | None = None
    is_default: bool = False
    created_at: datetime | None = None
    """None for the brand that exists without a row."""
    updated_at: datetime | None = None
