"""Vendor adapters: `base` is the contract, `delivery` the hand-off, `settings` the forms, and one file a vendor.

Owns no tables and appends no events. Adding a vendor: its file, its test, and its line in `ALL`.
"""

from types import MappingProxyType
from typing import Any, Final

from tabellion.core.errors import NotFound
from tabellion.providers.base import Provider
from tabellion.providers.fake import Fake
from tabellion.providers.settings import decode_settings, describe, expose, mask, secret_fields
from tabellion.providers.smtp import Smtp
from tabellion.providers.twilio import Twilio

ALL: Final[tuple[Provider[Any], ...]] = (Smtp(), Twilio(), Fake())
_BY_NAME: Final = MappingProxyType({provider.name: provider for provider in ALL})


def provider_named(name: str) -> Provider[Any]:
    """The adapter of this name. Raises `NotFound`."""
    provider = _BY_NAME.get(name)
    if provider is None:
        raise NotFound("provider_unknown", f"there is no provider '{name[:40]}'; known are {', '.join(_BY_NAME)}")
    return provider


__all__ = ["ALL", "decode_settings", "describe", "expose", "mask", "provider_named", "secret_fields"]
