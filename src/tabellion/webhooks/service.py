"""Receiving callbacks: raw bytes and the person's decisions are durable before the vendor hears yes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from tabellion.consent.service import Consent
from tabellion.consent.types import RecipientSignal, Recorded
from tabellion.core import ids
from tabellion.core.crypto import Key, sha256
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.core.wake import Bell
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Lane, NewJob
from tabellion.messages.evidence import storable
from tabellion.providers.base import Feature, InboundMessage, Provider, Signal
from tabellion.webhooks import sealing, store
from tabellion.webhooks.types import Arrived, Callback, Raw

NORMALISE = "callback.normalise"
LONGEST_SENDER = 255
_SAYS = frozenset(Signal) - {Signal.AUTORESPONDED}
"""Signals that somebody gave; what a machine answers says nothing."""


@dataclass(frozen=True)
class Webhooks:
    vault: Vault
    consent: Consent
    providers: Mapping[str, Provider[Any]]
    bell: Bell | None = None

    async def receive(self, tx: Tx, workspace_id: WorkspaceId, arrived: Sequence[Arrived]) -> None:
        """Store verified callbacks of one workspace side, record the decisions in them, enqueue the rest.

        A callback that came before is left as it is: its signals count once.
        """
        key = await self.vault.workspace(tx, workspace_id, "callbacks")
        callbacks = [_callback(tx, workspace_id, one, key) for one in arrived]
        new = await store.insert(tx, callbacks)
        fresh = [(callback, one) for callback, one in zip(callbacks, arrived, strict=True) if callback.id in new]
        await self._decide(tx, workspace_id, fresh)
        if fresh:
            await enqueue(tx, [_job(workspace_id, [callback for callback, _ in fresh])], self.bell)

    async def forget(
        self, tx: Tx, workspace_id: WorkspaceId, before: UUID, most: int, spared: Sequence[UUID] = ()
    ) -> int:
        """Delete up to `most` callbacks, the oldest first, whose ids lie before; how many there were.

        Those known to be about one of the people `spared` stay.
        """
        return await store.delete(tx, workspace_id, before, spared, most)

    async def of_people(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        recipient_ids: Sequence[UUID],
        after: UUID | None,
        limit: int,
    ) -> tuple[list[tuple[Callback, Raw]], UUID | None]:
        """Callbacks that are about one person alone, oldest first, opened; and after which to go on, None at the end.

        A page may be empty and yet lead on: what does not open any more is left out.
        """
        found = await store.of_people(tx, workspace_id, recipient_ids, after, limit)
        keys = await sealing.keys(tx, self.vault, found)
        opened = [(one, _opened(one, key)) for one in found if (key := keys.get((one.workspace_id, one.id)))]
        return opened, found[-1].id if len(found) == limit else None

    async def _decide(self, tx: Tx, workspace_id: WorkspaceId, fresh: Sequence[tuple[Callback, Arrived]]) -> None:
        """Record the decisions, and seal what holds one for the person who made it."""
        signals = [(callback, signal) for callback, one in fresh for signal in self._signals(callback, one)]
        if not signals:
            return
        became = await self.consent.record_signals(tx, workspace_id, [signal for _, signal in signals])
        told = zip(signals, became, strict=True)
        people = {callback.id: one.recipient_id for (callback, _), one in told if isinstance(one, Recorded)}
        await self._reseal(tx, [(*one, people[one[0].id]) for one in fresh if one[0].id in people])

    async def _reseal(self, tx: Tx, decided: Sequence[tuple[Callback, Arrived, UUID]]) -> None:
        """Seal what holds one decision, and nothing else, for the person who made it."""
        about = {
            (callback.workspace_id, callback.id): (person, msgspec.json.encode(Raw.of(one.inbound)))
            for callback, one, person in decided
            if len(one.parsed) == 1
        }
        if about:
            sealed = await sealing.reseal(tx, self.vault, about)
            await store.mark(tx, [(*pair, "received") for pair in about], sealed)

    def _signals(self, callback: Callback, arrived: Arrived) -> Iterator[RecipientSignal]:
        """What persons said in a callback, from which address, to which of our senders: consent knows what it means."""
        provider = self.providers[arrived.account.provider]
        for one in arrived.parsed:
            if isinstance(one, InboundMessage) and (one.signal in _SAYS or (one.text and one.signal is None)):
                yield RecipientSignal(
                    signal=one.signal,
                    channel=one.channel,
                    address=one.address,
                    source=arrived.account.provider,
                    actor=ids.show("acc", arrived.account.id),
                    sender=storable(
                        provider.sender(arrived.account.settings, one.recipient_address) or "", LONGEST_SENDER
                    ),
                    blocked_by_vendor=Feature.HANDLES_KEYWORDS in provider.features,
                    occurred_at=one.occurred_at,
                    evidence={"callback": ids.show("cbk", callback.id)},
                    text=one.text,
                    account_id=arrived.account.id,
                    brand=arrived.account.brand,
                )


def _opened(callback: Callback, key: Key) -> Raw:
    return msgspec.json.decode(key.open(callback.raw, sealing.context(callback.id)), type=Raw)


def digest(arrived: Arrived) -> bytes:
    """What makes a callback the same as an earlier one."""
    head = f"{arrived.account.id}\0{arrived.inbound.method}\0{arrived.inbound.url}\0"
    return sha256(head.encode() + arrived.inbound.body)


def _callback(tx: Tx, workspace_id: WorkspaceId, arrived: Arrived, key: Key) -> Callback:
    callback_id = ids.new()
    return Callback(
        workspace_id=workspace_id,
        id=callback_id,
        account_id=arrived.account.id,
        provider=arrived.account.provider,
        received_at=tx.now,
        digest=digest(arrived),
        raw=key.seal(msgspec.json.encode(Raw.of(arrived.inbound)), sealing.context(callback_id)),
    )


def _job(workspace_id: WorkspaceId, callbacks: Sequence[Callback]) -> NewJob:
    """One pass over what was received together."""
    return NewJob(workspace_id, NORMALISE, {"callbacks": [one.id.hex for one in callbacks]}, Lane.HIGH)
