"""What a side sets about its recipients, and when which process knows."""

from datetime import timedelta
from typing import Any

import pytest

from tabellion.core.clock import FakeClock
from tabellion.core.errors import Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.resolution import Policy
from tabellion.recipients.settings import DEFAULT, RecipientSettings, SettingsBook, SharedDevice
from tabellion.recipients.types import Kind, Named, Profile

from .conftest import Hub


async def test_numbers_are_read_in_the_side_s_country_once_it_is_set(hub: Hub, workspace_id: WorkspaceId) -> None:
    with pytest.raises(Invalid):
        hub.recipients.normalise(workspace_id, Kind.PHONE, "0660 1234567")
    settings = RecipientSettings(default_region="AT")
    await hub.db.run(lambda tx: hub.recipients.settings.set(tx, workspace_id, settings))
    assert hub.recipients.normalise(workspace_id, Kind.PHONE, "0660 1234567") == "+436601234567"
    assert hub.recipients.normalise(workspace_id, Kind.PHONE, "+49 30 123456") == "+4930123456"


async def test_a_side_blocks_values_beside_those_of_the_installation(hub: Hub, workspace_id: WorkspaceId) -> None:
    book = SettingsBook(frozenset({"everywhere@example.org"}))
    settings = RecipientSettings(blocked_values=["Nobody@Example.org"])
    await hub.db.run(lambda tx: book.set(tx, workspace_id, settings))
    assert book.blocked(workspace_id) == {"everywhere@example.org", "nobody@example.org"}
    assert book.blocked(WorkspaceId(workspace_id.__class__(int=1))) == {"everywhere@example.org"}


async def test_another_process_knows_with_its_next_look(
    hub: Hub, other_hub: Hub, workspace_id: WorkspaceId, clock: FakeClock
) -> None:
    theirs = other_hub.recipients.settings
    await theirs.refresh(other_hub.db)
    for region in ("AT", "DE"):
        settings = RecipientSettings(default_region=region)
        await hub.db.run(lambda tx, settings=settings: hub.recipients.settings.set(tx, workspace_id, settings))
        await theirs.refresh(other_hub.db)
        assert theirs.region(workspace_id) == region
        clock.advance(timedelta(hours=1))


async def test_what_was_not_committed_is_not_known(hub: Hub, workspace_id: WorkspaceId) -> None:
    book = hub.recipients.settings
    with pytest.raises(ZeroDivisionError):
        async with hub.db.transaction() as tx:
            await book.set(tx, workspace_id, RecipientSettings(default_region="AT"))
            raise ZeroDivisionError
    assert book.of(workspace_id) == DEFAULT
    assert await hub.db.run(lambda tx: book.read(tx, workspace_id)) == (DEFAULT, None)


async def test_what_is_set_about_resolution_is_what_its_rules_go_by(hub: Hub, workspace_id: WorkspaceId) -> None:
    book = hub.recipients.settings
    assert book.policy(workspace_id) == Policy()
    settings = RecipientSettings(
        priority=["phone"], limits={"email": 2}, shared_device=SharedDevice(people=3, days=7), stale_after_days=None
    )
    await hub.db.run(lambda tx: book.set(tx, workspace_id, settings))
    policy = book.policy(workspace_id)
    assert (policy.limit(Kind.EMAIL), policy.limit(Kind.PHONE), policy.limit(Kind("external:crm"))) == (2, 10, 1)
    assert policy.rank(Kind.PHONE) < policy.rank(Kind.EXTERNAL_ID)
    assert (policy.people, policy.within) == (3, timedelta(days=7))
    with pytest.raises(Invalid):
        hub.recipients.unit(
            workspace_id, [(Named(Kind.EMAIL, f"{name}@x.org"), f"/identifiers/{name}") for name in "abc"], Profile()
        )


@pytest.mark.parametrize("wrong", [{"priority": ["email", "email"]}, {"limits": {"external_id": 2}}])
def test_settings_that_contradict_themselves_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="field"):
        RecipientSettings(**wrong)
