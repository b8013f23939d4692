"""What of a recipient ends with an erasure, and who may not be processed meanwhile."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.recipients import erasure_store as store
from tabellion.recipients.indexed_store import forget_indexed
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Identifier


@dataclass(frozen=True, slots=True)
class Person:
    """All that one person is here, under lock: the merge root, everybody merged into it, and their identifiers."""

    root: UUID
    ids: Sequence[UUID]
    """The merge root first."""
    identifiers: Sequence[Identifier]


@dataclass(frozen=True, slots=True)
class Erasing:
    vault: Vault
    recipients: Recipients

    async def held(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> Person | None:
        """The person behind an id, locked; None where there is none (any more)."""
        pair = (workspace_id, recipient_id)
        root = (await self.recipients.lock(tx, [pair], skip_locked=False)).get(pair)
        if root is None or (await store.erased(tx, workspace_id, [root]))[root]:
            return None
        parts = sorted((await self.recipients.merged(tx, workspace_id, [root])).get(root, []))
        people = [root, *parts]
        owned = await self.recipients.identifiers(tx, [(workspace_id, one) for one in people])
        return Person(root, people, [one for person in people for one in owned[workspace_id, person]])

    async def unread(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> Person:
        """The person behind an id, locked, without what nobody can open."""
        pair = (workspace_id, recipient_id)
        root = (await self.recipients.lock(tx, [pair], skip_locked=False))[pair]
        return Person(root, [root, *(await self.recipients.merged(tx, workspace_id, [root])).get(root, [])], [])

    async def erase(
        self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID], hashes: Collection[bytes], regulation_id: UUID
    ) -> None:
        """End everything about people who are locked. `hashes` stay, so that no import brings them back.

        Their keys go last: what is sealed elsewhere for them cannot be read any more either.
        """
        await store.delete_identifiers(tx, workspace_id, people)
        await store.delete_claims(tx, workspace_id, people)
        await store.delete_versions(tx, workspace_id, people)
        await forget_indexed(tx, workspace_id, people)
        await store.empty(tx, workspace_id, people)
        if hashes:
            await store.remember(tx, workspace_id, hashes, regulation_id)
        await self.vault.destroy(tx, workspace_id, people)

    async def kept(self, tx: Tx, workspace_id: WorkspaceId, regulation_id: UUID) -> list[bytes]:
        """The hashes that stayed of one erasure."""
        return await store.hashes_of(tx, workspace_id, regulation_id)

    async def unerased(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> list[UUID]:
        """Those of the people that are here and were not erased."""
        known = await store.erased(tx, workspace_id, people)
        return [one for one in people if known.get(one) is False]

    async def restrict(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> None:
        """Send nothing to people who are locked, whatever they agreed to."""
        await store.restrict(tx, workspace_id, people)

    async def release(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> None:
        """End the restriction of people who are locked."""
        await store.release(tx, workspace_id, people)
