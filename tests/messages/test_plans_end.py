"""Whatever vendors answer, report and forget, and whenever workers die: what must hold of a message does hold."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabellion.core import ids
from tabellion.messages.rules import GOOD, RANK
from tabellion.messages.types import Attempt, Guarantee, Message, Status, Step, Success, Trigger
from tabellion.providers.base import (
    Aborted,
    Accepted,
    Channel,
    Deferred,
    Outbound,
    Reason,
    Rejected,
    Result,
    State,
    Uncertain,
)

from .conftest import HOUR, SECOND, Worker, World

NUMBERS = itertools.count()
ANSWERS = {
    "rejected": Rejected(Reason.OTHER, "no"),
    "deferred": Deferred("busy", Reason.VENDOR_ERROR),
    "throttled": Deferred("slow down", Reason.RATE_LIMITED, 40.0),
    "uncertain": Uncertain("lost"),
    "aborted": Aborted("too late"),
}
ENDED = frozenset(Status) - GOOD - {Status.QUEUED, Status.HELD, Status.SENDING}

steps = st.builds(
    Step,
    channel=st.sampled_from([Channel.SMS, Channel.EMAIL]),
    success=st.sampled_from([Success.SUBMITTED, Success.SENT, Success.DELIVERED]),
    within=st.sampled_from([None, timedelta(seconds=30), timedelta(minutes=5)]),
    on=st.frozensets(st.sampled_from(list(Trigger)), min_size=4),
)
answers = st.sampled_from(["accepted", "accepted slowly", *ANSWERS])
actions = st.one_of(
    st.just(("run",)),
    st.tuples(st.just("pass"), st.sampled_from([1, 20, 45, 400])),
    st.tuples(st.just("report"), st.integers(0, 5), st.sampled_from(["sent", "delivered", "undelivered", "bounced"])),
    st.just(("die",)),
    st.just(("late",)),
    st.just(("restrict",)),
)


@dataclass
class Vendor:
    """Answers by a list, and then with yes; notes what it was given."""

    world: World
    said: list[str]
    given: list[tuple[Outbound, Result]] = field(default_factory=list)

    async def __call__(self, provider: Any, outbound: Outbound, settings: Any, not_after: float) -> Result:
        word = self.said.pop(0) if self.said else "accepted"
        answer = ANSWERS.get(word) or Accepted(ids.show("evt", ids.new()))
        self.given.append((outbound, answer))
        if word == "accepted slowly":
            other = self.world.another_worker()
            await self.world.pass_time(8 * SECOND, other)
            [row] = await self.world.rows("select count(*) from attempts where state = 'started'")
            assert row[0] == 1, "while this one is under way nothing else is"
        return answer


@dataclass
class Watched:
    """A message and what was last seen of it."""

    world: World
    id: UUID
    person: UUID
    vendor: Vendor
    dead: list[Worker] = field(default_factory=list)
    step: int = 0
    final: bool = False
    ranks: dict[UUID, int] = field(default_factory=dict)

    async def act(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("run",):
                await self.world.run()
            case ("pass", seconds):
                await self.world.pass_time(seconds * SECOND)
            case ("report", place, word):
                await self._report(place, word)
            case ("die",):
                self.dead.append(self.world.another_worker())
                await self.dead[-1].engine.tick()
                await self.dead[-1].claim()
            case ("late",):
                for worker in self.dead:
                    await worker.finish()
            case ("restrict",):
                for channel in ("sms", "email"):
                    await self.world.decide(self.person, "withdrawn", channel, "transactional")
        await self.check()

    async def _report(self, place: int, word: str) -> None:
        """The vendor reports about a hand-off it was given, under its id or under our name for it."""
        if not self.vendor.given:
            return
        outbound, answer = self.vendor.given[place % len(self.vendor.given)]
        vendor_id = answer.provider_id if isinstance(answer, Accepted) else f"unheard {outbound.attempt_id}"
        assert outbound.callback_url is not None
        await self.world.report_to(outbound.callback_url, vendor_id, word)

    async def check(self) -> None:
        message, attempts = await self.world.read(self.id)
        assert message.status in self._statuses(message, attempts)
        assert message.step >= self.step
        assert message.final >= self.final
        assert not self.final or len(attempts) == len(self.ranks), "what ended starts nothing"
        assert all(one.step <= message.step for one in attempts)
        assert [one.state for one in attempts].count(State.STARTED) <= 1, "never two in flight"
        for one in attempts:
            assert RANK[one.state] >= self.ranks.get(one.id, 0), "later evidence of lower rank never changes a state"
            assert (one.ended_at is None) == (one.state is State.STARTED)
        self.step, self.final = message.step, message.final
        self.ranks = {one.id: RANK[one.state] for one in attempts}
        if message.guarantee is Guarantee.AT_MOST_ONCE:
            self._check_once(attempts)

    def _statuses(self, message: Message, attempts: Sequence[Attempt]) -> frozenset[Status]:
        """The best attempt counts; without a good one, how the plan ended, or that it still runs."""
        states = {one.state for one in attempts}
        if State.DELIVERED in states:
            return frozenset({Status.DELIVERED})
        if states & {State.SUBMITTED, State.SENT}:
            return frozenset({Status.SENT})
        return ENDED if message.final else frozenset({Status.QUEUED, Status.SENDING})

    def _check_once(self, attempts: Sequence[Attempt]) -> None:
        """Of each step at most one hand-off that may have arrived; a repeat has the key of what it repeats."""
        step_of = {ids.show("att", one.id): one.step for one in attempts}
        arrived = {
            (step_of[outbound.attempt_id], outbound.idempotency_key)
            for outbound, answer in self.vendor.given
            if isinstance(answer, Accepted | Uncertain)
        }
        assert not [step for step, count in Counter(step for step, _ in arrived).items() if count > 1]

    async def end(self) -> None:
        """Everything ends: let the time pass that the message has, and all that anybody waits for."""
        await self.world.pass_time(2 * HOUR)
        await self.check()
        for worker in self.dead:
            await worker.finish()
        await self.world.run()
        await self.check()
        assert self.final
        message, attempts = await self.world.read(self.id)
        assert State.STARTED not in {one.state for one in attempts}
        assert message.reason is None or message.status not in GOOD
        [left] = await self.world.rows(
            "select (select count(*) from jobs) + (select count(*) from delayed) + (select count(*) from dead_letters)"
        )
        assert left[0] == 0
        happened = await self.world.happened(self.id)
        assert happened.count("message.delivered") == (message.status is Status.DELIVERED)
        if message.status is not Status.QUEUED:
            assert f"message.{message.status}" in happened


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    route=st.lists(steps, min_size=1, max_size=3),
    guarantee=st.sampled_from(list(Guarantee)),
    said=st.lists(answers, max_size=14),
    doing=st.lists(actions, max_size=8),
)
async def test_every_plan_ends_and_never_has_two_steps_in_flight(
    world: World, route: list[Step], guarantee: Guarantee, said: list[str], doing: list[tuple[Any, ...]]
) -> None:
    number = next(NUMBERS)
    person = await world.person(f"+1202557{number:04d}", f"p{number}@example.org")
    await world.execute("delete from account_pacing")
    if not await world.rows("select id from accounts where provider = 'fake'"):
        await world.only(await world.account())
    world.wire.real = vendor = Vendor(world, list(said))
    message = await world.send(person, *route, guarantee=guarantee, expires_at=world.clock.now() + HOUR)
    watched = Watched(world, message, person, vendor)
    for action in doing:
        await watched.act(action)
    await watched.end()
