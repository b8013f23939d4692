"""Outbound SMTP (RFC 5321) as values behind a port, and the pool that implements it with `aiosmtplib`.

Quirks of aiosmtplib 5.1 (read 2026-11-21)
* `SMTP.data` sends DATA and the content in one call; we need to know which of the two was lost, so they are two here.
* A reply that arrives between commands (421 before an idle close) is dropped; the closed connection shows later.
"""

import asyncio
import contextlib
import math
import re
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias, cast

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from tabellion.core.addresses import AddressPolicy, Resolver, checked, system_resolver
from tabellion.core.clock import Clock
from tabellion.core.crypto import Secret
from tabellion.core.http import Lost, NotSent, Refused, TooLate, Unsent

Security = Literal["none", "starttls", "tls"]

IDLE_SECONDS: Final = 20.0
REUSES: Final = 100
"""Messages over one connection; many servers close after that many."""
CONNECTIONS: Final = 20
"""At once, per server and user."""
SERVERS: Final = 64
_GO_ON: Final = 354
_SERVICE_CLOSING: Final = 421
_ADDRESS: Final = re.compile(r"[^\s<>\x00-\x1f\x7f]+")
_LINE_START_DOT: Final = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True)
class SmtpRequest:
    host: str
    port: int
    security: Security
    username: str | None
    password: Secret | None
    mail_from: str
    rcpt_to: str
    content: bytes
    """The whole message, headers and body, CRLF line ends."""


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """The reply that ended the transaction: 250 after the final dot, or the first refusal."""

    code: int
    text: str


class SmtpClient(Protocol):
    async def send(self, request: SmtpRequest, *, not_after: float | None = None) -> SmtpReply:
        """The reply that ended the transaction. Raises `NotSent` when no content left, `Lost` when some may have.

        Cancelled before any content left it raises `Unsent`.
        """
        ...


@dataclass(frozen=True, slots=True)
class SmtpLimits:
    """Seconds: until the server asks for the content, and from there to its reply (it may scan the message)."""

    envelope: float = 15.0
    content: float = 60.0


Server: TypeAlias = tuple[str, int, Security, str | None, Secret | None]


