"""What the units of an upsert mean: whom, what they add, and what each comes to. Values and pure rules.

`upsert` claims, locks and writes what stands here.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from uuid import UUID

import msgspec
from msgspec.structs import replace

from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.errors import Conflict, HubError
from tabellion.recipients import devices, resolution, rules
from tabellion.recipients.changes import Change
from tabellion.recipients.resolution import USUAL, Match, Owner, Policy, is_strong
from tabellion.recipients.store import Found, Record
from tabellion.recipients.types import Ignored, Kind, Named, NewRecipient, Profile


class Unit(msgspec.Struct, frozen=True, gc=False):
    """One unit under way. `new_id` is its recipient's id, should it make one; the same in every turn."""

    index: int
    new: NewRecipient
    named: Mapping[bytes, Named]
    replaced: Mapping[bytes, Named]
    """The push tokens in whose place others came, known or not."""
    new_id: UUID = msgspec.field(default_factory=ids.new)

    @property
    def all(self) -> Mapping[bytes, Named]:
        """Everything that says whom or what it is about."""
        return {**self.replaced, **self.named} if self.replaced else self.named

    @property
    def external_id(self) -> bytes | None:
        return next((hash_ for hash_, one in self.named.items() if one.kind is Kind.EXTERNAL_ID), None)

    def without(self, shared: set[bytes]) -> "Unit":
        """What is left of it without what names nobody."""
        return replace(
            self,
            named={one: named for one, named in self.named.items() if one not in shared},
            replaced={one: named for one, named in self.replaced.items() if one not in shared},
        )


class Seen(msgspec.Struct, frozen=True):
    """Who owned what, and the owners' records, at one moment."""

    found: Mapping[bytes, Found]
    records: Mapping[UUID, Record]
    policy: Policy = USUAL
    held: Mapping[UUID, Mapping[Kind, int]] = {}
    """How many of each kind those have of whom it matters whether they are known."""

    def people(self, hashes: Iterable[bytes]) -> set[UUID]:
        return {self.found[one].recipient_id for one in hashes if one in self.found}

    def shared(self, unit: Unit) -> set[bytes]:
        return {one for one in unit.all if one in self.found and self.found[one].shared}

    def kinds(self, person: UUID, unit: Unit, adds: Collection[bytes]) -> frozenset[Kind]:
        """The kinds of identifiers a person has, as far as it matters, without what the unit itself just added."""
        external_id = self.records[person].external_id
        if person not in self.held:
            return frozenset() if external_id is None or external_id in adds else frozenset({Kind.EXTERNAL_ID})
        mine = [one for one in adds if one in self.found and self.found[one].recipient_id == person]
        added = Counter(unit.named[one].kind for one in mine)
        return frozenset(kind for kind, count in self.held[person].items() if count > added[kind])


class Plan(msgspec.Struct, frozen=True, gc=False):
    """What a unit means: the recipient it is about, who owns what it names, and what nobody owns."""

    unit: Unit
    match: Match
    people: set[UUID]
    adds: Sequence[bytes]
    gains: Sequence[bytes] = ()
    """What others had until now."""
    guarded: bool = False
    """It means somebody known, or several, and nobody vouches for it: only a device's denial is left of it."""

    @property
    def target(self) -> UUID:
        return self.match.into or self.unit.new_id

    @property
    def makes(self) -> bool:
        """The recipient is new to the outside: made here, or hidden until now."""
        return self.match.into is None or self.match.promote

    def stands(self, seen: Seen, locked: set[UUID]) -> bool:
        """Whether it still means the same, seen under lock."""
        before = [one for one in self.unit.all if one not in self.adds]
        people = seen.people(before)
        same = people == self.people and people <= locked and not seen.shared(self.unit)
        there = all(one in seen.found for one in before if one in self.unit.named)
        return same and there and meant(self.unit, people, seen, self.adds) == self.match

    def guard(self) -> "Plan":
        """What is left of it where nobody vouches for what it would change."""
        named = {one: devices.denial(named) for one, named in self.unit.named.items() if one not in self.adds}
        unit = replace(self.unit, named=named, replaced={}, new=replace(self.unit.new, profile=Profile()))
        return Plan(unit, Match(self.match.into), self.people, (), guarded=True)


