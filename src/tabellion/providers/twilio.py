"""Twilio SMS. API 2010-04-01: https://www.twilio.com/docs/messaging/api/message-resource (read 2026-11-21).

Quirks
* A 201 means queued (or `accepted`, through a Messaging Service): everything else comes by callback, unordered, and a
  callback can arrive before the 201.
* `failed` is Twilio's own failure to hand over, `undelivered` the network's: two states here too.
* 21610 says that the person texted STOP to this sender: a decision, not a bad number. Twilio answers STOP, START and
  HELP itself and blocks on its side. `OptOutType` comes only with Advanced Opt-Out; without it Twilio acts on its
  default words (https://help.twilio.com/articles/223134027), so we read them too. `YES` also unblocks there; for us it
  is an answer to some question, so it lifts nothing.
* 30003 (handset off) and 30006 (a landline, or a carrier this short code cannot reach) do not prove that the number is
  bad, so they count as soft (https://www.twilio.com/docs/api/errors/30003 and 30006, read 2026-11-21).
* `RawDlrDoneDate` has minutes, no seconds and no zone, which differs from carrier to carrier
  (https://www.twilio.com/en-us/changelog/addition-of-rawdlrdonedate-to-delivered-and-undelivered-status-webhooks): it
  stays in `raw` and is no `occurred_at`.
* Signatures cover the public URL, with or without its default port ("inconsistent", says Twilio's own library), and
  the form fields sorted, repeated values once; a JSON body is covered by `bodySHA256` in the query. There is no
  timestamp: a replay verifies, and is found by its repeated event. Twilio signs with the primary token, or with a
  webhook shared key (HMAC-SHA256) named in `X-Twilio-Webhooks-Signature-Settings`
  (https://www.twilio.com/docs/usage/webhooks/webhook-shared-keys, public beta).
* 429 is never processed and safe to repeat (https://www.twilio.com/docs/api/errors/20429).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from tabellion.core.crypto import Secret
from tabellion.core.errors import Unauthorized
from tabellion.core.http import HttpRequest, HttpResponse
from tabellion.core.simulation import SimulatorAddress, simulated_secret
from tabellion.providers.base import (
    Accepted,
    AddressSignal,
    Answer,
    Channel,
    Feature,
    Inbound,
    InboundMessage,
    Normalised,
    Outbound,
    Provider,
    ProviderSettings,
    Reason,
    Rejected,
    Reply,
    Signal,
    SignalSeen,
    State,
    StatusEvent,
    Unsendable,
    origin,
)

STATUS: Final = {
    "accepted": State.SUBMITTED,
    "scheduled": State.SUBMITTED,
    "queued": State.SUBMITTED,
    "sending": State.SUBMITTED,
    "sent": State.SENT,
    "partially_delivered": State.SENT,
    "delivered": State.DELIVERED,
    "read": State.DELIVERED,
    "undelivered": State.UNDELIVERED,
    "failed": State.FAILED,
    "canceled": State.FAILED,
}

REASON: Final = {
    "20003": Reason.CREDENTIALS,
    "20005": Reason.ACCOUNT,
    "20404": Reason.ACCOUNT,
    "20422": Reason.OTHER,
    "20429": Reason.RATE_LIMITED,
    "21211": Reason.INVALID_ADDRESS,
    "21212": Reason.SENDER_REFUSED,
    "21217": Reason.INVALID_ADDRESS,
    "21408": Reason.NOT_PERMITTED,
    "21601": Reason.SENDER_REFUSED,
    "21602": Reason.CONTENT_REFUSED,
    "21603": Reason.SENDER_REFUSED,
    "21604": Reason.INVALID_ADDRESS,
    "21605": Reason.TOO_LARGE,
    "21606": Reason.SENDER_REFUSED,
    "21608": Reason.NOT_PERMITTED,
    "21610": Reason.OPTED_OUT,
    "21611": Reason.RATE_LIMITED,
    "21612": Reason.UNREACHABLE,
    "21614": Reason.INVALID_ADDRESS,
    "21617": Reason.TOO_LARGE,
    "21619": Reason.CONTENT_REFUSED,
    "21635": Reason.INVALID_ADDRESS,
    "21658": Reason.TOO_LARGE,
    "21659": Reason.SENDER_REFUSED,
    "21660": Reason.SENDER_REFUSED,
    "21661": Reason.SENDER_REFUSED,
    "21703": Reason.SENDER_REFUSED,
    "21705": Reason.SENDER_REFUSED,
    "30001": Reason.RATE_LIMITED,
    "30002": Reason.ACCOUNT,
    "30003": Reason.UNREACHABLE,
    "30004": Reason.BLOCKED,
    "30005": Reason.INVALID_ADDRESS,
    "30006": Reason.UNREACHABLE,
    "30007": Reason.SPAM,
    "30008": Reason.OTHER,
    "30010": Reason.NOT_PERMITTED,
    "30022": Reason.RATE_LIMITED,
    "30023": Reason.RATE_LIMITED,
    "30032": Reason.SENDER_REFUSED,
    "30034": Reason.SENDER_REFUSED,
    "30036": Reason.EXPIRED,
    "30410": Reason.VENDOR_ERROR,
    "63014": Reason.BLOCKED,
}

ADDRESS: Final = {
    "21211": AddressSignal.HARD_BOUNCE,
    "21217": AddressSignal.HARD_BOUNCE,
    "21614": AddressSignal.HARD_BOUNCE,
    "21635": AddressSignal.HARD_BOUNCE,
    "30003": AddressSignal.SOFT_BOUNCE_COUNTED,
    "30005": AddressSignal.HARD_BOUNCE,
    "30006": AddressSignal.SOFT_BOUNCE_COUNTED,
}

KEYWORDS: Final = {
    **dict.fromkeys(
        ("stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "opt out"), Signal.STOP
    ),
    **dict.fromkeys(("start", "unstop"), Signal.START),
    **dict.fromkeys(("help", "info"), Signal.HELP),
}
OPT_OUT_TYPE: Final = {"STOP": Signal.STOP, "START": Signal.START, "HELP": Signal.HELP}
CHANNELS: Final = {"whatsapp": Channel.WHATSAPP, "rcs": Channel.RCS, "messenger": Channel.CHAT}

_BY_HTTP: Final = {401: Reason.CREDENTIALS, 403: Reason.NOT_PERMITTED, 404: Reason.ACCOUNT, 413: Reason.TOO_LARGE}
_OPTED_OUT: Final = "21610"
_FORM: Final = "application/x-www-form-urlencoded"
_SID: Final = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")
_E164: Final = re.compile(r"\+[1-9][0-9]{1,14}")
_HASHES: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_PORTS: Final = {"https": 443, "http": 80}


class Settings(ProviderSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    account_sid: str
    auth_token: Secret
    sender: str | None = msgspec.field(name="from", default=None)
    messaging_service_sid: str | None = None
    secondary_auth_token: Secret | None = None
    """Also accepted in signatures: set it while Twilio's primary token changes."""
    webhook_key: Secret | None = None
    """A webhook shared key, where Twilio signs with one instead of the token."""
    base_url: str = "https://api.twilio.com"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"AC[0-9a-fA-F]{32}", self.account_sid):
            raise ValueError("field `account_sid` is AC and 32 hexadecimal digits")
        if self.messaging_service_sid and not re.fullmatch(r"MG[0-9a-fA-F]{32}", self.messaging_service_sid):
            raise ValueError("field `messaging_service_sid` is MG and 32 hexadecimal digits")
        if not self.sender and not self.messaging_service_sid:
            raise ValueError("field `from` or `messaging_service_sid` is needed")
        origin(self.base_url)

    def host(self) -> str:
        return origin(self.base_url)


