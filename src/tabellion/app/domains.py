"""The domains over an installation, for a command that sends nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tabellion.app.opening import Opened
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.app.witnesses import read_policy
from tabellion.core.config import Settings
from tabellion.core.log import stderr_log
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.telemetry import Metrics
from tabellion.core.wake import Bell
from tabellion.events.service import open_log

NOWHERE: Final = SimulatorAddress("http://127.0.0.1:1", "127.0.0.1", 1)
"""A command runs no simulators, and talks to none."""


def blocked(settings: Settings) -> frozenset[str]:
    """What no identifier may be, by the operator's setting."""
    return frozenset(value.lower() for value in settings.blocked_values)


@asynccontextmanager
async def domains(installation: Opened, settings: Settings) -> AsyncIterator[Hub]:
    """Every domain, wired as in a hub with these settings."""
    bell = Bell()
    around = Surroundings(
        db=installation.db,
        clock=installation.clock,
        log=stderr_log(installation.clock, "warning"),
        metrics=Metrics(process=False),
        bell=bell,
        vault=installation.vault,
        keys=installation.keys,
        events=await open_log(installation.db, bell),
        install_id=installation.install_id,
        simulator=NOWHERE,
        local_url=NOWHERE.http,
        public_url=None,
        blocked_values=blocked(settings),
        witness_policy=read_policy(settings),
    )
    hub = wire(around)
    await hub.recipients.settings.refresh(around.db)
    try:
        yield hub
    finally:
        await hub.close()
