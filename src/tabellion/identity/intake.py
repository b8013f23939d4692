"""Upserts of what comes in by itself, from files and other systems: what conflicts is left to people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.identity.clashes import Clash, clashes
from tabellion.identity.queue import Queue
from tabellion.identity.review_types import Identities, NewReview, ReviewKind, ReviewState
from tabellion.identity.service import Identity
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import IdentityConflict, NewRecipient, Upserted


@dataclass(frozen=True, slots=True)
class Intake:
    recipients: Recipients
    identity: Identity
    queue: Queue

    async def upsert(
        self, tx: Tx, workspace_id: WorkspaceId, units: Sequence[NewRecipient], *, source: str, actor: str
    ) -> list[Upserted | HubError]:
        """As `Recipients.upsert`; a unit that is refused as an identity conflict has a review, which its refusal names.

        The review is opened in this transaction. One about the same identifiers that is open or was rejected is it
        already: it only counts that it was seen again.
        """
        absorbed, upsert = self.identity.absorbed, self.recipients.upsert
        answers = await upsert(tx, workspace_id, units, absorbed=absorbed, source=source, actor=actor, brought=True)
        refused = {index: one for index, one in enumerate(answers) if isinstance(one, IdentityConflict)}
        if not refused:
            return answers
        found = await self._reviewed(tx, workspace_id, units, refused, source)
        return [found.get(index, one) for index, one in enumerate(answers)]

    async def _reviewed(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        units: Sequence[NewRecipient],
        refused: Mapping[int, IdentityConflict],
        source: str,
    ) -> dict[int, IdentityConflict]:
        """The refusals that name their review. None for one that by now is no conflict: it gets in the next time."""
        looked = await clashes(tx, self.recipients, workspace_id, [units[index] for index in refused])
        wanted = {index: clash for index, clash in zip(refused, looked, strict=True) if clash is not None}
        items = [_item(clash, refused[index], source) for index, clash in wanted.items()]
        put = await self.queue.put(tx, workspace_id, items) if items else []
        named = {index: one for index, one in zip(wanted, put, strict=True) if one is not None}
        return {index: _naming(refused[index], *one) for index, one in named.items()}


def _item(clash: Clash, refusal: IdentityConflict, source: str) -> NewReview:
    evidence = Identities(refusal.detail, clash.candidates(source), clash.unit)
    return NewReview(ReviewKind.IDENTITY_CONFLICT, clash.hashes, clash.people, source, evidence)


def _naming(refusal: IdentityConflict, review_id: UUID, state: ReviewState) -> IdentityConflict:
    shown = ids.show("rev", review_id)
    said = f"{shown} rejected that they are one" if state is ReviewState.REJECTED else f"to be decided in {shown}"
    return IdentityConflict(f"{refusal.detail} ({said})")
