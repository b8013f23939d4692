"""Whatever breaks between two statements: nothing acknowledged is lost, nothing half done stays, nobody is told twice.

Each operation is tried with a fault at its first step, its second, and so on, until it gets through whole: an
exception, a lost connection, a killed process; before each statement, before COMMIT, and after it, when nobody has
heard yet. Then whoever asked asks again, leases run out, the work is done to its end, and everything is looked at.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from tabellion.access.rules import SCOPES
from tabellion.access.types import Caller, Role
from tabellion.accounts.types import Account, NewAccount
from tabellion.consent.questions import Ask, Verdict
from tabellion.consent.types import Basis, Decision, Method, NewDecision, Rank, Recorded
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.jobs.types import Lane
from tabellion.messages.service import Send
from tabellion.messages.types import Content, Guarantee, Message, Step, Success
from tabellion.providers.base import Channel, Inbound, Reason, Rejected, Signal, SignalSeen
from tabellion.recipients.types import Kind, Ref
from tabellion.webhooks.types import Arrived

from .crash_world import Fault, Fuse, Machine, at_every_step, machine

ONCE, AT_LEAST = Guarantee.AT_MOST_ONCE, Guarantee.AT_LEAST_ONCE
every_fault = pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.value)
every_fault_and_size = pytest.mark.parametrize(
    ("fault", "guarantees"),
    [*((fault, (ONCE, AT_LEAST)) for fault in Fault), (Fault.RAISES, (ONCE,)), (Fault.RAISES, (AT_LEAST,))],
    ids=lambda one: one.value if isinstance(one, Fault) else " and ".join(one),
)
"""In a batch of two, and where an exception matters: alone, when there is nothing to halve."""


@pytest.fixture
async def hub(database_url: str, tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(database_url, tmp_path) as made:
        yield made
        await require_verified(made)


def mail(name: str) -> Ref:
    return Ref(kind=Kind.EMAIL, value=f"{name}@example.org")


def a_send(hub: Machine, name: str, guarantee: Guarantee) -> Send:
    expires_at = hub.clock.now() + timedelta(minutes=10)
    return Send(mail(name), "transactional", Content("hello"), (Step(Channel.EMAIL),), expires_at=expires_at,
                guarantee=guarantee)  # fmt: skip


async def accept(hub: Machine, name: str, guarantee: Guarantee = AT_LEAST) -> UUID:
    send = a_send(hub, name, guarantee)
    [made] = await hub.db.run(lambda tx: hub.hub.messages.accept(tx, hub.side, [send]))
    assert isinstance(made, Message)
    return made.id


async def require_sound(hub: Machine) -> None:
    """What must hold when all is done, whatever happened on the way."""

    async def look(tx: Tx) -> None:
        for name, odd in ODD.items():
            assert [tuple(row) for row in await tx.rows(odd)] == [], name
        counts = await tx.row(LEDGER, hub.side)
        assert counts is not None
        assert len(set(counts)) == 1, tuple(counts)

    await hub.db.run(look)


async def require_verified(hub: Machine) -> None:
    """Every log leads from its rows to its signed head."""
    await hub.hub.checkpoints.flush()
    # A process that died right after its commit has published no checkpoint of it yet: that is no fault.
    problems = await hub.db.run(hub.hub.ledger.verify_heads)
    assert [one for one in problems if one.code != "checkpoint_missing"] == []


async def require_remembered(hub: Machine, answers: Mapping[tuple[WorkspaceId, str], bytes]) -> None:
    """A process that knows nothing but what is stored gives the same answers, and can read what was sealed."""

    async def never(tx: Tx) -> bytes:
        raise AssertionError("it was done before")

    await hub.restart()
    for (side, key), answer in answers.items():
        hub.side = side
        assert await hub.once(key, never) == answer
        people = [row[0] for row in await hub.rows("select id from recipients where workspace_id = $1", side)]
        read = await hub.db.run(lambda tx, people=people: hub.hub.recipients.read(tx, hub.side, people))
        assert [len(read[one].identifiers) for one in people] == [1] * len(people)


ODD = {
    "work that is left": """
        select kind, payload from jobs union all
        select kind, payload from delayed union all
        select kind, payload from dead_letters
    """,
    "not at its end, or said to be sent when no attempt was, or the reverse": """
        select m.id, m.status, m.final, m.reason, array_agg(a.state)
          from messages m
          left join attempts a on a.workspace_id = m.workspace_id and a.message_id = m.id
         group by m.workspace_id, m.id
        having not m.final
            or (m.status in ('sent', 'delivered'))
               <> coalesce(bool_or(a.state in ('submitted', 'sent', 'delivered')), false)
    """,
    "a message of which nothing was told, or the same thing twice": """
        select m.id, e.type, count(*)
          from messages m
          left join events e on e.workspace_id = m.workspace_id and e.message_id = m.id
         where e.type in ('message.queued', 'message.sent', 'message.delivered') or e.type is null
         group by m.workspace_id, m.id, e.type
        having count(*) <> 1 or e.type is null
    """,
    "an attempt without an outcome": "select id from attempts where state = 'started'",
    "a callback that was not read": "select id from callbacks where state <> 'normalised'",
}
LEDGER = """
select (select count(*) from consent_entries where workspace_id = $1),
       (select count(*) from consent_entries e
          join ledger_leaves l on l.workspace_id = e.workspace_id and l.entry_id = e.id and l.index = e.log_index
         where e.workspace_id = $1 and l.log = 'consent'),
       (select count(*) from ledger_leaves where workspace_id = $1 and log = 'consent'),
       (select count(*) from events where workspace_id = $1 and type like 'consent.%'),
       coalesce((select sum(size) from ledger_heads where workspace_id = $1 and log = 'consent'), 0)::bigint