class Twilio(Provider[Settings]):
    name = "twilio"
    channels = frozenset({Channel.SMS})
    features = frozenset({Feature.STATUS_CALLBACKS, Feature.HANDLES_KEYWORDS})
    settings_type = Settings

    def request(self, message: Outbound, settings: Settings) -> HttpRequest:
        if not _E164.fullmatch(message.to):
            raise Unsendable(Reason.INVALID_ADDRESS, "an SMS goes to a number in E.164 form, as +14155550100")
        if not message.text:
            raise Unsendable(Reason.CONTENT_REFUSED, "an SMS needs a text")
        fields = {"To": message.to, "Body": message.text} | _sender(settings, message.sender)
        if message.callback_url:
            fields["StatusCallback"] = message.callback_url
        return HttpRequest.form(
            "POST",
            f"{settings.base_url.rstrip('/')}/2010-04-01/Accounts/{settings.account_sid}/Messages.json",
            fields,
            {"Authorization": _basic(settings.account_sid, settings.auth_token), "Accept": "application/json"},
        )

    def accepted(self, answer: Answer, message: Outbound, settings: Settings) -> Accepted:
        resource = _object(answer)
        sid = resource.get("sid")
        if not isinstance(sid, str) or not _SID.fullmatch(sid):
            raise ValueError("the answer names no message")
        return Accepted(sid)

    def rejected(self, answer: Answer, message: Outbound, settings: Settings) -> Rejected:
        status = answer.status if isinstance(answer, HttpResponse) else 0
        try:
            error = _object(answer)
        except ValueError:
            error = {}
        code = str(error.get("code") or "")
        return Rejected(
            REASON.get(code) or _BY_HTTP.get(status, Reason.OTHER),
            str(error.get("message") or f"Twilio answered {status}")[:500],
            provider_code=code or str(status),
            permanent=_permanent(code),
            signals=(SignalSeen(Signal.STOP, message.to),) if code == _OPTED_OUT else (),
            address_signal=ADDRESS.get(code),
        )

    def sender(self, settings: Settings, heard: str | None = None) -> str | None:
        """A Messaging Service is one sender: STOP to one of its numbers is STOP to all of them."""
        return settings.messaging_service_sid or heard or settings.sender

    def verify(self, inbound: Inbound, settings: Settings) -> None:
        given = inbound.headers.get("x-twilio-signature", "")
        hash_name = _HASHES.get(_algorithm(inbound))
        fields = _signed_fields(inbound)
        if given and hash_name and fields is not None:
            secrets = (settings.auth_token, settings.secondary_auth_token, settings.webhook_key)
            made = (
                _signature(secret, url + fields, hash_name)
                for url in _spellings(inbound.url)
                for secret in secrets
                if secret
            )
            # Nothing secret shows in which one it is: the first is of the address as it stands.
            if any(hmac.compare_digest(one, given.encode()) for one in made):
                return
        raise Unauthorized("bad_signature", "the signature is not Twilio's; check auth_token and the public URL")

    def parse(self, inbound: Inbound) -> list[Normalised]:
        raw = _raw(inbound)
        if "MessageStatus" in raw or ("SmsStatus" in raw and "Body" not in raw):
            return [_status(raw)]
        if raw.get("From") and (raw.get("MessageSid") or raw.get("SmsSid")):
            return [_inbound(raw)]
        return []

    def reply(self, inbound: Inbound) -> Reply:
        """Empty TwiML: no answer to the person from here (Twilio, or the hub's own attempt, answers keywords)."""
        return Reply(200, "text/xml", b'<?xml version="1.0" encoding="UTF-8"?><Response></Response>')

    def simulated(self, settings: Settings | None, simulator: SimulatorAddress) -> Settings:
        made = settings or Settings(account_sid=f"AC{0:032x}", auth_token=Secret("-"), sender="+15005550006")
        return msgspec.structs.replace(
            made,
            auth_token=Secret(simulated_secret(self.name, made.account_sid)),
            secondary_auth_token=None,
            webhook_key=None,
            base_url=simulator.base(self.name),
        )


