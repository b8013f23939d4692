"""One suite over every entry of `providers.ALL`: what a vendor's answers and callbacks come to, over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabellion.core.clock import SystemClock
from tabellion.core.errors import Unauthorized
from tabellion.core.http import HttpRequest, HttpResponse, Unsent
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.smtp import SmtpReply
from tabellion.providers import ALL, decode_settings, describe, expose, secret_fields
from tabellion.providers.base import (
    Aborted,
    Accepted,
    Answer,
    Channel,
    Deferred,
    Feature,
    Inbound,
    Outbound,
    Provider,
    Reason,
    Rejected,
    Request,
    State,
    StatusEvent,
    Uncertain,
)
from tabellion.providers.delivery import LONGEST_WAIT, Carrier, deliver, outcome, retry_after

Anything = Provider[Any]
TO = {Channel.EMAIL: "ann@example.org"}
NOWHERE = SimulatorAddress("http://127.0.0.1:9", "127.0.0.1", 9)
AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def message_for(provider: Anything) -> Outbound:
    channel = Channel.SMS if Channel.SMS in provider.channels else min(provider.channels)
    return Outbound("att_1", "msg_1", channel, TO.get(channel, "+14155550100"), "Hello", "Hello", at=AT)


def over_http(provider: Anything) -> bool:
    return isinstance(provider.request(message_for(provider), provider.simulated(None, NOWHERE)), HttpRequest)


every = pytest.mark.parametrize("provider", ALL, ids=lambda provider: provider.name)
http_ones = pytest.mark.parametrize("provider", list(filter(over_http, ALL)), ids=lambda provider: provider.name)
smtp_ones = pytest.mark.parametrize(
    "provider", [one for one in ALL if not over_http(one)], ids=lambda provider: provider.name
)
calling_back = pytest.mark.parametrize(
    "provider", [one for one in ALL if Feature.STATUS_CALLBACKS in one.features], ids=lambda provider: provider.name
)


# answers

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Vendor = Callable[[Handler], Awaitable[SimulatorAddress]]


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    """Starts a server in the vendor's place."""
    servers: list[asyncio.Server] = []
    tasks: list[asyncio.Task[None]] = []

    async def start(handler: Handler) -> SimulatorAddress:
        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await handler(reader, writer)
            writer.close()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.create_task(session(reader, writer)))

        servers.append(await asyncio.start_server(accept, "127.0.0.1", 0))
        port = servers[-1].sockets[0].getsockname()[1]
        return SimulatorAddress(f"http://127.0.0.1:{port}", "127.0.0.1", port)

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def http(status: str, body: bytes = b"", *headers: str) -> Handler:
    """A vendor that answers every request with this."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await _request(reader)
            lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
            writer.write("\r\n".join(lines).encode() + body)
            await writer.drain()

    return handler


async def _request(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    await asyncio.Event().wait()


async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b"\x00\xff\r\n\r\n")
    await writer.drain()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _request(reader)
    writer.write(b'HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"sid": "SM')
    await writer.drain()


@every
async def test_the_simulator_accepts(provider: Anything, wire: Carrier, simulator: SimulatorAddress) -> None:
    settings = provider.simulated(None, simulator)
    result = await deliver(provider, message_for(provider), settings, wire, SystemClock().monotonic() + 10)
    assert isinstance(result, Accepted)
    assert result.provider_id


@every
async def test_no_connection_is_deferred(provider: Anything, wire: Carrier) -> None:
    settings = provider.simulated(None, NOWHERE)
    result = await deliver(provider, message_for(provider), settings, wire, SystemClock().monotonic() + 10)
    assert isinstance(result, Deferred)
    assert result.reason is Reason.NO_CONNECTION


@every
async def test_too_late_is_aborted(provider: Anything, wire: Carrier, simulator: SimulatorAddress) -> None:
    settings = provider.simulated(None, simulator)
    assert isinstance(
        await deliver(provider, message_for(provider), settings, wire, SystemClock().monotonic()), Aborted
    )


@dataclass
class Stopping:
    """A wire on which the worker is stopped."""

    cancelled: asyncio.CancelledError

    async def carry(self, request: Request, *, not_after: float) -> Answer:
        raise self.cancelled


@every
async def test_stopped_before_the_first_byte_it_is_aborted(provider: Anything) -> None:
    settings = provider.simulated(None, NOWHERE)
    assert isinstance(await deliver(provider, message_for(provider), settings, Stopping(Unsent()), 1e12), Aborted)
    with pytest.raises(asyncio.CancelledError):
        await deliver(provider, message_for(provider), settings, Stopping(asyncio.CancelledError()), 1e12)


@every
async def test_a_forbidden_target_is_rejected(provider: Anything, wire: Carrier) -> None:
    settings = provider.simulated(None, SimulatorAddress("http://10.0.0.1:1", "10.0.0.1", 1))
    result = await deliver(provider, message_for(provider), settings, wire, SystemClock().monotonic() + 10)
    assert isinstance(result, Rejected)
    assert result.reason is Reason.NOT_PERMITTED


@every
async def test_a_failing_adapter_aborts(provider: Anything, wire: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(provider), "request", lambda *_: 1 / 0)
    settings = provider.simulated(None, NOWHERE)
    assert isinstance(await deliver(provider, message_for(provider), settings, wire, 1e12), Aborted)


@http_ones
@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (http("400 Bad Request", b'{"code": 1, "message": "no"}'), Rejected),
        (http("400 Bad Request", b"<html>"), Rejected),
        (http("401 Unauthorized"), Rejected),
        (http("403 Forbidden", b"null"), Rejected),
        (http("404 Not Found", b"[]"), Rejected),
        (http("408 Request Timeout"), Rejected),
        (http("413 Too Large", b"\xff\xfe"), Rejected),
        (http("422 Unprocessable", b'{"error": 5}'), Rejected),
        (http("429 Too Many Requests"), Deferred),
        (http("503 Service Unavailable", b"<html>"), Deferred),
        (http("500 Internal Server Error", b'{"sid": "SM"}'), Uncertain),
        (http("502 Bad Gateway"), Uncertain),
        (http("504 Gateway Timeout"), Uncertain),
        (http("302 Found", b"", "Location: http://127.0.0.1:9/"), Uncertain),
        (http("200 OK"), Uncertain),
        (http("200 OK", b"\x00\xff"), Uncertain),
        (http("200 OK", b"{}"), Uncertain),
        (http("201 Created", b"[]"), Uncertain),
        (http("202 Accepted", b"null"), Uncertain),
        (http("200 OK", b"x" * (2 << 20)), Uncertain),
        (hang_up, Uncertain),
        (silence, Uncertain),
        (nonsense, Uncertain),
        (half, Uncertain),
    ],
    ids=[
        *["400 json", "400 html", "401", "403", "404", "408", "413", "422", "429", "503", "500", "502", "504", "302"],
        *["200 empty", "200 garbage", "200 without id", "201 list", "202 null", "200 too large"],
        *["hang-up", "timeout", "no http", "half an answer"],
    ],
)
async def test_an_http_answer_comes_to(
    provider: Anything, handler: Handler, expected: type, wire: Carrier, vendor: Vendor
) -> None:
    settings = provider.simulated(None, await vendor(handler))
    result = await deliver(provider, message_for(provider), settings, wire, SystemClock().monotonic() + 10)
    assert type(result) is expected


def smtp(**replies: str) -> Handler:
    """A mail server with these replies; `END` follows the content, an empty one closes the connection."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(command: str, otherwise: str = "250 ok") -> bool:
            reply = replies.get(command, otherwise)
            writer.write(f"{reply}\r\n".encode() if reply else b"")
            await writer.drain()
            return bool(reply)

        going = await say("BANNER", "220 hello")
        while going:
            command = (await reader.readuntil(b"\r\n")).decode().split()[0].upper()
            going = await say(command, "354 go on" if command == "DATA" else "250 ok")
            if going and command == "DATA" and "DATA" not in replies:
                await reader.readuntil(b"\r\n.\r\n")
                going = await say("END")

    return handler