class SmtpPool:
    """Connections kept per server and user, and used again while they last. Never clear text to a public address."""

    def __init__(
        self,
        clock: Clock,
        policy: AddressPolicy,
        *,
        limits: SmtpLimits | None = None,
        resolver: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._clock = clock
        self._policy = policy
        self._limits = limits or SmtpLimits()
        self._resolver = resolver
        self._tls = tls or ssl.create_default_context()
        self._lines: OrderedDict[Server, _Line] = OrderedDict()

    async def send(self, request: SmtpRequest, *, not_after: float | None = None) -> SmtpReply:
        """The reply that ended the transaction. Raises `NotSent` (`TooLate`, `Refused`) or `Lost`."""
        if not_after is not None and self._clock.monotonic() >= not_after:
            raise TooLate("the deadline had passed")
        if not (_ADDRESS.fullmatch(request.mail_from) and _ADDRESS.fullmatch(request.rcpt_to)):
            raise Refused("an address of the envelope has a space, bracket or control character in it")
        line = self._line((request.host, request.port, request.security, request.username, request.password))
        async with self._in_time(not_after, "all connections to the server are busy"):
            await line.slots.acquire()
        try:
            return await self._transact(line, request, not_after)
        finally:
            line.slots.release()

    async def close(self) -> None:
        """Drop every idle connection."""
        for line in self._lines.values():
            line.drop()
        self._lines.clear()

    async def _transact(self, line: "_Line", request: SmtpRequest, not_after: float | None) -> SmtpReply:
        opened = await self._open(line, request, not_after)
        if isinstance(opened, SmtpReply):
            return opened
        try:
            reply = await self._content(opened, request.content, not_after)
        except BaseException:
            opened.abort()
            raise
        line.keep(opened, reply)
        return reply

    async def _open(self, line: "_Line", request: SmtpRequest, not_after: float | None) -> "_Connection | SmtpReply":
        """A connection that waits for the content, or the server's refusal."""
        async with self._in_time(not_after, "the server did not answer in time"):
            while (kept := line.take()) is not None:
                with contextlib.suppress(_Stale):
                    return await self._ask(line, kept, request)
            connection = await self._connect(request)
            return connection if isinstance(connection, SmtpReply) else await self._ask(line, connection, request)

    async def _ask(self, line: "_Line", connection: "_Connection", request: SmtpRequest) -> "_Connection | SmtpReply":
        """The connection, ready for the content, or a refusal. Raises `_Stale` when the session is over."""
        try:
            reply = await connection.envelope(request)
        except (aiosmtplib.SMTPServerDisconnected, ConnectionError) as error:
            connection.abort()
            raise _Stale(f"the connection was lost before the content: {error}") from error
        except ValueError as error:
            connection.abort()
            raise Refused(f"the envelope is malformed: {error}") from None
        except BaseException:
            connection.abort()
            raise
        if reply is None:
            return connection
        if reply.code < 200 or (reply.code == _SERVICE_CLOSING and connection.used > 1):
            connection.abort()
            raise _Stale(f"the server answered {reply.code} {reply.text}")
        await connection.reset(line, reply)
        return reply

    async def _connect(self, request: SmtpRequest) -> "_Connection | SmtpReply":
        """A greeted, encrypted, authenticated connection; or the refusal of our name or credentials."""
        addresses = await checked(
            self._policy,
            self._resolver,
            request.host,
            request.port,
            encrypted=request.security != "none",
            within=self._limits.envelope,
        )
        sock = await _dial(addresses, request.port)
        smtp = aiosmtplib.SMTP(
            hostname=request.host,
            sock=sock,
            username=request.username,
            password=request.password.reveal() if request.password else None,
            local_hostname=_own_name(sock),
            use_tls=request.security == "tls",
            start_tls=request.security == "starttls",
            tls_context=self._tls,
            timeout=None,
        )
        try:
            await smtp.connect()
        except (aiosmtplib.SMTPAuthenticationError, aiosmtplib.SMTPHeloError) as refusal:
            return SmtpReply(refusal.code, refusal.message)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotSent(f"no session with {request.host}:{request.port}: {error}") from error
        finally:
            if not smtp.is_connected:
                sock.close()
        return _Connection(smtp)

    async def _content(self, connection: "_Connection", content: bytes, not_after: float | None) -> SmtpReply:
        """The server's word on the content. From here on a lost connection leaves the outcome open."""
        if not_after is not None and self._clock.monotonic() >= not_after:
            raise TooLate("the deadline passed before the content")
        left = None if not_after is None else not_after - self._clock.monotonic()
        try:
            async with asyncio.timeout(self._limits.content):
                return await connection.content(content, left)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Lost(f"the connection was lost after the content had begun: {error or 'no reply in time'}") from error

    @contextlib.asynccontextmanager
    async def _in_time(self, not_after: float | None, otherwise: str) -> AsyncIterator[None]:
        """A stretch before the content: ended by the deadline (`TooLate`) or by our patience (`NotSent`)."""
        left = math.inf if not_after is None else not_after - self._clock.monotonic()
        try:
            async with asyncio.timeout(min(left, self._limits.envelope)):
                yield
        except TimeoutError:
            raise (
                TooLate(f"{otherwise}: the deadline") if left <= self._limits.envelope else NotSent(otherwise)
            ) from None
        except asyncio.CancelledError:
            raise Unsent from None

    def _line(self, server: Server) -> "_Line":
        line = self._lines.setdefault(server, _Line())
        self._lines.move_to_end(server)
        while len(self._lines) > SERVERS:
            self._lines.popitem(last=False)[1].drop()
        return line


class _Stale(NotSent):
    """The session ended before any content left; on a kept connection that is no news, and another one is tried."""


class _Connection:
    """One session, used for one message at a time."""

    def __init__(self, smtp: aiosmtplib.SMTP) -> None:
        self._smtp = smtp
        self.used = 0
        self.expiry: asyncio.TimerHandle | None = None

    def alive(self) -> bool:
        return self._smtp.is_connected

    async def envelope(self, request: SmtpRequest) -> SmtpReply | None:
        """The first refusal, or None when the server asks for the content."""
        smtp = self._smtp
        self.used += 1
        try:
            options, encoding = await self._international(request)
            await smtp.mail(request.mail_from, options=options, encoding=encoding)
            await smtp.rcpt(request.rcpt_to, encoding=encoding)
            answer = await smtp.execute_command(b"DATA")
        except aiosmtplib.SMTPResponseException as refusal:
            return SmtpReply(refusal.code, refusal.message)
        return None if answer.code == _GO_ON else SmtpReply(answer.code, answer.message)

    async def content(self, content: bytes, write_within: float | None) -> SmtpReply:
        """The reply to the content. The rest of it is dropped, and the connection, if not written in time."""
        protocol = self._protocol()
        loop = asyncio.get_running_loop()
        protocol.write(_stuffed(content))
        guard = loop.call_later(write_within, self._cut) if write_within is not None else None
        try:
            answer = await protocol.read_response()
        finally:
            if guard is not None:
                guard.cancel()
        return SmtpReply(answer.code, answer.message)

    async def reset(self, line: "_Line", reply: SmtpReply) -> None:
        """Make the session ready for another message after a refusal, or close it."""
        try:
            if self.alive():
                await self._smtp.rset()
                line.keep(self, reply)
        except (aiosmtplib.SMTPException, OSError):
            self.abort()

    def abort(self) -> None:
        transport = self._transport()
        if transport is not None:
            transport.abort()
        self._smtp.close()

    async def _international(self, request: SmtpRequest) -> tuple[list[str], str]:
        """Options and encoding of the envelope (RFC 6531). Raises 553 where the server cannot take the address."""
        if (request.mail_from + request.rcpt_to).isascii():
            return [], "ascii"
        if self._smtp.is_ehlo_or_helo_needed:
            await self._smtp.ehlo()
        if not self._smtp.supports_extension("smtputf8"):
            raise aiosmtplib.SMTPResponseException(553, "5.6.7 the server does not take internationalised addresses")
        return ["SMTPUTF8", "BODY=8BITMIME"], "utf-8"

    def _protocol(self) -> SMTPProtocol:
        if self._smtp.protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("closed")
        return self._smtp.protocol

    def _cut(self) -> None:
        transport = self._transport()
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()

    def _transport(self) -> asyncio.WriteTransport | None:
        return cast("asyncio.WriteTransport | None", self._smtp.transport)


class _Line:
    """What we hold towards one server: a limit of connections, and the idle ones, newest last."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[_Connection] = []

    def take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.expiry is not None:
                connection.expiry.cancel()
            if connection.alive():
                return connection
        return None

    def keep(self, connection: _Connection, reply: SmtpReply) -> None:
        """Hold the connection for the next message, unless it is worn out or the server is closing it."""
        if not connection.alive() or connection.used >= REUSES or reply.code == _SERVICE_CLOSING:
            connection.abort()
            return
        self._idle.append(connection)
        connection.expiry = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._expire, connection)

    def drop(self) -> None:
        while (connection := self.take()) is not None:
            connection.abort()

    def _expire(self, connection: _Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            connection.abort()


async def _dial(addresses: Sequence[str], port: int) -> socket.socket:
    """A connection to the first address that takes one."""
    loop = asyncio.get_running_loop()
    failures = []
    for address in addresses[:4]:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, (address, port))
            return sock
        except OSError as error:
            failures.append(f"{address}:{port}: {error.strerror or error}")
            sock.close()
        except BaseException:
            sock.close()
            raise
    raise NotSent(f"no connection: {'; '.join(failures)}")


def _own_name(sock: socket.socket) -> str:
    """How we greet: our address as a literal (RFC 5321, 4.1.3); a made-up host name would be a lie."""
    address = sock.getsockname()[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _stuffed(content: bytes) -> bytes:
    """The content as it goes over the wire: dots doubled at line starts, ended by a line with one dot."""
    body = _LINE_START_DOT.sub(b"..", content)
    return body + (b".\r\n" if body.endswith(b"\r\n") else b"\r\n.\r\n")
