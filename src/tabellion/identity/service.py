"""Use cases of identity: find that two recipients are one person, take that back, and explain who a person is."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import msgspec

from tabellion.access.service import audit
from tabellion.consent.service import Consent
from tabellion.consent.types import Because
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.identity import rules, store
from tabellion.identity.types import (
    HUB,
    AddressOnly,
    BeingErased,
    Evidence,
    Explained,
    Known,
    Merge,
    MergedFurther,
    MergeUndone,
    OpenErasure,
    Rule,
    SameRecipient,
    Told,
    UnknownMerge,
    Winner,
)
from tabellion.recipients.moving import Moved, Moving, profile_of
from tabellion.recipients.resolution import is_strong
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import IdentityConflict, Named, NewRecipient, Recipient, Ref, Resolved


class Identity:
    """The only way to merge and split. What a merge does is stored with it, so that a split can undo it."""

    def __init__(
        self, vault: Vault, recipients: Recipients, consent: Consent, events: EventLog, being_erased: BeingErased
    ) -> None:
        self._vault = vault
        self._recipients = recipients
        self._consent = consent
        self._events = events
        self._being_erased = being_erased
        self._moving = Moving(vault, recipients.settings)

    async def merge(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        named: tuple[Ref, Ref],
        reason: str,
        actor: str,
        rule: Rule = Rule.REQUESTED,
    ) -> Merge:
        """Make two recipients one. Who goes on is decided by `rules.winner`, not by the order they are named in.

        Raises `NotFound`, or `Conflict` where they are one already, or of both only an address is known.
        """
        one, other = await self._held(tx, workspace_id, named)
        people = await self._moving.read(tx, workspace_id, [one, other])
        if one == other:
            raise SameRecipient(ids.show("rcp", one))
        if len(people) < 2:
            raise Conflict("recipient_erased", "one of the two was erased; there is nothing to merge")
        if all(person.address_only for person in people.values()):
            raise AddressOnly()
        into, from_, why = rules.winner(people[one], people[other])
        merge = await self._unite(tx, workspace_id, (from_, into), rule, why, actor, reason)
        await audit(tx, workspace_id, actor, "recipient.merged", ids.show("rcp", into.id), _detail(merge))
        return merge

    async def _unite(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        people: tuple[Recipient, Recipient],
        rule: Rule,
        why: Winner,
        actor: str,
        reason: str | None = None,
    ) -> Merge:
        """Make the first of two, both locked, part of the second, and store what that takes to be taken back."""
        from_, into = people
        merge_id = ids.new()
        profile, taken = rules.filled(profile_of(into), profile_of(from_))
        moved = await self._moving.join(tx, workspace_id, from_, into, profile, actor)
        consent = await self._consent.join(tx, workspace_id, Because(merge_id, from_.id, into.id, actor))
        evidence = Evidence(reason, why, _kinds(into, from_), taken)
        sealed = await self._sealed(tx, workspace_id, merge_id, into.id, evidence)
        merge = Merge(merge_id, from_.id, into.id, rule, actor, tx.now, None, None, sealed, moved, consent)
        await store.insert(tx, workspace_id, merge)
        await self._events.append(tx, [_event(workspace_id, "recipient.merged", merge)])
        return merge

    async def alias(self, tx: Tx, workspace_id: WorkspaceId, previous: Ref, now: Ref, actor: str) -> UUID:
        """Let two identifiers find one person, as Segment's `alias` does; who that is.

        What nobody has becomes the other's; of a kind that a person has one of, it finds the person beside it. Somebody
        who was anonymous becomes part of the known person. Raises `IdentityConflict` for two known persons.
        """
        wanted = (previous, now)
        found = await self._recipients.resolve(tx, workspace_id, wanted, create=False)
        missing = [ref for ref, one in zip(wanted, found, strict=True) if isinstance(one, HubError)]
        if any(ref.kind is None for ref in missing):
            raise next(one for one in found if isinstance(one, HubError))
        hidden = any(isinstance(one, Resolved) and one.address_only for one in found)
        if hidden or (missing and (previous.kind is not now.kind or not self._single(workspace_id, now))):
            await self._require_no_other(tx, workspace_id, found, missing)
            return await self._add(tx, workspace_id, wanted, actor)
        for ref in missing:
            await self._add(tx, workspace_id, (ref,), actor)
        one, other = await self._held(tx, workspace_id, wanted)
        if one == other:
            return one
        people = await self._moving.read(tx, workspace_id, [one, other])
        into, from_ = (people[one], people[other]) if missing == [now] else (people[other], people[one])
        if missing:
            return (await self._unite(tx, workspace_id, (from_, into), Rule.ALIASED, Winner.KNOWN, actor)).into_id
        return await self._unite_known(tx, workspace_id, from_, into, actor)

    async def _unite_known(
        self, tx: Tx, workspace_id: WorkspaceId, from_: Recipient, into: Recipient, actor: str
    ) -> UUID:
        """Make an anonymous one of two part of the other."""
        if _known(from_):
            from_, into = into, from_
        if _known(from_):
            both = " and ".join(sorted(ids.show("rcp", one.id) for one in (from_, into)))
            raise IdentityConflict(f"{both} are two known persons; merge them if they are one", (into.id, from_.id))
        pair = (from_, into)
        return (await self._unite(tx, workspace_id, pair, Rule.ANONYMOUS_TO_KNOWN, Winner.KNOWN, actor)).into_id

    async def _require_no_other(
        self, tx: Tx, workspace_id: WorkspaceId, found: Sequence[Resolved | HubError], missing: Sequence[Ref]
    ) -> None:
        """Return if who is known has no other identifier of a kind that a person has one of and that is to be theirs.

        By a device or an anonymous id alone it would become somebody new's, as in an upsert: not what an alias says.
        """
        known = [one.recipient_id for one in found if isinstance(one, Resolved)]
        single = {ref.kind for ref in missing if self._single(workspace_id, ref)}
        for person in (await self._moving.read(tx, workspace_id, known)).values() if single else ():
            if held := single & {one.kind for one in person.identifiers}:
                detail = f"{ids.show('rcp', person.id)} has another {held.pop()}; merge the two if they are one"
                raise IdentityConflict(detail, (person.id,))

    async def _add(self, tx: Tx, workspace_id: WorkspaceId, refs: Sequence[Ref], actor: str) -> UUID:
        unit = NewRecipient(tuple(Named(ref.kind, ref.value) for ref in refs if ref.kind is not None))
        [made] = await self._recipients.upsert(
            tx, workspace_id, [unit], absorbed=self.absorbed, source="alias", actor=actor
        )
        if isinstance(made, HubError):
            raise made
        return made.recipient_id

    def _single(self, workspace_id: WorkspaceId, ref: Ref) -> bool:
        """Whether a person has one identifier of the kind."""
        return ref.kind is not None and self._recipients.settings.policy(workspace_id).limit(ref.kind) == 1

    async def split(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID, merge_id: UUID, actor: str) -> Merge:
        """Take a merge back; both have what they had, and what was said in between as the rule has it.

        Raises `NotFound` where the recipient has no such merge, `Conflict` where it was taken back already, the
        recipient it went into was itself merged since, or one of the two is being erased.
        """
        [root] = await self._held(tx, workspace_id, (Ref(id=recipient_id),))
        merge = await self._standing(tx, workspace_id, root, merge_id)
        people = await self._moving.read(tx, workspace_id, [merge.from_id, merge.into_id])
        if len(people) < 2:
            raise Conflict("recipient_erased", "one of the two was erased; the merge cannot be taken back")
        if await self._being_erased(tx, workspace_id, [merge.from_id, merge.into_id]):
            raise OpenErasure()
        from_, into = people[merge.from_id], people[merge.into_id]
        evidence = await self._opened(tx, workspace_id, merge)
        taken = [tuple(path) for path in evidence.taken] if evidence else []
        profile = rules.given_back(profile_of(into), profile_of(from_), taken)
        back = await self._moving.part(tx, workspace_id, from_, into, merge.moved, {"traits": {}} | profile, actor)
        others = [one.consent for one in await store.standing_into(tx, workspace_id, into.id) if one.id != merge.id]
        why = Because(merge.id, from_.id, into.id, actor)
        await self._consent.part(tx, workspace_id, why, merge.consent, others, back)
        await store.undo(tx, workspace_id, merge.id, actor)
        await self._events.append(tx, [_event(workspace_id, "recipient.split", merge)])
        await audit(tx, workspace_id, actor, "recipient.split", ids.show("rcp", into.id), _detail(merge))
        return merge

    async def explain(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> Explained:
        """Why a person is who they are. Raises `NotFound`."""
        [found] = await self._recipients.resolve(tx, workspace_id, [Ref(id=recipient_id)], create=False)
        if isinstance(found, HubError):
            raise found
        root = found.recipient_id
        people = [root, *sorted(await self._moving.parts(tx, workspace_id, root))]
        owned = await self._recipients.identifiers(tx, [(workspace_id, one) for one in people])
        known = [Known(identifier, one) for one in people for identifier in owned[workspace_id, one]]
        merges = await store.of(tx, workspace_id, people)
        told = [Told(one, await self._opened(tx, workspace_id, one)) for one in merges]
        return Explained(root, people, known, told)

    async def absorbed(self, tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId) -> None:
        """Note that somebody known only by an address becomes part of a person, while it still has its identifiers."""
        people = await self._moving.read(tx, workspace_id, [from_id, to_id])
        merge_id = ids.new()
        from_, into = people[from_id], people[to_id]
        moved = Moved([one.hash for one in from_.identifiers], await self._moving.parts(tx, workspace_id, from_id))
        consent = await self._consent.attach(tx, workspace_id, Because(merge_id, from_id, to_id, HUB))
        evidence = Evidence(None, Winner.FULL_RECIPIENT, _kinds(into, from_))
        sealed = await self._sealed(tx, workspace_id, merge_id, to_id, evidence)
        rule = Rule.ADDRESS_ATTACHED
        merge = Merge(merge_id, from_id, to_id, rule, HUB, tx.now, None, None, sealed, moved, consent)
        await store.insert(tx, workspace_id, merge)

    async def ever_one_with(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> set[UUID]:
        """The people, and whom each of them is or was merged with."""
        merges = await store.of(tx, workspace_id, people)
        return {*people, *(one for merge in merges for one in (merge.from_id, merge.into_id))}

    async def forget(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> None:
        """End what merges of people rested on; they are being erased, and are locked."""
        await store.forget(tx, workspace_id, people)

    # what recipients ask of those above (`recipients.types.Above`)

    async def joined(
        self, tx: Tx, workspace_id: WorkspaceId, from_id: RecipientId, to_id: RecipientId, actor: str | None
    ) -> None:
        """Make somebody who was anonymous part of a known person; both are locked. Split takes it back."""
        people = await self._moving.read(tx, workspace_id, [from_id, to_id])
        pair = people[from_id], people[to_id]
        await self._unite(tx, workspace_id, pair, Rule.ANONYMOUS_TO_KNOWN, Winner.KNOWN, actor or HUB)

    async def released(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_id: RecipientId,
        hashes: Collection[bytes],
        why: str,
        actor: str | None,
    ) -> None:
        """End what was allowed for identifiers that are about to be another's."""
        await self._consent.released(tx, workspace_id, recipient_id, hashes, why, actor)

    async def refreshed(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_id: RecipientId,
        tokens: Sequence[tuple[bytes, bytes]],
        actor: str | None,
    ) -> None:
        """Let what was said about a push token count for the one that took its place."""
        await self._consent.refreshed(tx, workspace_id, recipient_id, tokens, actor)

    async def _held(self, tx: Tx, workspace_id: WorkspaceId, named: Sequence[Ref]) -> list[UUID]:
        """The roots of whom refs mean, locked. An address may find another owner while the lock is waited for."""
        held: Mapping[UUID, UUID] = {}
        while True:
            found = await self._recipients.resolve(tx, workspace_id, named, create=False)
            people = []
            for one in found:
                if isinstance(one, HubError):
                    raise one
                people.append(one.recipient_id)
            if held and set(people) <= set(held.values()):
                return people
            locked = await self._recipients.lock(tx, [(workspace_id, one) for one in people], skip_locked=False)
            held = {asked: root for (_, asked), root in locked.items()}

    async def _standing(self, tx: Tx, workspace_id: WorkspaceId, root: UUID, merge_id: UUID) -> Merge:
        """The merge of a person who is locked, to be taken back."""
        merge = await store.read(tx, workspace_id, merge_id)
        shown = ids.show("mrg", merge_id)
        if merge is None:
            raise UnknownMerge(shown)
        if merge.into_id != root and merge.into_id not in await self._moving.parts(tx, workspace_id, root):
            raise UnknownMerge(shown)
        if merge.undone_at is not None:
            raise MergeUndone(shown)
        if (further := await store.standing_of(tx, workspace_id, merge.into_id)) is not None:
            raise MergedFurther(ids.show("mrg", further))
        return merge

    async def _sealed(
        self, tx: Tx, workspace_id: WorkspaceId, merge_id: UUID, into_id: UUID, evidence: Evidence
    ) -> bytes:
        key = (await self._vault.subjects(tx, workspace_id, [into_id]))[into_id]
        return key.seal(msgspec.json.encode(evidence), _context(workspace_id, merge_id))

    async def _opened(self, tx: Tx, workspace_id: WorkspaceId, merge: Merge) -> Evidence | None:
        key = (await self._vault.subjects(tx, workspace_id, [merge.into_id])).get(merge.into_id)
        if key is None or merge.sealed is None:
            return None
        return msgspec.json.decode(key.open(merge.sealed, _context(workspace_id, merge.id)), type=Evidence)


def _known(person: Recipient) -> bool:
    return any(is_strong(one.kind) for one in person.identifiers)


def _context(workspace_id: UUID, merge_id: UUID) -> str:
    return f"merge:{workspace_id}:{merge_id}"


def _kinds(*people: Recipient) -> dict[str, list[str]]:
    return {ids.show("rcp", one.id): sorted(known.kind.value for known in one.identifiers) for one in people}


def _detail(merge: Merge) -> dict[str, object]:
    """What audit says: ids alone, because a reason may name a person."""
    shown = {"from": ids.show("rcp", merge.from_id), "into": ids.show("rcp", merge.into_id)}
    return {"merge": ids.show("mrg", merge.id), **shown, "rule": merge.rule.value}


def _event(workspace_id: WorkspaceId, kind: str, merge: Merge) -> Event:
    into, other = ids.show("rcp", merge.into_id), {"id": ids.show("rcp", merge.from_id)}
    told = {"merged": other} if kind == "recipient.merged" else {"split": other}
    data = {"recipient": {"id": into}, **told, "merge_id": ids.show("mrg", merge.id), "reason": merge.rule.value}
    return Event(workspace_id=workspace_id, type=kind, data=data, recipient_id=RecipientId(merge.into_id))
