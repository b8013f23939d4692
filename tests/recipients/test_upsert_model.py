"""Batches of upserts against a small model that applies them one by one."""

import random
from dataclasses import dataclass, field

import pytest

from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.recipients import rules
from tabellion.recipients.types import IdentityConflict, Kind, Named, NewRecipient, RefObject, Resolved

from .conftest import Absorptions, Hub

Name = tuple[Kind, str]
POOL: list[Name] = [
    *((Kind.EMAIL, f"{name}@example.org") for name in "abcdef"),
    *((Kind.PHONE, f"+43123456{digit}") for digit in range(6)),
    *((Kind.EXTERNAL_ID, f"crm-{number}") for number in range(5)),
]


@dataclass(eq=False)
class Person:
    hidden: bool
    names: set[Name] = field(default_factory=set)

    @property
    def external_ids(self) -> set[Name]:
        return {name for name in self.names if name[0] is Kind.EXTERNAL_ID}


@dataclass
class Model:
    owners: dict[Name, Person] = field(default_factory=dict)

    def hide(self, name: Name) -> None:
        if name not in self.owners:
            self.owners[name] = Person(True, {name})

    def upsert(self, names: set[Name]) -> str:
        people = {self.owners[name] for name in names if name in self.owners}
        full = [person for person in people if not person.hidden]
        external = {name for name in names if name[0] is Kind.EXTERNAL_ID}
        if len(full) > 1 or (full and external and full[0].external_ids - external):
            return "conflict"
        target = full[0] if full else Person(False)
        for name in names.union(*(person.names for person in people)):
            target.names.add(name)
            self.owners[name] = target
        return "known" if full else "created"


def unit(names: set[Name]) -> NewRecipient:
    return NewRecipient(tuple(Named(kind, value) for kind, value in sorted(names)))


def some_names(chance: random.Random) -> set[Name]:
    names = set(chance.sample(POOL[:12], chance.choice([1, 1, 2, 3])))
    return names | ({chance.choice(POOL[12:])} if chance.random() < 0.5 else set())


def said(answer: object) -> str:
    if isinstance(answer, HubError):
        assert isinstance(answer, IdentityConflict)
        return "conflict"
    return "created" if answer.created else "known"  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(6))
async def test_a_batch_comes_to_what_its_units_come_to_one_by_one(
    hub: Hub, workspace_id: WorkspaceId, absorbed: Absorptions, seed: int
) -> None:
    chance, model = random.Random(seed), Model()
    for _ in range(12):
        address = chance.choice(POOL[:12])
        await hide(hub, workspace_id, address)
        model.hide(address)
        batch = [some_names(chance) for _ in range(chance.randint(1, 8))]
        async with hub.db.transaction() as tx:
            answers = await hub.recipients.upsert(tx, workspace_id, [unit(names) for names in batch], absorbed=absorbed)
        assert [said(one) for one in answers] == [model.upsert(names) for names in batch]
    await agree(hub, workspace_id, model)


async def hide(hub: Hub, workspace_id: WorkspaceId, address: Name) -> None:
    """Make the address known as one that must not be written to, if it is not known at all."""
    ref = rules.ref(RefObject(**{address[0].value: address[1]}), "")
    await hub.db.run(lambda tx: hub.recipients.resolve(tx, workspace_id, [ref], True, address_only=True))


async def agree(hub: Hub, workspace_id: WorkspaceId, model: Model) -> None:
    """Who owns what, and who is hidden, is the same in the database as in the model."""
    refs = [rules.ref(RefObject(**{kind.value: value}), "") for kind, value in POOL]
    found = await hub.db.run(lambda tx: hub.recipients.resolve(tx, workspace_id, refs, False))
    stored: dict[object, set[Name]] = {}
    for name, one in zip(POOL, found, strict=True):
        assert isinstance(one, Resolved) is (name in model.owners)
        if isinstance(one, Resolved):
            stored.setdefault(one.recipient_id, set()).add(name)
            assert one.address_only is model.owners[name].hidden
    expected = {frozenset(person.names) for person in model.owners.values()}
    assert {frozenset(names) for names in stored.values()} == expected
    records = await hub.db.run(lambda tx: hub.recipients.read(tx, workspace_id, list(stored)))  # type: ignore[arg-type]
    for person, names in stored.items():
        record = records[person]  # type: ignore[index]
        assert {(one.kind, one.value) for one in record.identifiers} == names
