"""What a change of a recipient says: each field before and after, so that the past is the present with changes undone.

Pure: values in, values out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from tabellion.recipients.rules import merge_patch
from tabellion.recipients.types import Identifier, Kind, Recipient


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one version changed, each as (before, after). None is a field that stayed."""

    locale: tuple[str | None, str | None] | None = None
    time_zone: tuple[str | None, str | None] | None = None
    address_only: tuple[bool, bool] | None = None
    traits: tuple[dict[str, Any], dict[str, Any]] | None = None
    """Two merge patches (RFC 7396): from after to before, and from before to after."""
    identifiers: tuple[tuple[Identifier | None, Identifier | None], ...] = ()
    """One that was added has none before; one that was taken away, none after."""

    @property
    def profile(self) -> list[str]:
        """Names of what changed in the profile."""
        return [name for name in ("locale", "time_zone", "traits") if getattr(self, name) is not None]

    @property
    def fields(self) -> list[str]:
        """Names of what changed."""
        rest = {"address_only": self.address_only is not None, "identifiers": bool(self.identifiers)}
        return self.profile + [name for name, changed in rest.items() if changed]


class FieldChange(msgspec.Struct, frozen=True):
    """One field as a JSON pointer into the recipient, before and after. None is a field that was not there."""

    field: str
    before: Any
    after: Any


def traits_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The patches between two objects, back and forth; None where they say the same."""
    back: dict[str, Any] = {}
    forth: dict[str, Any] = {}
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if inner := traits_change(old, new):
                back[name], forth[name] = inner
        elif not alike(old, new):
            back[name], forth[name] = old, new
    return (back, forth) if forth else None


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: for Python, 1 is True."""
    if one is None or other is None:
        return one is other
    return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")


def undone(after: Recipient, change: Change) -> Recipient:
    """The recipient before the change.

    Undoing what had not reached a field leaves the field as it was before the change, all the same.
    """
    known = {one.hash: one for one in after.identifiers}
    for old, new in reversed(change.identifiers):
        if new is not None:
            known.pop(new.hash, None)
        if old is not None:
            known[old.hash] = old
    return replace(
        after,
        locale=change.locale[0] if change.locale else after.locale,
        time_zone=change.time_zone[0] if change.time_zone else after.time_zone,
        address_only=change.address_only[0] if change.address_only else after.address_only,
        traits=merge_patch(after.traits, change.traits[0]) if change.traits else after.traits,
        identifiers=sorted(known.values(), key=lambda one: (one.first_seen_at, one.kind, one.hash)),
    )


def making(first: Recipient) -> Change:
    """What the first version of a recipient says: everything it began with."""
    return Change(
        locale=(None, first.locale) if first.locale is not None else None,
        time_zone=(None, first.time_zone) if first.time_zone is not None else None,
        traits=traits_change({}, first.traits),
        identifiers=tuple((None, one) for one in first.identifiers),
    )


def told(change: Change) -> list[FieldChange]:
    """The change field by field, traits down to the value that changed."""
    fields = [
        FieldChange(f"/{name}", *pair)
        for name in ("locale", "time_zone", "address_only")
        if (pair := getattr(change, name)) is not None
    ]
    if change.traits:
        fields += _leaves("/traits", *change.traits)
    return fields + list(_identifiers(change.identifiers))


def of_field(changes: Sequence[FieldChange], field: str) -> list[FieldChange]:
    """The changes of a field, of what lies in it, and of what it lies in."""
    return [
        one for one in changes if f"{one.field}/".startswith(f"{field}/") or f"{field}/".startswith(f"{one.field}/")
    ]


def _leaves(at: str, back: Mapping[str, Any], forth: Mapping[str, Any]) -> Iterator[FieldChange]:
    for name, new in forth.items():
        old, here = back[name], f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _leaves(here, old, new)
        else:
            yield FieldChange(here, old, new)


def _identifiers(pairs: Iterable[tuple[Identifier | None, Identifier | None]]) -> Iterator[FieldChange]:
    for old, new in pairs:
        if Kind.EXTERNAL_ID in (one.kind for one in (old, new) if one is not None):
            yield FieldChange("/external_id", old.value if old else None, new.value if new else None)
        else:
            yield FieldChange("/identifiers", _shown(old), _shown(new))


def _shown(one: Identifier | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {"kind": one.kind.value, "value": one.value, "verified": one.verified_at is not None}
