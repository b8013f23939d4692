"""The HTTP adapter over real sockets: what was sent, what was lost, and to whom."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta

import pytest

from tabellion.core.addresses import AddressPolicy, Resolver
from tabellion.core.clock import FakeClock, SystemClock
from tabellion.core.http import HttpRequest, HttpResponse, Lost, NotSent, Refused, TooLate, Unsent
from tabellion.core.outbound import PIN_SECONDS, HttpPool, Limits
from tabellion.simulators.tls import Certificate, self_signed

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., Awaitable[int]]
Pool = Callable[..., HttpPool]

LOOPBACK = AddressPolicy.of(["127.0.0.0/8"])
PATIENT = Limits(connect=60, read=60, total=60)
"""So that only the deadline can end an exchange."""
HANG = 20.0
"""Seconds after which a test would hang rather than fail."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server on loopback for a handler and gives its port."""
    servers, tasks = [], []

    async def start(handler: Handler, tls: ssl.SSLContext | None = None) -> int:
        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.current_task())
            try:
                await handler(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        if task is not None:
            task.cancel()
    await asyncio.gather(*filter(None, tasks), return_exceptions=True)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made: list[HttpPool] = []

    def make(
        clock: SystemClock | FakeClock | None = None,
        policy: AddressPolicy = LOOPBACK,
        limits: Limits | None = None,
        resolver: Resolver | None = None,
        roots: Sequence[bytes] = (),
    ) -> HttpPool:
        given = {} if resolver is None else {"resolver": resolver}
        made.append(HttpPool(clock or SystemClock(), policy, limits=limits, roots=roots, **given))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return self_signed(SystemClock())


async def take(reader: asyncio.StreamReader) -> bytes:
    """One whole request with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + (await reader.readexactly(int(lengths[0].partition(b":")[2])) if lengths else b"")


def answering(answer: bytes, seen: list[bytes] | None = None) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await take(reader)
            if seen is not None:
                seen.append(request)
            writer.write(answer)
            await writer.drain()

    return handler


def post(port: int, body: bytes = b"hello", host: str = "127.0.0.1", scheme: str = "http") -> HttpRequest:
    return HttpRequest("POST", f"{scheme}://{host}:{port}/a/b?c=%2F&d", {"X-One": "1"}, body)


def closed_port() -> int:

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def always(*addresses: str) -> Resolver:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolver


async def test_the_request_arrives_as_it_is_and_the_answer_comes_back(serve: Serve, pool: Pool) -> None:
    seen: list[bytes] = []
    port = await serve(answering(b"HTTP/1.1 201 Created\r\nX-Two: 2\r\nContent-Length: 3\r\n\r\nyes", seen))
    answer = await pool().send(post(port))
    assert (answer.status, answer.headers["x-two"], answer.body) == (201, "2", b"yes")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a/b?c=%2F&d HTTP/1.1\r\n")
    assert body == b"hello"
    lines = {line.lower() for line in head.split(b"\r\n")}
    assert {b"content-length: 5", b"x-one: 1"} <= lines
    assert not any(line.startswith((b"accept-encoding", b"transfer-encoding")) for line in lines)


async def test_a_request_without_a_body_works_too(serve: Serve, pool: Pool) -> None:
    port = await serve(answering(OK))
    answer = await pool().send(HttpRequest("GET", f"http://127.0.0.1:{port}/"))
    assert answer.body == b"ok"


async def test_connections_are_used_again(serve: Serve, pool: Pool) -> None:
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(OK)(reader, writer)

    port = await serve(handler)
    client = pool()
    for _ in range(3):
        await client.send(post(port))
    assert connections == 1


async def test_redirects_are_answers(serve: Serve, pool: Pool) -> None:
    port = await serve(answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"))
    assert (await pool().send(post(port))).status == 302


# not sent


async def test_a_refused_connection_is_not_sent(pool: Pool) -> None:
    with pytest.raises(NotSent) as caught:
        await pool().send(post(closed_port()))
    assert type(caught.value) is NotSent


async def test_a_failed_tls_handshake_is_not_sent(serve: Serve, pool: Pool, certificate: Certificate) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"this is no handshake\r\n")
        await writer.drain()

    ports = [await serve(hang_up), await serve(garbage), await serve(answering(OK), certificate.server)]
    for port in ports:  # the last one with a certificate that nobody trusts
        with pytest.raises(NotSent):
            await pool().send(post(port, scheme="https"))


async def test_a_host_name_that_the_certificate_does_not_have_is_not_sent_to(
    serve: Serve, pool: Pool, certificate: Certificate
) -> None:
    port = await serve(answering(OK), certificate.server)
    client = pool(resolver=always("127.0.0.1"), roots=[certificate.pem])
    with pytest.raises(NotSent):
        await client.send(post(port, host="other.example", scheme="https"))
    assert (await client.send(post(port, host="localhost", scheme="https"))).status == 200


async def test_a_silent_handshake_is_not_sent(serve: Serve, pool: Pool) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    port = await serve(silent)
    with pytest.raises(NotSent) as caught:
        await pool(limits=Limits(connect=0.1)).send(post(port, scheme="https"))
    assert not isinstance(caught.value, TooLate)


@pytest.mark.parametrize("url", ["ftp://vendor.example/", "nonsense", "", "http://", "//vendor.example/"])
async def test_what_is_no_http_address_is_refused(pool: Pool, url: str) -> None:
    with pytest.raises(Refused):
        await pool().send(HttpRequest("POST", url, {}, b"x"))


@pytest.mark.parametrize(("name", "value"), [("X-A\r\nX-B", "1"), ("X-A", "1\r\nX-B: 2")])
async def test_a_header_with_a_line_break_is_refused(serve: Serve, pool: Pool, name: str, value: str) -> None:
    seen: list[bytes] = []
    port = await serve(answering(OK, seen))
    with pytest.raises(Refused):
        await pool().send(HttpRequest("POST", f"http://127.0.0.1:{port}/", {name: value}, b"x"))
    assert seen == []


# lost


async def test_a_connection_closed_after_the_request_is_lost(serve: Serve, pool: Pool) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)

    with pytest.raises(Lost) as caught:
        await pool().send(post(await serve(hang_up)))
    assert "/a/b" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\xffgarbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 20",
    ],
    ids=["garbage", "half", "bad chunk", "half a status"],
)
async def test_an_unreadable_answer_is_lost(serve: Serve, pool: Pool, answer: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        writer.write(answer)
        await writer.drain()

    with pytest.raises(Lost):
        await pool().send(post(await serve(handler)))


@pytest.mark.parametrize("limits", [Limits(read=0.1), Limits(total=0.1)], ids=["read", "total"])
async def test_an_answer_that_never_comes_is_lost(serve: Serve, pool: Pool, limits: Limits) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        await asyncio.Event().wait()

    with pytest.raises(Lost, match="no answer in time"):
        await pool(limits=limits).send(post(await serve(silent)))


async def test_an_answer_over_the_cap_is_lost_and_one_at_the_cap_is_not(serve: Serve, pool: Pool) -> None:
    def sized(size: int) -> Handler:
        return answering(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * size)

    client = pool(limits=Limits(body=10_000))
    assert len((await client.send(post(await serve(sized(10_000))))).body) == 10_000
    with pytest.raises(Lost, match="larger than"):
        await client.send(post(await serve(sized(10_001))))


# the deadline


async def test_nothing_is_even_resolved_after_the_deadline(pool: Pool) -> None:
    asked = []

    async def resolver(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    clock = FakeClock()
    clock.advance(timedelta(seconds=10))
    with pytest.raises(TooLate):
        await pool(clock, resolver=resolver).send(post(1, host="vendor.example"), not_after=10.0)
    assert asked == []


async def test_no_byte_leaves_when_the_deadline_passes_while_connecting(serve: Serve, pool: Pool) -> None:
    clock, got = FakeClock(), asyncio.Queue[bytes]()

    async def slow_resolver(host: str, port: int) -> Sequence[str]:
        clock.advance(timedelta(seconds=11))
        return ["127.0.0.1"]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.put_nowait(await reader.read())

    port = await serve(handler)
    with pytest.raises(TooLate):
        await pool(clock, resolver=slow_resolver).send(post(port, host="vendor.example"), not_after=10.0)
    assert await got.get() == b""


async def test_a_handshake_that_outlasts_the_deadline_is_cut_off(serve: Serve, pool: Pool) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    clock = SystemClock()
    port = await serve(silent)
    async with asyncio.timeout(HANG):
        with pytest.raises(TooLate):
            await pool(clock, limits=PATIENT).send(post(port, scheme="https"), not_after=clock.monotonic() + 0.1)


async def test_an_answer_may_come_after_the_deadline(serve: Serve, pool: Pool) -> None:
    clock = FakeClock()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        clock.advance(timedelta(seconds=60))
        writer.write(OK)
        await writer.drain()

    assert (await pool(clock).send(post(await serve(slow)), not_after=10.0)).status == 200


async def test_a_body_that_nobody_reads_stops_at_the_deadline(serve: Serve, pool: Pool) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    clock = SystemClock()
    port = await serve(deaf)
    async with asyncio.timeout(HANG):
        with pytest.raises(Lost):
            await pool(clock, limits=PATIENT).send(post(port, b"x" * (32 << 20)), not_after=clock.monotonic() + 0.2)


# where it goes


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:7f00:1]", "localhost"]
)
async def test_loopback_is_refused_in_every_spelling(serve: Serve, pool: Pool, host: str) -> None:
    seen: list[bytes] = []
    port = await serve(answering(OK, seen))
    for scheme in ("http", "https"):
        with pytest.raises(Refused):
            await pool(policy=AddressPolicy()).send(post(port, host=host, scheme=scheme))
    assert seen == []


async def test_the_checked_address_is_the_one_connected_to(serve: Serve, pool: Pool) -> None:
    """DNS rebinding: a second look-up would have answered the private address."""
    answers, seen = iter([["127.0.0.1"], ["10.9.9.9"]]), []
    clock = FakeClock()

    async def resolver(host: str, port: int) -> Sequence[str]:
        return next(answers)

    port = await serve(answering(OK, seen))
    client = pool(clock, resolver=resolver)
    for _ in range(2):
        assert (await client.send(post(port, host="rebind.example"))).status == 200
    assert b"host: rebind.example" in seen[0].lower()
    clock.advance(timedelta(seconds=PIN_SECONDS))
    with pytest.raises(Refused, match=r"10\.9\.9\.9"):
        await client.send(post(port, host="rebind.example"))


async def test_after_a_failed_connection_the_next_address_is_tried(serve: Serve, pool: Pool) -> None:
    port = await serve(answering(OK))
    client = pool(resolver=always("127.0.0.77", "127.0.0.1"))
    with pytest.raises(NotSent):
        await client.send(post(port, host="vendor.example"))
    assert (await client.send(post(port, host="vendor.example"))).status == 200


async def test_a_proxy_from_the_environment_is_not_used(
    serve: Serve, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert (await pool().send(post(await serve(answering(OK))))).status == 200


# HTTP/2, spoken by hand


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


DATA, HEADERS, RESET, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
Reaction = Callable[[int, int, int], bytes]


def speaking_h2(react: Reaction, streams: int, seen: list[int]) -> Handler:
    """A server that allows so many streams at once and reacts to frames (kind, flags, stream) with bytes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        writer.write(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, streams)))
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == HEADERS:
                seen.append(stream)
            acknowledged = frame(SETTINGS, 1, 0) if kind == SETTINGS and not flags else b""
            writer.write(acknowledged + react(kind, flags, stream))
            await writer.drain()

    return handler


