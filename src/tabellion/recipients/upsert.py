"""Upsert: make or change recipients by the identifiers they are named with.

A turn takes units that have nothing in common. It claims their new identifiers (in the order of the hashes), then
locks the recipients they mean (in the order of the ids), then reads again and goes on only with those that still mean
the same. Whoever lost a race on the way takes back what it claimed and is in the next turn.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.recipients import devices, handover, happened, history, resolution, rules, sealing, store
from tabellion.recipients import tokens_store as tokens
from tabellion.recipients.changes import Change, alike, traits_change
from tabellion.recipients.devices import Said
from tabellion.recipients.handover import Case, Handover
from tabellion.recipients.history import Version
from tabellion.recipients.resolution import USUAL, Match, Owner, Policy, is_strong
from tabellion.recipients.store import Found, Record
from tabellion.recipients.types import (
    Above,
    Absorbed,
    Identifier,
    IdentityConflict,
    Kind,
    Named,
    NewRecipient,
    Profile,
    SharedIdentifier,
    Upserted,
)


@dataclass
class _Unit:
    """One unit under way. `new_id` is its recipient's id, should it make one; the same in every turn."""

    index: int
    new: NewRecipient
    named: Mapping[bytes, Named]
    replaced: Mapping[bytes, Named]
    """The push tokens in whose place others came, known or not."""
    new_id: UUID = field(default_factory=ids.new)

    @property
    def all(self) -> Mapping[bytes, Named]:
        """Everything that says whom or what it is about."""
        return {**self.replaced, **self.named} if self.replaced else self.named

    @property
    def external_id(self) -> bytes | None:
        return next((hash_ for hash_, one in self.named.items() if one.kind is Kind.EXTERNAL_ID), None)

    def drop(self, shared: set[bytes]) -> None:
        """Go on without what names nobody."""
        self.named = {one: named for one, named in self.named.items() if one not in shared}
        self.replaced = {one: named for one, named in self.replaced.items() if one not in shared}


@dataclass(frozen=True)
class _Seen:
    """Who owned what, and the owners' records, at one moment."""

    found: Mapping[bytes, Found]
    records: Mapping[UUID, Record]
    policy: Policy = USUAL
    held: Mapping[UUID, Mapping[Kind, int]] = field(default_factory=dict)
    """How many of each kind those have of whom it matters whether they are known."""

    def people(self, hashes: Iterable[bytes]) -> set[UUID]:
        return {self.found[one].recipient_id for one in hashes if one in self.found}

    def shared(self, unit: _Unit) -> set[bytes]:
        return {one for one in unit.all if one in self.found and self.found[one].shared}

    def kinds(self, person: UUID, unit: _Unit, adds: Collection[bytes]) -> frozenset[Kind]:
        """The kinds of identifiers a person has, as far as it matters, without what the unit itself just added."""
        external_id = self.records[person].external_id
        if person not in self.held:
            return frozenset() if external_id is None or external_id in adds else frozenset({Kind.EXTERNAL_ID})
        mine = [one for one in adds if one in self.found and self.found[one].recipient_id == person]
        added = Counter(unit.named[one].kind for one in mine)
        return frozenset(kind for kind, count in self.held[person].items() if count > added[kind])


@dataclass(frozen=True)
class _Plan:
    """What a unit means: the recipient it is about, who owns what it names, and what nobody owns."""

    unit: _Unit
    match: Match
    people: set[UUID]
    adds: Sequence[bytes]
    gains: Sequence[bytes] = ()
    """What others had until now."""

    @property
    def target(self) -> UUID:
        return self.match.into or self.unit.new_id

    @property
    def makes(self) -> bool:
        """The recipient is new to the outside: made here, or hidden until now."""
        return self.match.into is None or self.match.promote

    def stands(self, seen: _Seen, locked: set[UUID]) -> bool:
        """Whether it still means the same, seen under lock."""
        before = [one for one in self.unit.all if one not in self.adds]
        people = seen.people(before)
        same = people == self.people and people <= locked and not seen.shared(self.unit)
        there = all(one in seen.found for one in before if one in self.unit.named)
        return same and there and _meant(self.unit, people, seen, self.adds) == self.match


