"""Ending a restriction that somebody entered by mistake: an entry that says so. It never grants anything."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tabellion.consent import rules, store
from tabellion.consent.recording import Recorder
from tabellion.consent.stating import Stated, state
from tabellion.consent.types import (
    Decision,
    Method,
    NewDecision,
    Outcome,
    Placed,
    Purposes,
    Rank,
    Scope,
    Standing,
)
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.types import Identifier, Ref

HUB = "suppressions"


@dataclass(frozen=True, slots=True)
class Lifting:
    recorder: Recorder

    async def lift(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        purposes: Purposes,
        entry_id: UUID,
        recipient_id: UUID,
        identifier: Identifier | None,
        reason: str,
        actor: str,
    ) -> UUID:
        """End a restriction of a person who is locked; the entry that says so.

        Grants that it covers and that do not lift it end too: nothing is allowed by this that was not before.
        """
        hashes = [identifier.hash] if identifier else []
        owned = await self.recorder.recipients.identifiers(tx, [(workspace_id, recipient_id)])
        hashes += [one.hash for one in owned[workspace_id, recipient_id]]
        standing = await store.around_decisions(tx, workspace_id, sorted(set(hashes)), [recipient_id])
        of = next(one for one in standing if one.id == entry_id)
        said = _entry(of, list(silent(of, standing, purposes)), recipient_id, identifier, reason, actor, tx.now)
        [made] = await state(self.recorder, tx, workspace_id, purposes, standing, [said], lambda some: some)
        return made


def silent(of: Standing, standing: Iterable[Standing], purposes: Purposes) -> Iterable[Standing]:
    """The grants that a restriction covers, and that it alone keeps from counting."""
    scope = Scope(of.recipient_id or of.id, of.identifier_hash, of.person_scope, of.channel, of.purpose)
    return (
        one
        for one in standing
        if not one.strength
        and one.purpose in purposes
        and of.ordinal not in one.lifts
        and rules.covers(scope, one, purposes)
    )


def _entry(
    of: Standing,
    ended: list[Standing],
    recipient_id: UUID,
    identifier: Identifier | None,
    reason: str,
    actor: str,
    now: datetime,
) -> Stated:
    ends = frozenset({of.id, *(one.id for one in ended)})
    evidence = {"entry": ids.show("cns", of.id), "reason": reason}
    if ended:
        evidence["grants"] = ",".join(ids.show("cns", one.id) for one in ended[:50])
    new = NewDecision(
        recipient=Ref(id=recipient_id),
        channel=of.channel,
        purpose=of.purpose,
        decision=Decision.EXPIRED,
        basis=None,
        method=Method.API,
        source=HUB,
        rank=Rank.SECRET_KEY,
        actor=actor,
        evidence=evidence,
    )
    scope = Scope(recipient_id, of.identifier_hash, of.person_scope, of.channel, of.purpose)
    placed = Placed(scope, identifier, address_only=False)
    return Stated(new, placed, Outcome(Decision.EXPIRED, Rank.SECRET_KEY, applied=True, ends=ends), now)
