"""Upsert: make or change recipients by the identifiers they are named with.

A turn takes units that have nothing in common. It claims their new identifiers (in the order of the hashes), then
locks the recipients they mean (in the order of the ids), then reads again and goes on only with those that still mean
the same. Whoever lost a race on the way takes back what it claimed and is in the next turn.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from tabellion.recipients import happened, rules, sealing, store
from tabellion.recipients.rules import Match, Owner
from tabellion.recipients.store import Record
from tabellion.recipients.types import Absorbed, Kind, Named, NewRecipient, Profile, Upserted


@dataclass
class _Unit:
    """One unit under way. `new_id` is its recipient's id, should it make one; the same in every turn."""

    index: int
    new: NewRecipient
    named: Mapping[bytes, Named]
    external_id: bytes | None
    new_id: UUID = field(default_factory=ids.new)


@dataclass(frozen=True)
class _Seen:
    """Who owned what, and the owners' records, at one moment."""

    owners: Mapping[bytes, UUID]
    records: Mapping[UUID, Record]

    def people(self, hashes: Iterable[bytes]) -> set[UUID]:
        return {self.owners[one] for one in hashes if one in self.owners}


@dataclass(frozen=True)
class _Plan:
    """What a unit means: the recipient it is about, who owns what it names, and what nobody owns."""

    unit: _Unit
    match: Match
    people: set[UUID]
    adds: Sequence[bytes]

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
        same = people == self.people and people <= locked and len(before) == sum(one in seen.owners for one in before)
        return same and _meant(self.unit, people, seen) == self.match


@dataclass(frozen=True)
class _Change:
    plan: _Plan
    before: Record
    after: Record
    fields: Sequence[str]
    """Names of what changed in the profile."""


