"""Outbound HTTP behind a port of one method. Requests and responses are values. `core.outbound` is the adapter."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlencode

import msgspec

Fields: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]


class NotSent(Exception):
    """The other side cannot have acted: connecting failed, or it said that it never looked at the request."""


class TooLate(NotSent):
    """The deadline for the first byte had passed."""


class Refused(NotSent):
    """We do not send this: the address policy forbids the target, or the request is malformed. Final."""


class Lost(Exception):
    """Bytes left, and no readable answer came: a time limit, a reset, a protocol error, an answer over the size cap."""


class Unsent(asyncio.CancelledError):
    """Cancelled when the other side cannot have acted yet. To whoever cancels it is a cancellation like any other."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def json(cls, method: str, url: str, body: Any, headers: Mapping[str, str] | None = None) -> "HttpRequest":
        return cls(method, url, {"Content-Type": "application/json", **(headers or {})}, msgspec.json.encode(body))

    @classmethod
    def form(cls, method: str, url: str, fields: Fields, headers: Mapping[str, str] | None = None) -> "HttpRequest":
        """A form-encoded request. Pairs keep their order and may repeat a name."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return cls(method, url, kind | dict(headers or {}), urlencode(fields).encode())


@dataclass(frozen=True, slots=True)
class HttpResponse:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` (msgspec.DecodeError) when it is not."""
        return msgspec.json.decode(self.body)


class HttpClient(Protocol):
    async def send(self, request: HttpRequest, *, not_after: float | None = None) -> HttpResponse:
        """The answer. Raises `NotSent` or `Lost`; cancelled in time, `Unsent`.

        No byte is written after `not_after` (seconds, monotonic clock).
        """
        ...
