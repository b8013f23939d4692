"""Indexed traits: what is declared is found, what is not leaves nothing plain behind."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabellion.access.service import create_workspace
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.recipients import indexed_store, indexing, traits
from tabellion.recipients.indexed_store import IndexState
from tabellion.recipients.indexing import SETTLES, TraitIndexes
from tabellion.recipients.settings import RecipientSettings
from tabellion.recipients.types import Kind, Named, NewRecipient, Profile, RefObject, Upserted

from .conftest import Absorptions, Counting, Hub


class Side:
    """One side with its indexes."""

    def __init__(
        self, hub: Hub, vault: Vault, workspace_id: WorkspaceId, absorbed: Absorptions, clock: FakeClock
    ) -> None:
        self.hub, self.vault, self.id, self.absorbed, self.clock = hub, vault, workspace_id, absorbed, clock

    async def declare(self, *names: str, settled: bool = True) -> None:
        declared = RecipientSettings(indexed_traits=list(names))
        await self.hub.db.run(lambda tx: self.hub.recipients.settings.set(tx, self.id, declared))
        if settled:
            self.clock.advance(SETTLES)
            await self.advance()

    async def advance(self) -> int:
        return await TraitIndexes(self.vault).advance(self.hub.db)

    async def states(self) -> dict[str, IndexState]:
        return await self.hub.db.run(lambda tx: self.hub.recipients.settings.indexing(tx, self.id))

    async def upsert(self, name: str, hub: Hub | None = None, **said: Any) -> UUID:
        unit = NewRecipient((Named(Kind.EMAIL, f"{name}@example.org"),), Profile(traits=said))
        upsert = (hub or self.hub).recipients.upsert
        [one] = await self.hub.db.run(lambda tx: upsert(tx, self.id, [unit], absorbed=self.absorbed))
        assert isinstance(one, Upserted)
        return one.recipient_id

    async def patch(self, person: UUID, **said: Any) -> None:
        change = Profile(traits=said)
        await self.hub.db.run(lambda tx: self.hub.recipients.patch(tx, self.id, person, change))

    async def having(self, trait: str, text: str, before: UUID | None = None, limit: int = 50) -> list[UUID]:
        found = self.hub.recipients.having
        return [one.id for one in await self.hub.db.run(lambda tx: found(tx, self.id, trait, text, before, limit))]

    async def plain(self) -> list[tuple[UUID, str, str]]:
        sql = "select recipient_id, name, value from recipient_traits where workspace_id = $1 order by 1, 2"
        return [tuple(row) for row in await self.hub.db.run(lambda tx: tx.rows(sql, self.id))]


@pytest.fixture
def side(hub: Hub, vault: Vault, workspace_id: WorkspaceId, absorbed: Absorptions, clock: FakeClock) -> Side:
    return Side(hub, vault, workspace_id, absorbed, clock)


async def test_what_was_there_is_found_once_the_index_is_built(side: Side) -> None:
    ann, bob = await side.upsert("ann", plan="pro", age=42), await side.upsert("bob", plan="pro")
    await side.upsert("eve", plan="free", age=42.5)
    assert await side.plain() == []
    await side.declare("plan", "age", settled=False)
    assert await side.advance() == 0, "not before every process knows"
    assert await side.states() == {"age": "building", "plan": "building"}
    with pytest.raises(Conflict, match="index_building"):
        await side.having("plan", "pro")
    side.clock.advance(SETTLES)
    await side.advance()
    assert await side.states() == {"age": "ready", "plan": "ready"}
    assert await side.having("plan", "pro") == [bob, ann]
    assert await side.having("age", "42") == [ann]
    assert await side.having("plan", "nobody") == []
    with pytest.raises(HubError) as refused:
        await side.having("name", "Ann")
    assert (refused.value.status, refused.value.code) == (400, "trait_not_indexed")


async def test_pages_are_newest_first(side: Side) -> None:
    people = [await side.upsert(f"p{n}", plan="pro") for n in range(5)]
    await side.declare("plan")
    first = await side.having("plan", "pro", limit=3)
    assert first + await side.having("plan", "pro", first[-1], limit=3) == people[::-1]


async def test_every_write_keeps_it(side: Side) -> None:
    await side.declare("plan", "vip")
    ann = await side.upsert("ann", plan="pro", vip=True, other="x")
    assert await side.plain() == [(ann, "plan", "pro"), (ann, "vip", "true")]
    await side.upsert("ann", plan={"name": "pro"})
    assert await side.plain() == [(ann, "vip", "true")]
    await side.patch(ann, plan="free", vip=None)
    assert await side.plain() == [(ann, "plan", "free")]
    await side.hub.db.run(lambda tx: indexed_store.forget_indexed(tx, side.id, [ann]))
    assert await side.plain() == []


async def test_what_is_declared_no_longer_leaves_nothing_plain(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "GONE", 2)
    for n in range(5):
        await side.upsert(f"p{n}", plan="pro", age=n)
    await side.declare("plan", "age")
    await side.declare("age", settled=False)
    assert await side.states() == {"age": "ready", "plan": "removing"}
    with pytest.raises(HubError, match="trait_not_indexed"):
        await side.having("plan", "pro")
    side.clock.advance(SETTLES)
    assert await side.advance() == 3
    assert await side.states() == {"age": "ready"}
    assert {name for _, name, _ in await side.plain()} == {"age"}


async def test_declared_again_before_it_was_removed_it_is_built_anew(side: Side) -> None:
    """While it was not declared, nobody kept it: what is left of it is not what stands."""
    ann = await side.upsert("ann", plan="pro")
    await side.declare("plan")
    await side.declare(settled=False)
    await side.upsert("ann", plan=None)
    await side.declare("plan", settled=False)
    assert await side.states() == {"plan": "building"}
    side.clock.advance(SETTLES)
    await side.advance()
    assert (await side.having("plan", "pro"), await side.plain()) == ([], []), ann


async def test_building_goes_on_where_it_was_cut_off(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "BATCH", 2)
    people = [await side.upsert(f"p{n}", plan="pro") for n in range(5)]
    await side.declare("plan", settled=False)
    side.clock.advance(SETTLES)
    indexes = TraitIndexes(side.vault)
    assert await side.hub.db.run(indexes._step)
    assert len(await side.plain()) == 2
    assert await side.advance() == 2
    assert await side.having("plan", "pro") == people[::-1]


async def test_two_processes_build_each_index_once(side: Side, other_hub: Hub) -> None:
    for n in range(5):
        await side.upsert(f"p{n}", plan="pro", age=n)
    await side.declare("plan", "age", settled=False)
    side.clock.advance(SETTLES)
    done = await asyncio.gather(side.advance(), TraitIndexes(side.vault).advance(other_hub.db))
    while "building" in (await side.states()).values():
        done.append(await side.advance())
    assert sum(done) == 2
    assert len(await side.plain()) == 10


async def test_a_process_that_did_not_know_yet_is_made_up_for(side: Side, other_hub: Hub, clock: FakeClock) -> None:
    await other_hub.recipients.settings.refresh(other_hub.db)
    await side.declare("plan", settled=False)
    ann = await side.upsert("ann", hub=other_hub, plan="pro")
    assert await side.plain() == []
    await other_hub.recipients.settings.refresh(other_hub.db)
    bob = await side.upsert("bob", hub=other_hub, plan="pro")
    assert await side.plain() == [(bob, "plan", "pro")]
    clock.advance(SETTLES)
    await side.advance()
    assert await side.having("plan", "pro") == [bob, ann]


async def test_nothing_declared_costs_no_statement(side: Side) -> None:
    async def statements(*names: str) -> list[str]:
        await side.declare(*names, settled=False)

        async def work(tx: Tx) -> list[str]:
            counting = Counting(tx)
            unit = NewRecipient((Named(Kind.EMAIL, f"{len(names)}@example.org"),), Profile(traits={"plan": "pro"}))
            await side.hub.recipients.upsert(counting, side.id, [unit], absorbed=side.absorbed)  # type: ignore[arg-type]
            return [one for one in counting.statements if "recipient_traits" in one]

        return await side.hub.db.run(work)

    assert len(await statements()) == 0
    assert len(await statements("plan", "age")) == 1
    assert len(await statements("age", "city", "zip")) == 0, "not by what was not said"


async def test_who_is_only_an_address_is_not_found(side: Side) -> None:
    await side.declare("plan")
    ref = side.hub.recipients.ref(side.id, RefObject(email="hidden@example.org"), "")
    resolve = side.hub.recipients.resolve
    await side.hub.db.run(lambda tx: resolve(tx, side.id, [ref], create=True, address_only=True))
    ann = await side.upsert("hidden", plan="pro")
    assert await side.having("plan", "pro") == [ann]


STEP = st.one_of(
    st.tuples(
        st.just("write"),
        st.integers(0, 3),
        st.dictionaries(
            st.sampled_from(["plan", "age", "x"]), st.none() | st.integers(0, 1) | st.just("pro") | st.just({"a": 1})
        ),
    ),
    st.tuples(st.just("declare"), st.sets(st.sampled_from(["plan", "age"])), st.booleans()),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, max_size=8))
async def test_plain_is_exactly_what_is_declared_of_what_stands(
    side: Side, steps: Sequence[tuple[str, Any, Any]]
) -> None:
    fresh = await side.hub.db.run(lambda tx: create_workspace(tx, ids.new().hex))
    mine = Side(side.hub, side.vault, fresh.live, side.absorbed, side.clock)
    people: dict[int, UUID] = {}
    declared: set[str] = set()
    for step, what, more in steps:
        if step == "declare":
            declared = what
            await mine.declare(*what, settled=more)
        else:
            people[what] = await mine.upsert(f"p{what}", **more)
    mine.clock.advance(SETTLES + timedelta(seconds=1))
    await mine.advance()
    read = await mine.hub.db.run(lambda tx: mine.hub.recipients.read(tx, mine.id, list(people.values())))
    wanted = {
        (person, name, text)
        for person, one in read.items()
        for name in declared
        if (text := traits.indexed(one.traits.get(name))) is not None
    }
    assert set(await mine.plain()) == wanted
    assert await mine.states() == dict.fromkeys(declared, "ready")
