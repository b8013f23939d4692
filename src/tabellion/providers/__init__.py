"""Vendor adapters: `base` is the contract, `delivery` the hand-off, `settings` the forms, and one file a vendor.

Owns no tables and appends no events. Adding a vendor: its file, its test, and its line in `ALL`.
"""

from typing import Any, Final

from tabellion.providers.base import Provider
from tabellion.providers.fake import Fake
from tabellion.providers.settings import decode_settings, describe, expose, mask, secret_fields
from tabellion.providers.smtp import Smtp
from tabellion.providers.twilio import Twilio

ALL: Final[tuple[Provider[Any], ...]] = (Smtp(), Twilio(), Fake())

__all__ = ["ALL", "decode_settings", "describe", "expose", "mask", "secret_fields"]
