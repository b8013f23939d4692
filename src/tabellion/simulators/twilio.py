"""Twilio, simulated: `/sim/twilio/2010-04-01/…` as https://www.twilio.com/docs/messaging/api/message-resource has it.

An account is any AccountSid with the token `core.simulation.simulated_secret("twilio", sid)`.
Magic numbers are Twilio's own for test credentials, and ours in `twilio_rules` (`+150055510xx`: accepted, then failed)
and below (`+150055520xx`, `+1500555250x`: bad answers).

Control, without a key (the simulators listen on loopback), below `/sim/twilio/control`:
`GET /messages[?to=]`, `/requests`, `/stats` show what came · `POST /inbound` makes a person text in: the callback is
signed, keywords are handled and the block list is kept · `POST|DELETE /faults` make bad weather · `DELETE` resets.
"""

import base64
import hashlib
import hmac
import os
import re
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, parse_qsl, urlencode

import msgspec

from tabellion.core.clock import Clock
from tabellion.core.http import HttpRequest
from tabellion.core.simulation import simulated_secret
from tabellion.simulators.asgi import Answer, HangUp, Request
from tabellion.simulators.courier import Callback, Courier
from tabellion.simulators.faults import Weather
from tabellion.simulators.twilio_rules import (
    ACCOUNT,
    DELIVERY_MAGIC,
    NO_RECEIPT,
    Fields,
    Problem,
    one,
    problem,
)

KEPT: Final = 20_000
STOP: Final = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START: Final = frozenset({"START", "YES", "UNSTOP"})
HELP: Final = frozenset({"HELP", "INFO"})
POOL: Final = "+15005550006"
"""The number a Messaging Service sends from."""
ANSWER_MAGIC: Final = {
    "+15005552000": "hang_up",
    "+15005552001": "garbage",
    "+15005552429": "throttle",
    "+15005552500": "error",
    "+15005552503": "away",
}
_PLACE: Final = re.compile(r"/2010-04-01/Accounts/(?P<account>[^/]+)/(?P<rest>.+)")
_GSM: Final = re.compile(
    r"[@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,\-./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-zäöñüà^{}\\\[~\]|€]*"
)
_GSM_EXTENDED: Final = re.compile(r"[\^{}\\\[~\]|€]")


Plan: TypeAlias = tuple[tuple[str, str | None, float], ...]
"""Statuses to come: status, error code, and from when (monotonic)."""


class Message(msgspec.Struct):
    """A message in the words of the API, and what will become of it."""

    account_sid: str
    sid: str
    to: str
    sender: str
    service: str | None
    body: str
    num_media: int
    created: datetime
    callback_url: str
    plan: Plan
    canceled: bool = False


