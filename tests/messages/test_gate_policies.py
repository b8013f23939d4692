"""The gate and a purpose that is tightened, one step at a time; and the judge of that."""

import asyncio
from math import inf
from pathlib import Path
from uuid import UUID

import pytest

from .gate_forms import POLICIES_UNHELD
from .gate_judge import Span, Started
from .gate_policies import GOVERNED, Change, Governor, breaches
from .gate_world import Form
from .test_gate import Scene, scene

ATTEMPT = UUID(int=2)


def started(opened: float, issued: float, answered: float) -> Started:
    when = Span(opened, issued, answered, answered)
    return Started(ATTEMPT, UUID(int=3), UUID(int=1), b"mail", "email", GOVERNED, when)


TIGHT = Change(Span(10, 12, 13, 13), tightens=True)


@pytest.mark.parametrize(
    ("later", "attempt", "found"),
    [
        ([], started(11, 12, 14), []),
        ([], started(11, 14, 15), [ATTEMPT]),
        ([], started(14, 15, inf), [ATTEMPT]),
        ([Change(Span(14, 15, 16, 16), tightens=False)], started(16, 17, 18), []),
        ([Change(Span(14, 15, inf, 16), tightens=False)], started(16, 17, 18), []),
        ([Change(Span(14, inf, inf, 16), tightens=False)], started(16, 17, 18), [ATTEMPT]),
        ([Change(Span(20, 21, 22, 22), tightens=False)], started(16, 17, 18), [ATTEMPT]),
    ],
)
def test_a_breach_is_what_started_after_the_answer(later: list[Change], attempt: Started, found: list[UUID]) -> None:
    assert breaches([TIGHT, *later], [attempt]) == found


def test_a_tightening_that_nobody_heard_of_binds_nobody() -> None:
    assert breaches([Change(Span(10, 12, inf, 13), tightens=True)], [started(14, 15, 16)]) == []


async def sent(one: Scene, governor: Governor) -> None:
    """A message for the purpose, whose time has come."""
    await one.begin()
    await governor.found()
    await one.send(one.people[0].addresses[0].ref, GOVERNED)


async def test_a_purpose_tightened_between_the_claim_and_the_gate(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path) as one:
        governor = Governor(one.world)
        await sent(one, governor)
        process = one.world.processes[1]
        assert await one.begin(claimed=lambda: governor.change(process, tightens=True)) == []
        assert breaches(governor.changes, await one.world.settle()) == []
        [message] = await one.world.admin.fetch("select status, reason from messages where purpose = $1", GOVERNED)
        assert (message["status"], message["reason"]) == ("suppressed", "no_consent")


@pytest.mark.parametrize(("form", "found"), [(Form(), 0), (POLICIES_UNHELD, 1)], ids=["ours", POLICIES_UNHELD.name])
async def test_a_purpose_tightened_while_a_message_for_it_begins(
    database_url: str, tmp_path: Path, form: Form, found: int
) -> None:
    """Ours lets the change wait for the begin. Without, it is answered first, and the attempt starts all the same."""
    async with scene(database_url, tmp_path, form) as one:
        governor, waiting = Governor(one.world), []
        await sent(one, governor)
        process = one.world.processes[1]

        async def tighten() -> None:
            waiting.append(asyncio.create_task(governor.change(process, tightens=True)))
            assert await one.blocked(waiting[0]) is not bool(found)

        assert len(await one.begin(begun=tighten)) == 1
        await waiting[0]
        assert len(breaches(governor.changes, await one.world.settle())) == found


async def test_a_begin_that_comes_while_a_purpose_is_tightened_waits_for_it(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path) as one:
        governor = Governor(one.world)
        await sent(one, governor)
        db = one.world.processes[1].hub.around.db
        async with db.transaction() as tx:
            await governor.apply(tx, one.world.processes[1], {}, archived=True)
            coming = asyncio.create_task(one.begin())
            assert await one.blocked(coming)
        assert await coming == []
        assert await one.world.admin.fetchval("select reason from messages where purpose = $1", GOVERNED) == (
            "purpose_archived"
        )
