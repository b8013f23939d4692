"""Consent when an identifier is no longer a person's, and when a push token takes the place of another.

A grant covers one identifier of one person, and ends with either. A restriction follows the identifier by itself: it
covers whoever has it. Of a refreshed token see `docs/decisions/0012-resolution.md`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tabellion.consent import store
from tabellion.consent.batch import UNNUMBERED
from tabellion.consent.recording import Recorder
from tabellion.consent.stating import Stated, state
from tabellion.consent.types import (
    Decision,
    Method,
    NewDecision,
    Outcome,
    Placed,
    Purposes,
    Scope,
    Standing,
    Strength,
)
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.devices import same_app
from tabellion.recipients.types import Identifier, Ref

HUB = "hub"


@dataclass(frozen=True, slots=True)
class Statement:
    """What the hub says of an entry that stands: that it ends, or that it counts for another identifier too."""

    of: Standing
    identifier: Identifier
    why: str
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Releasing:
    recorder: Recorder

    async def release(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        purposes: Purposes,
        recipient_id: UUID,
        hashes: Collection[bytes],
        why: str,
        actor: str | None,
    ) -> None:
        """End the grants of a person for identifiers that the person still has. Restrictions stay as they are."""
        await store.settle(tx, workspace_id, [recipient_id], sorted(hashes))
        standing = await store.around_decisions(tx, workspace_id, sorted(hashes), [])
        grants = [one for one in standing if not one.strength and one.recipient_id == recipient_id]
        if grants:
            owned = await self._owned(tx, workspace_id, recipient_id)
            said = [Statement(one, owned[one.identifier_hash], why, ends=True) for one in grants if one.identifier_hash]
            await self._say(tx, workspace_id, purposes, recipient_id, said, standing, actor)

    async def refresh(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        purposes: Purposes,
        recipient_id: UUID,
        tokens: Sequence[tuple[bytes, bytes]],
        actor: str | None,
    ) -> None:
        """Let what stands about a push token count for the person's one (hash) that took its place.

        The person's grants go over where both are of one app, and end at the old token in any case; restrictions of
        the old token are said again of the new one. What was said about the new one already stays. Idempotent.
        """
        for old, new in tokens:
            standing = await store.around_decisions(tx, workspace_id, [old, new], [])
            if any(one.identifier_hash == old for one in standing):
                owned = await self._owned(tx, workspace_id, recipient_id)
                said = list(_refreshed(standing, owned, recipient_id, old, new))
                await self._say(tx, workspace_id, purposes, recipient_id, said, standing, actor)

    async def _owned(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> dict[bytes, Identifier]:
        owned = await self.recorder.recipients.identifiers(tx, [(workspace_id, recipient_id)])
        return {one.hash: one for one in owned[workspace_id, recipient_id]}

    async def _say(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        purposes: Purposes,
        recipient_id: UUID,
        said: Sequence[Statement],
        standing: Sequence[Standing],
        actor: str | None,
    ) -> None:
        def entries(batch: Sequence[Statement]) -> Iterator[Stated]:
            again: dict[int, int] = {}
            for place, one in enumerate(batch):
                if one.of.strength:
                    again[one.of.ordinal] = UNNUMBERED + place
                yield _entry(one, recipient_id, again, actor or HUB, tx.now)

        await state(self.recorder, tx, workspace_id, purposes, standing, said, entries)


# pure


def _refreshed(
    standing: Sequence[Standing], owned: Mapping[bytes, Identifier], recipient_id: UUID, old: bytes, new: bytes
) -> Iterator[Statement]:
    """Restrictions first: a grant that had lifted one lifts what it says again, too."""
    there = {(one.channel, one.purpose, bool(one.strength)) for one in standing if one.identifier_hash == new}
    follow = old in owned and same_app(owned[old].device, owned[new].device)
    mine = [one for one in standing if one.identifier_hash == old]
    for one in sorted(mine, key=lambda one: (-one.strength, one.ordinal)):
        place = (one.channel, one.purpose, bool(one.strength))
        if one.strength and place not in there:
            there.add(place)
            yield Statement(one, owned[new], "token_refreshed")
        elif not one.strength and one.recipient_id == recipient_id:
            if old in owned:
                yield Statement(one, owned[old], "token_refreshed", ends=True)
            if follow and place not in there:
                yield Statement(one, owned[new], "token_refreshed")


def _entry(said: Statement, recipient_id: UUID, again: Mapping[int, int], actor: str, now: datetime) -> Stated:
    """`again` are restrictions said again before, and what they are in the batch."""
    of = said.of
    decision = Decision.EXPIRED if said.ends else of.decision
    outcome = Outcome(
        decision,
        of.rank,
        applied=True,
        strength=Strength.NONE if said.ends else of.strength,
        lifts=frozenset() if said.ends else of.lifts | {again[one] for one in of.lifts if one in again},
        ends=frozenset({of.id}) if said.ends else frozenset(),
    )
    new = NewDecision(
        recipient=Ref(id=recipient_id),
        channel=of.channel,
        purpose=of.purpose,
        decision=decision,
        basis=None if said.ends else of.basis,
        method=Method.IDENTIFIER_RELEASED,
        source=Method.IDENTIFIER_RELEASED.value,
        rank=of.rank,
        actor=actor,
        evidence={"entry": ids.show("cns", of.id), "reason": said.why},
        expires_at=None if said.ends else of.expires_at,
    )
    scope = Scope(recipient_id, said.identifier.hash, False, of.channel, of.purpose)
    placed = Placed(scope, said.identifier, address_only=False)
    return Stated(new, placed, outcome, now if said.ends else of.effective_at)