@smtp_ones
@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (smtp(), Accepted),
        (smtp(BANNER=""), Deferred),
        (smtp(BANNER="554 go away"), Deferred),
        (smtp(BANNER="garbage"), Deferred),
        (smtp(MAIL=""), Deferred),
        (smtp(RCPT="450 4.2.0 later"), Deferred),
        (smtp(RCPT="421 4.3.2 closing"), Deferred),
        (smtp(RCPT="550 5.1.1 unknown"), Rejected),
        (smtp(RCPT="550 \x01\x02"), Rejected),
        (smtp(DATA="452 4.3.1 disk full"), Deferred),
        (smtp(DATA=""), Deferred),
        (smtp(END="554 5.7.1 spam"), Rejected),
        (smtp(END="451 4.3.0 later"), Deferred),
        (smtp(END=""), Uncertain),
        (smtp(END="garbage"), Uncertain),
        (smtp(END="354 what?"), Uncertain),
    ],
    ids=[
        *["ok", "no banner", "banner 554", "garbage banner", "lost at MAIL", "RCPT 450", "RCPT 421", "RCPT 550"],
        *["RCPT 550 garbage", "DATA 452", "lost at DATA", "content 554", "content 451", "lost after content"],
        *["garbage after content", "nonsense after content"],
    ],
)
async def test_an_smtp_answer_comes_to(
    provider: Anything, handler: Handler, expected: type, wire: Carrier, vendor: Vendor
) -> None:
    settings = provider.simulated(None, await vendor(handler))
    result = await deliver(provider, message_for(provider), settings, wire, SystemClock().monotonic() + 10)
    assert type(result) is expected


