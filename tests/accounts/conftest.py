"""Accounts over a real database, on both sides of a workspace."""

from collections.abc import Callable

import pytest

from tabellion.access.rules import SCOPES
from tabellion.access.service import create_workspace, mode_of
from tabellion.access.types import Caller, Mode, Role, Workspace
from tabellion.accounts.rules import CustomHosts
from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Configured, NewAccount
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.vault import Vault
from tabellion.providers import ALL

SIMULATOR = SimulatorAddress("http://127.0.0.1:9999", "127.0.0.1", 9925)
TOKEN = "a-token-that-nobody-may-see"
SID = f"AC{7:032x}"
TWILIO = {"account_sid": SID, "auth_token": TOKEN, "from": "+15005550006"}
SMTP = {"host": "mail.example.org", "username": "ann", "password": TOKEN, "from": "shop@example.org"}


@pytest.fixture
async def workspace(db: Database) -> Workspace:
    return await db.run(lambda tx: create_workspace(tx, "acme"))


@pytest.fixture
async def other_workspace(db: Database) -> Workspace:
    return await db.run(lambda tx: create_workspace(tx, "rival"))


NewAccounts = Callable[..., Accounts]


@pytest.fixture
def new_accounts(vault: Vault, clock: FakeClock) -> NewAccounts:
    """Makes services as different processes have them."""

    def make(hosts: CustomHosts | None = None, simulator: SimulatorAddress = SIMULATOR) -> Accounts:
        return Accounts(vault, ALL, simulator, clock, mode_of, hosts or CustomHosts())

    return make


@pytest.fixture
def accounts(new_accounts: NewAccounts) -> Accounts:
    return new_accounts()


def caller(workspace: Workspace, mode: Mode = "live", role: Role = Role.OWNER) -> Caller:
    return Caller(workspace.side(mode), workspace.id, ids.new(), role, mode, SCOPES[role])


async def create(
    db: Database, accounts: Accounts, by: Caller, provider: str = "twilio", settings: object = None, **more: object
) -> Configured:
    values = {"twilio": TWILIO, "smtp": SMTP}[provider] if settings is None else settings
    new = NewAccount(provider, values, **more)  # type: ignore[arg-type]
    return await db.run(lambda tx: accounts.create(tx, by, new))
