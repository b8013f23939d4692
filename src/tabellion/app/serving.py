"""What a serving process says when it is ready, and the simulators as a process of their own."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta

from tabellion.access import service
from tabellion.access.types import KeyOptions, Role
from tabellion.app.opening import Opened
from tabellion.app.output import print_text
from tabellion.app.wiring import Hub
from tabellion.core.clock import SystemClock
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, NotFound
from tabellion.simulators.server import Simulators

DEFAULT = "default"
FIRST_CALL = """
A test key for a day, workspace {workspace}:
  {key}

Send a first message (it goes to a simulated mail server):
  curl {url}/v1/messages -H "Authorization: Bearer {key}" -H "Content-Type: application/json" -d '{body}'

Documents: {url}/docs    Stop: Ctrl-C
"""
BODY = '{"to":{"email":"ann@example.org"},"purpose":"transactional","content":{"subject":"Hi","text":"Hello"}}'


def announce(*, with_test_key: bool, serves: bool = True) -> Callable[[Opened, Hub, str], Awaitable[None]]:
    """Says `ready`, and where asked, shows a first call that works."""

    async def ready(installation: Opened, hub: Hub, url: str) -> None:
        if with_test_key:
            key = await installation.db.run(_test_key)
            print_text(FIRST_CALL.format(workspace=DEFAULT, key=key, url=url, body=BODY))
        print_text(f"ready {url}" if serves else "ready")

    return ready


async def _test_key(tx: Tx) -> str:
    try:
        workspace = await service.find_workspace(tx, DEFAULT)
    except NotFound:
        workspace = await service.create_workspace(tx, DEFAULT)
    options = KeyOptions(name="first key", expires_at=tx.now + timedelta(hours=24))
    _, secret = await service.create_key(tx, workspace, "test", Role.ADMIN, options)
    return secret.reveal()


async def simulate_until_stopped(address: tuple[str, int], smtp_port: int) -> None:
    """Serve the simulators on this host and port until SIGINT or SIGTERM."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    simulators = Simulators(SystemClock())
    try:
        served = await simulators.start(*address, smtp_port)
    except OSError as error:
        raise HubError("address_in_use", f"the simulators cannot listen: {error}; choose other ports") from None
    try:
        print_text(f"mail {served.smtp_host}:{served.smtp_port}")
        print_text(f"ready {served.http}")
        await stopping.wait()
    finally:
        await simulators.stop()