class Inbound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order to make a person text in. What is left out comes from the last message to that person."""

    person: str = msgspec.field(name="from")
    body: str
    to: str | None = None
    account_sid: str | None = None
    url: str | None = None
    opt_out_type: bool = True
    """Whether Advanced Opt-Out is on, and so `OptOutType` sent with keywords."""


class Twilio:
    def __init__(self, clock: Clock, courier: Courier, *, pace: float = 0.05) -> None:
        """`pace`: seconds from acceptance to `sent`, and from there to the final status."""
        self._clock = clock
        self._courier = courier
        self._pace = pace
        self._weather = Weather()
        self._messages: OrderedDict[str, Message] = OrderedDict()
        self._last: OrderedDict[str, Message] = OrderedDict()
        self._requests: deque[dict[str, Any]] = deque(maxlen=1000)
        self._blocked: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._accepted = 0

    async def answer(self, request: Request) -> Answer:
        if request.path.startswith("/control"):
            return await self._control(request)
        struck = await self._weather.strike(request, _error(Problem(20429, "Too Many Requests", 429)))
        if struck is not None:
            return struck
        place = _PLACE.fullmatch(request.path)
        if place is None or not ACCOUNT.fullmatch(place["account"]):
            return _not_found(request.path)
        if not _authentic(request, place["account"]):
            return _error(Problem(20003, "Authenticate", 401))
        return self._api(request, place["account"], place["rest"])

    def _api(self, request: Request, account: str, rest: str) -> Answer:
        if rest == "Messages.json" and request.method == "POST":
            return self._create(account, _fields(request))
        folder, _, name = rest.partition("/")
        message = self._messages.get(name.removesuffix(".json"))
        if folder != "Messages" or message is None or message.account_sid != account:
            return _not_found(request.path)
        match request.method:
            case "GET":
                return Answer.json(200, self._resource(message))
            case "POST":
                return self._update(message, _fields(request))
            case "DELETE":
                del self._messages[message.sid]
                return Answer(204)
        return _error(Problem(20004, "Method not allowed", 405))

    def _create(self, account: str, fields: Fields) -> Answer:
        found = problem(fields) or self._block(account, fields)
        answer = _bad_answer(one(fields, "To")) if found is None else _error(found)
        if answer is None:
            message = self._accept(account, fields)
            answer = Answer.json(201, self._resource(message, message.plan[:1]))
            self._courier.dispatch(self._callbacks(message))
        self._requests.append(
            {"at": self._clock.now(), "account_sid": account, "fields": fields, "status": answer.status}
        )
        return answer

    def _block(self, account: str, fields: Fields) -> Problem | None:
        to, senders = one(fields, "To"), {one(fields, "From"), one(fields, "MessagingServiceSid")}
        if any((account, to, sender) in self._blocked for sender in senders if sender):
            return Problem(21610, "Attempt to send to unsubscribed recipient")
        return None

    def _accept(self, account: str, fields: Fields) -> Message:
        service, media = one(fields, "MessagingServiceSid") or None, len(fields.get("MediaUrl", ()))
        message = Message(
            account_sid=account,
            sid=("MM" if media else "SM") + os.urandom(16).hex(),
            to=one(fields, "To"),
            sender=one(fields, "From") or POOL,
            service=service,
            body=one(fields, "Body"),
            num_media=media,
            created=self._clock.now(),
            callback_url=one(fields, "StatusCallback"),
            plan=self._plan(one(fields, "To"), service),
        )
        self._accepted += 1
        _keep(self._messages, message.sid, message)
        _keep(self._last, message.to, message)
        return message

    def _plan(self, to: str, service: str | None) -> Plan:
        """Initial, sent and final status (https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks)."""
        now = self._clock.monotonic()
        status, code = DELIVERY_MAGIC.get(to, ("delivered", None))
        plan: list[tuple[str, str | None, float]] = [("queued", None, now)]
        if service:
            plan = [("accepted", None, now), ("queued", None, now)]
        if status != "failed":
            plan.append(("sent", None, now + self._pace))
        if to != NO_RECEIPT:
            plan.append((status, code, now + 2 * self._pace))
        return tuple(plan)

    def _callbacks(self, message: Message) -> Sequence[Callback]:
        """One for each status after the initial one; none where no URL was given."""
        if not message.callback_url:
            return ()
        steps = zip(message.plan, message.plan[1:], strict=False)
        return [
            Callback(self._status_callback(message, status, code), due - before)
            for (_, _, before), (status, code, due) in steps
        ]

    def _status_callback(self, message: Message, status: str, code: str | None) -> HttpRequest:
        fields = {
            "AccountSid": message.account_sid,
            "ApiVersion": "2010-04-01",
            "From": message.sender,
            "To": message.to,
            "MessageSid": message.sid,
            "MessageStatus": status,
            "SmsSid": message.sid,
            "SmsStatus": status,
        }
        if message.service:
            fields["MessagingServiceSid"] = message.service
        if code:
            fields["ErrorCode"] = code
        if status in ("delivered", "undelivered"):
            fields["RawDlrDoneDate"] = f"{self._clock.now():%y%m%d%H%M}"
        return signed(message.account_sid, message.callback_url, fields)

    def _resource(self, message: Message, plan: Plan | None = None) -> Mapping[str, Any]:
        """The message as the API shows it: where it stands by now in its plan."""
        now = self._clock.monotonic()
        status, code = next((status, code) for status, code, due in reversed(plan or message.plan) if due <= now)
        uri = f"/2010-04-01/Accounts/{message.account_sid}/Messages/{message.sid}"
        date = format_datetime(message.created)
        return {
            "account_sid": message.account_sid,
            "api_version": "2010-04-01",
            "body": message.body,
            "date_created": date,
            "date_sent": date if status not in ("accepted", "queued") else None,
            "date_updated": date,
            "direction": "outbound-api",
            "error_code": int(code) if code else None,
            "error_message": None,
            "from": message.sender if not message.service else None,
            "messaging_service_sid": message.service,
            "num_media": str(message.num_media),
            "num_segments": "0" if message.service else str(segments(message.body)),
            "price": None,
            "price_unit": None,
            "sid": message.sid,
            "status": "canceled" if message.canceled else status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": message.to,
            "uri": f"{uri}.json",
        }

    def _update(self, message: Message, fields: Fields) -> Answer:
        """Redact (`Body` empty) or cancel, the only two changes there are."""
        if "Body" in fields:
            if one(fields, "Body"):
                return _error(Problem(20422, "Invalid Parameter: Body can only be made empty"))
            message.body = ""
        if "Status" in fields:
            if one(fields, "Status") != "canceled":
                return _error(Problem(20422, "Invalid Parameter: Status"))
            if self._resource(message)["status"] not in ("accepted", "scheduled", "queued"):
                return _error(Problem(30409, "Message cannot be canceled", 409))
            message.canceled = True
        return Answer.json(200, self._resource(message))

    # what a person does, and the control of the simulator

    async def _control(self, request: Request) -> Answer:
        try:
            match request.method, request.path:
                case "POST", "/control/inbound":
                    return await self._text_in(msgspec.convert(request.json(), Inbound))
                case "POST", "/control/faults":
                    return Answer.json(201, self._weather.add(request.json()))
                case "DELETE", "/control/faults":
                    self._weather.clear()
                    return Answer(204)
                case "DELETE", "/control":
                    self._reset()
                    return Answer(204)
                case "GET", path:
                    return self._show(path, request.query)
        except (ValueError, TypeError) as error:
            return Answer.json(422, {"message": str(error)})
        return _not_found(request.path)

    def _show(self, path: str, query: str) -> Answer:
        wanted = parse_qs(query).get("to")
        match path:
            case "/control/messages":
                found = [one for one in self._messages.values() if not wanted or one.to in wanted]
                return Answer.json(200, {"data": [self._resource(one) for one in found[-1000:]]})
            case "/control/requests":
                return Answer.json(200, {"data": list(self._requests)})
            case "/control/stats":
                courier = self._courier
                sent = {"delivered": courier.delivered, "failed": courier.failed, "dropped": courier.dropped}
                return Answer.json(200, {"accepted": self._accepted, "callbacks": sent})
        return _not_found(path)

    def _reset(self) -> None:
        for kept in (self._messages, self._last, self._blocked, self._requests):
            kept.clear()
        self._weather.clear()
        self._accepted = 0

    async def _text_in(self, order: Inbound) -> Answer:
        last = self._last.get(order.person)
        account = order.account_sid or (last.account_sid if last else "")
        to, url = order.to or (last.sender if last else ""), order.url or (last.callback_url if last else "")
        if not (account and to and url):
            return Answer.json(422, {"message": "account_sid, to and url are needed: nothing was sent to this person"})
        keyword = self._keyword(account, order, to, last)
        fields = _inbound_fields(account, order, to, last)
        if keyword and order.opt_out_type:
            fields["OptOutType"] = keyword
        status = await self._courier.send(signed(account, url, fields))
        return Answer.json(200, {"message_sid": fields["MessageSid"], "callback_status": status, "keyword": keyword})

    def _keyword(self, account: str, order: Inbound, to: str, last: Message | None) -> str | None:
        """What Twilio itself makes of the text: only a text that is a keyword and nothing else counts."""
        word = order.body.strip().upper()
        senders = {to} | ({last.service} if last and last.service else set())
        keys = [(account, order.person, sender) for sender in senders]
        if word in STOP:
            for key in keys:
                _keep(self._blocked, key, None)
            return "STOP"
        if word in START:
            for key in keys:
                self._blocked.pop(key, None)
            return "START"
        return "HELP" if word in HELP else None


def signed(account: str, url: str, fields: Mapping[str, str]) -> HttpRequest:
    """A callback as Twilio makes it (https://www.twilio.com/docs/usage/webhooks/webhooks-security)."""
    text = url + "".join(name + fields[name] for name in sorted(fields))
    token = simulated_secret("twilio", account)
    signature = base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8", "X-Twilio-Signature": signature}
    return HttpRequest("POST", url, headers, urlencode(fields).encode())


def segments(body: str) -> int:
    """SMS segments (https://www.twilio.com/docs/glossary/what-sms-character-limit): GSM-7 160/153, else UCS-2 70/67."""
    if _GSM.fullmatch(body):
        size, single, joined = len(body) + len(_GSM_EXTENDED.findall(body)), 160, 153
    else:
        size, single, joined = len(body.encode("utf-16-le", "replace")) // 2, 70, 67
    return 1 if size <= single else -(-size // joined)


def _inbound_fields(account: str, order: Inbound, to: str, last: Message | None) -> dict[str, str]:
    """The parameters of https://www.twilio.com/docs/messaging/guides/webhook-request."""
    message = "SM" + os.urandom(16).hex()
    fields = {
        "ToCountry": "US",
        "ToState": "",
        "SmsMessageSid": message,
        "NumMedia": "0",
        "ToCity": "",
        "FromZip": "",
        "SmsSid": message,
        "FromState": "",
        "SmsStatus": "received",
        "FromCity": "",
        "Body": order.body,
        "FromCountry": "US",
        "To": to,
        "ToZip": "",
        "NumSegments": str(segments(order.body)),
        "MessageSid": message,
        "AccountSid": account,
        "From": order.person,
        "ApiVersion": "2010-04-01",
    }
    return fields | ({"MessagingServiceSid": last.service} if last and last.service else {})


def _fields(request: Request) -> Fields:
    """The form; empty when the request is none (Twilio then misses `To`, error 21604)."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    found: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(request.body.decode("utf-8", "replace"), True, max_num_fields=1000):
            found.setdefault(name, []).append(value)
    except ValueError:
        return {}
    return found


def _authentic(request: Request, account: str) -> bool:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    wanted = base64.b64encode(f"{account}:{simulated_secret('twilio', account)}".encode())
    return kind.lower() == "basic" and hmac.compare_digest(given.strip().encode(), wanted)


def _bad_answer(to: str) -> Answer | None:
    match ANSWER_MAGIC.get(to):
        case None:
            return None
        case "garbage":
            return Answer(200, b"\x00\xff not what you expect", content_type="text/plain")
        case "throttle":
            return _error(Problem(20429, "Too Many Requests", 429), {"Retry-After": "1"})
        case "error":
            return _error(Problem(20500, "Internal Server Error", 500))
        case "away":
            return _error(Problem(20503, "Service Unavailable", 503))
    raise HangUp


def _error(found: Problem, headers: Mapping[str, str] | None = None) -> Answer:
    body = {
        "code": found.code,
        "message": found.message,
        "more_info": f"https://www.twilio.com/docs/errors/{found.code}",
        "status": found.status,
    }
    return Answer.json(found.status, body, headers)


def _not_found(path: str) -> Answer:
    return _error(Problem(20404, f"The requested resource {path[:200]} was not found", 404))


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    """Put in, newest last; the oldest goes above `KEPT`."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)
