"""What a change of the settings of consent loosens. Pure."""

from tabellion.consent.settings.types import ConsentSettings


def loosened(before: ConsentSettings, after: ConsentSettings) -> list[str]:
    """The fields by which an opt-out reaches less than it did."""
    return ["cross_channel"] if _pairs(before) - _pairs(after) else []


def _pairs(settings: ConsentSettings) -> set[tuple[str, str]]:
    return {(channel, other) for channel, others in settings.cross_channel.items() for other in others}
