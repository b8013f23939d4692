"""Laws of resolution on the real database.

Commute: units that name the one id of their person (its anchor) with anything of that person's, and units of weak
identifiers alone. In whatever order they come, the same identifiers are one person's, as long as no weak one is named
with two anchors. Two strong identifiers first met apart do not: nothing ever merges two known persons silently.
"""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabellion.app.wiring import Hub
from tabellion.consent.types import Rank
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.types import Kind, Named, Upserted

from .people import People, browser, crm, fresh, mail, push, token

POSTGRES = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
PERSONS = st.integers(0, 1)
WEAK = st.sets(st.sampled_from(["b1", "b2", "t1", "t2"]), min_size=1, max_size=3)
UNITS = st.lists(
    st.one_of(
        st.tuples(PERSONS, st.just(True), st.sets(st.sampled_from(["m1", "m2", "b1", "b2", "t1", "t2"]), max_size=3)),
        st.tuples(PERSONS, st.just(False), WEAK),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture
def people(hub: Hub, workspace_id: WorkspaceId) -> People:
    return People(hub, workspace_id)


def named(mark: str, person: int, anchored: bool, more: set[str]) -> list[Named]:
    made = {"m": mail, "b": browser, "t": token}
    of = f"{mark}-{person}"
    weak = [made[one[0]](f"{one}-{of}@x.org" if one[0] == "m" else f"{one}-{of}-and-so-on") for one in sorted(more)]
    return ([crm(of)] if anchored else []) + weak


async def groups(people: People, mark: str, units: list[list[Named]]) -> set[frozenset[str]]:
    """Which identifiers are one person's, their names without the mark."""
    persons: set[UUID] = set()
    for unit in units:
        [made] = await people.upsert(unit)
        assert isinstance(made, Upserted), made
        persons.add(made.recipient_id)
    records = [await people.read(one) for one in persons]
    return {frozenset(one.value.replace(mark, "") for one in record.identifiers) for record in records}


@POSTGRES
@given(UNITS, st.randoms(use_true_random=False))
async def test_commuting_units_come_to_the_same_persons_in_any_order(people: People, units: Any, chance: Any) -> None:
    one, other = fresh(), fresh()
    shuffled = list(units)
    chance.shuffle(shuffled)
    first = await groups(people, one, [named(one, *unit) for unit in units])
    assert await groups(people, other, [named(other, *unit) for unit in shuffled]) == first


@POSTGRES
@given(UNITS)
async def test_one_batch_comes_to_what_its_units_come_to_one_by_one(people: People, units: Any) -> None:
    one, other = fresh(), fresh()
    alone = await groups(people, one, [named(one, *unit) for unit in units])
    answers = await people.upsert(*[named(other, *unit) for unit in units])
    assert all(isinstance(answer, Upserted) for answer in answers)
    assert await groups(people, other, [named(other, *unit) for unit in units]) == alone


@POSTGRES
@given(UNITS, st.integers(1, 3))
async def test_an_upsert_said_again_changes_nothing(people: People, units: Any, times: int) -> None:
    mark = fresh()
    wanted = [named(mark, *unit) for unit in units]
    await groups(people, mark, wanted)
    last = wanted[-1]
    [made] = await people.upsert(last)
    before = len(await people.events())
    for _ in range(times):
        assert await people.upsert(last) == [Upserted(made.recipient_id, False, made.version)]  # type: ignore[union-attr]
    assert len(await people.events()) == before


SAID = st.lists(
    st.tuples(
        st.sampled_from(["ann", "visitor", "phone", "tablet"]),
        st.sampled_from(["granted", "granted", "withdrawn", "objected"]),
        st.sampled_from(["marketing", "transactional"]),
        st.sampled_from([Rank.PERSON, Rank.SECRET_KEY]),
        st.booleans(),
    ),
    max_size=5,
)


@POSTGRES
@given(SAID)
async def test_becoming_known_never_makes_a_send_possible_that_was_not(people: People, said: Any) -> None:
    mark = fresh()
    phone, tablet = f"phone-{mark}", f"tablet-{mark}"
    persons = {
        "ann": await people.one(crm(mark), mail(f"{mark}@x.org"), token(tablet)),
        "visitor": await people.one(token(phone)),
    }
    for about, decision, purpose, rank, narrow in said:
        if about in persons:
            if decision != "granted":
                await people.say(decision, persons[about], "push", purpose, rank=rank)
        else:
            value = {"phone": phone, "tablet": tablet}[about]
            more = {"identifier_only": narrow} if decision != "granted" else {}
            await people.say(decision, push(value), "push", purpose, rank=rank, **more)
    before = {value: await sendable(people, person, value)
              for person, value in ((persons["ann"], tablet), (persons["visitor"], phone))}  # fmt: skip
    assert await people.one(crm(mark), token(phone)) == persons["ann"]
    for value, was in before.items():
        now = await sendable(people, persons["ann"], value)
        for purpose, could in was.items():
            assert now[purpose] <= could, f"{purpose} to {value}"


async def sendable(people: People, person: UUID, value: str) -> dict[str, bool]:
    found = await people.verdicts(person, Kind.DEVICE)
    return {purpose: can for (address, _, purpose), (_, can) in found.items() if address == value}
