"""The inputs of a verdict as answers say them. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from tabellion.ledger import ordinals

_ENTRIES: Final = ("grant", "lifts", "restrictions")
"""Those that name entries, by their ordinals."""


def told(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs with each entry as its index; one of a log that is not the first as an object that names both."""
    return {**inputs, **{name: _entries(inputs[name]) for name in _ENTRIES if name in inputs}}


def _entries(named: Any) -> Any:
    if isinstance(named, list):
        return [_entries(one) for one in named]
    return named if named is None or ordinals.log(named) is None else ordinals.told(named)
