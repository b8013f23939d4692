"""Consent when a person is erased.

What they had refused goes on standing, for each of their addresses by its keyed hash alone; everything else about
whom it was ends. The leaves of the tree stay, and say nothing about anybody without the keys that are destroyed.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from tabellion.consent import store
from tabellion.consent.keywords import store as keywords
from tabellion.consent.links import store as links
from tabellion.consent.placing import reached
from tabellion.consent.recording import Recorder
from tabellion.consent.stating import Stated, state
from tabellion.consent.types import (
    ANY,
    MARKETING,
    RESEARCH,
    Decision,
    Method,
    NewDecision,
    Outcome,
    Placed,
    Proof,
    Purposes,
    Rank,
    Scope,
    Standing,
    Strength,
)
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.erasing import Person
from tabellion.recipients.types import DELIVERABLE, Identifier, Ref

OPTIONAL: Final = (MARKETING, RESEARCH)
"""What the wish to be erased objects to: what nobody needs to be told, whatever purposes there will be."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A restriction that the hub states again for one address, because its person is about to be no more."""

    identifier: Identifier
    channel: str
    purpose: str
    decision: Decision
    strength: Strength
    of: Standing | None = None
    """What it says again; None: the objection that lies in the wish to be erased."""


@dataclass(frozen=True, slots=True)
class Erasing:
    recorder: Recorder

    async def proofs(self, tx: Tx, workspace_id: WorkspaceId, entry_ids: Sequence[UUID]) -> list[Proof]:
        """The record and the key of each entry that can still be opened, for keeping them apart."""
        kept = await store.sealed(tx, workspace_id, entry_ids)
        keys = await self.recorder.vault.subjects(tx, workspace_id, {one.subject_id for one in kept})
        return [
            Proof(
                entry_id=one.id,
                ordinal=one.ordinal,
                purpose=one.purpose,
                record=key.open(one.sealed, f"consent:{workspace_id}:{one.id}"),
                key=key.derive(f"entry:{one.id}").raw(),
            )
            for one in kept
            if (key := keys.get(one.subject_id))
        ]

    async def erase(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        purposes: Purposes,
        person: Person,
        actor: str,
        kept: Collection[bytes],
    ) -> int:
        """End what counts for a person who is locked, but for their refusals at the addresses kept, by hash alone.

        How many entries lost whom they were about. Their keys must be destroyed after this, in the same transaction.
        """
        hashes = [one.hash for one in person.identifiers]
        standing = await store.around_decisions(tx, workspace_id, hashes, person.ids)
        mine = [one for one in standing if one.recipient_id in person.ids or one.identifier_hash in hashes]
        if kept:
            said = statements(person, mine)
            await state(
                self.recorder, tx, workspace_id, purposes, mine, said,
                lambda some: (_entry(one, person.root, actor, tx.now) for one in some),
            )  # fmt: skip
        await store.unblock(tx, workspace_id, sorted({*hashes}.difference(kept)))
        await links.forget_confirmations(tx, workspace_id, person.ids, hashes)
        await links.forget_codes(tx, workspace_id, person.ids, hashes)
        await keywords.forget(tx, workspace_id, hashes)
        return await store.forget(tx, workspace_id, person.ids, sorted(kept))


# pure


def statements(person: Person, standing: Iterable[Standing]) -> list[Statement]:
    """For each address: an objection to all marketing and research, and again what the whole person had refused there.

    What names the address stands already.
    """
    whole = [one for one in standing if one.strength and one.person_scope and one.recipient_id in person.ids]
    firm = Decision.OBJECTED, Strength.FIRM
    said: list[Statement] = []
    for address in person.identifiers:
        if address.kind not in DELIVERABLE:
            continue
        said += [Statement(address, ANY, one, *firm) for one in OPTIONAL]
        said += [
            Statement(address, one.channel, one.purpose, one.decision, one.strength, one)
            for one in whole
            if address.kind in reached(one.channel) and one.identifier_hash != address.hash
        ]
    return said


def _entry(said: Statement, root: UUID, actor: str, now: datetime) -> Stated:
    outcome = Outcome(said.decision, Rank.SECRET_KEY, applied=True, strength=said.strength)
    new = NewDecision(
        recipient=Ref(id=root),
        channel=said.channel,
        purpose=said.purpose,
        decision=said.decision,
        basis=None,
        method=Method.ERASURE,
        source=Method.ERASURE.value,
        rank=Rank.SECRET_KEY,
        actor=actor,
        identifier_only=True,
        evidence={"entry": ids.show("cns", said.of.id)} if said.of else None,
    )
    scope = Scope(root, said.identifier.hash, False, said.channel, said.purpose)
    placed = Placed(scope, said.identifier, address_only=False)
    return Stated(new, placed, outcome, said.of.effective_at if said.of else now)
