"""Double opt-in: what waits for the person's confirmation, being asked once, and what a confirmation grants."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from tabellion.consent.links import store
from tabellion.consent.links.store import Confirmation
from tabellion.consent.links.types import ASK_AGAIN, CONFIRM_WITHIN, Waiting
from tabellion.consent.service import Consent
from tabellion.consent.types import Basis, Decision, Method, NewDecision, Notice, Rank, Recorded, Scheme
from tabellion.consent.withdrawing import PERSON
from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.providers.base import Channel
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Identifier, Kind, Ref

SOURCE: Final = "confirmation_page"
BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Confirming:
    consent: Consent
    recipients: Recipients
    events: EventLog

    async def wait(self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> Waiting | None:
        """Let a pending entry wait for its confirmation. None where it does already, or never will any more."""
        waiting = await self._recorded(tx, workspace_id, entry_id)
        if waiting is None or waiting.expires_at <= tx.now:
            return None
        one = Confirmation(
            workspace_id, entry_id, waiting.recipient_id, waiting.identifier.hash, waiting.channel, waiting.purpose,
            waiting.recorded_at, waiting.expires_at,
        )  # fmt: skip
        return waiting if await store.add_confirmation(tx, workspace_id, one) else None

    async def asked_lately(self, tx: Tx, workspace_id: WorkspaceId, waiting: Waiting) -> bool:
        """Whether its address was asked to confirm something within a day."""
        return await store.asked_since(tx, workspace_id, waiting.identifier.hash, tx.now - ASK_AGAIN)

    async def asked(self, tx: Tx, workspace_id: WorkspaceId, waiting: Waiting, message_id: UUID) -> None:
        """Note the message that asks."""
        await store.set_message(tx, workspace_id, waiting.entry_id, message_id)

    async def read(self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> Waiting | None:
        """What waits under this entry, or was confirmed, while its time is not over."""
        kept = await store.confirmation(tx, workspace_id, entry_id)
        if kept is None or kept.expires_at <= tx.now:
            return None
        return await self._recorded(tx, workspace_id, entry_id, kept.confirmed_at)

    async def confirm(
        self, tx: Tx, workspace_id: WorkspaceId, waiting: Waiting, evidence: Mapping[str, Any]
    ) -> Recorded | None:
        """Grant what the person confirms. None where they had, or the time is over: a link grants once.

        Raises where it cannot be recorded, and then nothing is: the address is no longer theirs, or the grant over.
        """
        pair = (workspace_id, waiting.recipient_id)
        await self.recipients.lock(tx, [pair], skip_locked=False)
        if not await store.confirm(tx, workspace_id, waiting.entry_id):
            return None
        [recorded] = await self.consent.record(tx, workspace_id, [_granted(waiting, evidence)])
        if isinstance(recorded, HubError):
            raise recorded
        return recorded

    async def end(self, db: Database) -> None:
        """Forget what was not confirmed in time, and say so; in batches, until nothing is left."""
        while await db.run(self._end) == BATCH:
            pass

    async def _end(self, tx: Tx) -> int:
        ended = await store.end_confirmations(tx, BATCH, tx.now - ASK_AGAIN)
        if events := [_expired(one) for one in ended if one.confirmed_at is None]:
            await self.events.append(tx, events)
        await store.end_codes(tx, ASK_AGAIN)
        return len(ended)

    async def _recorded(
        self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID, confirmed_at: datetime | None = None
    ) -> Waiting | None:
        record = (await self.consent.records(tx, workspace_id, [entry_id])).get(entry_id)
        if record is None or record["decision"] != Decision.PENDING or record.get("identifier") is None:
            return None
        kind, value = Kind(record["identifier"]["kind"]), record["identifier"]["value"]
        hash_ = await self.recipients.hashed(tx, workspace_id, Ref(kind=kind, value=value))
        assert hash_ is not None, "a ref with a kind has a hash"
        at = datetime.fromisoformat(record["recorded_at"])
        return _waiting(entry_id, record, Identifier(kind, value, hash_, record["source"], at, at), at, confirmed_at)


# pure


def _waiting(
    entry_id: UUID, record: Mapping[str, Any], identifier: Identifier, at: datetime, confirmed_at: datetime | None
) -> Waiting:
    notice, ends = record.get("notice"), record.get("expires_at")
    return Waiting(
        entry_id=entry_id,
        recipient_id=ids.parse("rcp", record["recipient"]),
        identifier=identifier,
        channel=Channel(record["channel"]),
        purpose=record["purpose"],
        basis=Basis(record["basis"]) if record.get("basis") else None,
        recorded_at=at,
        expires_at=at + CONFIRM_WITHIN,
        confirmed_at=confirmed_at,
        notice=Notice(notice["id"], notice["version"]) if notice else None,
        scheme=Scheme(record["scheme"]) if record.get("scheme") else None,
        jurisdiction=record.get("jurisdiction"),
        grant_expires_at=datetime.fromisoformat(ends) if ends else None,
    )


def _granted(waiting: Waiting, evidence: Mapping[str, Any]) -> NewDecision:
    """The person's own consent, whatever the pending grant rested on."""
    return NewDecision(
        recipient=Ref(id=waiting.recipient_id),
        channel=waiting.channel,
        purpose=waiting.purpose,
        decision=Decision.GRANTED,
        basis=Basis.CONSENT,
        method=Method.DOUBLE_OPT_IN,
        source=SOURCE,
        rank=Rank.PERSON,
        actor=PERSON,
        identifier=Ref(kind=waiting.identifier.kind, value=waiting.identifier.value),
        notice=waiting.notice,
        evidence={**evidence, "pending": ids.show("cns", waiting.entry_id)},
        scheme=waiting.scheme,
        jurisdiction=waiting.jurisdiction,
        expires_at=waiting.grant_expires_at,
    )


def _expired(one: Confirmation) -> Event:
    consent = {
        "id": ids.show("cns", one.entry_id),
        "channel": one.channel,
        "purpose": one.purpose,
        "reason": "confirmation_expired",
        "asked": one.message_id is not None,
    }
    return Event(
        workspace_id=WorkspaceId(one.workspace_id),
        type="consent.expired",
        data={"recipient": {"id": ids.show("rcp", one.recipient_id)}, "consent": consent},
        recipient_id=RecipientId(one.recipient_id),
    )
