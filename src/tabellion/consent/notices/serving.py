"""What was shown to whom: written in batches, and read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from tabellion.consent.notices import served_store, store
from tabellion.consent.notices.naming import USE, context
from tabellion.consent.notices.types import NewServed, Published, Served, ServedTo
from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, FieldError, HubError, Invalid, NotFound
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import NAMELESS, Ref, Resolved

AHEAD: Final = timedelta(minutes=5)
"""How far a caller's clock may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class _To:
    """Whom a showing was to, once it is looked up."""

    recipient_id: UUID | None = None
    hash: bytes | None = None
    """Of an identifier that nobody has."""


@dataclass(frozen=True)
class Serving:
    """The only way to what was shown."""

    vault: Vault
    recipients: Recipients
    events: EventLog

    async def record(self, tx: Tx, workspace_id: WorkspaceId, shown: Sequence[NewServed]) -> list[Served | HubError]:
        """What was shown, in order, durable with the transaction; a refusal where it cannot have been.

        An unknown address gets an address-only recipient, whose key seals the evidence; an anonymous id that nobody
        has is kept by its hash, and becomes the person's with the first decision that names the showing.
        """
        versions = await store.published(tx, workspace_id, {(one.notice, one.version) for one in shown})
        wrong = {at: error for at, one in enumerate(shown) if (error := _refusal(one, versions, tx))}
        sound = {at: one for at, one in enumerate(shown) if at not in wrong}
        people = await self._people(tx, workspace_id, sound)
        wrong |= {at: one for at, one in people.items() if isinstance(one, HubError)}
        found = {at: one for at, one in people.items() if isinstance(one, _To)}
        keys = await self._keys(tx, workspace_id, found)
        made = {
            at: _served(workspace_id, shown[at], versions, one, keys, tx)
            for at, one in found.items()
            if one.recipient_id in keys
        }
        if made:
            await served_store.insert(tx, workspace_id, list(made.values()))
        if told := [_event(workspace_id, one) for one in made.values() if one.recipient_id]:
            await self.events.append(tx, told)
        return [made[at] if at in made else wrong.get(at) or _erased() for at in range(len(shown))]

    async def page(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        notice: str,
        version: str | None,
        person: Ref | None,
        before: UUID | None,
        limit: int,
    ) -> list[tuple[Served, ServedTo | None]]:
        """What was shown of a notice, newest first, each with its evidence; None where that does not open."""
        if person is None:
            found = await served_store.page(tx, workspace_id, notice, version, before, limit)
        else:
            people = await self.recipients.meant(tx, workspace_id, person)
            found = await served_store.page_of_person(tx, workspace_id, notice, people, before, limit)
        return await self.opened(tx, workspace_id, found)

    async def of_people(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_ids: Sequence[UUID],
        hashes: Sequence[bytes],
        after: UUID | None,
        limit: int,
    ) -> list[tuple[Served, ServedTo | None]]:
        """What was shown to people or under identifiers of theirs, oldest first, each with its evidence."""
        found = await served_store.of_people(tx, workspace_id, recipient_ids, hashes, after, limit)
        return await self.opened(tx, workspace_id, found)

    async def opened(
        self, tx: Tx, workspace_id: WorkspaceId, found: Sequence[Served]
    ) -> list[tuple[Served, ServedTo | None]]:
        keys = await self._keys(tx, workspace_id, {at: _To(one.recipient_id) for at, one in enumerate(found)})
        return [(one, _opened(workspace_id, one, keys.get(one.recipient_id))) for one in found]

    async def _people(
        self, tx: Tx, workspace_id: WorkspaceId, shown: Mapping[int, NewServed]
    ) -> dict[int, _To | HubError]:
        """Whom each was shown to; nobody, where none is named."""
        named = {at: one.recipient for at, one in shown.items() if one.recipient is not None}
        found = await self._locked(tx, workspace_id, list(named.values())) if named else []
        to: dict[int, _To | HubError] = {at: _To() for at in shown if at not in named}
        for (at, ref), one in zip(named.items(), found, strict=True):
            if isinstance(one, Resolved):
                to[at] = _To(one.recipient_id)
            elif ref.kind in NAMELESS:
                to[at] = _To(hash=await self.recipients.hashed(tx, workspace_id, ref))
            else:
                to[at] = one
        return to

    async def _locked(self, tx: Tx, workspace_id: WorkspaceId, refs: Sequence[Ref]) -> list[Resolved | HubError]:
        """Whom refs mean, under their locks: a key in memory may be of somebody who was erased meanwhile."""
        found = await self.recipients.resolve(tx, workspace_id, refs, create=True, address_only=True, source="notice")
        people = {(workspace_id, one.recipient_id) for one in found if isinstance(one, Resolved)}
        if not people:
            return found
        await self.recipients.lock(tx, people, skip_locked=False)
        return await self.recipients.resolve(tx, workspace_id, refs, create=False)

    async def _keys(self, tx: Tx, workspace_id: WorkspaceId, people: Mapping[int, _To]) -> dict[UUID | None, Key]:
        """The keys of those who are known, and under None the side's own where somebody is not."""
        known = {one.recipient_id for one in people.values() if one.recipient_id}
        found = await self.vault.subjects(tx, workspace_id, known) if known else {}
        keys: dict[UUID | None, Key] = dict(found.items())
        if any(one.recipient_id is None for one in people.values()):
            keys[None] = await self.vault.workspace(tx, workspace_id, USE)
        return keys


