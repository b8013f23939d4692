"""What nobody vouches for changes nobody who is known, also where they become known meanwhile."""

import asyncio
from typing import Any

from tabellion.core.ids import WorkspaceId
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Kind, Named, NewRecipient, Profile, Recipient, Ref, Upserted

from .conftest import Absorptions, Counting, Hub, wait_until_blocked

VISITOR = Named(Kind.ANONYMOUS, "visitor-1")
OTHER = Named(Kind.ANONYMOUS, "visitor-2")
ANN = Named(Kind.EMAIL, "ann@example.org")


async def upsert(
    recipients: Recipients, tx: Any, side: WorkspaceId, *named: Named, unproven: bool = True, **traits: Any
) -> Any:
    unit = NewRecipient(named, Profile(traits=traits), unproven=unproven)
    [one] = await recipients.upsert(tx, side, [unit], absorbed=Absorptions())
    return one


async def read(hub: Hub, side: WorkspaceId, named: Named) -> Recipient | None:
    async def work(tx: Any) -> Recipient | None:
        ref = Ref(kind=named.kind, value=named.value)
        [found] = await hub.recipients.resolve(tx, side, [ref], create=False)
        person = getattr(found, "recipient_id", None)
        return (await hub.recipients.read(tx, side, [person]))[person] if person else None

    return await hub.db.run(work)


async def test_a_visitor_who_becomes_known_meanwhile_is_left_alone(
    hub: Hub, other_hub: Hub, workspace_id: WorkspaceId
) -> None:
    """The page spoke of a visitor; while it waited, the backend said who that is."""
    await hub.db.run(lambda tx: upsert(hub.recipients, tx, workspace_id, VISITOR, seen="shoes"))
    async with hub.db.transaction() as tx:
        await upsert(hub.recipients, tx, workspace_id, VISITOR, ANN, unproven=False)
        late = asyncio.create_task(
            other_hub.db.run(
                lambda tx: upsert(other_hub.recipients, tx, workspace_id, VISITOR, OTHER, seen="other", evil=True)
            )
        )
        await wait_until_blocked(hub)
    assert isinstance(await late, Upserted)
    ann = await read(hub, workspace_id, ANN)
    assert ann is not None
    assert ann.traits == {"seen": "shoes"}
    assert {one.kind for one in ann.identifiers} == {Kind.ANONYMOUS, Kind.EMAIL}
    assert await read(hub, workspace_id, OTHER) is None, "what was claimed was taken back"


async def test_units_of_one_batch_are_guarded_one_by_one(hub: Hub, workspace_id: WorkspaceId) -> None:
    await hub.db.run(lambda tx: upsert(hub.recipients, tx, workspace_id, VISITOR, ANN, unproven=False, seen="shoes"))
    device = Named(Kind.ANONYMOUS, "visitor-3")
    units = [
        NewRecipient((VISITOR, device), Profile(traits={"seen": "evil"}), unproven=True),
        NewRecipient((OTHER,), Profile(traits={"seen": "hats"}), unproven=True),
        NewRecipient((VISITOR,), Profile(traits={"plan": "pro"})),
    ]
    await hub.db.run(lambda tx: hub.recipients.upsert(tx, workspace_id, units, absorbed=Absorptions()))
    ann, other = await read(hub, workspace_id, ANN), await read(hub, workspace_id, OTHER)
    assert ann is not None
    assert other is not None
    assert ann.traits == {"seen": "shoes", "plan": "pro"}
    assert other.traits == {"seen": "hats"}
    assert await read(hub, workspace_id, device) is None


async def test_what_is_vouched_for_is_not_asked_about(hub: Hub, workspace_id: WorkspaceId) -> None:
    """A secret key's upsert pays no statement for it."""
    await hub.db.run(lambda tx: upsert(hub.recipients, tx, workspace_id, VISITOR, ANN, unproven=False))

    async def counted(unproven: bool) -> int:
        async def work(tx: Any) -> int:
            counting = Counting(tx)
            await upsert(hub.recipients, counting, workspace_id, VISITOR, unproven=unproven)
            return sum("where exists" in one for one in counting.statements)

        return await hub.db.run(work)

    assert [await counted(unproven) for unproven in (False, True)] == [0, 1]
