"""The SMTP adapter over real sockets, against servers that follow a script."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from tabellion.core.addresses import AddressPolicy, Resolver
from tabellion.core.clock import FakeClock, SystemClock
from tabellion.core.crypto import Secret
from tabellion.core.http import Lost, NotSent, Refused, TooLate, Unsent
from tabellion.core.simulation import simulated_secret
from tabellion.core.smtp import SmtpLimits, SmtpPool, SmtpReply, SmtpRequest
from tabellion.simulators.smtp import Mailbox, MailServer
from tabellion.simulators.tls import Certificate, self_signed

LOOPBACK = AddressPolicy.of(["127.0.0.0/8"])
PATIENT = SmtpLimits(envelope=60, content=60)
"""So that only the deadline can end a session."""
HANG = 20.0
"""Seconds after which a test would hang rather than fail."""
CLOSE, SILENCE = "close", "silence"
CONTENT = b"Subject: hi\r\n\r\nfirst\r\n.second\r\n..third\r\n"


@dataclass
class Script:
    """Replies by command; `.` is what follows the content. `close` ends the connection, `silence` answers nothing."""

    replies: Mapping[str, str] = field(default_factory=dict)
    sessions: list[list[str]] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    on: Callable[[str], None] = lambda command: None

    DEFAULT = {  # noqa: RUF012 - a constant
        "banner": "220 script",
        "EHLO": "250-script\r\n250 SIZE 1000000",
        "DATA": "354 go on",
        "QUIT": "221 bye",
    }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said: list[str] = []
        self.sessions.append(said)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, StopAsyncIteration):
            await self._say("banner", writer)
            while True:
                line = (await reader.readuntil(b"\r\n")).decode()
                command = line.split()[0].upper()
                said.append(line.strip())
                await self._say(command, writer)
                if command == "DATA" and self._reply("DATA").startswith("354"):
                    self.contents.append(await reader.readuntil(b"\r\n.\r\n"))
                    await self._say(".", writer)
        writer.close()

    def _reply(self, command: str) -> str:
        return self.replies.get(command, self.DEFAULT.get(command, "250 ok"))

    async def _say(self, command: str, writer: asyncio.StreamWriter) -> None:
        self.on(command)
        reply = self._reply(command)
        if reply == SILENCE:
            await asyncio.Event().wait()
        if reply == CLOSE:
            raise StopAsyncIteration
        writer.write(reply.encode() + b"\r\n")
        await writer.drain()


Play = Callable[[Script], Awaitable[SmtpRequest]]
Pool = Callable[..., SmtpPool]


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    """Starts a scripted server and gives a request to it."""
    servers: list[asyncio.Server] = []
    tasks: list[asyncio.Task[None]] = []

    async def start(script: Script) -> SmtpRequest:
        def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.create_task(script.serve(reader, writer)))

        servers.append(await asyncio.start_server(session, "127.0.0.1", 0))
        return request(servers[-1].sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made: list[SmtpPool] = []

    def make(
        clock: SystemClock | FakeClock | None = None,
        policy: AddressPolicy = LOOPBACK,
        limits: SmtpLimits | None = None,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> SmtpPool:
        given = {} if resolver is None else {"resolver": resolver}
        made.append(SmtpPool(clock or SystemClock(), policy, limits=limits, tls=tls, **given))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def request(port: int, host: str = "127.0.0.1") -> SmtpRequest:
    return SmtpRequest(host, port, "none", None, None, "shop@example.org", "ann@example.org", CONTENT)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# accepted and refused


async def test_the_content_arrives_with_its_dots(play: Play, pool: Pool) -> None:
    script = Script({".": "250 2.0.0 queued as 42"})
    assert await pool().send(await play(script)) == SmtpReply(250, "2.0.0 queued as 42")
    assert script.contents == [b"Subject: hi\r\n\r\nfirst\r\n..second\r\n...third\r\n.\r\n"]
    assert script.sessions[0][1:3] == ["MAIL FROM:<shop@example.org>", "RCPT TO:<ann@example.org>"]
    assert script.sessions[0][0].split()[1].startswith("[127.")


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("EHLO", "550 5.7.1 we do not talk to you"),
        ("MAIL", "451 4.3.0 later"),
        ("RCPT", "550 5.1.1 no such user"),
        ("RCPT", "421 4.3.2 closing"),
        ("DATA", "554 5.5.1 no valid recipients"),
        (".", "554 5.7.1 spam"),
        (".", "451 4.7.1 try again"),
    ],
)
async def test_a_refusal_is_a_reply(play: Play, pool: Pool, command: str, reply: str) -> None:
    replies = {command: reply} | ({"HELO": reply} if command == "EHLO" else {})
    code, _, text = reply.partition(" ")
    assert await pool().send(await play(Script(replies))) == SmtpReply(int(code), text)


# not sent


async def test_without_a_connection_nothing_was_sent(pool: Pool) -> None:
    with pytest.raises(NotSent):
        await pool().send(request(closed_port()))


@pytest.mark.parametrize(
    "replies",
    [
        {"banner": CLOSE},
        {"banner": "554 go away"},
        {"banner": "421 busy"},
        {"banner": "hello there"},
        {"EHLO": CLOSE},
        {"MAIL": CLOSE},
        {"RCPT": CLOSE},
        {"DATA": CLOSE},
        {"RCPT": "what?"},
    ],
    ids=str,
)
async def test_before_the_content_a_lost_connection_means_not_sent(
    play: Play, pool: Pool, replies: dict[str, str]
) -> None:
    script = Script(replies)
    with pytest.raises(NotSent):
        await pool().send(await play(script))
    assert script.contents == []


@pytest.mark.parametrize("command", ["banner", "MAIL", "DATA"])
async def test_a_silent_server_was_not_sent_to(play: Play, pool: Pool, command: str) -> None:
    with pytest.raises(NotSent) as caught:
        await pool(limits=SmtpLimits(envelope=0.1)).send(await play(Script({command: SILENCE})))
    assert not isinstance(caught.value, TooLate)


@pytest.mark.parametrize(("command", "unsent"), [("banner", True), ("RCPT", True), ("DATA", True), (".", False)])
async def test_a_cancelled_session_says_whether_content_may_have_left(
    play: Play, pool: Pool, command: str, unsent: bool
) -> None:
    """A worker that stopped left what it had not begun to send as uncertain."""
    reached = asyncio.Event()
    script = Script({command: SILENCE}, on=lambda said: reached.set() if said == command else None)
    sending = asyncio.create_task(pool(limits=PATIENT).send(await play(script)))
    async with asyncio.timeout(HANG):
        await reached.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await sending
    assert isinstance(raised.value, Unsent) is unsent


# lost


@pytest.mark.parametrize("end", [CLOSE, "what?"])
async def test_after_the_content_a_lost_connection_means_lost(play: Play, pool: Pool, end: str) -> None:
    script = Script({".": end})
    with pytest.raises(Lost):
        await pool().send(await play(script))
    assert len(script.contents) == 1


async def test_no_reply_to_the_content_means_lost(play: Play, pool: Pool) -> None:
    with pytest.raises(Lost):
        await pool(limits=SmtpLimits(content=0.1)).send(await play(Script({".": SILENCE})))


async def test_a_connection_lost_within_the_content_means_lost(pool: Pool) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.read(5)
        writer.transport.abort()

    server = await asyncio.start_server(session, "127.0.0.1", 0)
    with pytest.raises(Lost):
        await pool().send(request(server.sockets[0].getsockname()[1]))
    server.close()


# the deadline


async def test_after_the_deadline_nobody_is_called(play: Play, pool: Pool) -> None:
    script, clock = Script(), FakeClock()
    clock.advance(timedelta(seconds=10))
    with pytest.raises(TooLate):
        await pool(clock).send(await play(script), not_after=10.0)
    assert script.sessions == []


async def test_no_content_leaves_after_the_deadline(play: Play, pool: Pool) -> None:
    clock = FakeClock()

    def late(command: str) -> None:
        if command == "DATA":
            clock.advance(timedelta(seconds=11))

    script = Script(on=late)
    with pytest.raises(TooLate):
        await pool(clock).send(await play(script), not_after=10.0)
    assert script.contents == []


async def test_a_session_that_outlasts_the_deadline_is_cut_off(play: Play, pool: Pool) -> None:
    clock = SystemClock()
    async with asyncio.timeout(HANG):
        with pytest.raises(TooLate):
            patient, script = pool(clock, limits=PATIENT), Script({"RCPT": SILENCE})
            await patient.send(await play(script), not_after=clock.monotonic() + 0.1)


async def test_content_that_nobody_reads_stops_at_the_deadline(pool: Pool) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            await reader.readline()
            writer.write(answer)
        await asyncio.Event().wait()

    server, clock = await asyncio.start_server(session, "127.0.0.1", 0), SystemClock()
    huge = replace(request(server.sockets[0].getsockname()[1]), content=b"x" * (32 << 20) + b"\r\n")
    async with asyncio.timeout(HANG):
        with pytest.raises(Lost):
            await pool(clock, limits=PATIENT).send(huge, not_after=clock.monotonic() + 0.3)
    server.close()


# connections are kept


async def test_a_connection_is_used_again_also_after_a_refusal(play: Play, pool: Pool) -> None:
    script = Script({"RCPT": "550 5.1.1 no"})
    client, ask = pool(), await play(script)
    await client.send(ask)
    script.replies = {}
    for _ in range(2):
        assert (await client.send(ask)).code == 250
    assert len(script.sessions) == 1
    assert script.sessions[0].count("RSET") == 1


@pytest.mark.parametrize("end", [CLOSE, "421 4.4.2 idle for too long"])
async def test_a_kept_connection_that_turns_out_closed_is_replaced(play: Play, pool: Pool, end: str) -> None:
    script = Script()
    client, ask = pool(), await play(script)
    await client.send(ask)
    again = asyncio.Event()

    def second(command: str) -> None:
        script.replies = {} if again.is_set() else {"MAIL": end}
        if command == "MAIL":
            again.set()

    script.on = second
    assert (await client.send(ask)).code == 250
    assert len(script.sessions) == 2


async def test_a_server_that_went_away_in_between_is_called_anew(play: Play, pool: Pool) -> None:
    script = Script({".": "250 ok\r\n421 closing"})
    client, ask = pool(), await play(script)
    for _ in range(2):
        assert (await client.send(ask)).code == 250


async def test_other_users_get_other_connections(pool: Pool) -> None:
    clock = SystemClock()
    mailbox = Mailbox(clock)
    server = MailServer(mailbox)
    port, client = await server.start("127.0.0.1", 0), pool()
    for user in ("ann", "bob"):
        ask = replace(request(port), username=user, password=Secret(simulated_secret("smtp", user)))
        assert (await client.send(ask)).code == 250
    assert [mail.user for mail in mailbox._mails] == ["ann", "bob"]
    await server.stop()


async def test_many_at_once_share_a_bounded_number_of_connections(play: Play, pool: Pool) -> None:
    script = Script()
    client, ask = pool(), await play(script)
    replies = await asyncio.gather(*[client.send(ask) for _ in range(60)])
    assert {reply.code for reply in replies} == {250}
    assert len(script.sessions) <= 20
    assert len(script.contents) == 60


# encryption and credentials


@pytest.fixture
def certificate() -> Certificate:
    return self_signed(SystemClock())


@pytest.fixture
async def mail_server(certificate: Certificate) -> AsyncIterator[tuple[Mailbox, int]]:
    mailbox = Mailbox(SystemClock())
    server = MailServer(mailbox, certificate.server)
    yield mailbox, await server.start("127.0.0.1", 0)
    await server.stop()


def trusting(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate.pem.decode())


async def test_starttls_and_a_password(mail_server: tuple[Mailbox, int], pool: Pool, certificate: Certificate) -> None:
    mailbox, port = mail_server
    secret = Secret(simulated_secret("smtp", "ann"))
    ask = replace(request(port), security="starttls", username="ann", password=secret)
    assert (await pool(tls=trusting(certificate)).send(ask)).code == 250
    assert [(mail.user, mail.encrypted) for mail in mailbox._mails] == [("ann", True)]


async def test_a_wrong_password_is_the_servers_refusal(mail_server: tuple[Mailbox, int], pool: Pool) -> None:
    mailbox, port = mail_server
    reply = await pool().send(replace(request(port), username="ann", password=Secret("wrong")))
    assert reply.code == 535
    assert not mailbox._mails


async def test_an_untrusted_certificate_gets_nothing(mail_server: tuple[Mailbox, int], pool: Pool) -> None:
    mailbox, port = mail_server
    with pytest.raises(NotSent):
        await pool().send(replace(request(port), security="starttls"))
    assert not mailbox._mails


@pytest.mark.parametrize(
    "replies",
    [{}, {"EHLO": "250-script\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN", "STARTTLS": "454 4.7.0 not just now"}],
    ids=["not offered", "refused"],
)
async def test_starttls_is_never_skipped(play: Play, pool: Pool, replies: dict[str, str]) -> None:
    """Whoever strips the offer from the wire must not get the password in its place."""
    script = Script(replies)
    ask = replace(await play(script), security="starttls", username="ann", password=Secret("hush"))
    with pytest.raises(NotSent):
        await pool().send(ask)
    assert {line.split()[0] for line in script.sessions[0]} <= {"EHLO", "STARTTLS", "QUIT"}
    assert script.contents == []


async def test_the_simulator_without_starttls_gets_neither_password_nor_mail(pool: Pool) -> None:
    mailbox = Mailbox(SystemClock())
    server = MailServer(mailbox, tls=None)
    port = await server.start("127.0.0.1", 0)
    given = {"username": "ann", "password": Secret(simulated_secret("smtp", "ann"))}
    with pytest.raises(NotSent):
        await pool().send(replace(request(port), security="starttls", **given))
    assert not mailbox._mails
    assert (await pool().send(replace(request(port), **given))).code == 250, "it was up, and knew the password"
    await server.stop()


async def test_tls_from_the_start(pool: Pool, certificate: Certificate) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Script().serve(reader, writer)

    server = await asyncio.start_server(session, "127.0.0.1", 0, ssl=certificate.server)
    ask = replace(request(server.sockets[0].getsockname()[1]), security="tls")
    assert (await pool(tls=trusting(certificate)).send(ask)).code == 250
    with pytest.raises(NotSent):
        await pool().send(ask)
    server.close()


# where it goes


async def test_the_address_policy_holds_here_too(play: Play, pool: Pool) -> None:
    script = Script()
    ask = await play(script)
    with pytest.raises(Refused):
        await pool(policy=AddressPolicy()).send(ask)
    assert script.sessions == []


async def test_clear_text_to_a_public_address_is_refused(pool: Pool) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["93.184.216.34"]

    with pytest.raises(Refused, match="without TLS"):
        await pool(resolver=resolver).send(request(25, "mail.example"))


async def test_the_next_address_of_a_name_is_tried(play: Play, pool: Pool) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.77", "127.0.0.1"]

    ask = replace(await play(Script()), host="mail.example")
    assert (await pool(resolver=resolver).send(ask)).code == 250


# addresses


@pytest.mark.parametrize(
    "to", ["ann@example.org>\r\nRCPT TO:<eve@example.org", "ann\x00@example.org", "ann@example.org> SIZE=1", ""]
)
async def test_a_command_cannot_be_smuggled_in_an_address(play: Play, pool: Pool, to: str) -> None:
    script = Script()
    with pytest.raises(Refused):
        await pool().send(replace(await play(script), rcpt_to=to))
    assert script.sessions == []


async def test_an_international_address_needs_a_server_that_takes_it(
    play: Play, pool: Pool, mail_server: tuple[Mailbox, int]
) -> None:
    mailbox, port = mail_server
    script = Script()
    reply = await pool().send(replace(await play(script), rcpt_to="jürgen@example.org"))
    assert reply.code == 553
    assert script.contents == []
    assert (await pool().send(replace(request(port), rcpt_to="jürgen@example.org"))).code == 250
    assert [mail.to for mail in mailbox._mails] == ["jürgen@example.org"]
