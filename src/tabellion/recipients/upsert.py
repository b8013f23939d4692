"""Upsert: make or change recipients by the identifiers they are named with.

A turn takes units that have nothing in common. It claims their new identifiers (in the order of the hashes), then
locks the recipients they mean (in the order of the ids), then reads again and goes on only with those that still mean
the same. Whoever lost a race on the way takes back what it claimed and is in the next turn.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
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
from tabellion.recipients import devices, erasure_store, happened, history, indexing, rules, sealing, store
from tabellion.recipients.authority import Owners, Standing, Writer
from tabellion.recipients.changes import Change, traits_change
from tabellion.recipients.devices import Said
from tabellion.recipients.history import Version
from tabellion.recipients.rules import Match, Owner
from tabellion.recipients.settings import DEFAULT, RecipientSettings
from tabellion.recipients.store import Found, Record
from tabellion.recipients.types import (
    NAMELESS,
    Absorbed,
    Health,
    Identifier,
    Ignored,
    Kind,
    Named,
    NewRecipient,
    Profile,
    Upserted,
)

IMPORT = "import"
"""How the source of what is brought in from a file begins."""


class _Unit(msgspec.Struct, frozen=True, gc=False):
    """One unit under way. `new_id` is its recipient's id, should it make one; the same in every turn."""

    index: int
    new: NewRecipient
    named: Mapping[bytes, Named]
    external_id: bytes | None
    new_id: UUID = msgspec.field(default_factory=ids.new)


class _Seen(msgspec.Struct, frozen=True):
    """Who owned what, and the owners' records, at one moment."""

    found: Mapping[bytes, Found]
    records: Mapping[UUID, Record]

    def people(self, hashes: Iterable[bytes]) -> set[UUID]:
        return {self.found[one].recipient_id for one in hashes if one in self.found}


class _Plan(msgspec.Struct, frozen=True, gc=False):
    """What a unit means: the recipient it is about, who owns what it names, and what nobody owns."""

    unit: _Unit
    match: Match
    people: set[UUID]
    adds: Sequence[bytes]
    guarded: bool = False
    """It means somebody known, and nobody vouches for it: only a device's denial is left of it."""

    @property
    def target(self) -> UUID:
        return self.match.into or self.unit.new_id

    @property
    def makes(self) -> bool:
        """The recipient is new to the outside: made here, or hidden until now."""
        return self.match.into is None or self.match.promote

    def stands(self, seen: _Seen, locked: set[UUID]) -> bool:
        """Whether it still means the same, seen under lock."""
        before = [one for one in self.unit.named if one not in self.adds]
        people = seen.people(before)
        same = people == self.people and people <= locked and len(before) == sum(one in seen.found for one in before)
        return same and _meant(self.unit, people, seen) == self.match

    def guard(self) -> "_Plan":
        """What is left of it where the recipient is known."""
        named = {one: devices.denial(named) for one, named in self.unit.named.items() if one not in self.adds}
        unit = replace(self.unit, named=named, new=replace(self.unit.new, profile=Profile()))
        return _Plan(unit, Match(self.match.into), self.people, (), guarded=True)


