"""A device that goes back and forth while decisions are made about it and gates ask: with real concurrency."""

import asyncio
import random
from uuid import UUID

import pytest

from tabellion.app.wiring import Hub
from tabellion.consent.questions import Question, Verdict
from tabellion.consent.types import Decision
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Channel
from tabellion.recipients.types import Upserted

from .people import People, crm, push, token

PHONE = "token-of-the-phone"


@pytest.fixture
def people(hub: Hub, workspace_id: WorkspaceId) -> People:
    return People(hub, workspace_id)


async def look(people: People, tx: Tx, person: UUID) -> Verdict | None:
    """What a gate that holds the person finds: the verdict on the token; None where the person has it no more."""
    owned = await people.hub.recipients.identifiers(tx, [(people.side, person)])
    one = next((one for one in owned[people.side, person] if one.value == PHONE), None)
    if one is None:
        return None
    asked = Question(people.side, person, one.hash, one.kind, Channel.PUSH, "marketing", health=one.health)
    [verdict] = await people.hub.consent.verdicts(tx, [asked])
    return verdict


async def gate(people: People, person: UUID, chance: random.Random) -> str:
    """Ask under the lock, and again before the commit: in between, the attempt would be written as started."""

    async def work(tx: Tx) -> str:
        await people.hub.recipients.lock(tx, [(people.side, person)], skip_locked=False)
        first = await look(people, tx, person)
        for _ in range(chance.randint(0, 3)):
            await tx.value("select 1")
        assert await look(people, tx, person) == first, "what was found under the lock holds until the commit"
        return "gone" if first is None else first.verdict

    said: str = await people.run(work)
    return said


async def move(people: People, name: str) -> None:
    [made] = await people.upsert([crm(name), token(PHONE)])
    assert isinstance(made, Upserted), made


@pytest.mark.parametrize("seed", range(3))
async def test_no_gate_finds_a_grant_at_a_device_that_left(people: People, seed: int) -> None:
    chance = random.Random(seed)
    persons = {name: await people.one(crm(name)) for name in ("ann", "bob")}
    await move(people, "ann")
    seen: list[str] = []

    async def moves() -> None:
        for _ in range(25):
            await move(people, chance.choice(["ann", "bob"]))

    async def decides() -> None:
        for _ in range(25):
            await people.say(chance.choice(["granted", "granted", "withdrawn"]), push(PHONE), "push")

    async def asks(person: UUID) -> None:
        for _ in range(40):
            seen.append(await gate(people, person, chance))

    await asyncio.gather(moves(), decides(), *(asks(one) for one in persons.values()))
    assert {"gone"} < set(seen), "they met"
    [owner] = [person for person in persons.values() if PHONE in await people.owns(person)]
    standing = await people.rows(
        "select recipient_id, decision from consent_entries where workspace_id = $1 and standing and strength = 0",
        people.side,
    )
    assert {row["recipient_id"] for row in standing} <= {owner}, "whoever lost it has nothing allowed there"
    entries = "select sum(size) from ledger_heads where log = 'consent'"
    [size] = await people.rows(f"select ({entries}) = (select count(*) from consent_entries)")
    assert size[0]


async def test_two_who_identify_on_one_device_at_once_have_it_one_after_the_other(people: People) -> None:
    await move(people, "cid")
    await people.say("granted", push(PHONE), "push")
    await asyncio.gather(*(move(people, name) for name in ("ann", "bob", "ann", "bob")))
    owners = [name for name in ("ann", "bob", "cid") if PHONE in await people.owns(await people.one(crm(name)))]
    assert len(owners) == 1
    assert Decision.EXPIRED in {row[1] for row in await people.entries("identifier_released")}
