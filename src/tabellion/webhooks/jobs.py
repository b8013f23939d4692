"""`callback.normalise`: what a stored callback says becomes evidence on attempts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import msgspec

from tabellion.core import ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.core.wake import Bell
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.jobs.service import enqueue
from tabellion.jobs.types import Begun, Claimed, Done, NewJob, Ruling
from tabellion.messages.evidence import vendor_code, vendor_id
from tabellion.messages.service import Messages
from tabellion.messages.types import Attempt, Evidence
from tabellion.providers.base import InboundMessage, Normalised, Provider, StatusEvent
from tabellion.webhooks import store
from tabellion.webhooks.service import NORMALISE, context
from tabellion.webhooks.types import Callback, Raw

PATIENCE: Final = (0.2, 1, 5, 30, 120)
"""Seconds between looks for the attempt of a callback that came before the answer to its own request."""

Pair = tuple[UUID, UUID]


@dataclass
class Reading:
    """One callback being normalised: what it says that is still to be applied."""

    job: Claimed
    callback: Callback
    named: UUID | None = None
    """The attempt that the callback's own address names, where its body is about one message."""
    wanted: Sequence[tuple[int, Normalised]] = ()
    """What it says, by place in the body."""
    unmatched: list[int] = field(default_factory=list)
    """The places of status events whose attempt is not known yet."""

    @property
    def pair(self) -> Pair:
        return self.callback.workspace_id, self.callback.id

    @property
    def looks(self) -> int:
        """How often the attempts were looked for before."""
        looks: int = self.job.payload.get("looks", 0)
        return looks

    @property
    def patient(self) -> bool:
        return bool(self.unmatched) and self.looks < len(PATIENCE)

    def statuses(self) -> Iterator[tuple[int, StatusEvent]]:
        return ((place, one) for place, one in self.wanted if isinstance(one, StatusEvent))

    def again(self, now: datetime) -> NewJob:
        """A later look, for what found nothing: the rest of the body must not be applied twice."""
        payload = {"callback": self.callback.id.hex, "looks": self.looks + 1, "places": self.unmatched}
        run_at = now + timedelta(seconds=PATIENCE[self.looks])
        return NewJob(WorkspaceId(self.callback.workspace_id), NORMALISE, payload, self.job.lane, run_at)


