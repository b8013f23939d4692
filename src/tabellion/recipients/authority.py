"""Authority: which source may set which field of a person. Pure.

Of a governed field the highest source that ever wrote it has the say, be it to say that there is nothing; among equals
the last. Of any other field the last writer has it. An object of a lower source is replaced, not merged into.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from tabellion.recipients import traits
from tabellion.recipients.changes import alike, traits_change
from tabellion.recipients.rules import merge_patch
from tabellion.recipients.types import Ignored, Profile

FIELDS: Final = ("locale", "time_zone")
Owners = Mapping[str, str]
"""Governed field → the source that has the say."""


class Standing(msgspec.Struct, frozen=True):
    """What stands before a write."""

    locale: str | None
    time_zone: str | None
    traits: Mapping[str, Any]
    owners: Owners = {}


class Ruled(NamedTuple):
    """What of a write applies."""

    profile: Profile
    owners: Owners
    ignored: Sequence[Ignored]


class Writer(msgspec.Struct, frozen=True):
    """A source, and the rules it writes under: field → sources, the highest first."""

    source: str
    rules: Mapping[str, Sequence[str]] = {}

    def governed(self, profile: Profile) -> list[str]:
        """The governed fields that a profile speaks of; setting all traits to null speaks of all."""
        if not self.rules:
            return []
        spoken = [name for name in FIELDS if getattr(profile, name) is not UNSET]
        spoken += [name for name in _traits_of(profile, self.rules) if name not in FIELDS]
        return [name for name in spoken if name in self.rules]

    def ruled(self, profile: Profile, standing: Standing) -> Ruled:
        """The profile without what this source may not say, and who has the say afterwards."""
        owners, refused, outranked = dict(standing.owners), list[str](), list[str]()
        for name in self.governed(profile):
            mine, theirs = self._rank(name, self.source), self._rank(name, standing.owners.get(name))
            if mine is None or (theirs is not None and theirs < mine):
                refused.append(name)
            else:
                owners[name] = self.source
                outranked += [name] if theirs is not None and mine < theirs else []
        ignored = [self._ignored(name, standing) for name in refused if _would_change(name, profile, standing)]
        kept = _without(profile, refused, standing) if refused else profile
        return Ruled(_replacing(kept, outranked, standing) if outranked else kept, owners, ignored)

    def _rank(self, name: str, source: str | None) -> int | None:
        """The place of a source among those of a field, 0 the highest; None: it has none."""
        if source is None:
            return None
        head = source.partition(":")[0]
        return next((place for place, one in enumerate(self.rules[name]) if one in (source, head)), None)

    def _ignored(self, name: str, standing: Standing) -> Ignored:
        owner = standing.owners.get(name)
        known = owner if owner is not None and self._rank(name, owner) is not None else self.rules[name][0]
        return Ignored(f"/{name}" if name in FIELDS else traits.pointer(name), "authority", known)


def _traits_of(profile: Profile, rules: Mapping[str, Sequence[str]]) -> list[str]:
    if isinstance(profile.traits, Mapping):
        return list(profile.traits)
    return list(rules) if profile.traits is None else []


def _would_change(name: str, profile: Profile, standing: Standing) -> bool:
    if name in FIELDS:
        return bool(getattr(profile, name) != getattr(standing, name))
    was, patch = standing.traits.get(name), profile.traits[name] if isinstance(profile.traits, Mapping) else None
    return not alike(was, merge_patch(was, patch))


def _without(profile: Profile, refused: Sequence[str], standing: Standing) -> Profile:
    """The profile without the refused fields. Where it would clear all traits, it clears the others."""
    kept = replace(profile, **{name: UNSET for name in refused if name in FIELDS})
    gone = set(refused).difference(FIELDS)
    if gone and kept.traits is None:
        kept = replace(kept, traits=dict.fromkeys(standing.traits))
    return traits.profile_without(kept, gone) if gone else kept


def _replacing(profile: Profile, outranked: Sequence[str], standing: Standing) -> Profile:
    """The profile with objects that take the place of those of lower sources, as patches that lead there."""
    if not isinstance(profile.traits, Mapping):
        return profile
    said = dict(profile.traits)
    for name in set(outranked).intersection(said):
        was, new = standing.traits.get(name), merge_patch(None, said[name])
        if isinstance(was, Mapping) and isinstance(new, Mapping):
            change = traits_change(was, new)
            said[name] = change[1] if change else {}
    return replace(profile, traits=said)
