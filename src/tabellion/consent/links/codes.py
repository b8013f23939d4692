"""Codes: who wants to turn something on proves that the address is theirs, at that moment."""

import os
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from tabellion.consent.links import rules, store
from tabellion.consent.links.store import Code
from tabellion.consent.links.types import CODE_LASTS, CODE_PAUSE, CODE_TRIES, CODES_A_DAY, Place
from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.events.types import Event

DAY: Final = timedelta(days=1)


class Sent(StrEnum):
    """What came of asking for a code."""

    SENT = "sent"
    STANDING = "standing"
    """One was sent within the last minute, and still counts."""
    LIMITED = "limited"


@dataclass(frozen=True, slots=True)
class Codes:
    vault: Vault
    events: EventLog

    async def request(self, tx: Tx, workspace_id: WorkspaceId, place: Place) -> Sent:
        """Have a code sent to an address of a person who is locked, unless it was sent too many."""
        last = await store.code(tx, workspace_id, place.recipient_id, place.identifier.hash, place.channel)
        if last and tx.now - last.sent_at < CODE_PAUSE and tx.now < last.expires_at:
            return Sent.STANDING
        if await store.sent_since(tx, workspace_id, place.identifier.hash, tx.now - DAY) >= CODES_A_DAY:
            return Sent.LIMITED
        await store.set_code(tx, workspace_id, _next(place, last, tx))
        await self.events.append(tx, [_requested(workspace_id, place)])
        return Sent.SENT

    async def check(self, tx: Tx, workspace_id: WorkspaceId, place: Place, given: str) -> bool:
        """Whether this is the code that was sent there, to a person who is locked. A right one counts once."""
        last = await store.code(tx, workspace_id, place.recipient_id, place.identifier.hash, place.channel)
        if last is None or last.expires_at <= tx.now or last.tries >= CODE_TRIES:
            return False
        await store.count_try(tx, workspace_id, last)
        if not rules.same_code(given, rules.code(await self._key(tx, workspace_id), last.salt)):
            return False
        await store.use_code(tx, workspace_id, last)
        return True

    async def unsent(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> list[tuple[Code, str]]:
        """The codes for a person that no message carries yet, each with its digits."""
        found = await store.unsent(tx, workspace_id, recipient_id)
        key = await self._key(tx, workspace_id) if found else None
        return [(one, rules.code(key, one.salt)) for one in found if key]

    async def carried(self, tx: Tx, workspace_id: WorkspaceId, one: Code, message_id: UUID) -> None:
        """Note the message that carries a code."""
        await store.set_carrier(tx, workspace_id, one, message_id)

    async def _key(self, tx: Tx, workspace_id: WorkspaceId) -> Key:
        return await self.vault.workspace(tx, workspace_id, "codes")


def _next(place: Place, last: Code | None, tx: Tx) -> Code:
    new = Code(
        place.recipient_id, place.identifier.hash, place.channel, os.urandom(16), tx.now, tx.now + CODE_LASTS, 0,
        tx.now, 1,
    )  # fmt: skip
    if last is None or tx.now - last.day_at >= DAY:
        return new
    return replace(new, day_at=last.day_at, day_sent=last.day_sent + 1)


def _requested(workspace_id: WorkspaceId, place: Place) -> Event:
    return Event(
        workspace_id=workspace_id,
        type="consent.code_requested",
        data={"recipient": {"id": ids.show("rcp", place.recipient_id)}, "channel": place.channel},
        recipient_id=RecipientId(place.recipient_id),
    )
