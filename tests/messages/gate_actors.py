"""What happens at random in a world: people decide, messages are accepted and begun, addresses find their owners."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from random import Random
from time import monotonic
from typing import TypeVar

from tabellion.consent.types import ANY, Decision, Rank
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, Unavailable
from tabellion.jobs import service as jobs
from tabellion.jobs import store as jobs_store
from tabellion.jobs.rules import group
from tabellion.jobs.slots import Unit
from tabellion.jobs.steps import alike, by_lane
from tabellion.jobs.store import Lease
from tabellion.jobs.types import Claimed, Lane
from tabellion.messages.service import Send
from tabellion.messages.types import Content, Guarantee, Step
from tabellion.providers.base import Accepted, Channel, Deferred, Reason, Rejected, Uncertain
from tabellion.recipients.types import Kind, Upserted

from .gate_judge import Span
from .gate_policies import GOVERNED, Governor
from .gate_words import Address, Asked, How, Person, attach, decide, populate, record, stop
from .gate_world import Fate, Process, World

T = TypeVar("T")
LEASE = timedelta(milliseconds=400)
PURPOSES = ("marketing", "marketing", "transactional", "transactional", "security")
FATES = [Fate.LIVES] * 34 + [Fate.RAISES, Fate.RAISES, Fate.KILLED, Fate.KILLED_AT_COMMIT, Fate.HANGS_UP, Fate.HANGS_UP]
RESULTS = (Accepted("v"), Accepted("v"), Deferred("busy"), Uncertain("lost"), Rejected(Reason.OTHER, "no"))
NEAR = 8
"""How many persons are busy at one time."""


@dataclass
class Actors:
    """Each actor draws from its own source of chance: a seed fixes what each of them tries, if not when."""

    world: World
    seed: int
    decisions: int
    """How many transactions of decisions to make; the others keep pace with them."""
    people: list[Person] = field(default_factory=list)
    loose: list[Address] = field(default_factory=list)
    """Addresses that belong to nobody, or not yet."""
    done: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with each decision made."""
    governor: Governor | None = None
    """Where one is given, a purpose is tightened and loosened while all this goes on."""

    async def run(self, *, deciding: int = 6, beginning: int = 7) -> None:
        self.people, self.loose = await populate(self.world, max(12, self.decisions // 12))
        actors = [self._decide] * deciding + [self._begin] * beginning + [self._accept, self._attach, self._tick]
        if self.governor:
            await self.governor.found()
            actors.append(self._govern)
        async with asyncio.TaskGroup() as group:
            for number, actor in enumerate(actors):
                process = self.world.processes[number % len(self.world.processes)]
                group.create_task(self._again(actor, process, Random(f"{self.seed}:{number}")))

    async def _again(
        self, actor: Callable[[Process, Random], Awaitable[None]], process: Process, chance: Random
    ) -> None:
        while self.done < self.decisions:
            await actor(process, chance)
        self.news.set()

    async def _wait(self, count: int = 1) -> None:
        """Return when so many more decisions were made, or all."""
        target = min(self.done + count, self.decisions)
        while self.done < target:
            self.news.clear()
            await self.news.wait()

    async def _transact(
        self,
        process: Process,
        chance: Random,
        span: Span,
        work: Callable[[Tx], Awaitable[T]],
        level: str = "read committed",
    ) -> T | None:
        return await self.world.transact(process, span, work, level=level, fate=chance.choice(FATES), chance=chance)

    def _near(self, every: Sequence[T], chance: Random) -> T:
        """One of those whose time it is: everybody has a time, so that old objections do not silence the world."""
        first = int(self.done / self.decisions * max(1, len(every) - NEAR))
        return every[min(len(every) - 1, first + chance.randrange(NEAR))]

    # deciding

    async def _decide(self, process: Process, chance: Random) -> None:
        span, now = Span(monotonic()), process.hub.around.clock.now()
        asked = [self._asked(chance, span, now) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
        await self._say(process, chance, span, asked)
        self.done += 1
        self.news.set()

    async def _say(self, process: Process, chance: Random, span: Span, asked: Sequence[Asked]) -> None:
        self.world.said += [one.said for one in asked]
        await self._transact(process, chance, span, lambda tx: record(tx, self.world, process, asked))

    def _asked(self, chance: Random, span: Span, now: datetime) -> Asked:
        address = self._near(self.loose, chance) if chance.random() < 0.3 else None
        person = address.owner if address else self._near(self.people, chance)
        if address is None:
            assert person is not None
            address = chance.choice(person.addresses)
        address.spoken_of = True
        if address.kind is Kind.PHONE and chance.random() < (0.02 if person else 0.15):
            return stop(span, address)
        occurred_at = now if chance.random() < 0.4 else None
        if chance.random() < (0.55 if person else 0.1):
            return _grant(chance, span, person, address, occurred_at)
        if person and chance.random() < 0.1:
            address = chance.choice(self._near(self.people, chance).addresses)
        return _restriction(chance, span, person, address, occurred_at)

    # messages

    async def _accept(self, process: Process, chance: Random) -> None:
        hub, side = process.hub, self.world.side
        send_at = hub.around.clock.now() + timedelta(milliseconds=60)
        sends = [self._send(chance, send_at) for _ in range(24)]
        await self._transact(process, chance, Span(monotonic()), lambda tx: hub.messages.accept(tx, side, sends))
        await self._wait(4)

    def _send(self, chance: Random, send_at: datetime) -> Send:
        """For later, so that the gate decides and not the acceptance."""
        person, loose = self._near(self.people, chance), self._near(self.loose, chance)
        by_loose = loose.spoken_of and chance.random() < 0.4
        steps = tuple(Step(channel) for channel in chance.sample([Channel.EMAIL, Channel.SMS], chance.randint(1, 2)))
        return Send(
            to=loose.ref if by_loose else chance.choice([person.ref, person.addresses[0].ref]),
            purpose=GOVERNED if self.governor and chance.random() < 0.4 else chance.choice(PURPOSES),
            content=Content(text="hello"),
            steps=() if by_loose else steps,
            lane=chance.choice(list(Lane)),
            send_at=send_at,
            expires_at=send_at + timedelta(days=9),
            guarantee=chance.choice(list(Guarantee)),
        )

    async def _tick(self, process: Process, chance: Random) -> None:
        """What was put off comes back."""
        await self._wait()
        with contextlib.suppress(Unavailable):
            await process.hub.around.db.run(lambda tx: jobs.tick(tx, 256, process.hub.around.bell))

    async def _attach(self, process: Process, chance: Random) -> None:
        """An address that was spoken of turns out to be somebody's, whose first word is often no."""
        address, person, span = self._near(self.loose, chance), self._near(self.people, chance), Span(monotonic())
        if address.owner or not address.spoken_of:
            await self._wait()
            return
        units = [person.named(address)]

        async def work(tx: Tx) -> Sequence[Upserted | HubError]:
            return await attach(tx, self.world, process, units)

        answers = await self._transact(process, chance, span, work)
        if answers and isinstance(answers[0], Upserted) and span.answered < inf:
            person.gets(address, span)
            if chance.random() < 0.6:
                span = Span(monotonic())
                no = _restriction(chance, span, person, address, None)
                await self._say(process, chance, span, [no])

    # governing

    async def _govern(self, process: Process, chance: Random) -> None:
        """The purpose is tightened for a while, then loosened for a while."""
        assert self.governor is not None
        for tightens in (True, False):
            await self.governor.change(process, tightens=tightens, chance=chance, fate=chance.choice(FATES))
            await self._wait(chance.randrange(1, 4))

    # begin, and what comes of it

    async def _begin(self, process: Process, chance: Random) -> None:
        """A claim and its begins, as a worker does them; then a finish, or the worker is never heard of again."""
        span, lanes, most = Span(monotonic()), chance.sample(list(Lane), 4), chance.randint(1, 4)
        claimed: list[Claimed] = []
        units: list[Unit] = []

        async def work(tx: Tx) -> None:
            for lane in lanes:
                claimed.extend(await jobs_store.claim(tx, lane, 0, most, _lease(tx)))
            units.extend(await process.steps.begin(tx, group(claimed, alike)[0]) if claimed else ())

        await self._transact(process, chance, span, work, self.world.form.isolation)
        if not claimed:
            await self._wait()
            return
        first, *further = group(claimed, alike)
        self.world.note_begin(span, first, units)
        begun = [units] if span.answered < inf else []
        for part in further if begun else ():
            begun.append(await self._begin_part(process, chance, part))
        if begun and chance.random() < 0.8:
            await self._wait(chance.randrange(3))
            for some in filter(None, begun):
                await self._finish(process, chance, some)

    async def _begin_part(self, process: Process, chance: Random, part: Sequence[Claimed]) -> Sequence[Unit]:
        """Jobs of a claim that need a transaction of their own: claimed anew, and begun."""
        span, units = Span(monotonic()), list[Unit]()

        async def work(tx: Tx) -> None:
            taken: list[Claimed] = []
            for lane, tokens in by_lane(part).items():
                taken += await jobs_store.claim_these(tx, lane, tokens, _lease(tx))
            for some in group(taken, alike):
                units.extend(await process.steps.begin(tx, some))

        await self._transact(process, chance, span, work, self.world.form.isolation)
        self.world.note_begin(span, part, units)
        return units if span.answered < inf else ()

    async def _finish(self, process: Process, chance: Random, units: Sequence[Unit]) -> None:
        span, performed = Span(monotonic()), [(job, (work, chance.choice(RESULTS))) for job, _, work in units]
        self.world.finished.append((span, frozenset(work.attempt.id for _, _, work in units)))
        await self._transact(process, chance, span, lambda tx: process.steps.finish(tx, performed))


def _lease(tx: Tx) -> Lease:
    return Lease(ids.new(), tx.now + LEASE)


def _grant(chance: Random, span: Span, person: Person | None, address: Address, occurred_at: datetime | None) -> Asked:
    return decide(
        span,
        Decision.GRANTED,
        chance.choice(("both", "address")) if person else "address",
        person,
        address,
        channel=address.channel,
        purpose=chance.choice(PURPOSES),
        rank=chance.choice((Rank.PERSON, Rank.PERSON, Rank.SECRET_KEY)),
        occurred_at=occurred_at,
    )


def _restriction(
    chance: Random, span: Span, person: Person | None, address: Address, occurred_at: datetime | None
) -> Asked:
    """By person, by address, or by both; on one channel or all, for one purpose or all."""
    how: How = chance.choice(("person", "address", "both")) if person else "address"
    how = how if address.owner is person else "both"
    plain = chance.choice((Decision.WITHDRAWN, Decision.DENIED))
    channel = chance.choice((*[address.channel] * 4, ANY, *([address.other] if how != "both" else ())))
    asked = decide(
        span,
        Decision.OBJECTED if chance.random() < 0.1 else plain,
        how,
        person,
        address,
        channel=channel,
        purpose=chance.choice((*PURPOSES, ANY) if person else ("marketing",) * 3 + PURPOSES),
        rank=chance.choice((Rank.PERSON, Rank.SECRET_KEY, Rank.PUBLIC_KEY)),
        occurred_at=occurred_at,
    )
    if person is None and channel == address.other:
        address.stood_for.append(asked.said)
    return asked