def _sender(settings: Settings, sender: str | None) -> dict[str, str]:
    chosen = {"MessagingServiceSid": settings.messaging_service_sid, "From": sender or settings.sender}
    return {name: value for name, value in chosen.items() if value}


def _basic(user: str, password: Secret) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password.reveal()}".encode()).decode()


def _object(answer: Answer) -> Mapping[str, Any]:
    if not isinstance(answer, HttpResponse):
        raise ValueError("Twilio speaks HTTP")
    body = answer.json()
    if not isinstance(body, dict):
        raise ValueError("the answer is no object")
    return body


def _permanent(code: str) -> bool:
    return code == _OPTED_OUT or ADDRESS.get(code) is AddressSignal.HARD_BOUNCE


def _status(raw: Mapping[str, str]) -> StatusEvent:
    code = raw.get("ErrorCode") or None
    return StatusEvent(
        provider_message_id=raw.get("MessageSid") or raw.get("SmsSid", ""),
        state=STATUS.get(raw.get("MessageStatus") or raw.get("SmsStatus", ""), State.UNKNOWN),
        raw=raw,
        reason=REASON.get(code, Reason.OTHER) if code else None,
        permanent=_permanent(code or ""),
        provider_code=code,
        address_signal=ADDRESS.get(code or ""),
    )