"""
"""Entries, entries with their leaf, leaves, events of decisions, and the size of the signed tree: all the same."""


@every_fault
async def test_accept(hub: Machine, fault: Fault) -> None:
    """All of it or nothing; and asked again with the same key, once."""

    async def trial(fuse: Fuse, step: int) -> None:
        await hub.move()
        name = f"accept-{step}"

        async def work(tx: Tx) -> bytes:
            [made] = await hub.hub.messages.accept(tx, hub.side, [a_send(hub, name, AT_LEAST)])
            assert isinstance(made, Message)
            return made.id.bytes

        before = await hub.rows(COUNTS)
        acknowledged = await hub.strike(fuse, lambda: hub.once(name, work))
        made = {now - then for now, then in zip(*await hub.rows(COUNTS), *before, strict=True)}
        assert made == {1 if fuse.committed or not fuse.blown else 0}
        again = answers[hub.side, name] = await hub.once(name, work)
        assert acknowledged in (None, again)
        await hub.drain()
        assert hub.vendor.times(UUID(bytes=again)) == 1
        await require_sound(hub)

    answers: dict[tuple[WorkspaceId, str], bytes] = {}
    await at_every_step(fault, trial)
    await require_remembered(hub, answers)


COUNTS = """
select (select count(*) from messages), (select count(*) from jobs), (select count(*) from recipients),
       (select count(*) from identifiers), (select count(*) from idempotency)
