"""Accounts at rest, in use, changed, on both sides and for two tenants."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec import UNSET

from tabellion.access.service import list_audit
from tabellion.access.types import Role, Workspace
from tabellion.accounts.rules import CustomHosts
from tabellion.accounts.service import CACHE_STRANGE, Accounts
from tabellion.accounts.types import Account, AccountPatch, Configured, HostRefused, SecretsRequired, UnfitInPublic
from tabellion.core import ids
from tabellion.core.addresses import AddressPolicy
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database, Tx
from tabellion.core.errors import Conflict, Forbidden, HubError, Invalid, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.core.simulation import SimulatorAddress
from tabellion.providers.base import Channel
from tabellion.providers.settings import MASK, expose

from .conftest import SIMULATOR, SMTP, TOKEN, TWILIO, NewAccounts, caller, create


async def usable(db: Database, accounts: Accounts, workspace_id: WorkspaceId) -> list[Any]:
    return await db.run(lambda tx: accounts.usable(tx, workspace_id))


async def change(db: Database, accounts: Accounts, by: Any, account: Configured, **patch: Any) -> Configured:
    return await db.run(lambda tx: accounts.change(tx, by, account.id, AccountPatch(**patch)))


async def everything(db: Database) -> str:
    """Every row of every table as one text; bytes show as hex."""
    async with db.transaction() as tx:
        tables = await tx.rows("select tablename from pg_tables where schemaname = 'public'")
        rows = [row for one in tables for row in await tx.rows(f"select t::text as text from {one['tablename']} t")]
    return "\n".join(row["text"] for row in rows)


async def test_an_account_is_used_with_its_secrets_and_shown_without(
    db: Database, accounts: Accounts, workspace: Workspace
) -> None:
    by = caller(workspace)
    made = await create(db, accounts, by, name="Twilio EU", weight=3)
    assert made.settings["auth_token"] == MASK
    assert (made.name, made.weight, made.enabled, made.readable) == ("Twilio EU", 3, True, True)
    [account] = await usable(db, accounts, workspace.live)
    assert account.id == made.id
    assert account.settings.auth_token.reveal() == TOKEN
    assert account.channels == {Channel.SMS}
    assert account.weight == 3


async def test_a_secret_is_nowhere_but_sealed(db: Database, accounts: Accounts, workspace: Workspace) -> None:
    by = caller(workspace)
    made = await create(db, accounts, by)
    changed = await change(db, accounts, by, made, name="renamed", settings={"from": "+15005550007"})
    shown = await db.run(lambda tx: accounts.page(tx, workspace.live, None, 50))
    [account] = await usable(db, accounts, workspace.live)
    audited = await db.run(lambda tx: list_audit(tx, workspace.live))
    stored = await everything(db)
    for text in (repr(made), repr(changed), repr(shown), repr(account), repr(audited), stored):
        assert TOKEN not in text
    assert TOKEN.encode().hex() not in stored
    assert TWILIO["account_sid"] in stored


async def test_every_change_is_audited(db: Database, accounts: Accounts, workspace: Workspace) -> None:
    by = caller(workspace)
    made = await create(db, accounts, by)
    await change(db, accounts, by, made, weight=2, settings={"auth_token": "another"})
    await db.run(lambda tx: accounts.disable(tx, by, made.id))
    await db.run(lambda tx: accounts.disable(tx, by, made.id))
    entries = [one for one in await db.run(lambda tx: list_audit(tx, workspace.live)) if "account" in one.action]
    assert [one.action for one in reversed(entries)] == ["account.created", "account.updated", "account.disabled"]
    assert {one.actor for one in entries} == {by.actor}
    assert {one.target for one in entries} == {ids.show("acc", made.id)}
    assert entries[1].detail == {"changed": ["weight", "settings.auth_token"]}
    assert entries[2].detail == {"provider": "twilio", "host": "https://api.twilio.com:443"}


# settings


@pytest.mark.parametrize(
    ("provider", "settings", "pointer"),
    [
        ("twilio", {"account_sid": TWILIO["account_sid"], "from": "+1"}, "/settings/auth_token"),
        ("twilio", TWILIO | {"colour": "red"}, "/settings/colour"),
        ("twilio", TWILIO | {"auth_token": 7}, "/settings/auth_token"),
        ("twilio", TWILIO | {"auth_token": MASK}, "/settings/auth_token"),
        ("smtp", SMTP | {"port": "25"}, "/settings/port"),
        ("carrier-pigeon", {}, "/provider"),
    ],
)
async def test_wrong_settings_are_refused_where_they_are_wrong(
    db: Database, accounts: Accounts, workspace: Workspace, provider: str, settings: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        await create(db, accounts, caller(workspace), provider, settings)
    assert [one.pointer for one in refusal.value.errors] == [pointer]
    assert TOKEN not in str(refusal.value)


async def test_a_patch_keeps_the_secrets_it_does_not_name(
    db: Database, accounts: Accounts, workspace: Workspace
) -> None:
    by = caller(workspace)
    made = await create(db, accounts, by)
    await change(db, accounts, by, made, settings={"from": "+15005550007", "auth_token": MASK})
    [account] = await usable(db, accounts, workspace.live)
    assert (account.settings.sender, account.settings.auth_token.reveal()) == ("+15005550007", TOKEN)
    await change(db, accounts, by, made, settings={"auth_token": "another"})
    [account] = await usable(db, accounts, workspace.live)
    assert account.settings.auth_token.reveal() == "another"


async def test_another_host_does_not_get_the_secrets(db: Database, accounts: Accounts, workspace: Workspace) -> None:
    by = caller(workspace)
    made = await create(db, accounts, by, "smtp")
    for moved in ({"host": "evil.example.org"}, {"port": 25}, {"security": "none"}):
        with pytest.raises(SecretsRequired) as refusal:
            await change(db, accounts, by, made, settings=moved)
        assert [one.pointer for one in refusal.value.errors] == ["/settings/password"]
    moved = await change(db, accounts, by, made, settings={"host": "new.example.org", "password": "new"})
    assert moved.settings["host"] == "new.example.org"
    [account] = await usable(db, accounts, workspace.live)
    assert account.settings.password.reveal() == "new"
    without = await change(
        db, accounts, by, made, settings={"host": "third.example.org", "password": None, "username": None}
    )
    assert without.settings["password"] is None


async def test_secrets_do_not_open_for_a_host_changed_behind_our_back(
    db: Database, new_accounts: NewAccounts, workspace: Workspace
) -> None:
    by, accounts = caller(workspace), new_accounts()
    made = await create(db, accounts, by)
    forge = """
        update accounts set host = 'https://evil.example:443',
               settings = settings || '{"base_url": "https://evil.example"}'
    """
    await db.run(lambda tx: tx.execute(forge))
    assert await usable(db, new_accounts(), workspace.live) == []
    shown = await db.run(lambda tx: accounts.read(tx, workspace.live, made.id))
    assert not shown.readable
    with pytest.raises(SecretsRequired):
        await change(db, accounts, by, made, settings={"from": "+15005550007"})


async def test_a_secret_moved_to_another_account_does_not_open(
    db: Database, new_accounts: NewAccounts, workspace: Workspace
) -> None:
    accounts = new_accounts()
    one, other = [await create(db, accounts, caller(workspace)) for _ in range(2)]
    swap = "update accounts set secrets = (select secrets from accounts where id = $1) where id = $2"
    await db.run(lambda tx: tx.execute(swap, one.id, other.id))
    assert [account.id for account in await usable(db, new_accounts(), workspace.live)] == [one.id]


# hosts


async def test_a_host_in_place_of_the_vendors_own_needs_the_installation_and_the_role(
    db: Database, new_accounts: NewAccounts, workspace: Workspace
) -> None:
    custom = TWILIO | {"base_url": "http://10.1.2.3:8080"}
    with pytest.raises(HostRefused):
        await create(db, new_accounts(), caller(workspace), "twilio", custom)
    allowing = new_accounts(CustomHosts(AddressPolicy.of(["10.1.0.0/16"])))
    with pytest.raises(Forbidden):
        await create(db, allowing, caller(workspace, role=Role.OPERATOR), "twilio", custom)
    made = await create(db, allowing, caller(workspace, role=Role.ADMIN), "twilio", custom)
    [account] = await usable(db, allowing, workspace.live)
    assert account.id == made.id
    plain = await create(db, new_accounts(), caller(workspace, role=Role.OPERATOR))
    patch = {"base_url": "http://10.1.2.3:8080", "auth_token": "x"}
    with pytest.raises(HostRefused):
        await change(db, new_accounts(), caller(workspace), plain, settings=patch)


async def test_clear_text_and_any_port_are_for_networks_that_the_operator_opened(
    db: Database, new_accounts: NewAccounts, workspace: Workspace
) -> None:
    accounts = new_accounts(CustomHosts(AddressPolicy.of(["127.0.0.0/8"])))
    plain = {**SMTP, "security": "none", "port": 1025}
    for host in ("127.0.0.1", "localhost", "mailpit"):
        assert (await create(db, accounts, caller(workspace), "smtp", {**plain, "host": host})).readable
    with pytest.raises(UnfitInPublic):
        await create(db, accounts, caller(workspace), "smtp", plain)
    assert (await create(db, accounts, caller(workspace, "test"), "smtp", plain)).readable, "it goes to the simulator"


async def test_a_base_url_that_is_none_is_refused(db: Database, accounts: Accounts, workspace: Workspace) -> None:
    for wrong in ("ftp://x", "https://user:pw@api.example", "not a url", "https://api.example:port"):
        with pytest.raises(Invalid):
            await create(db, accounts, caller(workspace, "test"), "twilio", TWILIO | {"base_url": wrong})


# the test side


async def test_a_test_side_has_simulator_accounts_from_the_first_read_on(
    db: Database, accounts: Accounts, workspace: Workspace
) -> None:
    found = await usable(db, accounts, workspace.test)
    assert {account.provider for account in found} == {"smtp", "twilio"}
    by_name = {account.provider: account.settings for account in found}
    assert by_name["twilio"].base_url == SIMULATOR.base("twilio")
    assert (by_name["smtp"].server, by_name["smtp"].port) == (SIMULATOR.smtp_host, SIMULATOR.smtp_port)
    assert await usable(db, accounts, workspace.live) == []
    shown = await db.run(lambda tx: accounts.page(tx, workspace.test, None, 50))
    assert [one.simulated for one in shown] == [True, True]


async def test_processes_share_simulator_accounts_and_use_their_own_simulators(
    db: Database, new_accounts: NewAccounts, workspace: Workspace
) -> None:
    elsewhere = new_accounts(simulator=SimulatorAddress("http://127.0.0.1:8888", "127.0.0.1", 8825))
    ours = {one.provider: one for one in await usable(db, new_accounts(), workspace.test)}
    theirs = {one.provider: one for one in await usable(db, elsewhere, workspace.test)}
    assert {one.id for one in ours.values()} == {one.id for one in theirs.values()}
    assert ours["twilio"].settings.base_url != theirs["twilio"].settings.base_url


async def test_an_account_made_with_a_test_key_is_sealed_and_pointed_at_the_simulator(
    db: Database, accounts: Accounts, workspace: Workspace
) -> None:
    made = await create(db, accounts, caller(workspace, "test"))
    assert made.settings["base_url"] == "https://api.twilio.com"
    account = next(one for one in await usable(db, accounts, workspace.test) if one.id == made.id)
    assert account.settings.base_url == SIMULATOR.base("twilio")
    assert account.settings.account_sid == TWILIO["account_sid"]
    assert account.settings.auth_token.reveal() != TOKEN
    assert TOKEN not in await everything(db)


async def test_a_simulator_account_can_be_disabled_and_weighed_but_not_given_settings(
    db: Database, new_accounts: NewAccounts, workspace: Workspace
) -> None:
    accounts, by = new_accounts(), caller(workspace, "test")
    await usable(db, accounts, workspace.test)
    shown = await db.run(lambda tx: accounts.page(tx, workspace.test, None, 50))
    with pytest.raises(Conflict):
        await change(db, accounts, by, shown[0], settings={"from": "x@example.org"})
    assert (await change(db, accounts, by, shown[0], weight=5)).weight == 5
    await db.run(lambda tx: accounts.disable(tx, by, shown[0].id))
    assert len(await usable(db, new_accounts(), workspace.test)) == 1


# freshness


async def test_a_disabled_account_is_used_nowhere_a_second_later(
    db: Database, new_accounts: NewAccounts, workspace: Workspace, clock: FakeClock
) -> None:
    here, elsewhere = new_accounts(), new_accounts()
    made = await create(db, here, caller(workspace))
    assert len(await usable(db, elsewhere, workspace.live)) == 1
    await db.run(lambda tx: here.disable(tx, caller(workspace), made.id))
    assert await usable(db, here, workspace.live) == []
    assert len(await usable(db, elsewhere, workspace.live)) == 1
    clock.advance(timedelta(seconds=1))
    assert await usable(db, elsewhere, workspace.live) == []


async def test_an_account_comes_back_when_it_is_enabled(db: Database, accounts: Accounts, workspace: Workspace) -> None:
    by = caller(workspace)
    made = await create(db, accounts, by)
    assert not (await change(db, accounts, by, made, enabled=False)).enabled
    assert (await change(db, accounts, by, made, enabled=True)).enabled
    assert len(await usable(db, accounts, workspace.live)) == 1


async def test_a_rolled_back_read_leaves_nothing_in_the_cache(
    db: Database, accounts: Accounts, workspace: Workspace
) -> None:
    """The simulator accounts of a first read go with the transaction that made them."""
    gone: set[object] = set()

    async def read_and_fail(tx: Tx) -> None:
        gone.update(one.id for one in await accounts.usable(tx, workspace.test))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await db.run(read_and_fail)
    assert len(gone) == 2
    assert gone.isdisjoint({one.id for one in await usable(db, accounts, workspace.test)})


async def test_a_second_reading_asks_the_database_nothing(
    db: Database, accounts: Accounts, workspace: Workspace
) -> None:
    await usable(db, accounts, workspace.test)
    await db.run(lambda tx: tx.execute("drop table accounts cascade"))
    assert len(await usable(db, accounts, workspace.test)) == 2


# callbacks, tenants


async def called(db: Database, accounts: Accounts, *wanted: UUID) -> dict[UUID, Account]:
    return await db.run(lambda tx: accounts.for_callbacks(tx, wanted))


async def test_a_callback_finds_its_account_by_id_alone(
    db: Database, accounts: Accounts, workspace: Workspace, other_workspace: Workspace
) -> None:
    made = await create(db, accounts, caller(workspace))
    theirs = await create(db, accounts, caller(other_workspace, "test"))
    found = await called(db, accounts, made.id, ids.new(), theirs.id)
    assert {one.id: one.workspace_id for one in found.values()} == {
        made.id: workspace.live, theirs.id: other_workspace.test,
    }  # fmt: skip
    assert expose(found[made.id].settings)["auth_token"] == TOKEN
    assert expose(found[theirs.id].settings)["auth_token"] != TOKEN
    await db.run(lambda tx: accounts.disable(tx, caller(workspace), made.id))
    assert not (await called(db, accounts, made.id))[made.id].enabled


async def test_what_callbacks_name_is_believed_for_a_second_and_no_longer(
    db: Database, new_accounts: NewAccounts, workspace: Workspace, clock: FakeClock
) -> None:
    here, elsewhere = new_accounts(), new_accounts()
    made, nobodys = await create(db, here, caller(workspace)), ids.new()
    assert here.called(made.id) is UNSET
    await called(db, here, made.id, nobodys)
    await change(db, elsewhere, caller(workspace), made, settings={"auth_token": "new"})
    clock.advance(timedelta(seconds=0.9))
    kept = here.called(made.id)
    assert isinstance(kept, Account)
    assert expose(kept.settings)["auth_token"] == TOKEN
    assert here.called(nobodys) is None
    clock.advance(timedelta(seconds=0.1))
    assert here.called(made.id) is UNSET
    assert here.called(nobodys) is UNSET
    assert expose((await called(db, here, made.id))[made.id].settings)["auth_token"] == "new"


async def test_a_change_made_here_is_believed_here_at_once(
    db: Database, accounts: Accounts, workspace: Workspace
) -> None:
    made = await create(db, accounts, caller(workspace))
    await called(db, accounts, made.id)
    await change(db, accounts, caller(workspace), made, settings={"auth_token": "new"})
    assert accounts.called(made.id) is UNSET


async def test_an_account_that_can_no_longer_be_used_is_remembered_as_none(
    db: Database, accounts: Accounts, workspace: Workspace, clock: FakeClock
) -> None:
    made = await create(db, accounts, caller(workspace))
    await called(db, accounts, made.id)
    await db.run(lambda tx: tx.execute("update accounts set host = 'https://x:1', secrets = '\\x00'"))
    clock.advance(timedelta(seconds=1))
    await called(db, accounts, made.id)
    assert accounts.called(made.id) is None


async def test_strangers_ids_are_forgotten_before_they_fill_the_memory(
    db: Database, accounts: Accounts, workspace: Workspace
) -> None:
    made = await create(db, accounts, caller(workspace))
    await called(db, accounts, made.id)
    for _ in range(3):
        some = [ids.new() for _ in range(CACHE_STRANGE // 2 + 1)]
        await called(db, accounts, *some)
        assert accounts.called(some[-1]) is None
    assert len(accounts._strange) <= 2 * CACHE_STRANGE
    assert isinstance(accounts.called(made.id), Account)


async def test_two_tenants_never_meet(
    db: Database, accounts: Accounts, workspace: Workspace, other_workspace: Workspace
) -> None:
    mine, theirs = caller(workspace), caller(other_workspace)
    made = await create(db, accounts, mine)
    twin = await create(db, accounts, theirs)
    assert [one.id for one in await usable(db, accounts, other_workspace.live)] == [twin.id]
    for act in (
        lambda tx: accounts.read(tx, theirs.workspace_id, made.id),
        lambda tx: accounts.change(tx, theirs, made.id, AccountPatch(weight=9)),
        lambda tx: accounts.disable(tx, theirs, made.id),
        lambda tx: accounts.change(tx, caller(workspace, "test"), made.id, AccountPatch(weight=9)),
    ):
        with pytest.raises(NotFound):
            await db.run(act)
    crossed = await db.run(lambda tx: accounts.by_ids(tx, [(other_workspace.live, made.id)]))
    assert crossed == {}


async def test_an_account_of_a_provider_that_is_gone_is_left_out(
    db: Database, accounts: Accounts, workspace: Workspace
) -> None:
    made = await create(db, accounts, caller(workspace))
    await db.run(lambda tx: tx.execute("update accounts set provider = 'gone'"))
    assert await usable(db, accounts, workspace.live) == []
    shown = await db.run(lambda tx: accounts.read(tx, workspace.live, made.id))
    assert (shown.readable, shown.provider) == (False, "gone")
    with pytest.raises(HubError):
        await change(db, accounts, caller(workspace), made, settings={"from": "+1"})


def test_a_patch_that_says_nothing_changes_nothing() -> None:
    assert AccountPatch().settings is UNSET
