"""Pure rules of recipients: normal forms, references, what an upsert may name, merge patches."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec.structs import replace

from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.errors import FieldError, HubError, Invalid
from tabellion.recipients import forms
from tabellion.recipients.types import Kind, Named, Profile, RecipientRef, Ref, RefObject

TRAITS_SIZE = 32_768
TRAITS_DEPTH = 8
_E164 = re.compile(r"\+[1-9][0-9]{7,14}")
LIMITS: Final[Mapping[Kind, int]] = {
    Kind.EMAIL: 10,
    Kind.PHONE: 10,
    Kind.WHATSAPP: 10,
    Kind.DEVICE: 50,
    Kind.WEBPUSH: 50,
    Kind.WALLET: 20,
    Kind.ANONYMOUS: 100,
    Kind.EXTERNAL_ID: 1,
}
"""How many identifiers of a kind a recipient may be given; of `external:<system>` one for each system."""
_LOCALE = re.compile(r"([a-z]{2,3})(?:-([a-z]{4}))?(?:-([a-z]{2}|\d{3}))?((?:-(?:[a-z0-9]{5,8}|\d[a-z0-9]{3}))*)")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")

# normal forms


def normalise(
    kind: Kind, value: str, pointer: str = "", region: str | None = None, blocked: Set[str] = frozenset()
) -> str:
    """The one form of value that is stored and compared. Raises `Invalid` at pointer.

    An e-mail address keeps the case of its local part and gets its domain as A-labels in lower case; a phone number
    becomes E.164, read in region unless it starts with `+`. `blocked` are values refused beside the built-in ones.
    """
    try:
        normal = None if forms.blocked(kind, value, blocked) else forms.normal(kind, value, region)
    except ValueError as error:
        raise Invalid("invalid_identifier", str(error), FieldError(pointer, str(error))) from None
    if normal is None or (normal != value and forms.blocked(kind, normal, blocked)):
        detail = f"this {kind} is nobody's, but what programs write where they have none; leave the identifier out"
        raise Invalid("identifier_blocked", detail, FieldError(pointer, detail))
    return normal


def match_form(kind: Kind, value: str) -> str:
    """The form under which a normalised value is looked up: mailboxes that differ in case only are one mailbox.

    The standard lets a local part be case-sensitive; no mailbox provider does, and an opt-out must not depend on it.
    """
    return value.lower() if kind is Kind.EMAIL else value


def identifier_hash(lookup: Key, kind: Kind, value: str) -> bytes:
    """The keyed hash of a normalised value; lookup is the workspace side's `lookup` key."""
    return lookup.hash(f"{kind.value}\0{match_form(kind, value)}".encode())


def match_hash(lookup: Key, kind: Kind, value: str) -> bytes | None:
    """The hash of the mailbox that a normalised address belongs to; None where that is its own hash, and of others.

    It is the identifier hash the mailbox's plain address would have. One looks for both, and sends to neither.
    """
    if kind is not Kind.EMAIL or (mailbox := forms.mailbox(value)) == match_form(kind, value):
        return None
    return identifier_hash(lookup, kind, mailbox)


def email_domain(kind: Kind, value: str) -> str | None:
    return value.rpartition("@")[2] if kind is Kind.EMAIL else None


def locale(value: str, pointer: str) -> str:
    """A BCP 47 language tag in its usual case: language, script, region, variants (`zh-Hant-TW`)."""
    found = _LOCALE.fullmatch(value.replace("_", "-").lower())
    if found is None:
        detail = "not a language tag; write it as `de`, `de-AT` or `zh-Hant-TW`"
        raise Invalid("invalid_locale", detail, FieldError(pointer, detail))
    language, script, region, variants = found.groups()
    parts = [language, script and script.title(), region and region.upper()]
    return "-".join(part for part in parts if part) + variants


def time_zone(value: str, pointer: str) -> str:
    """The name of a zone the tz database knows."""
    try:
        if not _ZONE.fullmatch(value):
            raise ValueError(value)
        return ZoneInfo(value).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        detail = "not a time zone of the tz database; write it as `Europe/Vienna`"
        raise Invalid("invalid_time_zone", detail, FieldError(pointer, detail)) from None


def traits(value: Mapping[str, Any], pointer: str) -> Mapping[str, Any]:
    """The traits, if they are of a size and depth that we keep."""
    size = len(msgspec.json.encode(value))
    if size > TRAITS_SIZE or depth(value) > TRAITS_DEPTH:
        detail = f"traits may have {TRAITS_SIZE} bytes and {TRAITS_DEPTH} levels; these have {size} bytes"
        raise Invalid("traits_too_large", detail, FieldError(pointer, detail))
    return value


def profile(given: Profile, at: str) -> Profile:
    """The profile with its fields in normal form; `at` points at the object that has them."""
    return replace(
        given,
        locale=locale(given.locale, f"{at}/locale") if isinstance(given.locale, str) else given.locale,
        time_zone=time_zone(given.time_zone, f"{at}/time_zone")
        if isinstance(given.time_zone, str)
        else given.time_zone,
        traits=traits(given.traits, f"{at}/traits") if isinstance(given.traits, Mapping) else given.traits,
    )


