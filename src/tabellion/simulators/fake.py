"""The fake vendor's side of `providers.fake`: `POST /sim/fake/messages`, and events posted back, signed.

The secret is whatever the request carries as its bearer token. A repeated `Idempotency-Key` gets its first answer.
Control as with Twilio: `GET /control/messages[?to=]`, `POST /control/inbound`, `POST|DELETE /control/faults`,
`DELETE /control`.
"""

import hmac
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from tabellion.core.clock import Clock
from tabellion.core.http import HttpRequest
from tabellion.simulators.asgi import Answer, HangUp, Request
from tabellion.simulators.courier import Callback, Courier
from tabellion.simulators.faults import Weather

KEPT: Final = 20_000
REPORTS: Final[Mapping[str, Sequence[tuple[str, str | None]]]] = {
    "accept": (("sent", None), ("delivered", None)),
    "sent": (("sent", None),),
    "undelivered": (("sent", None), ("undelivered", "unreachable")),
    "bounce": (("sent", None), ("bounced", "invalid_address")),
    "lapse": (("sent", None), ("undelivered", "unregistered")),
    "silent": (),
}
"""Accepted, and then reported: state and reason."""
REFUSALS: Final = {"reject": "refused", "opted_out": "opted_out", "unregistered": "unregistered"}


class Sent(msgspec.Struct, forbid_unknown_fields=True):
    message_id: str
    attempt_id: str
    channel: str
    to: str
    text: str
    subject: str | None = None
    behaviour: str = "accept"
    callback_url: str | None = None
    sender: str | None = msgspec.field(name="from", default=None)
    id: str = ""
    secret: str = ""


class Inbound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order to make a person write in; what is left out comes from the last message to that person."""

    person: str = msgspec.field(name="from")
    text: str
    signal: str | None = None
    channel: str | None = None
    url: str | None = None
    secret: str | None = None


class Fake:
    def __init__(self, clock: Clock, courier: Courier, *, pace: float = 0.05) -> None:
        self._clock = clock
        self._courier = courier
        self._pace = pace
        self._weather = Weather()
        self._messages: OrderedDict[str, Sent] = OrderedDict()
        self._last: OrderedDict[str, Sent] = OrderedDict()
        self._tries: OrderedDict[str, int] = OrderedDict()
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    async def answer(self, request: Request) -> Answer:
        if request.path.startswith("/control"):
            return await self._control(request)
        struck = await self._weather.strike(request, Answer.json(429, {"error": "throttled"}))
        if struck is not None:
            return struck
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret:
            return Answer.json(401, {"error": "credentials"})
        if (request.method, request.path) != ("POST", "/messages"):
            return Answer.json(404, {"error": "not_found"})
        return self._once(request, secret)

    def _once(self, request: Request, secret: str) -> Answer:
        key = request.headers.get("idempotency-key", "")
        if key in self._answers:
            return self._answers[key]
        try:
            sent = msgspec.convert(request.json(), Sent)
        except ValueError as error:
            return Answer.json(422, {"error": "refused", "detail": str(error)})
        sent.secret = secret
        answer = self._behave(sent)
        if key and answer.status < 429:
            _keep(self._answers, key, answer)
        return answer

    def _behave(self, sent: Sent) -> Answer:
        """The n-th word of the behaviour for the n-th hand-off of a message."""
        words = sent.behaviour.split(",")
        turn = self._tries.get(sent.message_id, 0)
        _keep(self._tries, sent.message_id, turn + 1)
        word = words[min(turn, len(words) - 1)]
        if word in REPORTS:
            return self._accept(sent, REPORTS[word])
        if word in REFUSALS:
            return Answer.json(422, {"error": REFUSALS[word]})
        match word:
            case "defer":
                return Answer.json(429, {"error": "throttled"}, {"Retry-After": "1"})
            case "busy":
                return Answer.json(503, {"error": "busy"})
            case "error":
                return Answer.json(500, {"error": "error"})
            case "garbage":
                return Answer(200, b"\x00\xff not what you expect", content_type="text/plain")
            case "uncertain":
                raise HangUp
        return Answer.json(422, {"error": "refused", "detail": f"unknown behaviour {word[:40]}"})

    def _accept(self, sent: Sent, reports: Sequence[tuple[str, str | None]]) -> Answer:
        sent.id = "fake_" + os.urandom(12).hex()
        _keep(self._messages, sent.id, sent)
        _keep(self._last, sent.to, sent)
        if sent.callback_url:
            url, secret = sent.callback_url, sent.secret
            events = [self._event(sent.id, state, reason) for state, reason in reports]
            self._courier.dispatch([Callback(self._signed(url, secret, event), self._pace) for event in events])
        return Answer.json(202, {"id": sent.id})

    def _event(self, message: str, state: str, reason: str | None) -> dict[str, Any]:
        at = self._clock.now().isoformat()
        event = {"id": os.urandom(8).hex(), "type": "status", "message_id": message, "state": state, "at": at}
        return event | ({"reason": reason} if reason else {})

    def _signed(self, url: str, secret: str, event: Mapping[str, Any]) -> HttpRequest:
        body = msgspec.json.encode({"events": [event]})
        stamp = str(int(self._clock.now().timestamp()))
        signature = hmac.digest(secret.encode(), f"{stamp}.".encode() + body, "sha256").hex()
        headers = {"Content-Type": "application/json", "Fake-Timestamp": stamp, "Fake-Signature": signature}
        return HttpRequest("POST", url, headers, body)

    async def _control(self, request: Request) -> Answer:
        try:
            match request.method, request.path:
                case "POST", "/control/inbound":
                    return await self._write_in(msgspec.convert(request.json(), Inbound))
                case "POST", "/control/faults":
                    return Answer.json(201, self._weather.add(request.json()))
                case "DELETE", "/control/faults":
                    self._weather.clear()
                    return Answer(204)
                case "DELETE", "/control":
                    self._reset()
                    return Answer(204)
                case "GET", "/control/messages":
                    return self._show(request.query)
        except (ValueError, TypeError) as error:
            return Answer.json(422, {"error": "refused", "detail": str(error)})
        return Answer.json(404, {"error": "not_found"})

    def _show(self, query: str) -> Answer:
        wanted = parse_qs(query).get("to")
        found = [sent for sent in self._messages.values() if not wanted or sent.to in wanted]
        return Answer.json(200, {"data": [msgspec.structs.replace(sent, secret="") for sent in found[-1000:]]})

    def _reset(self) -> None:
        for kept in (self._messages, self._last, self._tries, self._answers):
            kept.clear()
        self._weather.clear()

    async def _write_in(self, order: Inbound) -> Answer:
        last = self._last.get(order.person)
        url = order.url or (last.callback_url if last else None)
        secret = order.secret or (last.secret if last else None)
        if not (url and secret):
            return Answer.json(422, {"error": "refused", "detail": "url and secret are needed"})
        event = {
            "id": "fake_" + os.urandom(12).hex(),
            "type": "inbound",
            "channel": order.channel or (last.channel if last else "chat"),
            "from": order.person,
            "to": "fake",
            "text": order.text,
            "at": self._clock.now().isoformat(),
        } | ({"signal": order.signal} if order.signal else {})
        status = await self._courier.send(self._signed(url, secret, event))
        return Answer.json(200, {"id": event["id"], "callback_status": status})


def _keep(kept: OrderedDict[str, Any], key: str, value: Any) -> None:
    """Put in, newest last; the oldest goes above `KEPT`."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)