@every
@given(status=st.integers(100, 599), body=st.binary(max_size=100), text=st.text(max_size=100))
def test_no_answer_raises(provider: Anything, status: int, body: bytes, text: str) -> None:
    settings, message = provider.simulated(None, NOWHERE), message_for(provider)
    for answer in (HttpResponse(status, {}, body), SmtpReply(status, text)):
        result = outcome(provider, message, settings, answer)
        if isinstance(answer, HttpResponse) and 400 <= status < 500 and status != 429:
            assert isinstance(result, Rejected)


# when to come again


def throttled(**headers: str) -> HttpResponse:
    return HttpResponse(429, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (throttled(retry_after="7"), 7.0),
        (throttled(retry_after=" 7 "), 7.0),
        (throttled(retry_after="0"), 0.0),
        (throttled(retry_after="86400"), LONGEST_WAIT),
        (throttled(retry_after="9" * 400), LONGEST_WAIT),
        (throttled(retry_after="Sat, 21 Nov 2026 09:00:30 GMT"), 30.0),
        (throttled(retry_after="Sat, 21 Nov 2026 08:00:00 GMT"), 0.0),
        (throttled(retry_after="Sun, 22 Nov 2026 09:00:00 GMT"), LONGEST_WAIT),
        # The vendor's clock is an hour ahead; its own Date says so.
        (throttled(retry_after="Sat, 21 Nov 2026 10:00:30 GMT", date="Sat, 21 Nov 2026 10:00:00 GMT"), 30.0),
        (throttled(), None),
        (throttled(retry_after="-1"), None),
        (throttled(retry_after="soon"), None),
        (throttled(retry_after="1.5"), None),
        (throttled(retry_after="٣"), None),
    ],
    ids=lambda value: str(value.headers) if isinstance(value, HttpResponse) else str(value),
)
def test_retry_after_is_honoured_and_cut(answer: HttpResponse, seconds: float | None) -> None:
    assert retry_after(answer, AT) == seconds


def test_a_date_without_any_clock_to_compare_says_nothing() -> None:
    assert retry_after(throttled(retry_after="Sat, 21 Nov 2026 09:00:30 GMT"), None) is None


@http_ones
async def test_a_throttled_hand_off_says_when_to_come_again(provider: Anything, wire: Carrier, vendor: Vendor) -> None:
    settings = provider.simulated(None, await vendor(http("429 Too Many Requests", b"", "Retry-After: 7")))
    result = await deliver(provider, message_for(provider), settings, wire, SystemClock().monotonic() + 10)
    assert isinstance(result, Deferred)
    assert (result.reason, result.retry_after) == (Reason.RATE_LIMITED, 7.0)


# callbacks


@dataclass
class Genuine:
    """A vendor's own callback, as it arrived."""

    settings: Any
    inbound: Inbound
    provider_id: str


@pytest.fixture
async def genuine(provider: Anything, wire: Carrier, simulator: SimulatorAddress, hook: Any) -> Genuine:
    settings = provider.simulated(None, simulator)
    message = replace(message_for(provider), callback_url=hook.url)
    result = await deliver(provider, message, settings, wire, SystemClock().monotonic() + 10)
    assert isinstance(result, Accepted)
    came = await asyncio.wait_for(hook.came.get(), 5)
    return Genuine(settings, replace(came, received_at=SystemClock().now()), result.provider_id)