@dataclass(frozen=True)
class _Step:
    """One recipient before and after."""

    plan: _Plan
    before: Record
    after: Record
    change: Change
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


class Upsert:
    """One upsert in one transaction."""

    def __init__(
        self,
        vault: Vault,
        events: EventLog,
        tx: Tx,
        workspace_id: WorkspaceId,
        absorbed: Absorbed,
        source: str,
        actor: str | None = None,
        *,
        policy: Policy = USUAL,
        above: Above | None = None,
    ) -> None:
        self._policy = policy
        self._above = above
        self._vault = vault
        self._events = events
        self._tx = tx
        self._workspace_id = workspace_id
        self._absorbed = absorbed
        self._source = source
        self._actor = actor
        self._keys: dict[UUID, Key] = {}

    async def run(self, units: Sequence[NewRecipient]) -> list[Upserted | HubError]:
        """The answer to each unit, in order."""
        lookup = self._lookup = await self._vault.workspace(self._tx, self._workspace_id, "lookup")
        waiting = [_unit(lookup, index, unit) for index, unit in enumerate(units)]
        answers: dict[int, Upserted | HubError] = {}
        while waiting:
            turn, later = _apart(waiting)
            answers |= await self._turn(turn)
            waiting = [unit for unit in turn if unit.index not in answers] + later
        return [answers[index] for index in range(len(units))]

    async def _turn(self, units: Sequence[_Unit]) -> dict[int, Upserted | HubError]:
        """The answers of units that share no identifier; those left out must be tried again."""
        answers: dict[int, Upserted | HubError] = {}
        plans: list[_Plan] = []
        seen = await self._see(units)
        for unit, plan in _plans(self._sound(units, seen, answers), seen):
            if isinstance(plan, HubError):
                answers[unit.index] = plan
            else:
                plans.append(plan)
        await self._fetch_keys(plans)
        plans = await self._claim(plans)
        plans, seen = await self._hold(plans)
        plans, seen = await self._settle(plans, seen, answers)
        steps = await self._steps(plans, seen, answers)
        moved = await self._absorb(steps)
        await self._write(steps, seen, moved)
        return answers | {one.plan.unit.index: Upserted(one.person, one.plan.makes, one.after.version) for one in steps}

    async def _see(self, units: Sequence[_Unit]) -> _Seen:
        hashes = [one for unit in units for one in unit.all]
        found = await store.find(self._tx, self._workspace_id, hashes)
        people = sorted({row.recipient_id for row in found.values()})
        records = await store.records(self._tx, self._workspace_id, people) if people else {}
        unclear = sorted({one for unit in units for one in _unclear(unit, found, self._policy)})
        held = await tokens.kinds(self._tx, self._workspace_id, unclear) if unclear else {}
        return _Seen(found, records, self._policy, held)

    def _sound(self, units: Sequence[_Unit], seen: _Seen, answers: dict[int, Upserted | HubError]) -> Iterator[_Unit]:
        """The units, without what many share; those that name nobody else are refused."""
        for unit in units:
            if shared := seen.shared(unit):
                unit.drop(shared)
            if unit.named:
                yield unit
            else:
                answers[unit.index] = SharedIdentifier()

    async def _fetch_keys(self, plans: Sequence[_Plan]) -> None:
        people = {one for plan in plans for one in (plan.target, *plan.people)}
        self._keys |= await self._vault.subjects(self._tx, self._workspace_id, people)

    async def _claim(self, plans: Sequence[_Plan]) -> list[_Plan]:
        """Make the new recipients and add the identifiers nobody owns; the plans that got all of theirs."""
        born = [plan.target for plan in plans if plan.match.into is None]
        if born:
            await store.insert_recipients(self._tx, self._workspace_id, born)
        made = [
            sealing.new_identifier(
                self._workspace_id, plan.target, self._keys[plan.target], one, plan.unit.named[one], self._lookup
            )
            for plan in plans
            for one in plan.adds
        ]
        got = await store.insert_identifiers(self._tx, self._workspace_id, made, self._source) if made else set()
        await self._withdraw([plan for plan in plans if not got.issuperset(plan.adds)], got)
        return [plan for plan in plans if got.issuperset(plan.adds)]

    async def _hold(self, plans: Sequence[_Plan]) -> tuple[list[_Plan], _Seen]:
        """Lock whom the plans mean; the plans that still mean the same, and what was seen under lock."""
        people = {one for plan in plans for one in plan.people}
        if not people:
            return list(plans), _Seen({}, {})
        pairs = [(self._workspace_id, one) for one in people]
        held = await store.lock(self._tx, pairs, skip_locked=False)
        locked = {one for (_, one), root in held.items() if one == root}
        seen = await self._see([plan.unit for plan in plans])
        await self._withdraw([plan for plan in plans if not plan.stands(seen, locked)])
        return [plan for plan in plans if plan.stands(seen, locked)], seen

    async def _settle(
        self, plans: Sequence[_Plan], seen: _Seen, answers: dict[int, Upserted | HubError]
    ) -> tuple[list[_Plan], _Seen]:
        """Let what is another's by weak identifiers go to whom it belongs to now; the plans, and what is seen then."""
        open_ = [plan for plan in plans if plan.match.joins or plan.match.yields]
        if not open_:
            return list(plans), seen
        settled = {plan.unit.index: plan for plan in plans}
        refused = []
        for plan in open_:
            try:
                settled[plan.unit.index] = await self._settled(plan, seen)
            except HubError as refusal:
                answers[plan.unit.index] = refusal
                refused.append(settled.pop(plan.unit.index))
        await self._withdraw(refused)
        return list(settled.values()), await self._see([plan.unit for plan in settled.values()])

    async def _settled(self, plan: _Plan, seen: _Seen) -> _Plan:
        """The plan once all it is about is one person's. Raises `HubError` before anything changed."""
        if self._above is None:
            raise IdentityConflict("the identifiers belong to several", tuple(sorted(plan.people)))
        others = {
            one: (named, seen.found[one])
            for one, named in plan.unit.all.items()
            if one in seen.found and seen.found[one].recipient_id in plan.match.yields
        }
        self._require_fit(plan, seen, others)
        case = Case(
            plan.target,
            plan.match.joins,
            {one: pair for one, pair in others.items() if one in plan.unit.named},
            {one: pair for one, pair in others.items() if one not in plan.unit.named},
            seen.records,
            self._keys,
        )
        hands = Handover(
            self._events, self._above, self._tx, self._workspace_id, self._policy, self._source, self._actor
        )
        gains = await hands.settle(case)
        match = dataclasses.replace(plan.match, joins=(), yields=())
        return dataclasses.replace(plan, match=match, people=plan.people - {*plan.match.joins}, gains=gains)

    def _require_fit(self, plan: _Plan, seen: _Seen, others: handover.Owned) -> None:
        """Return if all that comes to one person is not too much. Raises `Invalid`: this unit leaves nothing behind."""
        whole = [seen.records[one] for one in (plan.match.into, *plan.match.joins) if one]
        traits: dict[str, Any] = {}
        for record in whole:
            traits = {**sealing.open_traits(self._workspace_id, record, self._keys[record.id]), **traits}
        patch = plan.unit.new.profile.traits
        after = traits if patch is UNSET else {} if patch is None else rules.merge_patch(traits, patch)
        for document in (traits, after):
            rules.traits(document, "/traits")
        coming = Counter(named.kind for one, (named, _) in others.items() if one in plan.unit.named)
        for one in plan.match.joins:
            coming.update(seen.held[one])
        had = seen.held.get(plan.target, {})
        counts = {kind: count + had.get(kind, 0) for kind, count in coming.items()}
        rules.require_room(counts, "/identifiers", self._policy.limits)

    async def _steps(self, plans: Sequence[_Plan], seen: _Seen, answers: dict[int, Upserted | HubError]) -> list[_Step]:
        """What each plan comes to. One whose traits or identifiers grow too many is refused and withdrawn."""
        steps: list[_Step] = []
        refused: list[_Plan] = []
        counts = await self._counts(plans)
        for plan in plans:
            try:
                rules.require_room(_grown(plan, counts), "/identifiers", self._policy.limits)
                steps.append(self._step(plan, seen))
            except HubError as refusal:
                answers[plan.unit.index] = refusal
                refused.append(plan)
        await self._withdraw(refused)
        return steps

    async def _counts(self, plans: Sequence[_Plan]) -> Mapping[UUID, Mapping[Kind, int]]:
        """How many identifiers of each kind those have who get further ones, and those who become part of them."""
        growing = [plan for plan in plans if plan.match.into and (plan.adds or plan.gains or plan.match.absorb)]
        people = sorted({one for plan in growing for one in (plan.target, *plan.match.absorb)})
        return await store.counts(self._tx, self._workspace_id, people) if people else {}

    def _step(self, plan: _Plan, seen: _Seen) -> _Step:
        profile, key, now = plan.unit.new.profile, self._keys[plan.target], self._tx.now
        if plan.match.into is None:
            blank = Record(plan.target, 1, False, None, None, None, now, now, plan.unit.external_id, False)
            return _Step(plan, blank, *profiled(self._workspace_id, blank, profile, key), (), _own(plan, seen))
        before = seen.records[plan.match.into]
        after, change = profiled(self._workspace_id, before, profile, key)
        own = _own(plan, seen)
        verified = [
            one
            for one in own
            if plan.unit.named[one].verified
            and one in seen.found
            and seen.found[one].verified_at is None
            and one not in (*plan.adds, *plan.gains)
        ]
        if change.profile or plan.adds or plan.gains or verified or plan.match.promote or plan.match.absorb:
            after = replace(after, version=before.version + 1, address_only=False)
        return _Step(plan, before, after, change, verified, own)

    async def _withdraw(self, plans: Sequence[_Plan], got: set[bytes] | None = None) -> None:
        """Take back what plans claimed: all they add, or what they got of it."""
        if plans:
            hashes = [one for plan in plans for one in plan.adds if got is None or one in got]
            born = [plan.target for plan in plans if plan.match.into is None]
            await store.withdraw(self._tx, self._workspace_id, hashes, born)

    async def _absorb(self, steps: Sequence[_Step]) -> dict[UUID, list[Identifier]]:
        """Move what address-only recipients own to the recipients that absorb them, sealed under the new key.

        What each of them owned.
        """
        into = {one: step.person for step in steps for one in step.plan.match.absorb}
        owned: dict[UUID, list[Identifier]] = {one: [] for one in into}
        if not into:
            return owned
        for from_id, to_id in into.items():
            await self._absorbed(self._tx, self._workspace_id, RecipientId(from_id), RecipientId(to_id))
        moved = []
        for row in await store.identifiers(self._tx, [(self._workspace_id, one) for one in into]):
            root, opened = into[row.recipient_id], sealing.open_identifier(row, self._keys[row.recipient_id])
            sealed = sealing.seal_value(self._workspace_id, root, self._keys[root], row.hash, sealing.plain(opened))
            moved.append((row.hash, root, sealed))
            owned[row.recipient_id].append(opened)
        await store.move(self._tx, self._workspace_id, moved)
        await store.merge(self._tx, self._workspace_id, list(into.items()))
        await self._events.append(self._tx, [happened.merged(self._workspace_id, *pair) for pair in into.items()])
        return owned

    async def _write(self, steps: Sequence[_Step], seen: _Seen, moved: Mapping[UUID, Sequence[Identifier]]) -> None:
        """Store the changed records and their versions, note what was named again, append the events."""
        parted = {one: replace(seen.records[one], version=seen.records[one].version + 1) for one in moved}
        rewritten = [one.after for one in steps if one.after != one.before] + list(parted.values())
        if rewritten:
            await store.write(self._tx, self._workspace_id, rewritten)
        again = [
            (hash_, step.plan.unit.named[hash_].verified)
            for step in steps
            for hash_ in step.own
            if hash_ not in step.plan.adds
        ]
        if again:
            await store.touch(self._tx, self._workspace_id, again)
        made = [one for step in steps for one in self._versions(step, seen, moved, parted)]
        await history.keep(self._tx, self._workspace_id, made, source=self._source, actor=self._actor)
        events = [event for step in steps for event in self._happened(step)]
        events += await devices.describe(self._tx, self._workspace_id, self._lookup, list(self._said(steps)))
        if events:
            await self._events.append(self._tx, events)
        await self._refresh(steps, seen)

    async def _refresh(self, steps: Sequence[_Step], seen: _Seen) -> None:
        """Let what was said about tokens count for those that took their place."""
        for step in steps:
            replaced = {named.value: one for one, named in step.plan.unit.replaced.items() if one in seen.found}
            known = [(one, step.plan.unit.named[one].replaces) for one in step.own] if replaced else []
            pairs = [(replaced[old], one) for one, old in known if old in replaced and replaced[old] != one]
            if pairs and self._above:
                person = RecipientId(step.person)
                await self._above.refreshed(self._tx, self._workspace_id, person, pairs, self._actor)

    def _said(self, steps: Sequence[_Step]) -> Iterator[Said]:
        for step in steps:
            for one in step.own:
                new = one in step.plan.adds or one in step.plan.gains
                yield Said(step.person, self._keys[step.person], one, step.plan.unit.named[one], new)

    def _versions(
        self,
        step: _Step,
        seen: _Seen,
        moved: Mapping[UUID, Sequence[Identifier]],
        parted: Mapping[UUID, Record],
    ) -> Iterator[Version]:
        """The recipient's new version, if it has one, and the last ones of those it absorbed."""
        key = self._keys[step.person]
        if step.born:
            yield Version(step.person, 1, [*step.change.profile, "identifiers"], key)
        elif step.after.version != step.before.version:
            change = replace(
                step.change,
                address_only=(True, False) if step.before.address_only else None,
                identifiers=tuple(self._pairs(step, seen, moved)),
            )
            yield Version(step.person, step.after.version, change.fields, key, change)
        for one in step.plan.match.absorb:
            change = Change(identifiers=tuple((had, None) for had in moved[one]))
            fields = [*change.fields, "merged_into"]
            yield Version(one, parted[one].version, fields, self._keys[one], change, step.person)

    def _pairs(
        self, step: _Step, seen: _Seen, moved: Mapping[UUID, Sequence[Identifier]]
    ) -> Iterator[tuple[Identifier | None, Identifier]]:
        """The recipient's identifiers that are new or changed, before and after."""
        for one in step.plan.adds:
            yield None, self._made(one, step.plan.unit.named[one])
        for one in step.plan.gains:
            yield None, handover.known(one, step.plan.unit.named[one], seen.found[one])
        for from_id in step.plan.match.absorb:
            yield from ((None, had) for had in moved[from_id])
        for one in step.verified:
            before = handover.known(one, step.plan.unit.named[one], seen.found[one])
            yield before, replace(before, verified_at=self._tx.now)

    def _made(self, hash_: bytes, named: Named) -> Identifier:
        now, verified_at = self._tx.now, self._tx.now if named.verified else None
        return Identifier(
            named.kind, named.value, hash_, self._source, now, now, verified_at, device=named.device, keys=named.keys
        )

    def _happened(self, step: _Step) -> Iterator[Event]:
        plan, person = step.plan, step.person
        if plan.makes:
            kinds = [plan.unit.named[one].kind for one in step.own]
            yield happened.created(self._workspace_id, person, kinds, self._source)
            return
        for one in (*plan.adds, *plan.gains):
            yield happened.identifier_added(self._workspace_id, person, plan.unit.named[one], self._source)
        for one in step.verified:
            yield happened.identifier_verified(self._workspace_id, person, plan.unit.named[one], self._source)
        if step.change.profile:
            yield happened.updated(self._workspace_id, person, step.change.profile)


