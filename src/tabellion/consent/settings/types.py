"""What may be set about consent, with the defaults of what is not."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tabellion.consent.keywords.types import Keyword
from tabellion.consent.types import StopScope
from tabellion.providers.base import Channel

Language = Annotated[str, Meta(pattern="^[a-z]{2,3}(-[A-Z]{2})?$", examples=["de"])]
Word = Annotated[str, Meta(min_length=1, max_length=64, examples=["schleich di"])]


class ConsentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a side may set. What is left out has its default."""

    cross_channel: dict[Channel, Annotated[list[Channel], Meta(min_length=1, max_length=20)]] = {}
    """Channel → the channels that an opt-out on it restricts, too: `{"sms": ["whatsapp"]}`.

    Counts for what is said from then on, of the whole person. It goes one step: what it adds leads no further.
    """

    stop_scope: StopScope = StopScope.ALL_MESSAGING
    """What a STOP by phone restricts: all messages to the number, those of the brand or from the sender that it was
    sent to, or all messages to any number of the person."""
    keywords: dict[Keyword, dict[Language, Annotated[list[Word], Meta(max_length=100)]]] = {}
    """Words beside the built-in ones, by what they mean and by language: `{"stop": {"de-AT": ["schleich di"]}}`."""

    def __post_init__(self) -> None:
        if own := sorted(channel for channel, others in self.cross_channel.items() if channel in others):
            raise ValueError(f"field `cross_channel`: an opt-out on {own[0].value} is one on {own[0].value} already")


DEFAULT: Final = ConsentSettings()
