"""Two leaves of one person cannot be told from leaves of two: as the hub itself records them, by what anybody computes.

Where the hub makes its keys and ids, chance comes from a fixed source.
"""

import base64
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from types import SimpleNamespace

import pytest

from tabellion.consent import recording
from tabellion.consent.batch import Written
from tabellion.consent.types import Basis, Decision, Method, NewDecision, Rank
from tabellion.core import crypto, ids
from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.ledger.types import Leaf
from tabellion.ledger.verifier.walk import LEAF
from tabellion.recipients.types import Kind, Ref

from .conftest import World

PEOPLE = 1_280
BATCH = 128
Leaves = list[bytes]


@pytest.fixture
def dice(world: World, monkeypatch: pytest.MonkeyPatch) -> random.Random:
    """The only source of chance from here on; and of time, where an id has one."""
    made, began = random.Random(20_261_128), 1_795_000_000_000_000_000
    moments = iter(range(began, began + 10**15, 1_000_003))
    monkeypatch.setattr(crypto, "os", SimpleNamespace(urandom=made.randbytes))
    monkeypatch.setattr(ids, "os", SimpleNamespace(urandom=made.randbytes))
    monkeypatch.setattr(ids, "time", SimpleNamespace(time_ns=lambda: next(moments)))
    return made


async def recorded(world: World, people: Sequence[int]) -> Leaves:
    """The leaves of decisions of these people, in this order, each with what they decided the time before turned."""
    said = Counter[int]()
    for first in range(0, len(people), BATCH):
        batch = []
        for person in people[first : first + BATCH]:
            batch.append(_decision(person, Decision.WITHDRAWN if said[person] % 2 else Decision.GRANTED))
            said[person] += 1
        answers = await world.db.run(lambda tx, batch=batch: world.hub.consent.record(tx, world.side, batch))  # type: ignore[misc]
        assert not [one for one in answers if isinstance(one, Exception) or one.log_index is None]
    rows = await world.rows("select leaf from ledger_leaves where log = 'consent' order by index")
    return [row[0] for row in rows][-len(people) :]


def _decision(person: int, decision: Decision) -> NewDecision:
    return NewDecision(
        recipient=Ref(kind=Kind.EMAIL, value=f"person.{person}@example.org"),
        channel="email",
        purpose="marketing",
        decision=decision,
        basis=Basis.CONSENT if decision is Decision.GRANTED else None,
        method=Method.FORM,
        source="signup",
        rank=Rank.SECRET_KEY,
        actor="key_1",
    )


def seen(one: bytes, two: bytes) -> Iterator[tuple[str, object]]:
    """What somebody who only has the commitments can compute of two of them to relate them."""
    yield "equal", one == two
    yield "order", one < two
    yield "first byte equal", one[0] == two[0]
    yield "bits in common, coarsely", sum(((a ^ b) ^ 0xFF).bit_count() for a, b in zip(one, two, strict=True)) // 16
    yield "parity", (sum(one) + sum(two)) % 2
    yield "nibble of the difference", (one[-1] - two[-1]) % 16
    yield "hash of both", sha256(one + two).digest()[0] % 4


def tables(leaves: Leaves) -> dict[str, tuple[Counter[object], Counter[object]]]:
    """Each function over pairs of one person, and over pairs of two, of a log in which everybody decided twice."""
    found = [base64.urlsafe_b64decode(json.loads(leaf)["c"] + "=") for leaf in leaves]
    firsts, seconds = found[:PEOPLE], found[PEOPLE:]
    counted: dict[str, tuple[Counter[object], Counter[object]]] = {}
    for person, one in enumerate(firsts):
        for kind, two in enumerate((seconds[person], seconds[person - 1])):
            for name, value in seen(one, two):
                counted.setdefault(name, (Counter(), Counter()))[kind][value] += 1
    return counted


def telling(leaves: Leaves) -> set[str]:
    """The functions whose values for one person and for two are not distributed alike: chi-square, at 1 in 10^9."""
    return {name for name, (same, two) in tables(leaves).items() if chi_square(same, two) > limit(len({*same, *two}))}


def chi_square(one: Mapping[object, int], two: Mapping[object, int]) -> float:
    """How far two samples of equal size are apart; compare with `limit`."""
    return sum(
        (one.get(value, 0) - two.get(value, 0)) ** 2 / (one.get(value, 0) + two.get(value, 0)) for value in {*one, *two}
    )


def limit(values: int) -> float:
    """The chi-square value that chance passes once in 10^9 (Wilson and Hilferty's approximation)."""
    free = max(1, values - 1)
    return float(free * (1 - 2 / (9 * free) + 5.998 * (2 / (9 * free)) ** 0.5) ** 3)


EVERYBODY_TWICE = [*range(PEOPLE), *range(PEOPLE)]


async def test_leaves_of_one_and_of_two_are_distributed_alike(world: World, dice: random.Random) -> None:
    leaves = await recorded(world, EVERYBODY_TWICE)
    assert all(LEAF.fullmatch(one) for one in leaves)
    assert len({json.loads(one)["c"] for one in leaves}) == len(leaves)
    assert telling(leaves) == set()


def one_key_a_person(written: Written, keys: Mapping[object, Key], tx: Tx) -> Leaf:
    """As if the key of an entry were its person's, and only what it hashes the entry's."""
    made = keys[written.scope.recipient_id].hash(b"person")[:1] + sha256(written.record).digest()[1:]
    return Leaf(written.standing.id, "consent", made, tx.now.date())


def no_entry_in_it(written: Written, keys: Mapping[object, Key], tx: Tx) -> Leaf:
    """As if the commitment were to the person alone."""
    return Leaf(written.standing.id, "consent", keys[written.scope.recipient_id].hash(b"person"), tx.now.date())


def half_a_nibble(written: Written, keys: Mapping[object, Key], tx: Tx) -> Leaf:
    """As if two bits of the commitment were the person's."""
    person, entry = keys[written.scope.recipient_id].hash(b"person")[0], sha256(written.record).digest()
    return Leaf(written.standing.id, "consent", entry[:-1] + bytes([entry[-1] & 0xFC | person & 3]), tx.now.date())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (one_key_a_person, {"first byte equal"}),
        (no_entry_in_it, {"equal", "first byte equal", "order", "bits in common, coarsely"}),
        (half_a_nibble, {"nibble of the difference"}),
    ],
)
async def test_a_recorder_that_lets_a_person_show_is_noticed(
    world: World, dice: random.Random, monkeypatch: pytest.MonkeyPatch, wrong: object, told: set[str]
) -> None:
    """The same recording, the same statistics, another commitment."""
    monkeypatch.setattr(recording, "_leaf", wrong)
    assert telling(await recorded(world, EVERYBODY_TWICE)) >= told