class _Step(msgspec.Struct, frozen=True, gc=False):
    """One recipient before and after; the same where it was made, which it is whole."""

    plan: _Plan
    before: Record
    after: Record
    change: Change
    ignored: Sequence[Ignored]
    verified: Sequence[bytes]
    """Identifiers it had, now known to be theirs."""

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
        settings: RecipientSettings = DEFAULT,
    ) -> None:
        self._vault = vault
        self._events = events
        self._tx = tx
        self._workspace_id = workspace_id
        self._absorbed = absorbed
        self._source = source
        self._actor = actor
        self._settings = settings
        self._writer = Writer(source, settings.authority)
        self._keys: dict[UUID, Key] = {}
        self._born: dict[UUID, tuple[Record, Change, Sequence[Ignored]]] = {}
        """Whom a plan makes, as they are made."""

    async def run(self, units: Sequence[NewRecipient]) -> list[Upserted | HubError]:
        """The answer to each unit, in order."""
        lookup = self._lookup = await self._vault.workspace(self._tx, self._workspace_id, "lookup")
        waiting = [_unit(lookup, index, unit) for index, unit in enumerate(units)]
        answers = await self._kept_away(waiting)
        waiting = [unit for unit in waiting if unit.index not in answers]
        while waiting:
            turn, later = _apart(waiting)
            answers |= await self._turn(turn)
            waiting = [unit for unit in turn if unit.index not in answers] + later
        return [answers[index] for index in range(len(units))]

    async def _kept_away(self, units: Sequence[_Unit]) -> dict[int, Upserted | HubError]:
        """The units that would bring an erased person back; somebody who came back by themselves is not imported."""
        if not self._source.startswith(IMPORT):
            return {}
        erased = await erasure_store.remembered(self._tx, self._workspace_id, {one for u in units for one in u.named})
        return {unit.index: was_erased() for unit in units if not erased.isdisjoint(unit.named)}

    async def _turn(self, units: Sequence[_Unit]) -> dict[int, Upserted | HubError]:
        """The answers of units that share no identifier; those left out must be tried again."""
        answers: dict[int, Upserted | HubError] = {}
        plans: list[_Plan] = []
        for unit, plan in _plans(units, await self._see(units)):
            if isinstance(plan, HubError):
                answers[unit.index] = plan
            else:
                plans.append(plan)
        await self._fetch_keys(plans)
        plans = await self._claim(self._borne(plans, answers))
        plans, seen = await self._hold(plans)
        plans = await self._guard(plans)
        steps = await self._steps(plans, seen, answers)
        moved = await self._absorb(steps)
        await self._write(steps, seen, moved)
        return answers | {
            one.plan.unit.index: Upserted(one.person, one.plan.makes, one.after.version, one.ignored) for one in steps
        }

    async def _see(self, units: Sequence[_Unit]) -> _Seen:
        hashes = [one for unit in units for one in unit.named]
        found = await store.find(self._tx, self._workspace_id, hashes)
        people = sorted({row.recipient_id for row in found.values()})
        return _Seen(found, await store.records(self._tx, self._workspace_id, people) if people else {})

    async def _fetch_keys(self, plans: Sequence[_Plan]) -> None:
        """The data keys of all whom the plans change, and new ones for whom they make."""
        made = {plan.target for plan in plans if plan.match.into is None}
        people = {one for plan in plans for one in (plan.target, *plan.match.absorb)} - made
        if people:
            self._keys |= await self._vault.subjects(self._tx, self._workspace_id, people)
        if fresh := made - self._keys.keys():
            self._keys |= await self._vault.make(self._tx, self._workspace_id, fresh)

    def _borne(self, plans: Sequence[_Plan], answers: dict[int, Upserted | HubError]) -> list[_Plan]:
        """The plans, without those that make somebody whom we refuse."""
        kept: list[_Plan] = []
        for plan in plans:
            try:
                if plan.match.into is None:
                    self._born[plan.target] = self._newborn(plan)
                kept.append(plan)
            except HubError as refusal:
                answers[plan.unit.index] = refusal
        return kept

    def _newborn(self, plan: _Plan) -> tuple[Record, Change, Sequence[Ignored]]:
        now = self._tx.now
        blank = Record(plan.target, 1, False, None, None, None, now, now, plan.unit.external_id, False)
        return profiled(self._workspace_id, blank, plan.unit.new.profile, self._keys[plan.target], self._writer)

    async def _claim(self, plans: Sequence[_Plan]) -> list[_Plan]:
        """Make the new recipients and add the identifiers nobody owns; the plans that got all of theirs."""
        born = [plan.target for plan in plans if plan.match.into is None]
        if born:
            await store.insert_recipients(self._tx, self._workspace_id, [self._born[one][0] for one in born])
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

    async def _guard(self, plans: Sequence[_Plan]) -> list[_Plan]:
        """The plans, without what would change somebody known where nobody vouches for it. The people are locked."""
        doubtful = {plan.match.into for plan in plans if plan.unit.new.unproven and plan.match.into}
        if not doubtful:
            return list(plans)
        known = await store.known(self._tx, self._workspace_id, sorted(doubtful), sorted(NAMELESS))
        doubted = [plan.unit.new.unproven and plan.match.into in known for plan in plans]
        await self._withdraw([plan for plan, doubt in zip(plans, doubted, strict=True) if doubt and plan.adds])
        return [plan.guard() if doubt else plan for plan, doubt in zip(plans, doubted, strict=True)]

    async def _steps(self, plans: Sequence[_Plan], seen: _Seen, answers: dict[int, Upserted | HubError]) -> list[_Step]:
        """What each plan comes to. One whose traits or identifiers grow too many is refused and withdrawn."""
        steps: list[_Step] = []
        refused: list[_Plan] = []
        counts = await self._counts(plans)
        for plan in plans:
            try:
                if plan.match.into is not None:  # what a new one gets was counted with the unit
                    rules.require_room(_grown(plan, counts), "/identifiers")
                steps.append(self._step(plan, seen))
            except HubError as refusal:
                answers[plan.unit.index] = refusal
                refused.append(plan)
        await self._withdraw(refused)
        return steps

    async def _counts(self, plans: Sequence[_Plan]) -> Mapping[UUID, Mapping[Kind, int]]:
        """How many identifiers of each kind those have who get further ones, and those who become part of them."""
        growing = [plan for plan in plans if plan.match.into and (plan.adds or plan.match.absorb)]
        people = sorted({one for plan in growing for one in (plan.target, *plan.match.absorb)})
        return await store.counts(self._tx, self._workspace_id, people) if people else {}

    def _step(self, plan: _Plan, seen: _Seen) -> _Step:
        if plan.match.into is None:
            after, change, ignored = self._born[plan.target]
            return _Step(plan, after, after, change, ignored, ())
        before = seen.records[plan.match.into]
        profile, key = plan.unit.new.profile, self._keys[plan.target]
        after, change, ignored = profiled(self._workspace_id, before, profile, key, self._writer)
        verified = [
            one
            for one, named in plan.unit.named.items()
            if named.verified and one in seen.found and seen.found[one].verified_at is None and one not in plan.adds
        ]
        if change.profile or plan.adds or verified or plan.match.promote or plan.match.absorb:
            after = replace(after, version=before.version + 1, address_only=False)
        return _Step(plan, before, after, change, ignored, verified)

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
        await store.carry_restriction(self._tx, self._workspace_id, list(into.items()))
        await self._events.append(self._tx, [happened.merged(self._workspace_id, *pair) for pair in into.items()])
        return owned

    async def _write(self, steps: Sequence[_Step], seen: _Seen, moved: Mapping[UUID, Sequence[Identifier]]) -> None:
        """Store the changed records and their versions, note what was named again, append the events."""
        parted = {one: replace(seen.records[one], version=seen.records[one].version + 1) for one in moved}
        rewritten = [one.after for one in steps if one.after != one.before] + list(parted.values())
        if rewritten:
            await store.write(self._tx, self._workspace_id, rewritten)
        again = [
            (hash_, named.verified)
            for step in steps
            for hash_, named in step.plan.unit.named.items()
            if hash_ not in step.plan.adds
        ]
        if again:
            await store.touch(self._tx, self._workspace_id, again)
        made = [one for step in steps for one in self._versions(step, seen, moved, parted)]
        await history.keep(self._tx, self._workspace_id, made, source=self._source, actor=self._actor)
        changed = {step.person: step.change for step in steps}
        await indexing.keep(self._tx, self._workspace_id, self._settings.indexed_traits, changed)
        events = [event for step in steps for event in (*self._happened(step), *self._refused(step))]
        events += await devices.describe(self._tx, self._workspace_id, self._lookup, list(self._said(steps)))
        if events:
            await self._events.append(self._tx, events)

    def _said(self, steps: Sequence[_Step]) -> Iterator[Said]:
        for step in steps:
            for one, named in step.plan.unit.named.items():
                if named.device or named.keys:
                    new, guarded = one in step.plan.adds, step.plan.guarded
                    yield Said(step.person, self._keys[step.person], one, named, new, guarded)

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
            yield None, self._known(one, step.plan.unit.named[one])
        for from_id in step.plan.match.absorb:
            yield from ((None, had) for had in moved[from_id])
        for one in step.verified:
            before = self._known(one, step.plan.unit.named[one], seen.found[one])
            yield before, replace(before, verified_at=self._tx.now)

    def _known(self, hash_: bytes, named: Named, row: Found | None = None) -> Identifier:
        """An identifier as its row has it, or where there was none as it is made."""
        return Identifier(
            kind=named.kind,
            value=named.value,
            hash=hash_,
            source=row.source if row else self._source,
            first_seen_at=row.first_seen_at if row else self._tx.now,
            last_seen_at=row.last_seen_at if row else self._tx.now,
            verified_at=row.verified_at if row else self._tx.now if named.verified else None,
            health=row.health if row else Health.OK,
            health_reason=row.health_reason if row else None,
            device=named.device,
            keys=named.keys,
        )

    def _happened(self, step: _Step) -> Iterator[Event]:
        plan, person = step.plan, step.person
        if plan.makes:
            kinds = [named.kind for named in plan.unit.named.values()]
            yield happened.created(self._workspace_id, person, kinds, self._source)
            return
        for one in plan.adds:
            yield happened.identifier_added(self._workspace_id, person, plan.unit.named[one], self._source)
        for one in step.verified:
            yield happened.identifier_verified(self._workspace_id, person, plan.unit.named[one], self._source)
        if step.change.profile:
            yield happened.updated(self._workspace_id, person, step.change.profile)

    def _refused(self, step: _Step) -> Iterator[Event]:
        for one in step.ignored:
            yield happened.field_refused(self._workspace_id, step.person, one, self._source)


