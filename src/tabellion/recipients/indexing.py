"""Indexed traits: plain values beside the sealed ones. Writes keep them in step; a follower builds and removes them.

Other processes know what is declared a second later, and what they began before is not in step yet. So building and
removing begin a while after the declaration: from then on every write keeps the index, and what stood is brought in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from tabellion.core.db import Database, Tx
from tabellion.core.errors import Conflict, HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.recipients import indexed_store as indexes
from tabellion.recipients import sealing, store
from tabellion.recipients.changes import Change
from tabellion.recipients.indexed_store import IndexState, Waiting
from tabellion.recipients.traits import indexed

SETTLES: Final = timedelta(seconds=10)
"""How long a declaration takes to be known everywhere, and what began before it to end: a look and a write limit."""
BATCH: Final = 200
"""Recipients locked at once."""
GONE: Final = 5_000


async def keep(tx: Tx, workspace_id: UUID, names: Sequence[str], changes: Mapping[UUID, Change]) -> None:
    """Bring the plain values of declared traits in step with changes of locked recipients."""
    if not names:
        return
    said = [
        (person, name, indexed(change.traits[1][name]))
        for person, change in changes.items()
        if change.traits is not None
        for name in names
        if name in change.traits[1]
    ]
    await _put(tx, workspace_id, said)


async def _put(tx: Tx, workspace_id: UUID, said: Sequence[tuple[UUID, str, str | None]]) -> None:
    values = sorted({(person, name, value) for person, name, value in said if value is not None})
    gone = sorted({(person, name) for person, name, value in said if value is None})
    if values:
        await indexes.put(tx, workspace_id, values)
    if gone:
        await indexes.take(tx, workspace_id, gone)


async def find(tx: Tx, workspace_id: UUID, name: str, value: str, before: UUID | None, limit: int) -> list[UUID]:
    """Full recipients whose trait has the value, newest first. Raises where the trait is not searchable (yet)."""
    state = (await indexes.states(tx, workspace_id)).get(name, IndexState.REMOVING)
    if state is IndexState.REMOVING:
        detail = f"recipients are not found by {name[:64]!r}: declare it in indexed_traits of /v1/recipient-settings"
        raise HubError("trait_not_indexed", detail, 400)
    if state is IndexState.BUILDING:
        detail = f"the index of {name} is being built; `indexing` in GET /v1/recipient-settings says when it is ready"
        raise Conflict("index_building", detail)
    return await indexes.find(tx, workspace_id, name, value, before, limit)


@dataclass(frozen=True)
class TraitIndexes:
    """Builds what was declared and removes what is not any more; in any number of processes at once."""

    vault: Vault

    async def advance(self, db: Database) -> int:
        """Do all there is to do, in batches, each a transaction; how many batches. What is cut off goes on there."""
        batches = 0
        while await db.run(self._step):
            batches += 1
        return batches

    async def _step(self, tx: Tx) -> bool:
        index = await indexes.waiting(tx, tx.now - SETTLES)
        if index is None:
            return False
        if index.state is IndexState.REMOVING:
            await indexes.drop(tx, index.workspace_id, index.name, GONE)
        else:
            await self._build(tx, index)
        return True

    async def _build(self, tx: Tx, index: Waiting) -> None:
        side = WorkspaceId(index.workspace_id)
        people = await indexes.people(tx, side, index.done_to, BATCH)
        if people:
            await store.lock(tx, [(side, one) for one in people], skip_locked=False)
            values = await self._values(tx, side, people, index.name)
            await _put(tx, side, [(one, index.name, indexed(values.get(one))) for one in people])
        done_to = people[-1] if people else index.done_to
        await indexes.done(tx, side, index.name, done_to, ready=len(people) < BATCH)

    async def _values(self, tx: Tx, side: WorkspaceId, people: Sequence[UUID], name: str) -> dict[UUID, Any]:
        """The trait of each recipient that has one, read under the locks."""
        records = await store.records(tx, side, people)
        sealed = {one: record for one, record in records.items() if record.traits is not None and not record.erased}
        keys = await self.vault.subjects(tx, side, sealed)
        found = {one: sealing.open_traits(side, sealed[one], keys[one])[0].get(name) for one in keys}
        for one in keys:
            self.vault.forget(side, one)
        return found