def depth(value: Any) -> int:
    """How many objects and arrays lie inside each other."""
    if isinstance(value, Mapping):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def merge_patch(target: Any, patch: Any) -> Any:
    """Target after patch (RFC 7396): objects are merged, null removes, anything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


# references


def ref(value: RecipientRef, pointer: str, region: str | None = None, blocked: Set[str] = frozenset()) -> Ref:
    """Whom a request names, normalised. Raises `Invalid` at pointer when it names no one or several."""
    if isinstance(value, str):
        return Ref(id=_recipient_id(value, pointer), pointer=pointer)
    named = [field for field in value.__struct_fields__ if getattr(value, field) is not None]
    if len(named) != 1:
        detail = "name the recipient by exactly one of id, external_id, email, phone, identifier"
        raise Invalid("invalid_recipient", detail, FieldError(pointer, detail))
    field = named[0]
    if value.id is not None:
        return Ref(id=_recipient_id(value.id, f"{pointer}/id"), pointer=pointer)
    if value.identifier is not None:
        kind, text, place = Kind(value.identifier.kind), value.identifier.value, f"{pointer}/identifier/value"
    else:
        kind, text, place = Kind(field), getattr(value, field), f"{pointer}/{field}"
    return Ref(kind=kind, value=normalise(kind, text, place, region, blocked), pointer=pointer)


def written(value: RecipientRef, pointer: str) -> Ref | None:
    """The ref of a phone number that looks like its normal form; None for anything else."""
    phone = value.phone if isinstance(value, RefObject) else None
    if phone is None or not _E164.fullmatch(phone) or value != RefObject(phone=phone):
        return None
    return Ref(kind=Kind.PHONE, value=phone, pointer=f"{pointer}/phone", written=True)


def asked(text: str, region: str | None = None) -> Ref:
    """Whom the query parameter `recipient` names: an id, or the object of a RecipientRef as JSON. Raises `Invalid`."""
    if not text.startswith("{"):
        return ref(text, "", region)
    try:
        named = msgspec.json.decode(text, type=RefObject)
    except msgspec.MsgspecError:
        example = 'write it as rcp_… or as JSON with one of its fields, {"email": "ann@example.org"}'
        raise Invalid("invalid_recipient", example, FieldError("", example)) from None
    return ref(replace(named, phone=plus(named.phone)) if named.phone else named, "", region)


def plus(phone: str) -> str:
    """A phone number out of an address, in which a `+` that was not encoded arrives as a space."""
    return f"+{phone[1:]}" if phone.startswith(" ") else phone


def address_kind(address: str) -> Kind:
    """What an address is where nobody says."""
    return Kind.EMAIL if "@" in address else Kind.PHONE


def _recipient_id(text: str, pointer: str) -> UUID:
    try:
        return ids.parse("rcp", text)
    except HubError:
        detail = 'not a recipient id (rcp_…); name an address as {"email": "…"} or {"phone": "…"}'
        raise Invalid("invalid_recipient", detail, FieldError(pointer, detail)) from None


# what an upsert says of an identifier

_WITH_MORE: Final = frozenset({Kind.DEVICE, Kind.WEBPUSH})


def described(named: Named, at: str, blocked: Set[str] = frozenset()) -> Named:
    """The identifier with what its kind needs beside the value, normalised. Raises `Invalid`; `at` is its object."""
    if named.kind not in _WITH_MORE and named.device is None and named.keys is None:
        return named
    _require(named.kind is Kind.DEVICE, named.device is not None, f"{at}/device", "device", "a push token")
    _require(named.kind is Kind.WEBPUSH, named.keys is not None, f"{at}/keys", "keys", "a web push subscription")
    replaces = named.replaces and normalise(Kind.DEVICE, named.replaces, f"{at}/device/replaces", None, blocked)
    try:
        return replace(named, keys=named.keys and forms.push_keys(named.keys), replaces=replaces)
    except ValueError as error:
        raise Invalid("invalid_identifier", str(error), FieldError(f"{at}/keys", str(error))) from None


def _require(needed: bool, given: bool, pointer: str, field: str, what: str) -> None:
    if needed != given:
        detail = f"{what} needs `{field}`" if needed else f"only {what} has `{field}`"
        raise Invalid("invalid_identifier", detail, FieldError(pointer, detail))


def limit(kind: Kind, limits: Mapping[Kind, int] = LIMITS) -> int:
    """How many identifiers of the kind a recipient may be given."""
    return limits.get(kind, 1)


def require_room(counts: Mapping[Kind, int], pointer: str, limits: Mapping[Kind, int] = LIMITS) -> None:
    """Return if a recipient may have so many of each kind. Raises `Invalid` otherwise."""
    for kind, count in counts.items():
        if count > (most := limit(kind, limits)):
            detail = f"a recipient has at most {most} of kind {kind}, and this would make it {count}"
            raise Invalid("too_many_identifiers", detail, FieldError(pointer, detail))


# whom an upsert names


def require_identifiers(named: Sequence[Named], at: str, limits: Mapping[Kind, int] = LIMITS) -> None:
    """Return if a unit names somebody, and not by too much of a kind. Raises `Invalid` at the unit otherwise."""
    if not named:
        detail = "name the recipient by an external_id or at least one identifier"
        raise Invalid("identifier_required", detail, FieldError(at, detail))
    if len({one.value for one in named if one.kind is Kind.EXTERNAL_ID}) > 1:
        detail = "a recipient has one external_id"
        raise Invalid("invalid_recipient", detail, FieldError(at, detail))
    distinct = {(one.kind, match_form(one.kind, one.value)) for one in named}
    require_room(Counter(kind for kind, _ in distinct), f"{at}/identifiers", limits)