def was_erased() -> Conflict:
    return Conflict(
        "recipient_erased",
        "an identifier belongs to somebody who was erased, and stays away; if they came back, POST /v1/recipients",
    )


def profiled(
    workspace_id: UUID, record: Record, profile: Profile, key: Key, writer: Writer
) -> tuple[Record, Change, Sequence[Ignored]]:
    """The record with the profile laid over it, what changed, and what the writer may not set.

    Raises `Invalid`: traits too large.
    """
    wanted: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    ignored: Sequence[Ignored] = ()
    governed = writer.governed(profile)
    if governed or profile.traits is not UNSET:
        traits, had = sealing.open_traits(workspace_id, record, key)
        owners: Owners = had
        if governed:
            profile, owners, ignored = writer.ruled(profile, Standing(record.locale, record.time_zone, traits, had))
        merged = _laid_over(traits, profile)
        if patches := traits_change(traits, merged):
            rules.traits(merged, "/traits")
            changed["traits"] = patches
        if changed or owners != had:
            wanted["traits"] = sealing.seal_traits(workspace_id, record.id, merged, key, owners)
    for name, new in (("locale", profile.locale), ("time_zone", profile.time_zone)):
        old = getattr(record, name)
        if new is not UNSET and new != old:
            wanted[name], changed[name] = new, (old, new)
    return replace(record, **wanted), Change(**changed), ignored