def _inbound(raw: Mapping[str, str]) -> InboundMessage:
    prefix, _, address = raw["From"].rpartition(":")
    text = raw.get("Body", "")
    plain = Channel.MMS if raw.get("NumMedia", "0").strip("0") else Channel.SMS
    return InboundMessage(
        provider_message_id=raw.get("MessageSid") or raw.get("SmsSid", ""),
        channel=CHANNELS.get(prefix, plain),
        address=address,
        recipient_address=raw.get("To", "").rpartition(":")[2],
        text=text,
        raw=raw,
        signal=OPT_OUT_TYPE.get(raw.get("OptOutType", "")) or KEYWORDS.get(" ".join(text.split()).casefold()),
    )


def _raw(inbound: Inbound) -> dict[str, str]:
    """The fields by name (first value of each), from the form, or from the query of a GET; none if unreadable."""
    try:
        pairs: Iterable[tuple[str, str]] = inbound.form if inbound.body else _query(inbound.url)
        return dict(reversed(list(pairs)))
    except ValueError:
        return {}


def _query(url: str) -> Sequence[tuple[str, str]]:
    return [(name, values[0]) for name, values in parse_qs(urlsplit(url).query, max_num_fields=256).items()]


def _algorithm(inbound: Inbound) -> str:
    """The algorithm Twilio names; the token's HMAC-SHA1 where it names none."""
    named = inbound.headers.get("x-twilio-webhooks-signature-settings", "")
    parts = dict(part.strip().partition("=")[::2] for part in named.split(","))
    return (parts.get("algorithm") or "HMAC_SHA1").upper()


def _signed_fields(inbound: Inbound) -> str | None:
    """What the signature covers beside the URL; None where it cannot cover the body."""
    kind = inbound.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == _FORM:
            return "".join(name + value for name, value in sorted(set(inbound.form)))
        hashes = parse_qs(urlsplit(inbound.url).query, max_num_fields=256).get("bodySHA256", [])
    except ValueError:
        return None
    covered = hashlib.sha256(inbound.body).hexdigest() in hashes if hashes else not inbound.body
    return "" if covered else None


def _spellings(url: str) -> Iterator[str]:
    """The URL as it is, which is nearly always the one; without its port; and with the default one."""
    yield url
    try:
        parts = urlsplit(url)
        name, port = parts.netloc, parts.port
    except ValueError:
        return
    bare = name.rpartition(":")[0] if port is not None else name
    yield parts._replace(netloc=bare).geturl()
    yield parts._replace(netloc=f"{bare}:{port or _PORTS.get(parts.scheme, 443)}").geturl()


def _signature(secret: Secret, text: str, hash_name: str) -> bytes:
    return base64.b64encode(hmac.digest(secret.reveal().encode(), text.encode("utf-8", "surrogatepass"), hash_name))