@pytest.fixture
def h2(serve: Serve, pool: Pool) -> Callable[..., Awaitable[tuple[HttpPool, int, list[int]]]]:
    async def start(react: Reaction, streams: int = 100) -> tuple[HttpPool, int, list[int]]:
        certificate, seen = self_signed(SystemClock()), []
        certificate.server.set_alpn_protocols(["h2"])
        port = await serve(speaking_h2(react, streams, seen), certificate.server)
        return pool(limits=PATIENT, roots=[certificate.pem]), port, seen

    return start


async def test_http_2_is_spoken_over_tls(h2: Callable[..., Awaitable[tuple[HttpPool, int, list[int]]]]) -> None:
    def react(kind: int, flags: int, stream: int) -> bytes:
        ended = kind == DATA and flags & 1
        return frame(HEADERS, 4, stream, b"\x88") + frame(DATA, 1, stream, b"hi") if ended else b""

    client, port, _ = await h2(react)
    assert await client.send(post(port, scheme="https")) == HttpResponse(200, {}, b"hi")


@pytest.mark.parametrize(
    ("reaction", "outcome"),
    [
        (lambda stream: frame(RESET, 0, stream, struct.pack(">I", 7)), NotSent),  # REFUSED_STREAM
        (lambda stream: frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)), NotSent),  # no stream was looked at
        (lambda stream: frame(RESET, 0, stream, struct.pack(">I", 8)), Lost),  # CANCEL: it may have acted
        (lambda stream: frame(RESET, 0, stream, struct.pack(">I", 2)), Lost),  # INTERNAL_ERROR
        (lambda stream: frame(GOAWAY, 0, 0, struct.pack(">II", 0, 2)), Lost),
    ],
    ids=["refused stream", "going away", "canceled", "internal error", "going away in error"],
)
async def test_http_2_resets_are_told_apart(
    h2: Callable[..., Awaitable[tuple[HttpPool, int, list[int]]]],
    reaction: Callable[[int], bytes],
    outcome: type[Exception],
) -> None:
    client, port, _ = await h2(lambda kind, flags, stream: reaction(stream) if kind == DATA else b"")
    with pytest.raises(outcome):
        await client.send(post(port, scheme="https"))


