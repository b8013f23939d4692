"""What of a person's messages ends with an erasure: at once what was still to be sent, then what all of them said."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.messages import store
from tabellion.messages.service import Messages
from tabellion.messages.store import Reached, Relied

ERASED = "erased"
"""The reason of a message that an erasure cancelled."""


@dataclass(frozen=True, slots=True)
class Erasing:
    messages: Messages

    async def cancel(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID], most: int) -> int:
        """Cancel up to `most` messages to people that are not final; how many there were.

        One whose hand-off is under way ends as that ends. The people are locked.
        """
        found = await store.open_of(tx, workspace_id, people, most)
        progress = await self.messages.progress(tx, [(workspace_id, one) for one in found]) if found else {}
        for one in progress.values():
            one.cancel(ERASED)
        await self.messages.save(tx, list(progress.values()))
        return len(found)

    async def in_flight(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> list[UUID]:
        """The attempts to people that have started and not ended. The people are locked."""
        return [one.id for one in await store.in_flight(tx, workspace_id, people, [])]

    async def relied_on(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> list[Relied]:
        """The consent entries that messages to people rested on."""
        return await store.relied_on(tx, workspace_id, people)

    async def reached_through(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> list[Reached]:
        """The vendor accounts that were handed anything for people, the first one first."""
        return await store.reached_through(tx, workspace_id, people)

    async def sweep(
        self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID], after: UUID | None, most: int
    ) -> list[UUID]:
        """Empty up to `most` messages to people behind `after`, in the order of their ids; which these were."""
        page = await store.page_of(tx, workspace_id, people, after, most)
        if page:
            await store.erase_messages(tx, workspace_id, page)
            await store.erase_attempts(tx, workspace_id, page)
        return page