def profiled(workspace_id: UUID, record: Record, profile: Profile, key: Key) -> tuple[Record, Change]:
    """The record with the profile laid over it, and what changed. Raises `Invalid`: traits too large."""
    wanted: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    for name, new in (("locale", profile.locale), ("time_zone", profile.time_zone)):
        old = getattr(record, name)
        if new is not UNSET and new != old:
            wanted[name], changed[name] = new, (old, new)
    if profile.traits is not UNSET:
        traits = sealing.open_traits(workspace_id, record, key)
        merged = {} if profile.traits is None else rules.merge_patch(traits, profile.traits)
        if not alike(traits, merged):
            wanted["traits"] = sealing.seal_traits(workspace_id, record.id, rules.traits(merged, "/traits"), key)
            changed["traits"] = traits_change(traits, merged)
    return replace(record, **wanted), Change(**changed)


def _unit(lookup: Key, index: int, new: NewRecipient) -> _Unit:
    named: dict[bytes, Named] = {}
    for one in new.identifiers:
        hash_ = rules.identifier_hash(lookup, one.kind, one.value)
        if hash_ not in named or one.verified:
            named[hash_] = one
    old = [one.replaces for one in new.identifiers if one.replaces is not None]
    replaced = {rules.identifier_hash(lookup, Kind.DEVICE, one): Named(Kind.DEVICE, one) for one in old}
    return _Unit(index, new, named, {one: token for one, token in replaced.items() if one not in named})