def _refusal(one: NewServed, versions: Mapping[tuple[str, str], Published], tx: Tx) -> HubError | None:
    """Why this cannot have been shown."""
    version = versions.get((one.notice, one.version))
    if version is None:
        detail = f"there is no published version {one.version[:64]!r} of the notice {one.notice[:64]!r}; publish it"
        return NotFound("version_not_found", detail)
    if one.language is not None and one.language not in version.languages:
        detail = f"the version has no text in it; there are {', '.join(sorted(version.languages))}"
        return Invalid("language_unknown", detail, FieldError("/language", detail))
    if one.served_at is not None and one.served_at > tx.now + AHEAD:
        detail = "more than 5 minutes ahead of our clock; check yours"
        return Invalid("served_in_future", detail, FieldError("/served_at", detail))
    return None


def _served(
    workspace_id: UUID,
    one: NewServed,
    versions: Mapping[tuple[str, str], Published],
    to: _To,
    keys: Mapping[UUID | None, Key],
    tx: Tx,
) -> Served:
    said = msgspec.json.encode(one.shown)
    return Served(
        id=one.id,
        notice=one.notice,
        version=one.version,
        language=one.language or versions[one.notice, one.version].default_language,
        recipient_id=to.recipient_id,
        identifier_hash=to.hash,
        means=one.means,
        source=one.source,
        actor=one.actor,
        served_at=min(one.served_at or tx.now, tx.now),
        recorded_at=tx.now,
        sealed=keys[to.recipient_id].seal(said, context(workspace_id, one.id)),
    )


def _opened(workspace_id: UUID, one: Served, key: Key | None) -> ServedTo | None:
    if key is None:
        return None
    return msgspec.json.decode(key.open(one.sealed, context(workspace_id, one.id)), type=ServedTo)


def _event(workspace_id: WorkspaceId, one: Served) -> Event:
    """Of somebody who is known: for their timeline."""
    assert one.recipient_id is not None
    served = {
        "id": ids.show("srv", one.id),
        "version": one.version,
        "language": one.language,
        "means": one.means,
        "source": one.source,
    }
    data = {"recipient": {"id": ids.show("rcp", one.recipient_id)}, "notice": {"id": one.notice}, "served": served}
    return Event(workspace_id, "notice.served", data, recipient_id=RecipientId(one.recipient_id))


def _erased() -> Conflict:
    return Conflict("recipient_erased", "the recipient was erased; nothing can be recorded about them any more")
