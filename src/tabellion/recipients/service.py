"""Use cases of recipients: resolve, lock, read, upsert, patch. All take batches; none commits."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from datetime import timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError, Invalid, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.recipients import erasure_store, forms, happened, history, indexing, rules, sealing, store, traits
from tabellion.recipients import tokens_store as tokens
from tabellion.recipients.authority import Writer
from tabellion.recipients.history import Version
from tabellion.recipients.settings import Nulls, SettingsBook
from tabellion.recipients.store import Found, NewIdentifier, Record, Root
from tabellion.recipients.tokens_store import Looked
from tabellion.recipients.types import (
    ADDRESSES,
    Above,
    Absorbed,
    Health,
    HealthChange,
    Identifier,
    Kind,
    Named,
    NewRecipient,
    Patched,
    Profile,
    Recipient,
    RecipientRef,
    Ref,
    Resolved,
    Upserted,
    VersionConflict,
)
from tabellion.recipients.upsert import Upsert, profiled

Pair = tuple[UUID, UUID]
"""Workspace side and recipient."""


class Recipients:
    """The only way to recipients. `events` gets what happened; `settings` say how a workspace side reads them."""

    def __init__(self, vault: Vault, events: EventLog, settings: SettingsBook | None = None) -> None:
        self._vault = vault
        self._events = events
        self.settings = settings or SettingsBook()
        self.above: Above | None = None
        """Who has to act when identifiers change hands. Without them none does: two persons are a conflict."""

    def ref(self, workspace_id: WorkspaceId, value: RecipientRef, pointer: str) -> Ref:
        """Whom a request of this workspace names. Raises `Invalid` at pointer."""
        return rules.ref(value, pointer, *self._reading(workspace_id))

    def glance(self, workspace_id: WorkspaceId, value: RecipientRef, pointer: str) -> Ref:
        """As `ref`, for `resolve` alone: a number that looks normal is not parsed, which is most of what a ref costs.

        `resolve` normalises it where nobody has it as it is written, and refuses what is none.
        """
        return rules.written(value, pointer) or self.ref(workspace_id, value, pointer)

    def normalise(self, workspace_id: WorkspaceId, kind: Kind, value: str, pointer: str = "") -> str:
        """The normal form of value in this workspace. Raises `Invalid` at pointer."""
        return rules.normalise(kind, value, pointer, *self._reading(workspace_id))

    def _reading(self, workspace_id: WorkspaceId) -> tuple[str | None, Set[str]]:
        """In which country a side's numbers are read, and which values it blocks."""
        return self.settings.region(workspace_id), self.settings.blocked(workspace_id)

    def asked(self, workspace_id: WorkspaceId, text: str) -> Ref:
        """Whom the query parameter `recipient` names: an id, or a RefObject as JSON. Raises 400."""
        try:
            return rules.asked(text, self.settings.region(workspace_id))
        except Invalid as wrong:
            raise HubError("invalid_parameter", f"check the parameter recipient: {wrong.detail}", 400) from None

    def asked_identifier(self, workspace_id: WorkspaceId, kind: Kind | None, value: str, name: str) -> Ref:
        """Whom the query parameter `name` names by an identifier; None is an e-mail or a phone number. Raises 400."""
        kind = kind or rules.address_kind(value)
        text = rules.plus(value) if kind is Kind.PHONE else value
        try:
            return Ref(kind=kind, value=self.normalise(workspace_id, kind, text))
        except Invalid as wrong:
            raise HubError("invalid_parameter", f"check the parameter {name}: {wrong.detail}", 400) from None

    def unit(
        self, workspace_id: WorkspaceId, identifiers: Sequence[tuple[Named, str]], profile: Profile, at: str = ""
    ) -> NewRecipient:
        """One unit of an upsert, from identifiers as they were written, each with the pointer to its value.

        Raises `Invalid` where one is wrong, where there is none, or two external_ids; `at` points at the unit.
        """
        named = tuple(
            rules.described(
                replace(one, value=self.normalise(workspace_id, one.kind, one.value, pointer)),
                pointer.removesuffix("/value"),
                self.settings.blocked(workspace_id),
            )
            for one, pointer in identifiers
        )
        rules.require_identifiers(named, at, self.settings.policy(workspace_id).limits)
        return NewRecipient(named, self.profile(workspace_id, profile, at))

    def profile(self, workspace_id: WorkspaceId, profile: Profile, at: str = "") -> Profile:
        """The profile in normal form. Raises `Invalid` where a field is wrong; `at` points at its object."""
        return traits.require_sound(rules.profile(profile, at), self.settings.of(workspace_id).trait_types, at)

    def coerced(self, workspace_id: WorkspaceId, said: Mapping[str, Any]) -> dict[str, Any]:
        """Traits as a file has them, with text read as what the side declares them to be, where it can be."""
        types = self.settings.of(workspace_id).trait_types
        return {name: traits.coerced(value, types[name]) if name in types else value for name, value in said.items()}

    # Resolving

    async def resolve(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        refs: Sequence[Ref],
        create: bool,
        *,
        address_only: bool = False,
        source: str = "api",
    ) -> list[Resolved | HubError]:
        """Whom each ref means, in order; an error where it means nobody.

        With `create`, an unknown address becomes a recipient, address-only where asked. One that is known stays as
        it is. One statement when all are known.
        """
        lookup = await self._vault.workspace(tx, workspace_id, "lookup")
        hashes = [rules.identifier_hash(lookup, ref.kind, ref.value) if ref.kind else None for ref in refs]
        known = {ref.id for ref in refs if ref.id is not None}
        by_id = await store.roots(tx, workspace_id, sorted(known)) if known else {}
        wanted = {one: ref for one, ref in zip(hashes, refs, strict=True) if one is not None}
        found = await store.find(tx, workspace_id, list(wanted)) if wanted else {}
        if any(ref.written and one not in found for one, ref in wanted.items()):
            sound = [self._sound(workspace_id, ref, one in found) for one, ref in zip(hashes, refs, strict=True)]
            return await self._resolve_sound(tx, workspace_id, sound, create, address_only=address_only, source=source)
        fresh: set[bytes] = set()
        if create and len(found) < len(wanted):
            fresh = await self._make(tx, workspace_id, wanted, found, address_only=address_only, source=source)
        return [_resolved(ref, one, by_id, found, fresh) for ref, one in zip(refs, hashes, strict=True)]

    def _sound(self, workspace_id: WorkspaceId, ref: Ref, known: bool) -> Ref | HubError:
        """The ref in normal form, or why it has none."""
        if not ref.written or known or ref.kind is None:
            return replace(ref, written=False)
        try:
            return Ref(kind=ref.kind, value=self.normalise(workspace_id, ref.kind, ref.value, ref.pointer))
        except Invalid as wrong:
            return wrong

    async def _resolve_sound(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        sound: Sequence[Ref | HubError],
        create: bool,
        *,
        address_only: bool,
        source: str,
    ) -> list[Resolved | HubError]:
        """Whom those mean that are sound; the errors of the others in their places."""
        refs = [one for one in sound if isinstance(one, Ref)]
        answers = iter(await self.resolve(tx, workspace_id, refs, create, address_only=address_only, source=source))
        return [next(answers) if isinstance(one, Ref) else one for one in sound]

    async def _make(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        wanted: Mapping[bytes, Ref],
        found: dict[bytes, Found],
        *,
        address_only: bool,
        source: str,
    ) -> set[bytes]:
        """Make a recipient for each unknown address and add it to found; the hashes of those made here.

        Where another transaction was first, its recipient is found in a new statement.
        """
        made: dict[bytes, Named] = {}
        while missing := _unknown_addresses(wanted, found):
            rows = await self._sealed(tx, workspace_id, missing)
            won = await store.insert_addresses(tx, workspace_id, rows, address_only=address_only, source=source)
            for row in rows:
                if row.recipient_id in won:
                    made[row.hash] = missing[row.hash]
                    found[row.hash] = Found(row.hash, row.recipient_id, address_only, source, None, tx.now, tx.now)
            if len(won) < len(rows):
                found |= await store.find(tx, workspace_id, list(missing))
        if made and not address_only:
            born = [(found[one].recipient_id, [named.kind]) for one, named in made.items()]
            await self._events.append(tx, [happened.created(workspace_id, *one, source) for one in born])
        return set(made)

    async def _sealed(self, tx: Tx, workspace_id: UUID, missing: Mapping[bytes, Named]) -> list[NewIdentifier]:
        owners = {one: ids.new() for one in missing}
        keys = await self._vault.make(tx, workspace_id, owners.values())
        lookup = await self._vault.workspace(tx, workspace_id, "lookup")
        return [
            sealing.new_identifier(workspace_id, owners[one], keys[owners[one]], one, named, lookup)
            for one, named in missing.items()
        ]

    # Locking

    async def hashed(self, tx: Tx, workspace_id: WorkspaceId, ref: Ref) -> bytes | None:
        """The keyed hash of the identifier a ref names, known or not; None where it names an id."""
        if ref.kind is None:
            return None
        lookup = await self._vault.workspace(tx, workspace_id, "lookup")
        return rules.identifier_hash(lookup, ref.kind, ref.value)

    async def lock(self, tx: Tx, pairs: Iterable[Pair], skip_locked: bool) -> dict[Pair, UUID]:
        """Lock the merge roots of recipients (`for no key update`, in order) until the transaction ends.

        (workspace, recipient) → the root now under lock. Left out: who does not exist and, with `skip_locked`, who
        is locked by another. What you decide on must be read in a statement after this one.
        """
        locked: dict[Pair, UUID] = {}
        trying = {pair: pair for pair in pairs}
        while trying:
            held = await store.lock(tx, set(trying.values()), skip_locked=skip_locked)
            moved: dict[Pair, Pair] = {}
            for asked, tried in trying.items():
                root = held.get(tried)
                if root == tried[1]:
                    locked[asked] = root
                elif root is not None:
                    moved[asked] = (tried[0], root)
            trying = moved
        return locked

    # Reading

    async def merged(self, tx: Tx, workspace_id: WorkspaceId, roots: Collection[UUID]) -> dict[UUID, list[UUID]]:
        """The recipients that became part of each root, where there are any: what began under their ids is its own."""
        found: dict[UUID, list[UUID]] = {}
        for root, part in await store.merged(tx, workspace_id, sorted(roots)) if roots else ():
            found.setdefault(root, []).append(part)
        return found

    async def meant(self, tx: Tx, workspace_id: WorkspaceId, ref: Ref) -> list[UUID]:
        """The ids under which things of whom ref means were recorded, the merge root first; none where it is nobody.

        An id stands for itself even where there is no such recipient (any more).
        """
        [one] = await self.resolve(tx, workspace_id, [ref], create=False)
        if not isinstance(one, Resolved):
            return [ref.id] if ref.id is not None else []
        parts = await self.merged(tx, workspace_id, [one.recipient_id])
        return [one.recipient_id, *parts.get(one.recipient_id, [])]

    async def external_ids(self, tx: Tx, workspace_id: WorkspaceId, recipient_ids: Collection[UUID]) -> dict[UUID, str]:
        """The external_id of each recipient that has one, under the id asked for; of a merged one, its root's."""
        roots = await store.roots(tx, workspace_id, sorted(set(recipient_ids))) if recipient_ids else {}
        known = await self.identifiers(tx, [(workspace_id, root.recipient_id) for root in roots.values()])
        found = {
            person: one.value for (_, person), all_ in known.items() for one in all_ if one.kind is Kind.EXTERNAL_ID
        }
        return {asked: found[root.recipient_id] for asked, root in roots.items() if root.recipient_id in found}

    async def restricted(self, tx: Tx, pairs: Iterable[Pair]) -> set[Pair]:
        """Those (workspace, merge root) to whom nothing is sent, because processing was restricted."""
        return await erasure_store.restricted(tx, set(pairs))

    async def identifiers(self, tx: Tx, pairs: Iterable[Pair]) -> dict[Pair, list[Identifier]]:
        """The identifiers of each (workspace, merge root), values opened, first seen first."""
        wanted = set(pairs)
        rows = await store.identifiers(tx, wanted) if wanted else []
        owners: dict[UUID, set[UUID]] = {}
        for row in rows:
            owners.setdefault(row.workspace_id, set()).add(row.recipient_id)
        keys = {one: await self._vault.subjects(tx, one, people) for one, people in sorted(owners.items())}
        opened: dict[Pair, list[Identifier]] = {pair: [] for pair in wanted}
        for row in rows:
            if key := keys[row.workspace_id].get(row.recipient_id):
                opened[row.workspace_id, row.recipient_id].append(sealing.open_identifier(row, key))
        return opened

    async def traits(self, tx: Tx, pairs: Iterable[Pair]) -> dict[Pair, Mapping[str, Any]]:
        """The traits of each (workspace, merge root), opened; erased people are left out."""
        wanted: dict[WorkspaceId, set[UUID]] = {}
        for side, person in pairs:
            wanted.setdefault(WorkspaceId(side), set()).add(person)
        found: dict[Pair, Mapping[str, Any]] = {}
        for side, people in sorted(wanted.items()):
            keys = await self._vault.subjects(tx, side, people)
            for person, record in (await store.records(tx, side, sorted(people))).items():
                if key := keys.get(person):
                    found[side, person] = sealing.open_traits(side, record, key)[0]
        return found

    async def matching(self, tx: Tx, workspace_id: WorkspaceId, emails: Collection[str]) -> dict[str, list[UUID]]:
        """For each normalised address, the recipients with an address of the same mailbox, however it is written.

        For finding who may be one person; nothing is ever sent, or merged, on the strength of it.
        """
        lookup = await self._vault.workspace(tx, workspace_id, "lookup")
        boxes: dict[bytes, list[str]] = {}
        for one in emails:
            boxes.setdefault(rules.identifier_hash(lookup, Kind.EMAIL, forms.mailbox(one)), []).append(one)
        found: dict[str, list[UUID]] = {one: [] for one in emails}
        for hash_, recipient_id in await store.mailboxes(tx, workspace_id, list(boxes)):
            for one in boxes[hash_]:
                found[one].append(recipient_id)
        return found

    async def read(self, tx: Tx, workspace_id: WorkspaceId, recipient_ids: Sequence[UUID]) -> dict[UUID, Recipient]:
        """The canonical record behind each id, under the id asked for; unknown and erased ones are left out."""
        roots = await store.roots(tx, workspace_id, recipient_ids)
        people = sorted({root.recipient_id for root in roots.values()})
        records = await store.records(tx, workspace_id, people)
        keys = await self._vault.subjects(tx, workspace_id, people)
        addresses: dict[UUID, list[Identifier]] = {one: [] for one in people}
        for row in await store.identifiers(tx, [(workspace_id, one) for one in people]) if people else ():
            if key := keys.get(row.recipient_id):
                addresses[row.recipient_id].append(sealing.open_identifier(row, key))
        opened = {
            one: _recipient(workspace_id, records[one], keys[one], addresses[one])
            for one in people
            if one in records and one in keys
        }
        return {asked: opened[root.recipient_id] for asked, root in roots.items() if root.recipient_id in opened}

    async def page(self, tx: Tx, workspace_id: WorkspaceId, before: UUID | None, limit: int) -> list[Recipient]:
        """Full recipients, newest first, made before the recipient `before`."""
        found = await store.page(tx, workspace_id, before, limit)
        records = await self.read(tx, workspace_id, found)
        return [records[one] for one in found if one in records]

    async def having(
        self, tx: Tx, workspace_id: WorkspaceId, trait: str, text: str, before: UUID | None, limit: int
    ) -> list[Recipient]:
        """As `page`, of those whose trait has that value; text as a query has it.

        Raises 400 where the trait is not one of `indexed_traits`, `Conflict` where its index is not complete yet.
        """
        value = traits.searched(text, self.settings.of(workspace_id).trait_types.get(trait))
        found = await indexing.find(tx, workspace_id, trait, value, before, limit)
        records = await self.read(tx, workspace_id, found)
        return [records[one] for one in found if one in records]

    # Changing

    async def set_health(
        self, tx: Tx, workspace_id: WorkspaceId, changes: Sequence[tuple[bytes, Health, str | None]]
    ) -> list[HealthChange]:
        """Note the health of identifiers (hash) and why; of one named several times the last counts. What changed."""
        last = {hash_: (hash_, health, reason) for hash_, health, reason in changes}
        changed = await store.set_health(tx, workspace_id, list(last.values())) if last else []
        if changed:
            await self._events.append(tx, [happened.health_changed(workspace_id, one) for one in changed])
        return changed

    async def look(self, tx: Tx, workspace_id: WorkspaceId, most: int) -> Looked:
        """Let push tokens and web push subscriptions not named for as long as the side says be stale.

        Looks at those that could be, at most so many; called again until fewer are left.
        """
        days = self.settings.of(workspace_id).stale_after_days
        if days is None:
            return Looked(0, [])
        looked = await tokens.look(tx, workspace_id, tx.now - timedelta(days=days), most)
        if looked.stale:
            await self._events.append(tx, [happened.health_changed(workspace_id, one) for one in looked.stale])
        return looked

    async def patch(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_id: UUID,
        profile: Profile,
        expected: Collection[int] | None = None,
        *,
        source: str = "api",
        actor: str | None = None,
    ) -> Patched:
        """The record after the change, asked for by `actor`, and what the source may not change.

        Raises `VersionConflict` when it is at none of the `expected` versions.
        """
        locked = await self.lock(tx, [(workspace_id, recipient_id)], skip_locked=False)
        root = locked.get((workspace_id, recipient_id))
        record = (await store.records(tx, workspace_id, [root])).get(root) if root else None
        if record is None or record.erased:
            raise _unknown(recipient_id)
        if record.address_only:
            raise Conflict(
                "address_only", "only its address is known; make it a recipient with POST /v1/recipients first"
            )
        if expected is not None and record.version not in expected:
            raise VersionConflict(record.version)
        keys = await self._vault.subjects(tx, workspace_id, [record.id])
        settings = self.settings.of(workspace_id)
        writer = Writer(source, settings.authority)
        after, change, ignored = profiled(workspace_id, record, profile, keys[record.id], writer)
        events = []
        if change.fields:
            after = replace(after, version=record.version + 1)
            made = Version(record.id, after.version, change.fields, keys[record.id], change)
            await history.keep(tx, workspace_id, [made], source=source, actor=actor)
            await indexing.keep(tx, workspace_id, settings.indexed_traits, {record.id: change})
            events.append(happened.updated(workspace_id, record.id, change.fields))
        if after != record:
            await store.write(tx, workspace_id, [after])
        events += [happened.field_refused(workspace_id, record.id, one, source) for one in ignored]
        if events:
            await self._events.append(tx, events)
        return Patched((await self.read(tx, workspace_id, [record.id]))[record.id], ignored)

    async def upsert(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        units: Sequence[NewRecipient],
        *,
        absorbed: Absorbed,
        source: str = "api",
        actor: str | None = None,
        brought: bool = False,
    ) -> list[Upserted | HubError]:
        """Make or change one recipient a unit, in order; a refused unit leaves nothing behind and stops no other.

        Units that name a common identifier apply one after the other. `absorbed` is called, with both rows locked,
        for each address-only recipient that becomes part of another. History names `actor`, the key that asked.
        What `source` may set, and what a null of it does, is as the settings have it. What is `brought`, by a file or
        another system and whatever its source, brings nobody back who was erased.
        """
        settings = self.settings.of(workspace_id)
        if settings.null_of(source) is Nulls.IGNORE:
            units = [replace(one, profile=traits.without_nulls(one.profile)) for one in units]
        work = Upsert(
            self._vault,
            self._events,
            tx,
            workspace_id,
            absorbed,
            source,
            actor,
            settings=settings,
            policy=self.settings.policy(workspace_id),
            above=self.above,
            brought=brought,
        )
        return await work.run(units)