def _grown(plan: _Plan, counts: Mapping[UUID, Mapping[Kind, int]]) -> Mapping[Kind, int]:
    """How many the recipient would have of each kind that it gets more of."""
    absorbed = [counts.get(one, {}) for one in plan.match.absorb]
    grown = {plan.unit.named[one].kind for one in (*plan.adds, *plan.gains)} | {
        kind for one in absorbed for kind in one
    }
    return {kind: sum(one.get(kind, 0) for one in (counts.get(plan.target, {}), *absorbed)) for kind in grown}


def _apart(units: Sequence[_Unit]) -> tuple[list[_Unit], list[_Unit]]:
    """The units that share no identifier with an earlier one, and the rest, both in order."""
    turn: list[_Unit] = []
    later: list[_Unit] = []
    seen: set[bytes] = set()
    for unit in units:
        (turn if seen.isdisjoint(unit.all) else later).append(unit)
        seen |= unit.all.keys()
    return turn, later


def _own(plan: _Plan, seen: _Seen) -> list[bytes]:
    """What the unit names that is its person's, or becomes theirs."""
    owners = {plan.target, *plan.match.absorb}
    return [one for one in plan.unit.named if one not in seen.found or seen.found[one].recipient_id in owners]


def _unclear(unit: _Unit, found: Mapping[bytes, Found], policy: Policy) -> set[UUID]:
    """Of whom it matters what else they have: others are named too, or what they may have one of only."""
    if all(is_strong(named.kind) for named in unit.all.values()):
        return set()
    full = {found[one].recipient_id for one in unit.all if one in found and not found[one].address_only}
    kinds = {named.kind for named in unit.named.values()} - {Kind.EXTERNAL_ID}
    single = any(is_strong(kind) and policy.limit(kind) == 1 for kind in kinds)
    return full if len(full) > 1 or single else set()


def _plans(units: Iterable[_Unit], seen: _Seen) -> Iterator[tuple[_Unit, _Plan | HubError]]:
    """What each unit means, leaving out those that mean an earlier unit's recipient: they wait for it."""
    taken: set[UUID] = set()
    for unit in units:
        people = seen.people(unit.all)
        if taken.isdisjoint(people):
            adds = [one for one in unit.named if one not in seen.found]
            match = _meant(unit, people, seen, adds)
            yield unit, match if isinstance(match, HubError) else _Plan(unit, match, people, adds)
        taken |= people


def _meant(unit: _Unit, people: set[UUID], seen: _Seen, adds: Collection[bytes]) -> Match | HubError:
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
    return resolution.match(owners, {unit.named[one].kind for one in adds}, seen.policy)