async def test_a_stream_that_waits_for_its_turn_past_the_deadline_sends_nothing(
    h2: Callable[..., Awaitable[tuple[HttpPool, int, list[int]]]],
) -> None:
    first_seen = asyncio.Event()

    def react(kind: int, flags: int, stream: int) -> bytes:
        if kind == DATA:
            first_seen.set()
        return b""

    client, port, seen = await h2(react, streams=1)
    first = asyncio.create_task(client.send(post(port, scheme="https")))
    await first_seen.wait()
    async with asyncio.timeout(HANG):
        with pytest.raises(TooLate):
            await client.send(post(port, scheme="https"), not_after=SystemClock().monotonic() + 0.1)
    assert seen == [1]
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


# Cancelled


async def cancelled(pool: HttpPool, request: HttpRequest, when: asyncio.Event) -> asyncio.CancelledError:
    sending = asyncio.create_task(pool.send(request))
    async with asyncio.timeout(HANG):
        await when.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await sending
    return raised.value


async def test_cancelled_before_there_is_a_connection_nothing_was_sent(pool: Pool) -> None:
    """A worker that stopped left such hand-offs uncertain, and what goes out at most once was never sent."""
    asked = asyncio.Event()

    async def resolver(host: str, port: int) -> Sequence[str]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    raised = await cancelled(pool(resolver=resolver), post(closed_port(), host="vendor.example"), asked)
    assert isinstance(raised, Unsent)


async def test_cancelled_while_the_encryption_is_agreed_nothing_was_sent(serve: Serve, pool: Pool) -> None:
    greeted = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        greeted.set()
        await reader.read()

    raised = await cancelled(pool(limits=PATIENT), post(await serve(silent), scheme="https"), greeted)
    assert isinstance(raised, Unsent)


async def test_cancelled_once_bytes_have_left_nobody_knows(serve: Serve, pool: Pool) -> None:
    arrived = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take(reader)
        arrived.set()
        await reader.read()

    raised = await cancelled(pool(limits=PATIENT), post(await serve(mute)), arrived)
    assert not isinstance(raised, Unsent)