"""


@every_fault_and_size
async def test_begin(hub: Machine, fault: Fault, guarantees: Sequence[Guarantee]) -> None:
    """Before its commit nothing had begun. After it, one may have left: what goes at most once does not go again."""

    async def trial(fuse: Fuse, step: int) -> None:
        sent = [(await accept(hub, f"{one.value}-{step}", one), one) for one in guarantees]
        await hub.strike(fuse, lambda: hub.process.engine.claim(list(Lane), rescan=True))
        await hub.drain()
        for message, guarantee in sent:
            assert hub.vendor.times(message) == (0 if fuse.committed and guarantee is ONCE else 1)
        await require_sound(hub)

    await at_every_step(fault, trial)


@every_fault_and_size
async def test_finish(hub: Machine, fault: Fault, guarantees: Sequence[Guarantee]) -> None:
    """The vendor has it. Only where the answer is forgotten, and the guarantee allows it, does it get it again."""

    async def trial(fuse: Fuse, step: int) -> None:
        sent = [(await accept(hub, f"{one.value}-{step}", one), one) for one in guarantees]
        await hub.process.engine.claim(list(Lane), rescan=True)
        await hub.process.performed()
        await hub.strike(fuse, hub.process.engine.finish)
        await hub.drain()
        culprit = fault is Fault.RAISES and len(sent) == 1
        forgotten = fuse.blown and not fuse.committed and (fault is Fault.DIES or culprit)
        for message, guarantee in sent:
            assert hub.vendor.times(message) == (2 if forgotten and guarantee is AT_LEAST else 1)
        await require_sound(hub)

    await at_every_step(fault, trial)


@every_fault
async def test_finish_with_a_decision(hub: Machine, fault: Fault) -> None:
    """The vendor's refusal says that the person opted out: that is recorded, however often it takes."""
    hub.vendor.answer = lambda outbound: Rejected(
        Reason.OPTED_OUT, "stopped", signals=(SignalSeen(Signal.STOP, outbound.to),)
    )

    async def trial(fuse: Fuse, step: int) -> None:
        number = Ref(kind=Kind.PHONE, value=f"+43660{step:07}")
        send = Send(number, "transactional", Content("hello"), expires_at=hub.clock.now() + timedelta(minutes=10))
        await hub.db.run(lambda tx: hub.hub.messages.accept(tx, hub.side, [send]))
        await hub.process.engine.claim(list(Lane), rescan=True)
        await hub.process.performed()
        await hub.strike(fuse, hub.process.engine.finish)
        await hub.drain()
        assert await verdict(hub, number, Channel.SMS) == ("denied", "stop")
        await require_sound(hub)

    await at_every_step(fault, trial)


@pytest.mark.parametrize("holds", ["before", "after", None], ids=["before it left", "before the answer", "after it"])
async def test_perform(hub: Machine, holds: str | None) -> None:
    """A process that dies on the wire leaves two attempts that nobody knows the outcome of."""
    once, least = await accept(hub, "once", ONCE), await accept(hub, "least", AT_LEAST)
    hub.vendor.holds = holds
    await hub.process.engine.claim(list(Lane), rescan=True)
    for _ in (once, least):
        await hub.vendor.arrivals.get()
    if holds is None:
        await hub.process.performed()
    await hub.restart()
    hub.vendor.holds = None
    left = 0 if holds == "before" else 1
    await hub.drain()
    assert (hub.vendor.times(once), hub.vendor.times(least)) == (left, left + 1)
    await require_sound(hub)


@every_fault
async def test_record(hub: Machine, fault: Fault) -> None:
    """All decisions of a batch with their leaves, their head and their events, or nothing; asked again, the same."""

    async def trial(fuse: Fuse, step: int) -> None:
        await hub.move()
        known, granting, nobody = (mail(f"{word}-{step}") for word in ("known", "granting", "nobody"))
        await accept(hub, f"known-{step}")
        said = [decision(known, Decision.WITHDRAWN), decision(granting, Decision.GRANTED),
                decision(nobody, Decision.OBJECTED)]  # fmt: skip

        async def work(tx: Tx) -> bytes:
            answers = await hub.hub.consent.record(tx, hub.side, said)
            assert all(isinstance(one, Recorded) and one.applied for one in answers)
            return msgspec.json.encode([one.log_index for one in answers if isinstance(one, Recorded)])

        acknowledged = await hub.strike(fuse, lambda: hub.once(f"record-{step}", work))
        assert await entries(hub) == (3 if fuse.committed or not fuse.blown else 0)
        again = answers[hub.side, f"record-{step}"] = await hub.once(f"record-{step}", work)
        assert acknowledged in (None, again)
        assert msgspec.json.decode(again) == [0, 1, 2]
        verdicts = [await verdict(hub, one, Channel.EMAIL, "marketing") for one in (known, granting, nobody)]
        assert verdicts == [("denied", "withdrawn"), ("allowed", "granted"), ("denied", "objected")]
        await hub.drain()
        await require_sound(hub)

    answers: dict[tuple[WorkspaceId, str], bytes] = {}
    await at_every_step(fault, trial)
    await require_remembered(hub, answers)