class Upsert:
    """One upsert in one transaction."""

    def __init__(
        self, vault: Vault, events: EventLog, tx: Tx, workspace_id: WorkspaceId, absorbed: Absorbed, source: str
    ) -> None:
        self._vault = vault
        self._events = events
        self._tx = tx
        self._workspace_id = workspace_id
        self._absorbed = absorbed
        self._source = source
        self._keys: dict[UUID, Key] = {}

    async def run(self, units: Sequence[NewRecipient]) -> list[Upserted | HubError]:
        """The answer to each unit, in order."""
        lookup = await self._vault.workspace(self._tx, self._workspace_id, "lookup")
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
        for unit, plan in _plans(units, await self._see(units)):
            if isinstance(plan, HubError):
                answers[unit.index] = plan
            else:
                plans.append(plan)
        await self._fetch_keys(plans)
        plans = await self._claim(plans)
        plans, seen = await self._hold(plans)
        changes = await self._changes(plans, seen, answers)
        await self._absorb(changes)
        await self._write(changes)
        return answers | {
            one.plan.unit.index: Upserted(one.after.id, one.plan.makes, one.after.version) for one in changes
        }

    async def _see(self, units: Sequence[_Unit]) -> _Seen:
        hashes = [one for unit in units for one in unit.named]
        found = await store.find(self._tx, self._workspace_id, hashes)
        owners = {one: row.recipient_id for one, row in found.items()}
        people = sorted(set(owners.values()))
        return _Seen(owners, await store.records(self._tx, self._workspace_id, people) if people else {})

    async def _fetch_keys(self, plans: Sequence[_Plan]) -> None:
        people = {plan.target for plan in plans} | {one for plan in plans for one in plan.match.absorb}
        self._keys |= await self._vault.subjects(self._tx, self._workspace_id, people)

    async def _claim(self, plans: Sequence[_Plan]) -> list[_Plan]:
        """Make the new recipients and add the identifiers nobody owns; the plans that got all of theirs."""
        born = [plan.target for plan in plans if plan.match.into is None]
        if born:
            await store.insert_recipients(self._tx, self._workspace_id, born)
        made = [
            sealing.new_identifier(self._workspace_id, plan.target, self._keys[plan.target], one, plan.unit.named[one])
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

    async def _changes(
        self, plans: Sequence[_Plan], seen: _Seen, answers: dict[int, Upserted | HubError]
    ) -> list[_Change]:
        """What each plan comes to. One whose traits grow too large is refused and withdrawn."""
        changes: list[_Change] = []
        refused: list[_Plan] = []
        for plan in plans:
            try:
                changes.append(self._change(plan, seen))
            except HubError as refusal:
                answers[plan.unit.index] = refusal
                refused.append(plan)
        await self._withdraw(refused)
        return changes

    def _change(self, plan: _Plan, seen: _Seen) -> _Change:
        profile, key, now = plan.unit.new.profile, self._keys[plan.target], self._tx.now
        if plan.match.into is None:
            blank = Record(plan.target, 1, False, None, None, None, now, now, plan.unit.external_id, False)
            return _Change(plan, blank, *profiled(self._workspace_id, blank, profile, key))
        before = seen.records[plan.match.into]
        after, fields = profiled(self._workspace_id, before, profile, key)
        if fields or plan.adds or plan.match.promote or plan.match.absorb:
            after = replace(after, version=before.version + 1, address_only=False)
        return _Change(plan, before, after, fields)

    async def _withdraw(self, plans: Sequence[_Plan], got: set[bytes] | None = None) -> None:
        """Take back what plans claimed: all they add, or what they got of it."""
        if plans:
            hashes = [one for plan in plans for one in plan.adds if got is None or one in got]
            born = [plan.target for plan in plans if plan.match.into is None]
            await store.withdraw(self._tx, self._workspace_id, hashes, born)

    async def _absorb(self, changes: Sequence[_Change]) -> None:
        """Move what address-only recipients own to the recipients that absorb them, sealed under the new key."""
        into = {one: change.after.id for change in changes for one in change.plan.match.absorb}
        if not into:
            return
        moved = []
        for row in await store.identifiers(self._tx, [(self._workspace_id, one) for one in into]):
            root = into[row.recipient_id]
            value = sealing.open_value(row, self._keys[row.recipient_id])
            sealed = sealing.seal_value(self._workspace_id, root, self._keys[root], row.hash, value)
            moved.append((row.hash, root, sealed))
        await store.move(self._tx, self._workspace_id, moved)
        await store.merge(self._tx, self._workspace_id, list(into.items()))
        await self._events.append(self._tx, [happened.merged(self._workspace_id, *pair) for pair in into.items()])
        for from_id, to_id in into.items():
            await self._absorbed(self._tx, self._workspace_id, RecipientId(from_id), RecipientId(to_id))

    async def _write(self, changes: Sequence[_Change]) -> None:
        """Store the changed records, note which identifiers were named again, append the events."""
        rewritten = [one.after for one in changes if one.after != one.before]
        if rewritten:
            await store.write(self._tx, self._workspace_id, rewritten)
        again = [
            (hash_, named.verified)
            for change in changes
            for hash_, named in change.plan.unit.named.items()
            if hash_ not in change.plan.adds
        ]
        if again:
            await store.touch(self._tx, self._workspace_id, again)
        events = [event for change in changes for event in self._happened(change)]
        if events:
            await self._events.append(self._tx, events)

    def _happened(self, change: _Change) -> Iterator[Event]:
        plan, person = change.plan, change.after.id
        if plan.makes:
            kinds = [named.kind for named in plan.unit.named.values()]
            yield happened.created(self._workspace_id, person, kinds, self._source)
            return
        for one in plan.adds:
            yield happened.identifier_added(self._workspace_id, person, plan.unit.named[one], self._source)
        if change.fields:
            yield happened.updated(self._workspace_id, person, change.fields)


def profiled(workspace_id: UUID, record: Record, profile: Profile, key: Key) -> tuple[Record, list[str]]:
    """The record with the profile laid over it, and the names of what changed. Raises `Invalid`: traits too large."""
    wanted: dict[str, Any] = {
        "locale": record.locale if profile.locale is UNSET else profile.locale,
        "time_zone": record.time_zone if profile.time_zone is UNSET else profile.time_zone,
    }
    changed = [name for name, value in wanted.items() if getattr(record, name) != value]
    if profile.traits is not UNSET:
        traits = sealing.open_traits(workspace_id, record, key)
        merged = {} if profile.traits is None else rules.merge_patch(traits, profile.traits)
        if merged != traits:
            changed.append("traits")
            wanted["traits"] = sealing.seal_traits(workspace_id, record.id, rules.traits(merged, "/traits"), key)
    return replace(record, **wanted), changed


def _unit(lookup: Key, index: int, new: NewRecipient) -> _Unit:
    named: dict[bytes, Named] = {}
    for one in new.identifiers:
        hash_ = rules.identifier_hash(lookup, one.kind, one.value)
        if hash_ not in named or one.verified:
            named[hash_] = one
    external = next((hash_ for hash_, one in named.items() if one.kind is Kind.EXTERNAL_ID), None)
    return _Unit(index, new, named, external)


def _apart(units: Sequence[_Unit]) -> tuple[list[_Unit], list[_Unit]]:
    """The units that share no identifier with an earlier one, and the rest, both in order."""
    turn: list[_Unit] = []
    later: list[_Unit] = []
    seen: set[bytes] = set()
    for unit in units:
        (turn if seen.isdisjoint(unit.named) else later).append(unit)
        seen |= unit.named.keys()
    return turn, later


def _plans(units: Sequence[_Unit], seen: _Seen) -> Iterator[tuple[_Unit, _Plan | HubError]]:
    """What each unit means, leaving out those that mean an earlier unit's recipient: they wait for it."""
    taken: set[UUID] = set()
    for unit in units:
        people = seen.people(unit.named)
        if taken.isdisjoint(people):
            match = _meant(unit, people, seen)
            adds = [one for one in unit.named if one not in seen.owners]
            yield unit, match if isinstance(match, HubError) else _Plan(unit, match, people, adds)
        taken |= people


def _meant(unit: _Unit, people: set[UUID], seen: _Seen) -> Match | HubError:
    found = [seen.records[one] for one in sorted(people)]
    if any(record.erased for record in found):
        return Conflict("recipient_erased", "an identifier belongs to a recipient that was erased")
    return rules.match([Owner(one.id, one.address_only, one.external_id) for one in found], unit.external_id)
