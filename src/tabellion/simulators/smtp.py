"""A mail server that keeps what it gets and can refuse it: `aiosmtpd` (RFC 5321) with STARTTLS, AUTH and SMTPUTF8.

The local part of the address (before a `+`) chooses what happens: `bounce` 550 5.1.1, `full` 552 5.2.2, `greylist` 450
4.7.1, `busy` 421, at RCPT; `spam` 554 5.7.1 after the content; `drop` closes the connection after the content without
a word (and keeps the mail). No credentials are needed; given ones are any user with
`core.simulation.simulated_secret("smtp", user)`.

Control: `GET /sim/smtp/control/mails[?to=]`, `GET …/control/mails/{n}` (the message as it came), `DELETE …/control`.
"""

import asyncio
import hmac
import ssl
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.parser import BytesParser
from typing import Any, Final, cast
from urllib.parse import parse_qs

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tabellion.core.clock import Clock
from tabellion.core.simulation import simulated_secret
from tabellion.simulators.asgi import Answer, Request

KEPT: Final = 5_000
KEPT_BYTES: Final = 64 << 20
AT_RCPT: Final = {
    "bounce": "550 5.1.1 no such user",
    "full": "552 5.2.2 mailbox full",
    "greylist": "450 4.7.1 greylisted, try again later",
    "busy": "421 4.3.2 service shutting down",
}
AFTER_CONTENT: Final = {"spam": "554 5.7.1 message refused as spam"}


@dataclass(frozen=True, slots=True)
class Mail:
    number: int
    at: datetime
    mail_from: str
    to: str
    content: bytes
    user: str | None
    encrypted: bool


class Mailbox:
    """What came, newest last: at most 5,000 mails and 64 MiB."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mails: deque[Mail] = deque()
        self._size = 0
        self._count = 0

    def add(self, envelope: Envelope, session: Session) -> None:
        content = envelope.original_content or b""
        user = session.auth_data if session.authenticated else None
        for to in envelope.rcpt_tos:
            self._count += 1
            now, sender = self._clock.now(), envelope.mail_from or ""
            self._mails.append(Mail(self._count, now, sender, to, content, user, session.ssl is not None))
            self._size += len(content)
        while len(self._mails) > KEPT or self._size > KEPT_BYTES:
            self._size -= len(self._mails.popleft().content)

    def clear(self) -> None:
        self._mails.clear()
        self._size = 0

    async def answer(self, request: Request) -> Answer:
        match request.method, request.path.split("/"):
            case "GET", ["", "control", "mails"]:
                wanted = parse_qs(request.query).get("to")
                found = [mail for mail in self._mails if not wanted or mail.to in wanted]
                return Answer.json(200, {"data": [_shown(mail) for mail in found[-1000:]]})
            case "GET", ["", "control", "mails", number]:
                for mail in self._mails:
                    if str(mail.number) == number:
                        return Answer(200, mail.content, content_type="message/rfc822")
            case "DELETE", ["", "control"]:
                self.clear()
                return Answer(204)
        return Answer.json(404, {"error": "not_found"})


class Post:
    """The hooks `aiosmtpd` calls, by its names."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        refusal = AT_RCPT.get(_word(address))
        if refusal is None:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
        return refusal or "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        words = {_word(address) for address in envelope.rcpt_tos}
        for word in words & AFTER_CONTENT.keys():
            return AFTER_CONTENT[word]
        self._mailbox.add(envelope, session)
        if "drop" in words:
            cast(asyncio.WriteTransport, server.transport).abort()
        return "250 2.0.0 OK: kept"


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    """Whether user and password are the ones a simulator knows."""
    if not isinstance(data, LoginPassword):
        return AuthResult(success=False, handled=False)
    user = data.login.decode("utf-8", "replace")
    good = hmac.compare_digest(simulated_secret("smtp", user).encode(), data.password)
    return AuthResult(success=good, handled=False, auth_data=user)


class MailServer:
    """The listener. `start` gives the port it got."""

    def __init__(self, mailbox: Mailbox, tls: ssl.SSLContext | None = None) -> None:
        self._mailbox = mailbox
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.BaseTransport] = set()

    async def start(self, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for transport in list(self._sessions):
                cast(asyncio.WriteTransport, transport).abort()
            await self._server.wait_closed()

    def _session(self) -> SMTP:
        return _Session(self._sessions, Post(self._mailbox), self._tls)


class _Session(SMTP):
    """One connection, known to the server, so that stopping can end it."""

    def __init__(self, sessions: set[asyncio.BaseTransport], post: Post, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            post,
            hostname="simulator.tabellion.example",
            ident="tabellion simulator",
            enable_SMTPUTF8=True,
            tls_context=tls,
            auth_require_tls=False,
            authenticator=authenticate,
            timeout=60,
            loop=asyncio.get_running_loop(),
        )
        self._sessions = sessions

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._sessions.add(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sessions.discard(cast(asyncio.BaseTransport, self.transport))
        super().connection_lost(error)


def _word(address: str) -> str:
    return address.rpartition("@")[0].partition("+")[0].lower()


def _shown(mail: Mail) -> dict[str, Any]:
    """The mail as a reader sees it. An unreadable one shows its envelope only."""
    message = BytesParser(policy=policy.default).parsebytes(mail.content)
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    return {
        "number": mail.number,
        "at": mail.at,
        "mail_from": mail.mail_from,
        "to": mail.to,
        "user": mail.user,
        "encrypted": mail.encrypted,
        "size": len(mail.content),
        "headers": {name: str(value) for name, value in message.items()},
        "text": text.get_content().replace("\r\n", "\n") if text is not None else None,
        "html": html.get_content().replace("\r\n", "\n") if html is not None else None,
    }
