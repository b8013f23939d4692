"""How a gate must lock and read: the two plausible wrong ways read a grant that is gone. Both are kept failing here.

A withdrawal holds the recipient's row and has not committed; a gate comes and waits for the row; the withdrawal
commits. What does the gate, which now has the lock, read?
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tabellion.consent.questions import Question
from tabellion.consent.types import Recorded
from tabellion.core.db import Tx
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind

from .conftest import Hub, decision, email

ANN = "ann@example.org"
Gate = Callable[[], Awaitable[bool]]
"""A gate says whether it found the grant standing."""


async def meet(hub: Hub, gate: Gate) -> bool:
    """What the gate finds when a withdrawal commits while it waits for the lock."""
    holding, commit = asyncio.Event(), asyncio.Event()

    async def withdraw() -> None:
        async with hub.db.transaction() as tx:
            [one] = await hub.consent.record(tx, hub.side, [decision(email(ANN), "withdrawn")])
            assert isinstance(one, Recorded)
            assert one.applied
            holding.set()
            await commit.wait()

    withdrawal = asyncio.create_task(withdraw())
    await holding.wait()
    waiting = asyncio.create_task(gate())  # type: ignore[arg-type]
    await blocked(hub, waiting)
    commit.set()
    await withdrawal
    return await waiting


async def blocked(hub: Hub, task: "asyncio.Task[Any]") -> None:
    """Return once the task's connection waits for a lock."""
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while not await hub.db.run(lambda tx: tx.value(waiting)):
        assert not task.done(), "it did not wait"


@asynccontextmanager
async def isolated(url: str, level: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(url)
    await connection.execute(f"begin isolation level {level}")
    yield connection
    await connection.execute("rollback")
    await connection.close()


@pytest.fixture
async def ann(hub: Hub) -> UUID:
    ann = await hub.person((Kind.EMAIL, ANN))
    await hub.recorded(decision(email(ANN), "granted"))
    return ann


LOCK = "select id from recipients where workspace_id = $1 and id = $2 for no key update"
READ = """
select count(*) from consent_entries
 where workspace_id = $1 and recipient_id = $2 and standing and decision = 'granted'
"""
LOCK_AND_READ = f"""
with locked as materialized ({LOCK})
select count(*) from locked
  join consent_entries e on e.workspace_id = $1 and e.recipient_id = locked.id
 where e.standing and e.decision = 'granted'
"""


async def test_ours_sees_the_withdrawal(hub: Hub, ann: UUID) -> None:
    known = (await hub.identifiers(ann))[ANN]
    question = Question(hub.side, ann, known.hash, known.kind, Channel.EMAIL, "marketing")

    async def gate() -> bool:
        async def ask(tx: Tx) -> bool:
            await hub.recipients.lock(tx, [(hub.side, ann)], skip_locked=False)
            [answer] = await hub.consent.verdicts(tx, [question])
            return answer.verdict == "allowed"

        return await hub.db.run(ask)

    assert await gate(), "before the withdrawal"
    assert not await meet(hub, gate)


async def test_one_statement_that_locks_and_reads_does_not(hub: Hub, ann: UUID, database_url: str) -> None:
    async def gate() -> bool:
        async with isolated(database_url, "read committed") as connection:
            return bool(await connection.fetchval(LOCK_AND_READ, hub.side, ann))

    assert await meet(hub, gate), "if this form had become right, the law could be relaxed"
    assert not await gate(), "asked again, it sees it"


async def test_repeatable_read_does_not(hub: Hub, ann: UUID, database_url: str) -> None:
    async def gate() -> bool:
        async with isolated(database_url, "repeatable read") as connection:
            await connection.fetchval(LOCK, hub.side, ann)
            return bool(await connection.fetchval(READ, hub.side, ann))

    assert await meet(hub, gate), "if this form had become right, the law could be relaxed"
    assert not await gate(), "asked again, it sees it"


async def test_lock_then_read_in_read_committed_does(hub: Hub, ann: UUID, database_url: str) -> None:
    """The same two statements as above: only the isolation level differs."""

    async def gate() -> bool:
        async with isolated(database_url, "read committed") as connection:
            await connection.fetchval(LOCK, hub.side, ann)
            return bool(await connection.fetchval(READ, hub.side, ann))

    assert not await meet(hub, gate)


async def test_a_decision_waits_for_a_gate_that_has_the_lock(hub: Hub, ann: UUID) -> None:
    """The other order: the gate was first, so its attempt is among those the withdrawal names."""
    holding, commit = asyncio.Event(), asyncio.Event()

    async def start() -> None:
        async with hub.db.transaction() as tx:
            await hub.recipients.lock(tx, [(hub.side, ann)], skip_locked=True)
            holding.set()
            await commit.wait()
            hub.started.attempts = [UUID(int=5)]

    gate = asyncio.create_task(start())
    await holding.wait()
    withdrawal = asyncio.create_task(hub.recorded(decision(email(ANN), "withdrawn")))
    await blocked(hub, withdrawal)
    commit.set()
    await gate
    assert (await withdrawal).in_flight == [UUID(int=5)]
