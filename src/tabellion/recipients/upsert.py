"""Upsert: make or change recipients by the identifiers they are named with.

A turn takes units that have nothing in common. It claims their new identifiers (in the order of the hashes), then
locks the recipients they mean (in the order of the ids), then reads again and goes on only with those that still mean
the same. Whoever lost a race on the way takes back what it claimed and is in the next turn.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as changed
from typing import Any
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.recipients import (
    devices,
    erasure_store,
    handover,
    happened,
    history,
    indexing,
    rules,
    sealing,
    store,
)
from tabellion.recipients import tokens_store as tokens
from tabellion.recipients.authority import Owners, Standing, Writer
from tabellion.recipients.changes import Change, traits_change
from tabellion.recipients.devices import Said
from tabellion.recipients.handover import Case, Handover
from tabellion.recipients.history import Version
from tabellion.recipients.plans import Plan, Seen, Step, Unit, apart, grown, own_of, plan_all, unclear, unit_of
from tabellion.recipients.resolution import USUAL, Policy, is_strong
from tabellion.recipients.settings import DEFAULT, RecipientSettings
from tabellion.recipients.store import Record
from tabellion.recipients.types import (
    NAMELESS,
    Above,
    Absorbed,
    Identifier,
    IdentityConflict,
    Ignored,
    Kind,
    Named,
    NewRecipient,
    Profile,
    SharedIdentifier,
    Upserted,
)

IMPORT = "import"
"""What the source of a file is, before its colon, where it speaks for nobody."""


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
        settings: RecipientSettings = DEFAULT,
        policy: Policy = USUAL,
        above: Above | None = None,
        brought: bool = False,
    ) -> None:
        self._brought = brought or source.partition(":")[0] == IMPORT
        self._policy = policy
        self._above = above
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
        waiting = [unit_of(lookup, index, unit) for index, unit in enumerate(units)]
        answers = await self._kept_away(waiting)
        waiting = [unit for unit in waiting if unit.index not in answers]
        while waiting:
            turn, later = apart(waiting)
            answers |= await self._turn(turn)
            waiting = [unit for unit in turn if unit.index not in answers] + later
        return [answers[index] for index in range(len(units))]

    async def _kept_away(self, units: Sequence[Unit]) -> dict[int, Upserted | HubError]:
        """The units that would bring an erased person back; somebody who came back by themselves is not imported."""
        if not self._brought:
            return {}
        telling = {unit.index: _telling(unit) for unit in units}
        hashes = {one for some in telling.values() for one in some}
        erased = await erasure_store.remembered(self._tx, self._workspace_id, hashes)
        return {index: was_erased() for index, some in telling.items() if not erased.isdisjoint(some)}

    async def _turn(self, units: Sequence[Unit]) -> dict[int, Upserted | HubError]:
        """The answers of units that share no identifier; those left out must be tried again."""
        answers: dict[int, Upserted | HubError] = {}
        plans: list[Plan] = []
        seen = await self._see(units)
        for unit, plan in plan_all(self._sound(units, seen, answers), seen):
            if isinstance(plan, HubError):
                answers[unit.index] = plan
            else:
                plans.append(plan)
        await self._fetch_keys(plans)
        plans = await self._claim(self._borne(plans, answers))
        plans, seen = await self._hold(plans)
        plans = await self._guard(plans)
        plans, seen = await self._settle(plans, seen, answers)
        steps = await self._steps(plans, seen, answers)
        moved = await self._absorb(steps)
        await self._write(steps, seen, moved)
        return answers | {
            one.plan.unit.index: Upserted(one.person, one.plan.makes, one.after.version, one.ignored) for one in steps
        }

    async def _see(self, units: Sequence[Unit]) -> Seen:
        hashes = [one for unit in units for one in unit.all]
        found = await store.find(self._tx, self._workspace_id, hashes)
        people = sorted({row.recipient_id for row in found.values()})
        records = await store.records(self._tx, self._workspace_id, people) if people else {}
        doubtful = sorted({one for unit in units for one in unclear(unit, found, self._policy)})
        held = await tokens.kinds(self._tx, self._workspace_id, doubtful) if doubtful else {}
        return Seen(found, records, self._policy, held)

    def _sound(self, units: Sequence[Unit], seen: Seen, answers: dict[int, Upserted | HubError]) -> Iterator[Unit]:
        """The units, without what many share; those that name nobody else are refused."""
        for unit in units:
            shared = seen.shared(unit)
            sound = unit.without(shared) if shared else unit
            if sound.named:
                yield sound
            else:
                answers[unit.index] = SharedIdentifier()

    async def _fetch_keys(self, plans: Sequence[Plan]) -> None:
        """The data keys of all whom the plans change, and new ones for whom they make."""
        made = {plan.target for plan in plans if plan.match.into is None}
        people = {one for plan in plans for one in (plan.target, *plan.people)} - made
        if people:
            self._keys |= await self._vault.subjects(self._tx, self._workspace_id, people)
        if fresh := made - self._keys.keys():
            self._keys |= await self._vault.make(self._tx, self._workspace_id, fresh)

    def _borne(self, plans: Sequence[Plan], answers: dict[int, Upserted | HubError]) -> list[Plan]:
        """The plans, without those that make somebody whom we refuse."""
        kept: list[Plan] = []
        for plan in plans:
            try:
                if plan.match.into is None:
                    self._born[plan.target] = self._newborn(plan)
                kept.append(plan)
            except HubError as refusal:
                answers[plan.unit.index] = refusal
        return kept

    def _newborn(self, plan: Plan) -> tuple[Record, Change, Sequence[Ignored]]:
        now = self._tx.now
        blank = Record(plan.target, 1, False, None, None, None, now, now, plan.unit.external_id, False)
        return profiled(self._workspace_id, blank, plan.unit.new.profile, self._keys[plan.target], self._writer)

    async def _claim(self, plans: Sequence[Plan]) -> list[Plan]:
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

    async def _hold(self, plans: Sequence[Plan]) -> tuple[list[Plan], Seen]:
        """Lock whom the plans mean; the plans that still mean the same, and what was seen under lock."""
        people = {one for plan in plans for one in plan.people}
        if not people:
            return list(plans), Seen({}, {})
        pairs = [(self._workspace_id, one) for one in people]
        held = await store.lock(self._tx, pairs, skip_locked=False)
        locked = {one for (_, one), root in held.items() if one == root}
        seen = await self._see([plan.unit for plan in plans])
        await self._withdraw([plan for plan in plans if not plan.stands(seen, locked)])
        return [plan for plan in plans if plan.stands(seen, locked)], seen

    async def _guard(self, plans: Sequence[Plan]) -> list[Plan]:
        """The plans, without what nobody vouches for that would change somebody known, or make two visitors one.

        The people are locked.
        """
        doubtful = {one for plan in plans if plan.unit.new.unproven for one in plan.people}
        if not doubtful:
            return list(plans)
        known = await store.known(self._tx, self._workspace_id, sorted(doubtful), sorted(NAMELESS))
        doubted = [
            plan.unit.new.unproven and (bool(plan.match.joins) or not known.isdisjoint(plan.people)) for plan in plans
        ]
        await self._withdraw([plan for plan, doubt in zip(plans, doubted, strict=True) if doubt and plan.adds])
        return [plan.guard() if doubt else plan for plan, doubt in zip(plans, doubted, strict=True)]

    async def _settle(
        self, plans: Sequence[Plan], seen: Seen, answers: dict[int, Upserted | HubError]
    ) -> tuple[list[Plan], Seen]:
        """Let what is another's by weak identifiers go to whom it belongs to now; the plans, and what is seen then."""
        open_ = [plan for plan in plans if plan.match.joins or plan.match.yields]
        if not open_:
            return list(plans), seen
        settled = {plan.unit.index: plan for plan in plans}
        refused = []
        counts = await self._counts(open_)
        for plan in open_:
            try:
                rules.require_room(grown(plan, counts), "/identifiers", self._policy.limits)
                settled[plan.unit.index] = await self._settled(plan, seen)
            except HubError as refusal:
                answers[plan.unit.index] = refusal
                refused.append(settled.pop(plan.unit.index))
        await self._withdraw(refused)
        return list(settled.values()), await self._see([plan.unit for plan in settled.values()])

    async def _settled(self, plan: Plan, seen: Seen) -> Plan:
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
        match = changed(plan.match, joins=(), yields=())
        return replace(plan, match=match, people=plan.people - {*plan.match.joins}, gains=gains)

    def _require_fit(self, plan: Plan, seen: Seen, others: handover.Owned) -> None:
        """Return if all that comes to one person is not too much. Raises `Invalid`: this unit leaves nothing behind."""
        whole = [seen.records[one] for one in (plan.match.into, *plan.match.joins) if one]
        traits: dict[str, Any] = {}
        owners: Owners = {}
        for record in whole:
            said, whose = sealing.open_traits(self._workspace_id, record, self._keys[record.id])
            traits, owners = {**said, **traits}, {**whose, **owners}
        ruled = self._writer.ruled(plan.unit.new.profile, Standing(None, None, traits, owners))
        for document in (traits, _laid_over(traits, ruled.profile)):
            rules.traits(document, "/traits")
        coming = Counter(named.kind for one, (named, _) in others.items() if one in plan.unit.named)
        for one in plan.match.joins:
            coming.update(seen.held[one])
        had = seen.held.get(plan.target, {})
        counts = {kind: count + had.get(kind, 0) for kind, count in coming.items()}
        rules.require_room(counts, "/identifiers", self._policy.limits)

    async def _steps(self, plans: Sequence[Plan], seen: Seen, answers: dict[int, Upserted | HubError]) -> list[Step]:
        """What each plan comes to. One whose traits or identifiers grow too many is refused and withdrawn."""
        steps: list[Step] = []
        refused: list[Plan] = []
        counts = await self._counts(plans)
        for plan in plans:
            try:
                if plan.match.into is not None:  # what a new one gets was counted with the unit
                    rules.require_room(grown(plan, counts), "/identifiers", self._policy.limits)
                steps.append(self._step(plan, seen))
            except HubError as refusal:
                answers[plan.unit.index] = refusal
                refused.append(plan)
        await self._withdraw(refused)
        return steps

    async def _counts(self, plans: Sequence[Plan]) -> Mapping[UUID, Mapping[Kind, int]]:
        """How many identifiers of each kind those have who get further ones, and those who become part of them."""
        growing = [plan for plan in plans if plan.match.into and (plan.adds or plan.gains or plan.match.absorb)]
        people = sorted({one for plan in growing for one in (plan.target, *plan.match.absorb)})
        return await store.counts(self._tx, self._workspace_id, people) if people else {}

    def _step(self, plan: Plan, seen: Seen) -> Step:
        own = own_of(plan, seen)
        if plan.match.into is None:
            after, change, ignored = self._born[plan.target]
            return Step(plan, after, after, change, ignored, (), own)
        before = seen.records[plan.match.into]
        profile, key = plan.unit.new.profile, self._keys[plan.target]
        after, change, ignored = profiled(self._workspace_id, before, profile, key, self._writer)
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
        return Step(plan, before, after, change, ignored, verified, own)

    async def _withdraw(self, plans: Sequence[Plan], got: set[bytes] | None = None) -> None:
        """Take back what plans claimed: all they add, or what they got of it."""
        if plans:
            hashes = [one for plan in plans for one in plan.adds if got is None or one in got]
            born = [plan.target for plan in plans if plan.match.into is None]
            await store.withdraw(self._tx, self._workspace_id, hashes, born)

    async def _absorb(self, steps: Sequence[Step]) -> dict[UUID, list[Identifier]]:
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

    async def _write(self, steps: Sequence[Step], seen: Seen, moved: Mapping[UUID, Sequence[Identifier]]) -> None:
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
        changed = {step.person: step.change for step in steps}
        await indexing.keep(self._tx, self._workspace_id, self._settings.indexed_traits, changed)
        events = [event for step in steps for event in (*self._happened(step), *self._refused(step))]
        events += await devices.describe(self._tx, self._workspace_id, self._lookup, list(self._said(steps)))
        if events:
            await self._events.append(self._tx, events)
        await self._refresh(steps, seen)

    async def _refresh(self, steps: Sequence[Step], seen: Seen) -> None:
        """Let what was said about tokens count for those that took their place."""
        for step in steps:
            replaced = {named.value: one for one, named in step.plan.unit.replaced.items() if one in seen.found}
            known = [(one, step.plan.unit.named[one].replaces) for one in step.own] if replaced else []
            pairs = [(replaced[old], one) for one, old in known if old in replaced and replaced[old] != one]
            if pairs and self._above:
                person = RecipientId(step.person)
                await self._above.refreshed(self._tx, self._workspace_id, person, pairs, self._actor)

    def _said(self, steps: Sequence[Step]) -> Iterator[Said]:
        for step in steps:
            for one in step.own:
                named, plan = step.plan.unit.named[one], step.plan
                if named.device or named.keys:
                    new = one in plan.adds or one in plan.gains
                    yield Said(step.person, self._keys[step.person], one, named, new, plan.guarded)

    def _versions(
        self,
        step: Step,
        seen: Seen,
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
        self, step: Step, seen: Seen, moved: Mapping[UUID, Sequence[Identifier]]
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

    def _happened(self, step: Step) -> Iterator[Event]:
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

    def _refused(self, step: Step) -> Iterator[Event]:
        for one in step.ignored:
            yield happened.field_refused(self._workspace_id, step.person, one, self._source)


def _telling(unit: Unit) -> set[bytes]:
    """What of a unit says whom it means: what is strong, where there is any; others use the same browser."""
    return {one for one, named in unit.named.items() if is_strong(named.kind)} or set(unit.named)


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
