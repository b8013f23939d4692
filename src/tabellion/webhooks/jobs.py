"""`callback.normalise`: what a stored callback says becomes evidence on attempts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import accumulate, groupby
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
from tabellion.jobs.types import Begun, Claimed, Done, Later, NewJob, Ruling
from tabellion.messages.evidence import vendor_code, vendor_id
from tabellion.messages.service import Messages
from tabellion.messages.types import Attempt, Evidence, Place
from tabellion.providers.base import AddressSignal, InboundMessage, Normalised, Provider, StatusEvent
from tabellion.webhooks import sealing, store
from tabellion.webhooks.sealing import Pair
from tabellion.webhooks.service import NORMALISE
from tabellion.webhooks.types import Callback, Raw, Sealed

PATIENCE: Final = (0.2, 1, 5, 30, 120)
"""Seconds between looks for the attempt of a callback that came before the answer to its own request."""
AT_ONCE: Final = 512
"""Callbacks of one pass. A job carries those that were received together, so a backlog of jobs is a large one."""


@dataclass
class Reading:
    """One callback being normalised: what it says that is still to be applied."""

    job: Claimed
    callback: Callback
    plain: bytes
    """Its request, as `Raw`."""
    url: str
    said: Sequence[Normalised]
    places: Sequence[int]
    """Where in the body that stands which is still to be applied."""
    unmatched: list[int] = field(default_factory=list)
    """The places of status events whose attempt is not known yet."""
    people: set[UUID] = field(default_factory=set)
    """Whom the attempts found are to."""

    @property
    def pair(self) -> Pair:
        return self.callback.workspace_id, self.callback.id

    @property
    def patient(self) -> bool:
        return bool(self.unmatched) and _looks(self.job) < len(PATIENCE)

    def statuses(self) -> Iterator[tuple[int, StatusEvent]]:
        return ((place, one) for place in self.places if isinstance(one := self.said[place], StatusEvent))

    @property
    def about(self) -> UUID | None:
        """The one person that everything in the body is about, where that is known."""
        matched = len(self.people) == 1 and not self.unmatched and len(self.places) == len(self.said)
        return next(iter(self.people)) if matched and all(isinstance(one, StatusEvent) for one in self.said) else None

    @cached_property
    def named(self) -> UUID | None:
        """The attempt that the callback's own address names, where its body is about one message."""
        alone = len({one.provider_message_id for one in self.said if isinstance(one, StatusEvent)}) == 1
        return _named(self.url) if alone else None


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
        taken, split = _dealt(jobs)
        readings = await self._read(tx, taken)
        await self._apply(tx, readings)
        if received := [one for reading in readings for one in _received(reading)]:
            await self.events.append(tx, received)
        again = _again(tx.now, [reading for reading in readings if reading.patient])
        if more := [*again, *(one for job in split for one in _alone(job))]:
            await enqueue(tx, more, self.bell)
        await self._close(tx, [reading for reading in readings if not reading.patient])
        done = {job.id for job in (*taken, *split)}
        return [Done() if job.id in done else Later(tx.now, counted=False) for job in jobs]

    async def perform(self, work: None) -> None:
        raise AssertionError("normalising has nothing to perform")

    async def finish(self, tx: Tx, results: Sequence[tuple[Claimed, None, bool]]) -> Sequence[Ruling]:
        return [Done() for _ in results]

    async def lost(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        return None

    async def died(self, tx: Tx, jobs: Sequence[Claimed]) -> None:
        """Nothing waits for a callback: its bytes stay, and the dead letter says that nobody could read them."""

    async def _read(self, tx: Tx, jobs: Sequence[Claimed]) -> list[Reading]:
        """The callbacks in the order they came, read again from the stored bytes."""
        wanted = [(job, (job.workspace_id, UUID(one))) for job in jobs for one in _carried(job)]
        found = await store.read(tx, sorted({pair for _, pair in wanted})) if wanted else {}
        keys = await sealing.keys(tx, self.vault, found.values())
        if erased := sorted(found.keys() - keys.keys()):
            await store.mark(tx, [(*pair, "erased") for pair in erased])
        readings = [self._reading(job, found[pair], keys[pair]) for job, pair in wanted if pair in keys]
        return sorted(readings, key=lambda one: (one.callback.received_at, one.callback.id))

    def _reading(self, job: Claimed, callback: Callback, key: Key) -> Reading:
        plain = key.open(callback.raw, sealing.context(callback.id))
        raw = msgspec.json.decode(plain, type=Raw)
        said = self.providers[callback.provider].parse(raw.inbound())
        left: Sequence[int] | None = job.payload.get("places", {}).get(callback.id.hex)
        places = range(len(said)) if left is None else [place for place in left if place < len(said)]
        return Reading(job, callback, plain, raw.url, said, places)

    async def _apply(self, tx: Tx, readings: Sequence[Reading]) -> None:
        """Put status events on their attempts, and note those that found none."""
        statuses = [(reading, place, fact) for reading in readings for place, fact in reading.statuses()]
        attempts = await self._attempts(tx, statuses)
        evidence: list[tuple[Pair, Evidence]] = []
        unregistered: set[tuple[UUID, bytes]] = set()
        for (reading, place, fact), attempt in zip(statuses, attempts, strict=True):
            if attempt is None:
                reading.unmatched.append(place)
            else:
                reading.people.add(attempt.recipient_id)
                made = self._evidence(attempt, fact, reading.callback)
                evidence.append(((attempt.workspace_id, attempt.message_id), made))
                if fact.address_signal is AddressSignal.TOKEN_INVALID:
                    unregistered.add((attempt.workspace_id, attempt.identifier))
        if evidence:
            await self.messages.record(tx, evidence)
        await self.messages.unregister(tx, unregistered)

    async def _attempts(self, tx: Tx, statuses: Sequence[tuple[Reading, int, StatusEvent]]) -> list[Place | None]:
        """The attempt each status means: by the vendor's id for the message, else by the callback's address."""
        ids_ = [vendor_id(fact.provider_message_id) for _, _, fact in statuses]
        wanted = {
            (reading.callback.workspace_id, reading.callback.account_id, one)
            for (reading, _, _), one in zip(statuses, ids_, strict=True)
            if one
        }
        by_vendor = await self.messages.find_by_vendor_id(tx, sorted(wanted)) if wanted else {}
        found = [
            by_vendor.get((reading.callback.account_id, fact.provider_message_id)) for reading, _, fact in statuses
        ]
        names = {
            place: (reading.callback.workspace_id, name)
            for place, (reading, _, _) in enumerate(statuses)
            if found[place] is None and (name := reading.named)
        }
        by_name = await self.messages.find(tx, sorted(set(names.values()))) if names else {}
        for place, pair in names.items():
            found[place] = _meant(by_name.get(pair), statuses[place][0].callback)
        return found

    def _evidence(self, attempt: Place, fact: StatusEvent, callback: Callback) -> Evidence:
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
        """Mark what is settled, sealed for its person where it is about one.

        What waited long enough stays, marked, to be normalised again.
        """
        if readings:
            common = [one for one in readings if one.callback.recipient_id is None]
            about = {one.pair: (person, one.plain) for one in common if (person := one.about)}
            sealed = await sealing.reseal(tx, self.vault, about)
            await store.mark(tx, [(*one.pair, _became(one, sealed.get(one.pair))) for one in readings], sealed)
        if ended := [one for one in readings if one.unmatched]:
            await self.events.append(tx, [_unmatched(one) for one in ended])


def _became(reading: Reading, sealed: Sealed | None) -> str:
    if sealed is not None and sealed.raw is None:
        return "erased"
    return "unmatched" if reading.unmatched else "normalised"


def _carried(job: Claimed) -> list[str]:
    """The callbacks of a job."""
    carried: list[str] = job.payload["callbacks"]
    return carried


def _looks(job: Claimed) -> int:
    """How often the attempts were looked for before."""
    looks: int = job.payload.get("looks", 0)
    return looks


def _dealt(jobs: Sequence[Claimed]) -> tuple[list[Claimed], list[Claimed]]:
    """The jobs of this pass, and those to split because they failed before; the others are for the next pass."""
    split = [job for job in jobs if job.tries and len(_carried(job)) > 1]
    whole = [job for job in jobs if not job.tries or len(_carried(job)) == 1]
    sizes = accumulate(len(_carried(job)) for job in whole)
    taken = [job for place, (job, size) in enumerate(zip(whole, sizes, strict=True)) if not place or size <= AT_ONCE]
    return taken, split


def _alone(job: Claimed) -> Iterator[NewJob]:
    """A job for each callback of one that failed: whichever it was fails alone from here on."""
    for one in _carried(job):
        payload = {**job.payload, "callbacks": [one]}
        yield NewJob(WorkspaceId(job.workspace_id), NORMALISE, payload, job.lane)


def _again(now: datetime, readings: Sequence[Reading]) -> Iterator[NewJob]:
    """A later look for what found nothing: what was applied must not be applied twice."""
    for job, group in groupby(sorted(readings, key=lambda one: one.job.id), key=lambda one: one.job):
        left = {one.callback.id.hex: one.unmatched for one in group}
        payload = {"callbacks": list(left), "looks": _looks(job) + 1, "places": left}
        yield NewJob(job.workspace_id, NORMALISE, payload, job.lane, now + timedelta(seconds=PATIENCE[_looks(job)]))


def _named(url: str) -> UUID | None:
    """The attempt that the address of a callback names: we put it there when we sent."""
    try:
        names = parse_qs(urlsplit(url).query, max_num_fields=256).get("attempt", [])
        return ids.parse("att", names[0]) if names else None
    except (ValueError, NotFound):
        return None


def _meant(attempt: Attempt | None, callback: Callback) -> Place | None:
    """The attempt named, if this account made it and the vendor's id for it is not known to be another one."""
    if attempt is None or attempt.account_id != callback.account_id or attempt.provider_message_id is not None:
        return None
    return Place(attempt.workspace_id, attempt.message_id, attempt.id, attempt.recipient_id, attempt.identifier)


def _received(reading: Reading) -> Iterator[Event]:
    """The inbound messages of a callback, told at the first look and never again."""
    callback = reading.callback
    for message in (reading.said[place] for place in reading.places):
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