class Step(msgspec.Struct, frozen=True, gc=False):
    """One recipient before and after; the same where it was made, which it is whole."""

    plan: Plan
    before: Record
    after: Record
    change: Change
    ignored: Sequence[Ignored]
    verified: Sequence[bytes]
    """Identifiers it had, now known to be theirs."""
    own: Sequence[bytes]
    """What the unit names of its own; a weak identifier may be another's."""

    @property
    def born(self) -> bool:
        return self.plan.match.into is None

    @property
    def person(self) -> UUID:
        return self.after.id


def unit_of(lookup: Key, index: int, new: NewRecipient) -> Unit:
    named: dict[bytes, Named] = {}
    for one in new.identifiers:
        hash_ = rules.identifier_hash(lookup, one.kind, one.value)
        if hash_ not in named or one.verified:
            named[hash_] = one
    old = [one.replaces for one in new.identifiers if one.replaces is not None]
    replaced = {rules.identifier_hash(lookup, Kind.DEVICE, one): Named(Kind.DEVICE, one) for one in old}
    return Unit(index, new, named, {one: token for one, token in replaced.items() if one not in named})


def grown(plan: Plan, counts: Mapping[UUID, Mapping[Kind, int]]) -> Mapping[Kind, int]:
    """How many the recipient would have of each kind that it gets more of."""
    absorbed = [counts.get(one, {}) for one in plan.match.absorb]
    grown = {plan.unit.named[one].kind for one in (*plan.adds, *plan.gains)} | {
        kind for one in absorbed for kind in one
    }
    return {kind: sum(one.get(kind, 0) for one in (counts.get(plan.target, {}), *absorbed)) for kind in grown}


def apart(units: Sequence[Unit]) -> tuple[list[Unit], list[Unit]]:
    """The units that share no identifier with an earlier one, and the rest, both in order."""
    turn: list[Unit] = []
    later: list[Unit] = []
    seen: set[bytes] = set()
    for unit in units:
        (turn if seen.isdisjoint(unit.all) else later).append(unit)
        seen.update(unit.all)
    return turn, later


def own_of(plan: Plan, seen: Seen) -> list[bytes]:
    """What the unit names that is its person's, or becomes theirs."""
    owners = {plan.target, *plan.match.absorb}
    return [one for one in plan.unit.named if one not in seen.found or seen.found[one].recipient_id in owners]


def unclear(unit: Unit, found: Mapping[bytes, Found], policy: Policy) -> set[UUID]:
    """Of whom it matters what else they have: others are named too, what they may have one of only, or a user."""
    if all(is_strong(named.kind) for named in unit.all.values()):
        return set()
    full = {found[one].recipient_id for one in unit.all if one in found and not found[one].address_only}
    kinds = {named.kind for named in unit.named.values()} - {Kind.EXTERNAL_ID}
    single = any(is_strong(kind) and policy.limit(kind) == 1 for kind in kinds)
    return full if len(full) > 1 or single or unit.new.vouched else set()


def plan_all(units: Iterable[Unit], seen: Seen) -> Iterator[tuple[Unit, Plan | HubError]]:
    """What each unit means, leaving out those that mean an earlier unit's recipient: they wait for it."""
    taken: set[UUID] = set()
    for unit in units:
        people = seen.people(unit.all)
        if taken.isdisjoint(people):
            adds = [one for one in unit.named if one not in seen.found]
            match = meant(unit, people, seen, adds)
            yield unit, match if isinstance(match, HubError) else Plan(unit, match, people, adds)
        taken |= people


def meant(unit: Unit, people: set[UUID], seen: Seen, adds: Collection[bytes]) -> Match | HubError:
    """Whom the unit means, that adds what nobody has. One that a merged recipient kept is no other one of theirs."""
    found = [seen.records[one] for one in sorted(people)]
    if any(record.erased for record in found):
        return Conflict("recipient_erased", "an identifier belongs to a recipient that was erased")
    named: dict[UUID, set[Kind]] = {one: set() for one in people}
    for hash_, one in unit.all.items():
        if hash_ in seen.found and hash_ not in adds:
            named[seen.found[hash_].recipient_id].add(one.kind)
    lesser = people - seen.people(one for one in unit.named if one not in adds) if unit.replaced else set()
    owners = [
        Owner(one.id, one.address_only, frozenset(named[one.id]), seen.kinds(one.id, unit, adds), one.id in lesser)
        for one in found
    ]
    new = {unit.named[one].kind for one in adds}
    return resolution.match(owners, new, seen.policy, strictly=unit.new.vouched)