@calling_back
async def test_a_genuine_callback_verifies_and_names_the_message(provider: Anything, genuine: Genuine) -> None:
    provider.verify(genuine.inbound, genuine.settings)
    (event,) = provider.parse(genuine.inbound)
    assert isinstance(event, StatusEvent)
    assert (event.provider_message_id, event.state) == (genuine.provider_id, State.SENT)
    assert event.raw
    assert 200 <= provider.reply(genuine.inbound).status < 300


@calling_back
async def test_an_unsigned_callback_is_unauthorized(provider: Anything, genuine: Genuine) -> None:
    headers = {name: value for name, value in genuine.inbound.headers.items() if "signature" not in name}
    assert headers != genuine.inbound.headers
    with pytest.raises(Unauthorized):
        provider.verify(replace(genuine.inbound, headers=headers), genuine.settings)


@calling_back
async def test_a_forged_callback_is_unauthorized(provider: Anything, genuine: Genuine) -> None:
    inbound, body = genuine.inbound, genuine.inbound.body
    forgeries = [
        replace(inbound, body=body.replace(b"sent", b"delivered")),
        replace(inbound, body=body[:-1]),
        replace(inbound, body=b""),
        replace(inbound, headers={**inbound.headers, _signature(inbound): "A" * 28}),
        replace(inbound, headers={**inbound.headers, _signature(inbound): ""}),
        replace(inbound, headers={**inbound.headers, _signature(inbound): "é"}),
    ]
    for forgery in forgeries:
        assert forgery != inbound
        with pytest.raises(Unauthorized):
            provider.verify(forgery, genuine.settings)


@calling_back
async def test_a_callback_for_another_account_is_unauthorized(provider: Anything, genuine: Genuine) -> None:
    secrets = dict.fromkeys(secret_fields(provider.settings_type), "another-secret")
    other = decode_settings(provider, expose(genuine.settings) | secrets)
    with pytest.raises(Unauthorized):
        provider.verify(genuine.inbound, other)


@calling_back
async def test_a_replayed_callback_says_the_same_or_is_stale(provider: Anything, genuine: Genuine) -> None:
    """Twilio signs no time: its replays are found by the event they repeat. Signed times expire."""
    provider.verify(genuine.inbound, genuine.settings)
    assert provider.parse(genuine.inbound) == provider.parse(genuine.inbound)
    late = replace(genuine.inbound, received_at=SystemClock().now() + timedelta(hours=1))
    if any("timestamp" in name for name in genuine.inbound.headers):
        with pytest.raises(Unauthorized):
            provider.verify(late, genuine.settings)
    else:
        provider.verify(late, genuine.settings)
        assert provider.parse(late) == provider.parse(genuine.inbound)


@calling_back
async def test_an_unknown_event_is_unknown(provider: Anything, genuine: Genuine) -> None:
    strange = replace(genuine.inbound, body=genuine.inbound.body.replace(b"sent", b"teleported"))
    assert [event.state for event in provider.parse(strange) if isinstance(event, StatusEvent)] == [State.UNKNOWN]


@every
@given(
    body=st.binary(max_size=200)
    | st.sampled_from([b"", b"{}", b"[]", b"null", b"From=&MessageSid=&SmsStatus=", b"a=%ff"]),
    headers=st.dictionaries(st.sampled_from(["content-type", "x-twilio-signature", "fake-signature"]), st.text()),
    url=st.sampled_from(["https://hub.example/in/x/acc_1", "https://hub.example:99999/", "//[", ""]),
)
def test_no_callback_raises_anything_else(provider: Anything, body: bytes, headers: dict[str, str], url: str) -> None:
    inbound = Inbound("POST", url, headers, body)
    with pytest.raises(Unauthorized):
        provider.verify(inbound, provider.simulated(None, NOWHERE))
    provider.parse(inbound)
    provider.reply(inbound)


def _signature(inbound: Inbound) -> str:
    return next(name for name in inbound.headers if name.endswith("signature"))


# the test side


@every
def test_the_test_side_reaches_the_simulator_and_nothing_else(provider: Anything) -> None:
    settings = provider.simulated(None, NOWHERE)
    assert settings.host().endswith("127.0.0.1:9")
    again = provider.simulated(settings, NOWHERE)
    assert again == settings


@every
def test_a_provider_describes_itself(provider: Anything) -> None:
    assert provider.name == provider.name.lower()
    assert provider.channels
    assert provider.version
    assert describe(provider.settings_type)
