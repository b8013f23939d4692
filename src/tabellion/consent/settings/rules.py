"""What a change of the settings of consent loosens. Pure."""

from collections.abc import Mapping
from typing import Final

from tabellion.consent.keywords.rules import Phrase, phrase
from tabellion.consent.keywords.types import Keyword
from tabellion.consent.settings.types import ConsentSettings
from tabellion.consent.types import StopScope


def loosened(before: ConsentSettings, after: ConsentSettings) -> list[str]:
    """The fields by which an opt-out reaches less than it did, or is taken back by what took none back."""
    found = {
        "cross_channel": bool(_pairs(before) - _pairs(after)),
        "stop_scope": after.stop_scope not in (before.stop_scope, *_WIDER[before.stop_scope]),
        "keywords.stop": bool(_said(before, Keyword.STOP) - _said(after, Keyword.STOP)),
        "keywords.start": bool(_said(after, Keyword.START) - _said(before, Keyword.START)),
    }
    return [name for name, looser in found.items() if looser]


_WIDER: Final[Mapping[StopScope, tuple[StopScope, ...]]] = {
    StopScope.PERSON: (),
    StopScope.ALL_MESSAGING: (StopScope.PERSON,),
    StopScope.BRAND: (StopScope.ALL_MESSAGING, StopScope.PERSON),
    StopScope.SENDER: (StopScope.ALL_MESSAGING, StopScope.PERSON),
}
"""What restricts all that a scope does, and more."""


def _said(settings: ConsentSettings, keyword: Keyword) -> set[Phrase]:
    return {phrase(word) for some in settings.keywords.get(keyword, {}).values() for word in some}


def _pairs(settings: ConsentSettings) -> set[tuple[str, str]]:
    return {(channel, other) for channel, others in settings.cross_channel.items() for other in others}
