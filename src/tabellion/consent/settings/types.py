"""What may be set about consent, with the defaults of what is not."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tabellion.providers.base import Channel


class ConsentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a side may set. What is left out has its default."""

    cross_channel: dict[Channel, Annotated[list[Channel], Meta(min_length=1, max_length=20)]] = {}
    """Channel → the channels that an opt-out on it restricts, too: `{"sms": ["whatsapp"]}`.

    Counts for what is said from then on, of the whole person. It goes one step: what it adds leads no further.
    """

    def __post_init__(self) -> None:
        if own := sorted(channel for channel, others in self.cross_channel.items() if channel in others):
            raise ValueError(f"field `cross_channel`: an opt-out on {own[0].value} is one on {own[0].value} already")


DEFAULT: Final = ConsentSettings()