@dataclass(frozen=True)
class Normalise:
    messages: Messages
    vault: Vault
    events: EventLog
    providers: Mapping[str, Provider[Any]]
    bell: Bell | None = None
    name: str = NORMALISE
    max_tries: int = 50

    async def begin(self, tx: Tx, jobs: Sequence[Claimed]) -> Sequence[Begun]:
        readings = await self._read(tx, jobs)
        await self._apply(tx, readings)
        if received := [one for reading in readings for one in _received(reading)]:
            await self.events.append(tx, received)
        if again := [reading.again(tx.now) for reading in readings if reading.patient]:
            await enqueue(tx, again, self.bell)
        await self._close(tx, [reading for reading in readings if not reading.patient])
        return [Done() for _ in jobs]

    async def perform(self, work: None) -> None:
        raise AssertionError("normalising has nothing to perform")

    async def finish(self, tx: Tx, results: Sequence[tuple[Claimed, None, bool]]) -> Sequence[Ruling]:
        return [Done() for _ in results]

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        return None

    async def _read(self, tx: Tx, jobs: Sequence[Claimed]) -> list[Reading]:
        """The callbacks in the order they came, read again from the stored bytes."""
        pairs = [(job.workspace_id, UUID(job.payload["callback"])) for job in jobs]
        found = await store.read(tx, sorted(set(pairs)))
        sides = sorted({workspace_id for workspace_id, _ in found})
        keys = {side: await self.vault.workspace(tx, WorkspaceId(side), "callbacks") for side in sides}
        readings = [
            self._reading(job, found[pair], keys[pair[0]])
            for job, pair in zip(jobs, pairs, strict=True)
            if pair in found
        ]
        return sorted(readings, key=lambda one: (one.callback.received_at, one.callback.id))

    def _reading(self, job: Claimed, callback: Callback, key: Key) -> Reading:
        raw = msgspec.json.decode(key.open(callback.raw, context(callback.id)), type=Raw)
        said = self.providers[callback.provider].parse(raw.inbound())
        places = job.payload.get("places")
        wanted = [(place, one) for place, one in enumerate(said) if places is None or place in places]
        alone = len({one.provider_message_id for one in said if isinstance(one, StatusEvent)}) == 1
        return Reading(job, callback, _named(raw.url) if alone else None, wanted)

    async def _apply(self, tx: Tx, readings: Sequence[Reading]) -> None:
        """Put status events on their attempts, and note those that found none."""
        by_vendor, by_name = await self._attempts(tx, readings)
        evidence: list[tuple[Pair, Evidence]] = []
        for reading in readings:
            callback = reading.callback
            for place, fact in reading.statuses():
                attempt = by_vendor.get((callback.account_id, fact.provider_message_id)) or _meant(
                    by_name.get((callback.workspace_id, reading.named)) if reading.named else None, callback
                )
                if attempt is None:
                    reading.unmatched.append(place)
                else:
                    evidence.append(
                        ((attempt.workspace_id, attempt.message_id), self._evidence(attempt, fact, callback))
                    )
        if evidence:
            await self.messages.record(tx, evidence)

    async def _attempts(
        self, tx: Tx, readings: Sequence[Reading]
    ) -> tuple[dict[tuple[UUID, str], Attempt], dict[Pair, Attempt]]:
        """The attempts meant: by the vendor's id for the message, and by the name in the callback's address."""
        by_vendor = {
            (one.callback.workspace_id, one.callback.account_id, named)
            for one in readings
            for _, fact in one.statuses()
            if (named := vendor_id(fact.provider_message_id))
        }
        by_name = {(one.callback.workspace_id, one.named) for one in readings if one.named and any(one.statuses())}
        return (
            await self.messages.find_by_vendor_id(tx, sorted(by_vendor)) if by_vendor else {},
            await self.messages.find(tx, sorted(by_name)) if by_name else {},
        )

    def _evidence(self, attempt: Attempt, fact: StatusEvent, callback: Callback) -> Evidence:
        return Evidence(
            attempt_id=attempt.id,
            state=fact.state,
            reason=fact.reason,
            permanent=fact.permanent,
            provider_message_id=vendor_id(fact.provider_message_id),
            provider_code=vendor_code(fact.provider_code),
            occurred_at=fact.occurred_at,
            received_at=callback.received_at,
            raw_ref=callback.id,
            normaliser=f"{callback.provider}/{self.providers[callback.provider].version}",
        )

    async def _close(self, tx: Tx, readings: Sequence[Reading]) -> None:
        """Mark what is settled; what waited long enough stays, marked, to be normalised again."""
        if readings:
            await store.mark(tx, [(*one.pair, "unmatched" if one.unmatched else "normalised") for one in readings])
        if ended := [one for one in readings if one.unmatched]:
            await self.events.append(tx, [_unmatched(one) for one in ended])


def _named(url: str) -> UUID | None:
    """The attempt that the address of a callback names: we put it there when we sent."""
    try:
        names = parse_qs(urlsplit(url).query, max_num_fields=256).get("attempt", [])
        return ids.parse("att", names[0]) if names else None
    except (ValueError, NotFound):
        return None


def _meant(attempt: Attempt | None, callback: Callback) -> Attempt | None:
    """The attempt named, if this account made it and the vendor's id for it is not known to be another one."""
    if attempt is None or attempt.account_id != callback.account_id or attempt.provider_message_id is not None:
        return None
    return attempt


def _received(reading: Reading) -> Iterator[Event]:
    """The inbound messages of a callback, told at the first look and never again."""
    callback = reading.callback
    for _, message in reading.wanted:
        if isinstance(message, InboundMessage):
            yield Event(
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


def _unmatched(reading: Reading) -> Event:
    callback = reading.callback
    return Event(
        workspace_id=WorkspaceId(callback.workspace_id),
        type="callback.unmatched",
        data={
            "callback": ids.show("cbk", callback.id),
            "account_id": ids.show("acc", callback.account_id),
            "provider": callback.provider,
            "places": reading.unmatched,
        },
    )
