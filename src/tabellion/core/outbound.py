"""The HTTP adapter: `pyreqwest` (https://github.com/MarkusSintonen/pyreqwest, 0.15) behind `core.http`'s port.

Quirks, seen with 0.15.1 over real sockets on 2026-11-21
* Its error classes do not say what happened: a connection closed after the whole request was read is a `ConnectError`,
  an answer that never comes a `ConnectTimeoutError`. So we look at what the connection asked for instead: the body is
  an iterable, and whether it was begun says whether the request can have been acted on. (A plain iterable is called on
  the client's own thread and costs nothing measurable.)
* An exception raised by that iterable comes out of `send` as it is, and nothing of the request is written.
* HTTP/2: a stream that waits for the peer's concurrency limit has not begun its body and sends no frame when dropped.
* Names are pinned per client (`resolve`), so each origin has its own.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple, TypeAlias

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError
from pyreqwest.http import Url
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from tabellion.core.addresses import AddressPolicy, Resolver, checked, system_resolver
from tabellion.core.clock import Clock
from tabellion.core.http import HttpRequest, HttpResponse, Lost, NotSent, Refused, TooLate, Unsent

PIN_SECONDS: Final = 30.0
"""How long a checked address is used before its name is looked up again."""
ORIGINS: Final = 256
PIECE: Final = 65_536
"""Bytes of a body handed over at once: the deadline is looked at between pieces."""
_NEVER_PROCESSED: Final = (
    "refused stream before processing any application logic",  # RST_STREAM REFUSED_STREAM
    "connection error received: not a result of an error",  # GOAWAY NO_ERROR naming an earlier stream
)
"""HTTP/2's two ways of saying that a request was not looked at (RFC 9113, 8.7)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, and bytes of an answer's body."""

    connect: float = 5.0
    read: float = 20.0
    total: float = 30.0
    body: int = 1 << 20


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int


Build: TypeAlias = Callable[[Origin, str], Client]
"""A client for an origin, pinned to an address."""


class HttpPool:
    """One pool of connections per process and origin. HTTP/2 where the other side speaks it over TLS. No redirects."""

    def __init__(
        self,
        clock: Clock,
        policy: AddressPolicy,
        *,
        limits: Limits | None = None,
        resolver: Resolver = system_resolver,
        roots: Sequence[bytes] = (),
    ) -> None:
        """`roots`: PEM certificates trusted beside the built-in ones."""
        self._clock = clock
        self._policy = policy
        self._limits = limits or Limits()
        self._resolver = resolver
        self._roots = roots
        self._targets: OrderedDict[Origin, _Target] = OrderedDict()

    async def send(self, request: HttpRequest, *, not_after: float | None = None) -> HttpResponse:
        """The answer. Raises `NotSent` (`TooLate`, `Refused`) or `Lost`. No byte is written after `not_after`."""
        body = _Body(request.body, self._clock, not_after)
        target = self._target(_origin(request.url))
        try:
            async with asyncio.timeout(self._limits.total) as limit:
                body.watch(limit)
                client = await target.client()
                return await self._exchange(_build(client, request, body))
        except (PyreqwestError, TimeoutError) as error:
            raise self._failure(error, request, body, target) from error
        except asyncio.CancelledError:
            if request.body and body.drop():
                raise Unsent from None
            raise
        finally:
            body.unwatch()

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        targets, self._targets = self._targets, OrderedDict()
        for target in targets.values():
            await target.close()

    async def _exchange(self, built: StreamRequest) -> HttpResponse:
        async with built as response:
            return HttpResponse(response.status, dict(response.headers), await self._read(response))

    async def _read(self, response: Response) -> bytes:
        chunks, size = [], 0
        while (chunk := await response.body_reader.read_chunk()) is not None:
            chunks.append(bytes(chunk))
            size += len(chunk)
            if size > self._limits.body:
                raise Lost(f"the answer ({response.status}) is larger than {self._limits.body} bytes")
        return b"".join(chunks)

    def _failure(self, error: Exception, request: HttpRequest, body: "_Body", target: "_Target") -> NotSent | Lost:
        causes = _causes(error)
        if body.begun or (not request.body and "client error (Connect)" not in causes):
            if any(sign in causes for sign in _NEVER_PROCESSED):
                return NotSent("the other side did not look at the request")
            return Lost(_text(error, causes, "no answer in time"))
        if body.cut or body.late():
            return TooLate("no connection before the deadline")
        target.distrust()
        return NotSent(_text(error, causes, "no connection in time"))

    def _target(self, origin: Origin) -> "_Target":
        target = self._targets.get(origin)
        if target is None:
            target = self._targets[origin] = _Target(origin, self._clock, self._policy, self._resolver, self._build)
            if len(self._targets) > ORIGINS:
                self._targets.popitem(last=False)
        else:
            self._targets.move_to_end(origin)
        return target

    def _build(self, origin: Origin, address: str) -> Client:
        limits = self._limits
        builder = ClientBuilder().no_proxy().follow_redirects(False).referer(False).http2(True).user_agent("tabellion")
        builder = builder.gzip(False).brotli(False).zstd(False).deflate(False)
        builder = builder.connect_timeout(timedelta(seconds=limits.connect)).pool_idle_timeout(timedelta(seconds=15))
        builder = builder.read_timeout(timedelta(seconds=limits.read)).pool_max_idle_per_host(64)
        for root in self._roots:
            builder = builder.add_root_certificate_pem(root)
        return builder.resolve(origin.host, address, origin.port).build()


class _Target:
    """One origin: its client, pinned to one checked address for `PIN_SECONDS`."""

    def __init__(self, origin: Origin, clock: Clock, policy: AddressPolicy, resolver: Resolver, build: Build) -> None:
        self._origin = origin
        self._clock = clock
        self._policy = policy
        self._resolver = resolver
        self._build = build
        self._lock = asyncio.Lock()
        self._client: Client | None = None
        self._address = ""
        self._distrusted: set[str] = set()
        self._until = 0.0

    async def client(self) -> Client:
        """The client to use now. Raises `NotSent` or `Refused` when the name leads nowhere we may go."""
        if self._client is not None and self._clock.monotonic() < self._until:
            return self._client
        async with self._lock:
            if self._client is None or self._clock.monotonic() >= self._until:
                self._pin(await self._addresses())
            assert self._client is not None
            return self._client

    def distrust(self) -> None:
        """Look the name up again next time, and prefer another address of it."""
        self._until = 0.0
        self._distrusted.add(self._address)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _addresses(self) -> list[str]:
        scheme, host, port = self._origin
        return await checked(self._policy, self._resolver, host, port, encrypted=scheme == "https", within=5.0)

    def _pin(self, addresses: Sequence[str]) -> None:
        trusted = [address for address in addresses if address not in self._distrusted]
        if not trusted:
            self._distrusted.clear()
        if self._client is None or self._address not in trusted:
            self._address = (trusted or addresses)[0]
            self._client = self._build(self._origin, self._address)
        self._until = self._clock.monotonic() + PIN_SECONDS


class _Body:
    """The request's bytes, given when the connection asks for them, unless the deadline has passed."""

    __slots__ = ("_clock", "_data", "_dropped", "_handle", "_not_after", "begun", "cut", "given")

    def __init__(self, data: bytes, clock: Clock, not_after: float | None) -> None:
        self._data = data
        self._clock = clock
        self._not_after = not_after
        self._handle: asyncio.TimerHandle | None = None
        self._dropped = False
        self.begun = False
        """Some of it was asked for."""
        self.given = False
        """All of it was."""
        self.cut = False
        """The exchange was ended at the deadline (by a timer: it may fire a moment before the clock says so)."""
        if self.late():
            raise TooLate("the deadline had passed")

    def __iter__(self) -> Iterator[bytes]:
        if self.late():
            raise TooLate("no connection before the deadline")
        self.begun = True
        if self._dropped:
            raise TooLate("cancelled")
        for start in range(0, len(self._data), PIECE):
            if start and self.late():
                raise Lost("the deadline passed while the request was being written")
            self.given = start + PIECE >= len(self._data)
            yield self._data[start : start + PIECE]

    def drop(self) -> bool:
        """Give nothing from now on. Says whether nothing was given: the connection asks from a thread of its own."""
        self._dropped = True
        return not self.begun

    def late(self) -> bool:
        return self._not_after is not None and self._clock.monotonic() >= self._not_after

    def watch(self, limit: asyncio.Timeout) -> None:
        """Cut the exchange off at the deadline unless the whole body was handed over by then."""
        if self._not_after is not None:
            left = self._not_after - self._clock.monotonic()
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(left, self._expire, limit, loop)

    def unwatch(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _expire(self, limit: asyncio.Timeout, loop: asyncio.AbstractEventLoop) -> None:
        if not self.given and not limit.expired():
            self.cut = True
            limit.reschedule(loop.time())


def _origin(url: str) -> Origin:
    """Scheme, host and port as the client itself will read them. Raises `Refused` for what is no http(s) address."""
    try:
        parsed = Url(url)
    except ValueError as error:
        raise Refused(f"the address is malformed: {error}") from None
    host, port = parsed.host_str, parsed.port_or_known_default
    if parsed.scheme not in ("http", "https") or not host or not port:
        raise Refused("the address is not http or https")
    return Origin(parsed.scheme, host.strip("[]"), port)


def _build(client: Client, request: HttpRequest, body: _Body) -> StreamRequest:
    try:
        builder = client.request(request.method, request.url).headers(request.headers)
    except ValueError as error:
        raise Refused(f"the request is malformed: {error}") from None
    if request.body:
        builder = builder.header("Content-Length", str(len(request.body))).body_stream(body)
    return builder.build_streamed()


def _causes(error: Exception) -> str:
    details = getattr(error, "details", None) or {}
    return "; ".join(cause["message"] for cause in details.get("causes") or ())


def _text(error: Exception, causes: str, otherwise: str) -> str:
    """What went wrong without the URL (it may carry a token): the last cause."""
    if isinstance(error, TimeoutError) or "timed out" in causes:
        return otherwise
    return causes.rpartition("; ")[2] or type(error).__name__
