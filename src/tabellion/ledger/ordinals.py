"""Where an entry stands among all generations of a log: one number inside, a log and an index to others. Pure.

The ordinal of an entry of the first generation is its index; whatever is in a successor comes after all of that. So
it is unique in a side's log, and its order is the order in which things were recorded, whatever a restore has lost.
"""

from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta

_BITS: Final = 48
"""Of an index. With as many entries a second as a log takes, a thousand years."""
_CONSENT: Final = "consent"
InLog: TypeAlias = Annotated[
    str | None,
    Meta(description="The log that it stands in, where that is not the first, as addresses name it: `consent-2`."),
]


def ordinal(generation: int, index: int) -> int:
    """Where the entry at an index of a generation stands."""
    return ((generation - 1) << _BITS) + index


def generation(of: int) -> int:
    """The generation of a log that an entry is in."""
    return (of >> _BITS) + 1


def index(of: int) -> int:
    """The index of an entry in its own log."""
    return of & ((1 << _BITS) - 1)


def named(name: str, generation: int | None) -> str | None:
    """A generation of a log as addresses name it, `consent-2`; None for the first, and for none."""
    return f"{name}-{generation}" if generation and generation > 1 else None


def log(of: int) -> str | None:
    """The log that a decision's entry is in, as addresses name it; None for the first."""
    return named(_CONSENT, generation(of))


def told(of: int | None) -> dict[str, Any]:
    """Where a decision's entry stands, as answers say it: `log_index`, and `log` where that is not the first."""
    if of is None:
        return {"log_index": None}
    named = log(of)
    return {"log_index": index(of)} | ({"log": named} if named else {})
