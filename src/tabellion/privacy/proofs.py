"""Held proofs: of an erased person's consents, those that messages relied on, until nobody can be asked for them.

Each is sealed under a key of its own. It opens for a compliance key that gives a reason, once another key agreed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final
from uuid import UUID

import msgspec

from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.consent.types import Proof
from tabellion.core import ids
from tabellion.core.crypto import b64, sha256
from tabellion.core.db import Database, Tx
from tabellion.core.errors import NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.ledger import ordinals
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf
from tabellion.privacy import proof_store as store
from tabellion.privacy.orders import Gone, NotReady, require_other
from tabellion.privacy.proof_store import HeldProof, Opening

LOG: Final = "consent"
READABLE: Final = timedelta(hours=24)
"""How long a proof can be read once a second key agreed."""
BATCH: Final = 200


class Opened(msgspec.Struct, frozen=True):
    """What a held proof shows: with the public leaf at `log_index` of its log it proves what was recorded."""

    record: str
    """The committed record, canonical JSON."""
    key: str
    """Base64; HMAC-SHA256 of the record under it is the commitment in the leaf."""


@dataclass(frozen=True)
class Proofs:
    vault: Vault
    ledger: Ledger
    events: EventLog

    async def hold(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        regulation_id: UUID,
        proofs: Sequence[Proof],
        until: Mapping[UUID, datetime],
    ) -> list[HeldProof]:
        """Keep proofs of a person who is about to be erased, each until its time (by entry)."""
        made = {ids.new(): one for one in proofs}
        keys = await self.vault.subjects(tx, workspace_id, made)
        held = [
            HeldProof(
                proof_id,
                regulation_id,
                one.entry_id,
                one.ordinal,
                one.purpose,
                keys[proof_id].seal(_plain(one), _context(workspace_id, proof_id)),
                tx.now,
                until[one.entry_id],
            )
            for proof_id, one in made.items()
        ]
        if held:
            await store.insert(tx, workspace_id, held)
        return held

    async def of(self, tx: Tx, workspace_id: WorkspaceId, regulation_id: UUID) -> list[HeldProof]:
        """What is or was held of one erasure."""
        return await store.of_regulation(tx, workspace_id, regulation_id)

    async def page(self, tx: Tx, workspace_id: WorkspaceId, before: UUID | None, limit: int) -> list[HeldProof]:
        return await store.page(tx, workspace_id, before, limit)

    async def ask(self, tx: Tx, caller: Caller, proof_id: UUID, reason: str) -> Opening:
        """Ask for a proof to be opened. Audited. Raises `NotFound`, or 410 where it was destroyed."""
        caller.require_compliance("opening a held proof")
        await self._there(tx, caller.workspace_id, proof_id)
        opening = Opening(ids.new(), proof_id, reason, caller.actor, tx.now)
        await store.insert_opening(tx, caller.workspace_id, opening)
        await self._audit(tx, caller, "asked", opening)
        return opening

    async def approve(self, tx: Tx, caller: Caller, opening_id: UUID) -> Opening:
        """Agree that it is opened, as another key than the one that asked. Audited."""
        caller.require_compliance("opening a held proof")
        opening = await self._opening(tx, caller.workspace_id, opening_id)
        require_other(caller, opening.requested_by)
        if opening.approved_at is None:
            await store.approve_opening(tx, caller.workspace_id, opening_id, caller.actor, tx.now + READABLE)
            await self._audit(tx, caller, "approved", opening)
        return await self._opening(tx, caller.workspace_id, opening_id)

    async def open(self, tx: Tx, caller: Caller, opening_id: UUID) -> tuple[HeldProof, Opened]:
        """The proof, for the key that asked. Audited each time. Raises 409 before another agreed, 410 when late."""
        caller.require_compliance("opening a held proof")
        opening = await self._opening(tx, caller.workspace_id, opening_id)
        if opening.ends_at is None or opening.requested_by != caller.actor:
            raise NotReady("a second key has to approve it, and then the key that asked reads it")
        if opening.ends_at <= tx.now:
            raise Gone("the time to read it is over; ask again")
        proof = await self._there(tx, caller.workspace_id, opening.proof_id)
        key = (await self.vault.subjects(tx, caller.workspace_id, [proof.id]))[proof.id]
        await self._audit(tx, caller, "opened", opening)
        plain = key.open(proof.sealed or b"", _context(caller.workspace_id, proof.id))
        return proof, msgspec.json.decode(plain, type=Opened)

    async def expire(self, db: Database) -> Counter[UUID]:
        """Destroy what nobody needs any more, in batches; how many of each side.

        Each destruction is an entry in the ledger.
        """
        total: Counter[UUID] = Counter()
        while gone := await db.run(self._destroy):
            total += gone
        return total

    async def _destroy(self, tx: Tx) -> Counter[UUID]:
        found = await store.expired(tx, BATCH)
        for side, group in groupby(sorted(found, key=lambda one: one[0]), key=lambda one: one[0]):
            await self._destroy_of(tx, WorkspaceId(side), [proof for _, proof in group])
        return Counter(side for side, _ in found)

    async def _destroy_of(self, tx: Tx, workspace_id: WorkspaceId, proofs: Sequence[HeldProof]) -> None:
        await store.destroy(tx, workspace_id, [one.id for one in proofs])
        await self.vault.destroy(tx, workspace_id, [one.id for one in proofs])
        told = [{"id": ids.show("prf", one.id), **ordinals.told(one.ordinal)} for one in proofs]
        await self.events.append(
            tx, [Event(workspace_id, "proof.destroyed", {"proof": one, "reason": "held_until"}) for one in told]
        )
        leaves = [Leaf(ids.new(), "proof_destroyed", sha256(one.entry_id.bytes), tx.now.date()) for one in proofs]
        await self.ledger.append(tx, workspace_id, leaves, LOG)

    async def _there(self, tx: Tx, workspace_id: WorkspaceId, proof_id: UUID) -> HeldProof:
        proof = await store.read(tx, workspace_id, proof_id)
        if proof is None:
            raise NotFound("proof_not_found", f"there is no held proof {ids.show('prf', proof_id)} here")
        if proof.destroyed_at is not None:
            raise Gone("the proof was destroyed when its time was over")
        return proof

    async def _opening(self, tx: Tx, workspace_id: WorkspaceId, opening_id: UUID) -> Opening:
        opening = await store.lock_opening(tx, workspace_id, opening_id)
        if opening is None:
            raise NotFound("opening_not_found", f"nobody asked under {ids.show('pop', opening_id)} here")
        return opening

    async def _audit(self, tx: Tx, caller: Caller, word: str, opening: Opening) -> None:
        # The reason is with the opening: people write it, and it may name a person.
        shown, detail = ids.show("prf", opening.proof_id), {"opening": ids.show("pop", opening.id)}
        await audit(tx, caller.workspace_id, caller.actor, f"proof.{word}", shown, detail)


def _plain(proof: Proof) -> bytes:
    return msgspec.json.encode(Opened(proof.record.decode(), b64(proof.key)))


def _context(workspace_id: UUID, proof_id: UUID) -> str:
    return f"proof:{workspace_id}:{proof_id}"
