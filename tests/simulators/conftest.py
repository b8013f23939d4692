"""Simulators on real sockets, and a place that takes their callbacks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tabellion.core.clock import SystemClock
from tabellion.core.simulation import SimulatorAddress
from tabellion.simulators.server import Simulators


@dataclass(frozen=True)
class Came:
    url: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Hook:
    """A listener that answers with the given statuses in turn, then 204."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    came: asyncio.Queue[Came] = field(default_factory=asyncio.Queue)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                pairs = (line.partition(":") for line in head[1:-2])
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.came.put_nowait(Came(self.url, headers, body))
                status = self.statuses.pop(0) if self.statuses else 204
                writer.write(f"HTTP/1.1 {status} x\r\n\r\n".encode() if status == 204 else _empty(status))
                await writer.drain()
        writer.close()

    async def next(self) -> Came:
        return await asyncio.wait_for(self.came.get(), 5)


def _empty(status: int) -> bytes:
    return f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    made = Hook()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in/twilio/acc_1?x=1"
    yield made
    server.close()


@pytest.fixture
async def simulators() -> AsyncIterator[Simulators]:
    made = Simulators(SystemClock(), pace=0.0)
    yield made
    await made.stop()


@pytest.fixture
async def address(simulators: Simulators) -> SimulatorAddress:
    return await simulators.start()


@pytest.fixture
async def browser(address: SimulatorAddress) -> AsyncIterator[Any]:
    """A client of another make, at the simulators' root."""
    async with httpx.AsyncClient(base_url=address.http, trust_env=False) as client:
        yield client
