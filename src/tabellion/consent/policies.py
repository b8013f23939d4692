"""What the policies of a side add to an opt-out: which purposes and channels it reaches, too. Pure.

An opt-out is a restriction that somebody recorded and that applied. What is added is decided as if it had been said at
the same time, by the same authority, and adds nothing in turn. It reaches no class `security`, unless that was named.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from msgspec import structs

from tabellion.consent.purposes.rules import WIDENED
from tabellion.consent.rules import channels_under, line, purposes_under
from tabellion.consent.types import ANY, KINDS, NewDecision, OptOutScope, Placed, Purpose, PurposeClass, Purposes, Scope
from tabellion.core import ids
from tabellion.providers.base import Channel

SCOPE: Final = "opt_out_scope"
CROSS: Final = "cross_channel"


@dataclass(frozen=True, slots=True)
class Policies:
    """What a side says about what an opt-out reaches."""

    purposes: Purposes
    default_brand: str = ""
    """The key of the brand that purposes are of which name none."""
    cross_channel: Mapping[Channel, Sequence[Channel]] = field(default_factory=dict)
    known: dict[tuple[str, str], list["Reach"]] = field(default_factory=dict, compare=False)
    """What was asked before: many opt-outs of a batch are alike."""


@dataclass(frozen=True, slots=True)
class Reach:
    """A channel and a purpose that an opt-out restricts, too, and the policies that say so."""

    channel: str
    purpose: str
    by: tuple[str, ...]


def added(policies: Policies, channel: str, purpose: str) -> list[Reach]:
    """What an opt-out of this channel word and purpose word reaches beside what it says, nothing of it twice."""
    if (channel, purpose) not in policies.known:
        policies.known[channel, purpose] = list(_added(policies, channel, purpose))
    return policies.known[channel, purpose]


def _added(policies: Policies, channel: str, purpose: str) -> Iterator[Reach]:
    purposes = _purposes(policies, purpose)
    channels = _channels(policies, channel)
    yield from (Reach(channel, one, (SCOPE,)) for one in purposes)
    yield from (Reach(one, purpose, (CROSS,)) for one in channels)
    yield from (Reach(one, other, (CROSS, SCOPE)) for one in channels for other in purposes)


def _purposes(policies: Policies, word: str) -> list[str]:
    """The purposes that the scopes of all it covers reach: what stands below one of them is reached by it."""
    if word == ANY:
        return []
    known = policies.purposes
    covered = purposes_under(known, word)
    found = {
        one.key
        for key in covered
        for one in known.values()
        if one.key not in covered and _reaches(policies, known[key], one)
    }
    return sorted(key for key in found if line(known, key) & found == {key})


def _reaches(policies: Policies, left: Purpose, other: Purpose) -> bool:
    """Whether an opt-out from one purpose is by its own scope one from another."""
    match left.opt_out_scope:
        case OptOutScope.PURPOSE:
            return False
        case OptOutScope.BRAND:
            same = (left.brand or policies.default_brand) == (other.brand or policies.default_brand)
            return same and other.purpose_class in WIDENED
        case OptOutScope.CLASS:
            return other.purpose_class is left.purpose_class is not PurposeClass.SECURITY


def _channels(policies: Policies, word: str) -> list[str]:
    covered = channels_under(word)
    found = {other.value for one in covered for other in policies.cross_channel.get(Channel(one), ())}
    return sorted(found - covered)


def widened(
    policies: Policies, new: NewDecision, placed: Placed, entry_id: UUID
) -> Iterator[tuple[NewDecision, Placed]]:
    """The decisions that an opt-out brings with it. `entry_id` is its own entry.

    On another channel it is the person's: which of their addresses there is the same one, nobody knows.
    """
    for reach in added(policies, new.channel, new.purpose):
        crossed = CROSS in reach.by
        evidence = {"entry": ids.show("cns", entry_id), "policies": list(reach.by)}
        yield (
            replace(
                new, channel=reach.channel, purpose=reach.purpose, identifier_only=new.identifier_only and not crossed,
                vendor_block=None, notice=None, evidence=evidence,
            ),
            structs.replace(
                placed, scope=_scope(placed.scope, reach, crossed), addresses=_addresses(placed, reach, crossed)
            ),
        )  # fmt: skip


def _scope(scope: Scope, reach: Reach, crossed: bool) -> Scope:
    return structs.replace(
        scope, channel=reach.channel, purpose=reach.purpose, person_scope=scope.person_scope or crossed
    )


def _addresses(placed: Placed, reach: Reach, crossed: bool) -> frozenset[bytes]:
    """Of a late opt-out: the person's addresses that it reaches there."""
    if not crossed:
        return placed.addresses
    kinds = KINDS.get(Channel(reach.channel), ())
    return frozenset(one.hash for one in placed.owned if one.kind in kinds)
