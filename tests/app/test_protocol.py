"""What strangers may send before they are known: over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from tabellion.app import protocol
from tabellion.app.protocol import BoundedProtocol
from tabellion.app.roles import Server


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    said = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(echo, http=BoundedProtocol, ws="none", lifespan="off", log_config=None)
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving


async def talk(port: int, *parts: bytes) -> bytes:
    """Everything the server says to these bytes, until it is done or closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
    await writer.drain()
    said = await asyncio.wait_for(reader.read(1 << 16), 10)
    writer.close()
    return said


async def test_a_head_beyond_its_bound_is_refused_before_it_is_kept(port: int) -> None:
    """One connection could send header lines until the memory was full."""
    lines = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 1000) for number in range(100))
    assert (await talk(port, b"GET / HTTP/1.1\r\nhost: h\r\n", lines)).startswith(b"HTTP/1.1 431 ")


async def test_one_endless_header_line_is_refused_too(port: int) -> None:
    said = await talk(port, b"GET / HTTP/1.1\r\nx: ", b"a" * (protocol.MOST_HEAD + 1))
    assert said.startswith(b"HTTP/1.1 431 ")


async def test_a_large_body_after_a_small_head_is_none_of_its_business(port: int) -> None:
    size = 4 * protocol.MOST_HEAD
    head = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % size
    assert (await talk(port, head + b"b" * size)).endswith(str(size).encode())


async def test_several_requests_on_one_connection_are_counted_apart(port: int) -> None:
    one = b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"a" * (protocol.MOST_HEAD // 2) + b"\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(5):
        writer.write(one)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(1) == b"0"
    writer.close()


async def test_a_head_that_does_not_end_in_time_ends_the_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 0.01)
    assert (await talk(port, b"GET / HTTP/1.1\r\nho")).startswith(b"HTTP/1.1 408 ")
