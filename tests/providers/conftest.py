"""Pools to real sockets, simulators, and a place that takes callbacks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tabellion.core.addresses import AddressPolicy
from tabellion.core.clock import SystemClock
from tabellion.core.outbound import HttpPool, Limits
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.smtp import SmtpLimits, SmtpPool
from tabellion.providers.base import Inbound
from tabellion.providers.delivery import Carrier
from tabellion.simulators.server import Simulators


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
async def wire(clock: SystemClock) -> AsyncIterator[Carrier]:
    policy = AddressPolicy.of(["127.0.0.0/8"])
    http = HttpPool(clock, policy, limits=Limits(connect=1, read=0.3, total=2))
    smtp = SmtpPool(clock, policy, limits=SmtpLimits(envelope=1, content=0.3))
    yield Carrier(http, smtp)
    await http.close()
    await smtp.close()


@dataclass
class Hook:
    """A listener for callbacks: what came, as the hub would see it."""

    url: str = ""
    came: asyncio.Queue[Inbound] = field(default_factory=asyncio.Queue)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.came.put_nowait(Inbound(head[0].split()[0], self.url, headers, body))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        writer.close()


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    made = Hook()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in/vendor/acc_1"
    yield made
    server.close()


@pytest.fixture
async def simulator(clock: SystemClock) -> AsyncIterator[SimulatorAddress]:
    simulators = Simulators(clock, pace=0.0)
    yield await simulators.start()
    await simulators.stop()