def _unknown_addresses(wanted: Mapping[bytes, Ref], found: Mapping[bytes, Found]) -> dict[bytes, Named]:
    return {
        one: Named(ref.kind, ref.value)
        for one, ref in wanted.items()
        if one not in found and ref.kind is not None and ref.kind in ADDRESSES
    }


def _resolved(
    ref: Ref, one: bytes | None, by_id: Mapping[UUID, Root], found: Mapping[bytes, Found], fresh: set[bytes]
) -> Resolved | HubError:
    if ref.id is not None:
        root = by_id.get(ref.id)
        return Resolved(root.recipient_id, False, None, root.address_only) if root else _unknown(ref.id)
    row = found.get(one) if one else None
    if row is None or row.shared or ref.kind is None:
        return NotFound("recipient_not_found", f"no recipient has this {ref.kind}; check it, or create the recipient")
    created = row.hash in fresh
    fresh.discard(row.hash)
    seen = Identifier(
        ref.kind,
        ref.value,
        row.hash,
        row.source,
        row.first_seen_at,
        row.last_seen_at,
        row.verified_at,
        row.health,
        row.health_reason,
    )
    return Resolved(row.recipient_id, created, seen, row.address_only)


def _unknown(recipient_id: UUID) -> NotFound:
    shown = ids.show("rcp", recipient_id)
    return NotFound("recipient_not_found", f"there is no recipient {shown} here; check the id and the key's mode")


def _recipient(workspace_id: UUID, record: Record, key: Key, addresses: Sequence[Identifier]) -> Recipient:
    said, owners = sealing.open_traits(workspace_id, record, key)
    return Recipient(
        id=record.id,
        version=record.version,
        address_only=record.address_only,
        locale=record.locale,
        time_zone=record.time_zone,
        traits=said,
        identifiers=addresses,
        created_at=record.created_at,
        updated_at=record.updated_at,
        owners=owners,
    )