@dataclass
class Callback:
    """A person's STOP and the report on the message she answered, in one body, as the fake vendor sends it."""

    hub: Machine
    account: Account
    number: Ref
    arrived: Arrived

    @classmethod
    async def of(cls, hub: Machine, account: Account, step: int) -> "Callback":
        number = Ref(kind=Kind.PHONE, value=f"+43660{step:07}")
        route = (Step(Channel.SMS, accounts=(account.id,), success=Success.DELIVERED),)
        send = Send(
            number, "transactional", Content("hello"), route, expires_at=hub.clock.now() + timedelta(minutes=10)
        )
        [message] = await hub.db.run(lambda tx: hub.hub.messages.accept(tx, hub.side, [send]))
        assert isinstance(message, Message)
        await hub.process.turn()
        [(attempt,)] = await hub.rows("select provider_message_id from attempts where message_id = $1", message.id)
        said = {"type": "inbound", "id": f"in-{step}", "channel": "sms", "from": number.value, "to": "+15005550006",
                "text": "STOP", "signal": "stop"}  # fmt: skip
        body = msgspec.json.encode({"events": [said, {"message_id": attempt, "state": "delivered"}]})
        inbound = Inbound("POST", "http://127.0.0.1:1/in/fake", {}, body)
        provider = hub.hub.providers["fake"]
        return cls(hub, account, number, Arrived(account, inbound, tuple(provider.parse(inbound))))

    async def arrive(self) -> None:
        await self.hub.db.run(lambda tx: self.hub.hub.webhooks.receive(tx, self.hub.side, [self.arrived]))

    async def require_known(self) -> None:
        """Once in the ledger, once on the attempt; and the person is left alone."""
        await self.hub.drain()
        assert await entries(self.hub) == 1
        assert await verdict(self.hub, self.number, Channel.SMS) == ("denied", "stop")
        [(state,)] = await self.hub.rows("select state from attempts order by id desc limit 1")
        assert state == "delivered"
        await require_sound(self.hub)


async def fake_account(hub: Machine) -> Account:
    caller = Caller(hub.side, ids.new(), ids.new(), Role.OWNER, "test", SCOPES[Role.OWNER])
    new = NewAccount("fake", {"secret": "secret"})
    made = await hub.db.run(lambda tx: hub.hub.accounts.create(tx, caller, new))
    return (await hub.db.run(lambda tx: hub.hub.accounts.by_ids(tx, [(hub.side, made.id)])))[hub.side, made.id]


@every_fault
async def test_receive(hub: Machine, fault: Fault) -> None:
    """The vendor repeats until it hears yes, and once more: the decision counts once."""

    async def trial(fuse: Fuse, step: int) -> None:
        await hub.move()
        callback = await Callback.of(hub, await fake_account(hub), step)
        await hub.strike(fuse, callback.arrive)
        assert await entries(hub) == (1 if fuse.committed or not fuse.blown else 0)
        for _ in range(2):
            await callback.arrive()
        await callback.require_known()

    await at_every_step(fault, trial)


@every_fault
async def test_normalise(hub: Machine, fault: Fault) -> None:
    """What a stored callback says of attempts is applied once, however often it is begun."""

    async def trial(fuse: Fuse, step: int) -> None:
        await hub.move()
        callback = await Callback.of(hub, await fake_account(hub), step)
        await callback.arrive()
        await hub.strike(fuse, lambda: hub.process.engine.claim(list(Lane), rescan=True))
        await callback.require_known()

    await at_every_step(fault, trial)


def decision(address: Ref, word: Decision) -> NewDecision:
    grants = word is Decision.GRANTED
    return NewDecision(
        recipient=address, channel="email", purpose="marketing", decision=word,
        basis=Basis.CONSENT if grants else None, method=Method.API, source="test", rank=Rank.PERSON, actor="key_1",
    )  # fmt: skip


async def verdict(hub: Machine, address: Ref, channel: Channel, purpose: str = "transactional") -> tuple[str, str]:
    ask = Ask(address, channel, purpose)
    [found] = await hub.db.run(lambda tx: hub.hub.consent.check(tx, hub.side, [ask]))
    assert isinstance(found, Verdict)
    return found.verdict, found.reason


async def entries(hub: Machine) -> int:
    """How many decisions there are in the workspace."""
    found: int = await hub.value("select count(*) from consent_entries where workspace_id = $1", hub.side)
    return found
