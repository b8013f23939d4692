"""`callback.normalise`: what a stored callback says becomes evidence on attempts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.jobs.types import Begun, Claimed, Done, Later, Ruling
from tabellion.messages.service import Messages
from tabellion.messages.types import Evidence
from tabellion.providers.base import InboundMessage, Normalised, Provider, StatusEvent
from tabellion.webhooks import store
from tabellion.webhooks.service import NORMALISE, context
from tabellion.webhooks.types import Callback, Raw

PATIENCE: Final = (0.2, 1, 5, 30, 120)
"""Seconds between looks for the attempt of a callback that came before the answer to its own request."""


@dataclass(frozen=True)
class Normalise:
    messages: Messages
    vault: Vault
    events: EventLog
    providers: Mapping[str, Provider[Any]]
    name: str = NORMALISE
    max_tries: int = 50

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        pairs = [(job.workspace_id, UUID(job.payload["callback"])) for job in jobs]
        found = await store.read(tx, pairs)
        said = {pair: await self._parse(tx, callback) for pair, callback in found.items()}
        unmatched = await self._apply(tx, [(found[pair], events) for pair, events in said.items()])
        await self._announce(tx, [(found[pair], events) for pair, events in said.items() if pair not in unmatched])
        begun: list[Begun] = []
        for job, pair in zip(jobs, pairs, strict=True):
            waits = pair in unmatched and job.tries < len(PATIENCE)
            begun.append(Later(tx.now + timedelta(seconds=PATIENCE[job.tries])) if waits else Done())
        await self._close(tx, jobs, pairs, found, unmatched)
        return begun

    async def perform(self, work: None) -> None:
        raise AssertionError("normalising has nothing to perform")

    async def finish(self, tx: Tx, results: Sequence[tuple[Claimed, None, bool]]) -> Sequence[Ruling]:
        return [Done() for _ in results]

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        return None

    async def _parse(self, tx: Tx, callback: Callback) -> list[Normalised]:
        """The callback's events, read again from the stored bytes."""
        key = await self.vault.workspace(tx, WorkspaceId(callback.workspace_id), "callbacks")
        raw = msgspec.json.decode(key.open(callback.raw, context(callback.id)), type=Raw)
        return self.providers[callback.provider].parse(raw.inbound())

    async def _apply(self, tx: Tx, said: Sequence[tuple[Callback, Sequence[Normalised]]]) -> set[tuple[UUID, UUID]]:
        """Put status events on their attempts; the callbacks that found none."""
        facts = [(callback, one) for callback, events in said for one in events if isinstance(one, StatusEvent)]
        wanted = [(c.workspace_id, c.account_id, one.provider_message_id) for c, one in facts]
        attempts = await self.messages.find_by_vendor_id(tx, wanted) if wanted else {}
        evidence, unmatched = [], set()
        for callback, fact in facts:
            attempt = attempts.get((callback.account_id, fact.provider_message_id))
            if attempt is None:
                unmatched.add((callback.workspace_id, callback.id))
            else:
                evidence.append(((attempt.workspace_id, attempt.message_id), _evidence(attempt.id, fact)))
        if evidence:
            await self.messages.record(tx, evidence)
        return unmatched

    async def _announce(self, tx: Tx, said: Sequence[tuple[Callback, Sequence[Normalised]]]) -> None:
        received = [
            _received(callback, one) for callback, events in said for one in events if isinstance(one, InboundMessage)
        ]
        if received:
            await self.events.append(tx, received)

    async def _close(
        self,
        tx: Tx,
        jobs: Sequence[Claimed],
        pairs: Sequence[tuple[UUID, UUID]],
        found: Mapping[tuple[UUID, UUID], Callback],
        unmatched: set[tuple[UUID, UUID]],
    ) -> None:
        """Mark what is settled; what waited long enough stays, marked, to be normalised again."""
        ended = [
            pair for job, pair in zip(jobs, pairs, strict=True) if job.tries >= len(PATIENCE) and pair in unmatched
        ]
        settled = [(*pair, "normalised") for pair in found if pair not in unmatched]
        await store.mark(tx, settled + [(*pair, "unmatched") for pair in ended])
        if ended:
            await self.events.append(tx, [_unmatched(found[pair]) for pair in ended])


def _evidence(attempt_id: UUID, fact: StatusEvent) -> Evidence:
    return Evidence(
        attempt_id=attempt_id,
        state=fact.state,
        reason=fact.reason,
        permanent=fact.permanent,
        provider_message_id=fact.provider_message_id,
        provider_code=fact.provider_code,
        occurred_at=fact.occurred_at,
    )


def _received(callback: Callback, message: InboundMessage) -> Event:
    return Event(
        workspace_id=WorkspaceId(callback.workspace_id),
        type="inbound.received",
        data={
            "callback": ids.show("cbk", callback.id),
            "account_id": ids.show("acc", callback.account_id),
            "provider": callback.provider,
            "channel": message.channel,
            "signal": message.signal,
        },
        occurred_at=message.occurred_at,
    )


def _unmatched(callback: Callback) -> Event:
    return Event(
        workspace_id=WorkspaceId(callback.workspace_id),
        type="callback.unmatched",
        data={"callback": ids.show("cbk", callback.id), "provider": callback.provider},
    )
