"""What a side declares of traits, as pure rules: of what type they are, what null does, what is searched by."""

import re
from collections.abc import Callable, Mapping, Set
from datetime import date, datetime
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import replace

from tabellion.core.errors import FieldError, Invalid
from tabellion.recipients.settings import RecipientSettings, TraitType
from tabellion.recipients.types import Profile

CONTACT_STATE: Final = frozenset(
    {"email_subscribed_status", "sms_subscribed_status", "sms_opt_in_date", "push_notification_enabled"}
)
"""Traits that are shown, and computed from consent: nobody sets them as traits."""
INDEXED_LENGTH: Final = 256
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_DATETIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_BOOLEAN: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_SAID: Final = {
    TraitType.STRING: "text",
    TraitType.INTEGER: "a whole number, as 42",
    TraitType.NUMBER: "a number, as 4.2",
    TraitType.BOOLEAN: "true or false",
    TraitType.DATE: "a date, as 2026-11-21",
    TraitType.DATETIME: "a time with its zone, as 2026-11-21T09:00:00Z",
}


def pointer(name: str, at: str = "") -> str:
    """The JSON pointer to a trait."""
    return f"{at}/traits/" + name.replace("~", "~0").replace("/", "~1")


def require_sound(given: Profile, types: Mapping[str, TraitType], at: str) -> Profile:
    """The profile, if its traits may be set and are of the types declared. Raises `Invalid` at one that is not."""
    traits = given.traits
    if not isinstance(traits, Mapping):
        return given
    for name in CONTACT_STATE.intersection(traits):
        detail = "this trait follows from consent; record the decision with POST /v1/consents instead"
        raise Invalid("trait_read_only", detail, FieldError(pointer(name, at), detail))
    for name in types.keys() & traits.keys() if types else ():
        if traits[name] is not None and not is_of(traits[name], types[name]):
            detail = f"this trait is declared as {types[name].value}: give {_SAID[types[name]]}, or null"
            raise Invalid("trait_type_wrong", detail, FieldError(pointer(name, at), detail))
    return given


def is_of(value: Any, kind: TraitType) -> bool:
    """Whether a value is of a type, as JSON has it."""
    match kind:
        case TraitType.STRING:
            return isinstance(value, str)
        case TraitType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case TraitType.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case TraitType.BOOLEAN:
            return isinstance(value, bool)
        case TraitType.DATE:
            return isinstance(value, str) and bool(_DATE.fullmatch(value)) and _is_there(date.fromisoformat, value)
        case TraitType.DATETIME:
            plain = isinstance(value, str) and bool(_DATETIME.fullmatch(value))
            return plain and _is_there(datetime.fromisoformat, value.upper())


def _is_there(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def coerced(value: Any, kind: TraitType) -> Any:
    """Text as the value it can only mean; whatever else it is stays, for `require_sound` to refuse."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    match kind:
        case TraitType.INTEGER if _INTEGER.fullmatch(text):
            return int(text)
        case TraitType.NUMBER if _NUMBER.fullmatch(text):
            return int(text) if _INTEGER.fullmatch(text) else float(text)
        case TraitType.BOOLEAN:
            return _BOOLEAN.get(text.lower(), value)
        case TraitType.DATE | TraitType.DATETIME:
            return text
    return value


def without_nulls(given: Profile) -> Profile:
    """The profile without what it would clear."""
    return Profile(
        given.locale if given.locale is not None else UNSET,
        given.time_zone if given.time_zone is not None else UNSET,
        _said(given.traits) if isinstance(given.traits, Mapping) else UNSET,
    )


def _said(patch: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _said(value) if isinstance(value, Mapping) else value
        for name, value in patch.items()
        if value is not None
    }


def indexed(value: Any) -> str | None:
    """A value as recipients are found by it; None where they are not: an object, a list, text that is too long.

    Numbers that are equal are the same: 1 and 1.0.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            text = str(int(value)) if value == int(value) else repr(value)
            return text if len(text) <= INDEXED_LENGTH else None
        case str() if len(value) <= INDEXED_LENGTH and "\0" not in value:
            return value
    return None


def searched(text: str, kind: TraitType | None) -> str:
    """What a query means by text, for a trait of that type."""
    return indexed(coerced(text, kind) if kind else text) or text


def require_declarable(settings: RecipientSettings) -> None:
    """Return if settings speak of traits that anybody may set. Raises `Invalid`."""
    named = [(name, f"/authority/{name}") for name in settings.authority]
    named += [(name, f"/trait_types/{name}") for name in settings.trait_types]
    named += [(name, f"/indexed_traits/{place}") for place, name in enumerate(settings.indexed_traits)]
    for name, at in named:
        if name in CONTACT_STATE:
            detail = f"{name} follows from consent: nobody sets it, and it is not searched by"
            raise Invalid("trait_read_only", detail, FieldError(at, detail))


def profile_without(given: Profile, names: Set[str]) -> Profile:
    """The profile without some traits."""
    if not isinstance(given.traits, Mapping):
        return given
    return replace(given, traits={name: value for name, value in given.traits.items() if name not in names} or UNSET)
