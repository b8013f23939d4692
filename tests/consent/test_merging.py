"""The pure rules by which consent follows a merge and a split, and a decision that waits for one."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

from tabellion.consent.merging import doubled_grants, fallen_statements, widest
from tabellion.consent.types import Because, Decision, Joined, Method, Rank, Standing, Strength
from tabellion.core import ids
from tabellion.recipients.types import Kind

from .conftest import Hub, decision, email
from .test_lock_forms import blocked

AT = datetime(2026, 11, 21, 9, tzinfo=UTC)
ME = UUID(int=1)


def entry(index: int, word: str = "withdrawn", **changes: object) -> Standing:
    strength = Strength.NONE if word == "granted" else Strength.PLAIN
    usual: dict[str, object] = {
        "id": UUID(int=100 + index), "ordinal": index, "recipient_id": ME, "identifier_hash": None,
        "person_scope": word != "granted", "channel": "email", "purpose": "marketing", "decision": Decision(word),
        "basis": None, "method": Method.API, "rank": Rank.SECRET_KEY, "strength": strength, "effective_at": AT,
    }  # fmt: skip
    return Standing(**(usual | changes))  # type: ignore[arg-type]


def test_of_each_scope_the_firmest_then_latest_restriction_of_the_person_speaks() -> None:
    firm = entry(1, "objected", strength=Strength.FIRM)
    others = [entry(2), entry(3, person_scope=False, identifier_hash=b"h"), entry(4, "granted", identifier_hash=b"h")]
    assert widest([*others, firm, entry(5, purpose="*")]) == [firm, entry(5, purpose="*")]


def test_of_two_grants_for_one_address_the_later_stays() -> None:
    grants = [entry(index, "granted", identifier_hash=hash_) for index, hash_ in ((1, b"h"), (2, b"h"), (3, b"i"))]
    assert doubled_grants(grants) == {grants[0].id}


def test_what_rests_on_what_is_gone_falls_and_nothing_else() -> None:
    a, b, c, d, e, f = (UUID(int=number) for number in range(1, 7))
    mine = Joined([a], {b: a}, 0)
    assert fallen_statements(mine, [Joined([], {c: b, e: f}, 1), Joined([], {d: c}, 2)]) == {b, c, d}


async def test_a_withdrawal_that_waited_for_a_change_of_owner_is_about_the_owner_now(hub: Hub) -> None:
    """It was placed with whom the address belonged to before it waited, and left the new owner unrestricted."""
    ann, bob = await hub.person((Kind.EMAIL, "a@x.org")), await hub.person((Kind.EMAIL, "b@x.org"))
    bobs = (await hub.identifiers(bob))["b@x.org"]
    holding, commit = asyncio.Event(), asyncio.Event()

    async def change_owner() -> None:
        async with hub.db.transaction() as tx:
            await hub.recipients.lock(tx, [(hub.side, ann), (hub.side, bob)], skip_locked=False)
            await tx.execute("update identifiers set recipient_id = $1 where hash = $2", ann, bobs.hash)
            holding.set()
            await commit.wait()

    changing = asyncio.create_task(change_owner())
    await holding.wait()
    said = asyncio.create_task(hub.recorded(decision(email("b@x.org"), "withdrawn")))
    await blocked(hub, said)
    commit.set()
    await changing
    assert (await said).recipient_id == ann


async def test_an_attached_address_brings_its_entries_and_says_nothing(hub: Hub) -> None:
    await hub.recorded(decision(email("x@x.org"), "withdrawn"))
    bob = await hub.person((Kind.EMAIL, "b@x.org"))
    [hidden] = await hub.rows("select recipient_id as id from consent_entries")
    why = Because(ids.new(), hidden["id"], bob, "hub")
    joined = await hub.db.run(lambda tx: hub.consent.attach(tx, hub.side, why))
    assert (len(joined.entries), joined.stated, joined.ordinal) == (1, {}, 0)
    assert [row["recipient_id"] for row in await hub.rows("select recipient_id from consent_entries")] == [bob]
