"""What purposes may say, what a change of one loosens, and how old somebody is. Pure.

A change is **loosened** in a field where something may be sent after it that could not be sent before, or an opt-out
reaches less than it did. Classes are strict in this order: security, service, research, marketing. A child's class is
never looser than its parent's: whoever refuses a purpose refuses what is under it, so nothing may stand under it that
`*`, a legal window or a missing consent would let pass where they stop the parent.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

from tabellion.consent.rules import line
from tabellion.consent.types import Basis, OptOutScope, Purpose, PurposeClass, Purposes

STRICTNESS: Final[Mapping[PurposeClass, int]] = {
    PurposeClass.SECURITY: 0,
    PurposeClass.SERVICE: 1,
    PurposeClass.RESEARCH: 2,
    PurposeClass.MARKETING: 3,
}
UNASKED: Final = frozenset({PurposeClass.SECURITY, PurposeClass.SERVICE})
"""Classes of purposes that may be sent for while the person said nothing, …"""
UNASKED_BASES: Final = frozenset({Basis.CONTRACT, Basis.LEGAL_OBLIGATION})
"""… on these bases."""
WIDENED: Final = frozenset({PurposeClass.MARKETING, PurposeClass.RESEARCH})
"""The classes that an opt-out of scope `brand` reaches."""

Wrong = tuple[str, str, str]
"""Code, field, and what is wrong there."""


# what may be said


def wrong(purposes: Purposes, key: str) -> Iterator[Wrong]:
    """What keeps a purpose from standing where it stands among the others."""
    purpose = purposes[key]
    yield from _wrong_place(purposes, purpose)
    yield from _wrong_children(purposes, purpose)
    unasked = purpose.purpose_class in UNASKED and purpose.basis in UNASKED_BASES
    if purpose.unknown_allowed and not unasked:
        detail = "unknown is allowed only for class service or security on basis contract or legal_obligation"
        yield "unknown_not_allowed", "unknown", detail
    if purpose.purpose_class is PurposeClass.SECURITY and purpose.opt_out_scope is not OptOutScope.PURPOSE:
        detail = "purposes of class security are restricted one by one: nothing reaches them that does not name them"
        yield "opt_out_scope_not_allowed", "opt_out_scope", detail


def _wrong_place(purposes: Purposes, purpose: Purpose) -> Iterator[Wrong]:
    if purpose.parent is None:
        return
    parent = purposes.get(purpose.parent)
    if parent is None:
        yield "parent_unknown", "parent", "no such purpose; make it first"
    elif purpose.key in _above(purposes, purpose.parent):
        yield "parent_cycle", "parent", "stands below this purpose, or is it"
    elif STRICTNESS[purpose.purpose_class] < STRICTNESS[parent.purpose_class]:
        yield "class_too_loose", "class", f"looser than {parent.purpose_class}, the class of {parent.key} above it"


def _wrong_children(purposes: Purposes, purpose: Purpose) -> Iterator[Wrong]:
    strictness = STRICTNESS[purpose.purpose_class]
    looser = [one.key for one in purposes.values() if one.parent == purpose.key and _class(one) < strictness]
    if looser:
        yield "class_too_loose", "class", f"stricter than that of {', '.join(sorted(looser))} below it; change it first"


def _class(purpose: Purpose) -> int:
    return STRICTNESS[purpose.purpose_class]


def _above(purposes: Purposes, key: str) -> set[str]:
    """A purpose and all above it, also where they go round."""
    return set(line(purposes, key) & purposes.keys())


# what a change loosens


def loosened(before: Purposes, after: Purposes, key: str) -> list[str]:
    """The fields in which a purpose of this key asks for less than it did."""
    old, new = before[key], after[key]
    found = [field for field, looser in _LOOSER.items() if looser(old, new)]
    if "class" not in found and _leaves(before, old, new):
        found.append("class")
    return found + ([] if _above(before, key) <= _above(after, key) else ["parent"])


def _leaves(purposes: Purposes, old: Purpose, new: Purpose) -> bool:
    """Whether opt-outs from others of its class reached a purpose, which is of another class now."""
    reaching = (one for one in purposes.values() if one.opt_out_scope is OptOutScope.CLASS and one.key != old.key)
    return new.purpose_class is not old.purpose_class and any(
        one.purpose_class is old.purpose_class for one in reaching
    )


def measured(purposes: Purposes, new: Purpose) -> list[str]:
    """The fields in which a new purpose asks for less than its parent, or where it has none, than marketing does."""
    model = purposes[new.parent or "marketing"]
    return [field for field, looser in _LOOSER.items() if field not in _OF_CHANGES and looser(model, new)]


def _of_another_class(old: Purpose, new: Purpose) -> bool:
    """Whether what an opt-out of scope class reaches is another class."""
    return old.opt_out_scope is OptOutScope.CLASS and new.purpose_class is not old.purpose_class


_LOOSER: Final[Mapping[str, Callable[[Purpose, Purpose], bool]]] = {
    "class": lambda old, new: _class(new) < _class(old),
    "basis": lambda old, new: new.basis is not old.basis and new.basis is not Basis.CONSENT,
    "brand": lambda old, new: new.brand != old.brand,
    "unknown": lambda old, new: new.unknown_allowed and not old.unknown_allowed,
    "accepts_asserted": lambda old, new: new.accepts_asserted and not old.accepts_asserted,
    "soft_opt_in": lambda old, new: new.soft_opt_in and not old.soft_opt_in,
    "min_age": lambda old, new: old.min_age is not None and (new.min_age or 0) < old.min_age,
    "consent_ttl": lambda old, new: (
        old.consent_ttl is not None and (new.consent_ttl is None or new.consent_ttl > old.consent_ttl)
    ),
    "quiet_hours": lambda old, new: old.quiet_hours is not None and new.quiet_hours != old.quiet_hours,
    "opt_out_scope": lambda old, new: (
        old.opt_out_scope is not OptOutScope.PURPOSE
        and (new.opt_out_scope is not old.opt_out_scope or _of_another_class(old, new))
    ),
    "archived": lambda old, new: old.archived and not new.archived,
}
"""Field → whether the second says less than the first. Two scopes of an opt-out, or two brands, cannot be compared:
of each something is out of reach of the other."""
_OF_CHANGES: Final = frozenset({"brand", "archived"})
"""Fields that only a change can loosen: a new purpose may be of any brand."""


# who is old enough

BORN: Final = ("birth_date", "birthday")
YEARS: Final = "age"
"""The traits that say how old somebody is, the first that does counts."""
OLDEST: Final = 150
"""Years. Some programs write a year long ago where they know only the day."""
_SURE: Final = timedelta(hours=12)
"""So late does a day begin where it begins last."""


def age(traits: Mapping[str, Any], now: datetime) -> int | None:
    """How old somebody is for sure, in whole years: by `birth_date`, else `birthday` (Segment), else `age`."""
    for name in BORN:
        if born := _day(traits.get(name)):
            return _years(born, (now - _SURE).date())
    said = traits.get(YEARS)
    return int(said) if isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said <= OLDEST else None


def _day(value: Any) -> date | None:
    """The day of a trait: `2001-05-17`, or the beginning of a time."""
    if not isinstance(value, str):
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def _years(born: date, today: date) -> int | None:
    """Whoever is not born yet has no age. A birthday on 29 February is on 1 March where there is none."""
    if born > today:
        return None
    years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    return years if years <= OLDEST else None
