"""Use cases of receipts."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.consent.receipts.types import Erased
from tabellion.consent.service import Consent
from tabellion.consent.types import Proof
from tabellion.core import ids
from tabellion.core.crypto import b64
from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import ordinals
from tabellion.ledger.reading import Reading
from tabellion.ledger.types import Located


@dataclass(frozen=True)
class Receipts:
    consent: Consent
    reading: Reading

    async def issue(
        self, tx: Tx, caller: Caller, entry_id: UUID, *, disclose: bool = False, unwitnessed: bool = False
    ) -> str:
        """A receipt for the decision: C2SP tlog-proof. With `disclose` it shows the record and its key; audited.

        Raises `NotFound`; 410 `person_erased`; 409 `not_yet_published` before a published head covers it, unless
        `unwitnessed`.
        """
        entry = await self._entry(tx, caller.workspace_id, entry_id)
        proofs = await self.consent.proofs(tx, caller.workspace_id, [entry_id])
        if not proofs:
            raise Erased
        extra = disclosed(proofs[0]) if disclose else {}
        receipt = await self.reading.receipt(tx, entry.log, entry.index, extra, unwitnessed=unwitnessed)
        if disclose:
            detail = ordinals.told(entry.ordinal)
            await audit(tx, caller.workspace_id, caller.actor, "consent.disclosed", ids.show("cns", entry_id), detail)
        return receipt

    async def _entry(self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> Located:
        found = await self.reading.find(tx, workspace_id, entry_id)
        if found is None or msgspec.json.decode(found.leaf)["type"] != "consent":
            raise NotFound("not_found", "there is no such decision here; its id is in the answer that recorded it")
        return found


def disclosed(proof: Proof) -> dict[str, Any]:
    """HMAC-SHA256 of the record's canonical JSON (RFC 8785) under the key is the commitment in the entry."""
    return {"record": msgspec.json.decode(proof.record), "key": b64(proof.key)}
