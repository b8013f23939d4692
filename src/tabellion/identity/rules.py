"""Pure rules of merge and split: who goes on, what the winner takes from the other, what it gives back."""

from collections.abc import Mapping, Sequence
from typing import Any

from tabellion.identity.types import Document, Winner
from tabellion.recipients.types import Recipient

Path = tuple[str, ...]
TRAITS = "traits"
OWNERS = "owners"
"""Who has the say of a governed field: it goes with the field's value."""
_UNSET = object()


def winner(one: Recipient, other: Recipient) -> tuple[Recipient, Recipient, Winner]:
    """Who of two goes on as the person, who becomes part of them, and why.

    A full recipient before one that is only an address; then who has most identifiers, then the older one, then the
    smaller id. It does not matter in which order they are named.
    """
    asked = (
        (Winner.FULL_RECIPIENT, int(one.address_only), int(other.address_only)),
        (Winner.MOST_IDENTIFIERS, -len(one.identifiers), -len(other.identifiers)),
        (Winner.OLDEST, one.created_at.timestamp(), other.created_at.timestamp()),
        (Winner.SMALLER_ID, one.id.int, other.id.int),
    )
    for why, mine, theirs in asked:
        if mine != theirs:
            return (one, other, why) if mine < theirs else (other, one, why)
    raise ValueError("a recipient is not merged with itself")


def filled(into: Document, from_: Document) -> tuple[dict[str, Any], list[Path]]:
    """`into` with what only `from_` has, and the paths of what was taken.

    A trait is one value: an object in it is taken whole, or not at all. What a source has the say of in `into` is not
    taken, be it that there is nothing.
    """
    merged, taken = dict(into), list[Path]()
    said: Mapping[str, str] = into.get(OWNERS, {})
    for name, value in from_.items():
        if name == OWNERS:
            continue
        if name == TRAITS:
            mine = into.get(name, {})
            came = {trait: one for trait, one in value.items() if trait not in mine and trait not in said}
            merged[name] = {**came, **mine}
            taken += [(name, trait) for trait in came]
        elif name not in into and name not in said:
            merged[name] = value
            taken.append((name,))
    fields = {path[-1] for path in taken}
    owners = {name: owner for name, owner in from_.get(OWNERS, {}).items() if name in fields and name not in said}
    if owners:
        merged[OWNERS] = {**said, **owners}
    return merged, taken + [(OWNERS, name) for name in owners]


def given_back(document: Document, lender: Document, taken: Sequence[Path]) -> dict[str, Any]:
    """The document without what was taken from lender, but for what was changed since: that stays."""
    left: Any = dict(document)
    for path in taken:
        value = _at(left, path)
        if path[0] == OWNERS and _UNSET is not _at(left, _owned(path)):
            continue
        if value is not _UNSET and _same(value, _at(lender, path)):
            left = _without(left, path)
    found: dict[str, Any] = left
    return found


def _owned(path: Path) -> Path:
    """The path of the field that an owner is of."""
    return path[1:] if path[1] in ("locale", "time_zone") else (TRAITS, path[1])


def _at(document: Any, path: Path) -> Any:
    for name in path:
        document = document.get(name, _UNSET) if isinstance(document, Mapping) else _UNSET
    return document


def _without(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    name, *rest = path
    if not rest:
        return {key: value for key, value in document.items() if key != name}
    return {**document, name: _without(document[name], tuple(rest))}


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON; for Python, 1 is True."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    return type(one) is type(other) and bool(one == other)