def _laid_over(traits: dict[str, Any], profile: Profile) -> Any:
    if profile.traits is UNSET:
        return traits
    return {} if profile.traits is None else rules.merge_patch(traits, profile.traits)


def _unit(lookup: Key, index: int, new: NewRecipient) -> _Unit:
    named: dict[bytes, Named] = {}
    for one in new.identifiers:
        hash_ = rules.identifier_hash(lookup, one.kind, one.value)
        if hash_ not in named or one.verified:
            named[hash_] = one
    external = next((hash_ for hash_, one in named.items() if one.kind is Kind.EXTERNAL_ID), None)
    return _Unit(index, new, named, external)


def _grown(plan: _Plan, counts: Mapping[UUID, Mapping[Kind, int]]) -> Mapping[Kind, int]:
    """How many the recipient would have of each kind that it gets more of."""
    absorbed = [counts.get(one, {}) for one in plan.match.absorb]
    grown = {plan.unit.named[one].kind for one in plan.adds} | {kind for one in absorbed for kind in one}
    return {kind: sum(one.get(kind, 0) for one in (counts.get(plan.target, {}), *absorbed)) for kind in grown}


def _apart(units: Sequence[_Unit]) -> tuple[list[_Unit], list[_Unit]]:
    """The units that share no identifier with an earlier one, and the rest, both in order."""
    turn: list[_Unit] = []
    later: list[_Unit] = []
    seen: set[bytes] = set()
    for unit in units:
        (turn if seen.isdisjoint(unit.named) else later).append(unit)
        seen.update(unit.named)
    return turn, later


def _plans(units: Sequence[_Unit], seen: _Seen) -> Iterator[tuple[_Unit, _Plan | HubError]]:
    """What each unit means, leaving out those that mean an earlier unit's recipient: they wait for it."""
    taken: set[UUID] = set()
    for unit in units:
        people = seen.people(unit.named)
        if taken.isdisjoint(people):
            match = _meant(unit, people, seen)
            adds = [one for one in unit.named if one not in seen.found]
            yield unit, match if isinstance(match, HubError) else _Plan(unit, match, people, adds)
        taken |= people


def _meant(unit: _Unit, people: set[UUID], seen: _Seen) -> Match | HubError:
    found = [seen.records[one] for one in sorted(people)]
    if any(record.erased for record in found):
        return Conflict("recipient_erased", "an identifier belongs to a recipient that was erased")
    # One that a merged recipient kept finds the person already: it is not another external_id of theirs.
    external_id = None if unit.external_id in seen.found else unit.external_id
    return rules.match([Owner(one.id, one.address_only, one.external_id) for one in found], external_id)
