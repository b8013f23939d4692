"""The little HTTP that the simulators need, over plain ASGI: a request with its body, an answer, and bad endings."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import msgspec

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LARGEST: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    """Below `/sim/{provider}`."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON; an empty one is an empty object. Raises `ValueError` when it is not."""
        return msgspec.json.decode(self.body) if self.body else {}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @classmethod
    def json(cls, status: int, value: Any, headers: Mapping[str, str] | None = None) -> "Answer":
        return cls(status, msgspec.json.encode(value), headers or {})


class HangUp(Exception):
    """Close the connection without an answer (`after` bytes of one)."""

    def __init__(self, half: bool = False) -> None:
        super().__init__("hang up")
        self.half = half


class Simulator(Protocol):
    async def answer(self, request: Request) -> Answer:
        """The vendor's answer. Raises `HangUp`."""
        ...


async def read(scope: Scope, receive: Receive, path: str) -> Request:
    """The whole request. A body over 4 MiB is cut, and so refused by whoever reads it."""
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body") and len(body) <= LARGEST:
        message = await receive()
        body += message.get("body", b"")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], path, scope["query_string"].decode("latin-1"), headers, body)


async def respond(send: Send, answer: Answer) -> None:
    headers = [(b"content-length", str(len(answer.body)).encode())]
    if answer.body:
        headers.append((b"content-type", answer.content_type.encode()))
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def hang_up(send: Send, half: bool) -> None:
    """End the connection. ASGI has no word for that, so this takes the transport from uvicorn's cycle."""
    if half:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b'{"sid": "SM', "more_body": True})
        await asyncio.sleep(0)
    cycle: Any = getattr(send, "__self__", None)
    if hasattr(cycle, "transport"):
        cycle.transport.close()
        # Else uvicorn answers 500 and logs an error.
        cycle.disconnected = True
