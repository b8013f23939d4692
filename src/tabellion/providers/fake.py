"""A vendor of our own, for every channel, that does what its settings say. It ships, so that users test against it too.

It speaks HTTP to `/sim/fake/…` of the simulators (in the hub's own process, or `tabellion simulate`), so that the
engine treats it as any other vendor, and reports back with signed callbacks.

`behaviour` is one word, or several joined by commas: the n-th hand-off of one message meets the n-th word, later ones
the last. `accept` (then sent and delivered are reported), `silent` (accepted, nothing reported), `sent`, `undelivered`,
`bounce` (accepted, that reported), `reject` (422), `opted_out` (422, with the person's STOP), `defer` (429, Retry-After
1), `busy` (503), `error` (500), `uncertain` (the connection closes unanswered), `garbage` (200, unreadable).

The signature is HMAC-SHA256 under `secret` over `timestamp.body`, hexadecimal, in `fake-signature`; `fake-timestamp` is
in Unix seconds and may be 5 minutes off.
"""

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

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
    Signal,
    SignalSeen,
    State,
    StatusEvent,
    origin,
)

BEHAVIOURS: Final = frozenset(
    {
        "accept",
        "silent",
        "sent",
        "undelivered",
        "bounce",
        "lapse",
        "reject",
        "unregistered",
        "opted_out",
        "defer",
        "busy",
        "error",
        "uncertain",
        "garbage",
    }
)
STATE: Final = {
    "sent": State.SENT,
    "delivered": State.DELIVERED,
    "undelivered": State.UNDELIVERED,
    "bounced": State.BOUNCED,
}
REASON: Final = {
    "invalid_address": Reason.INVALID_ADDRESS,
    "unreachable": Reason.UNREACHABLE,
    "refused": Reason.CONTENT_REFUSED,
    "opted_out": Reason.OPTED_OUT,
    "unregistered": Reason.INVALID_ADDRESS,
    "credentials": Reason.CREDENTIALS,
}
ADDRESS: Final = {
    "invalid_address": AddressSignal.HARD_BOUNCE,
    "unregistered": AddressSignal.TOKEN_INVALID,
}
SIGNAL: Final = {signal.value: signal for signal in Signal}
TOLERANCE: Final = 300.0
"""Seconds between a callback's timestamp and its arrival."""


class Settings(ProviderSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    secret: Secret
    behaviour: str = "accept"
    sender: str | None = msgspec.field(name="from", default=None)
    base_url: str = "http://127.0.0.1:8099/sim/fake"

    def __post_init__(self) -> None:
        if not set(self.behaviour.split(",")) <= BEHAVIOURS:
            raise ValueError(f"field `behaviour` is one or more of {', '.join(sorted(BEHAVIOURS))}, joined by commas")
        origin(self.base_url)

    def host(self) -> str:
        return origin(self.base_url)


class Fake(Provider[Settings]):
    name = "fake"
    channels = frozenset(Channel)
    features = frozenset({Feature.IDEMPOTENCY_KEY, Feature.STATUS_CALLBACKS})
    settings_type = Settings

    def request(self, message: Outbound, settings: Settings) -> HttpRequest:
        return HttpRequest.json(
            "POST",
            f"{settings.base_url.rstrip('/')}/messages",
            {
                "message_id": message.message_id,
                "attempt_id": message.attempt_id,
                "channel": message.channel,
                "to": message.to,
                "subject": message.subject,
                "text": message.text,
                "behaviour": settings.behaviour,
                "callback_url": message.callback_url,
                "from": message.sender or settings.sender,
            },
            {"Authorization": f"Bearer {settings.secret.reveal()}", "Idempotency-Key": message.idempotency_key},
        )

    def accepted(self, answer: Answer, message: Outbound, settings: Settings) -> Accepted:
        return Accepted(_text(_object(answer), "id"))

    def rejected(self, answer: Answer, message: Outbound, settings: Settings) -> Rejected:
        try:
            code = str(_object(answer).get("error") or "")
        except ValueError:
            code = ""
        return Rejected(
            REASON.get(code, Reason.OTHER),
            f"the fake vendor refused: {code[:100] or 'no reason given'}",
            provider_code=code[:100] or None,
            permanent=code in ("invalid_address", "opted_out", "unregistered"),
            signals=(SignalSeen(Signal.STOP, message.to),) if code == "opted_out" else (),
            address_signal=ADDRESS.get(code),
        )

    def sender(self, settings: Settings, heard: str | None = None) -> str | None:
        return heard or settings.sender

    def verify(self, inbound: Inbound, settings: Settings) -> None:
        stamp = inbound.headers.get("fake-timestamp", "")
        given = inbound.headers.get("fake-signature", "")
        signed = f"{stamp}.".encode() + inbound.body
        made = hmac.digest(settings.secret.reveal().encode(), signed, "sha256").hex()
        if not hmac.compare_digest(made.encode(), given.encode()):
            raise Unauthorized("bad_signature", "the signature is not the fake vendor's; check secret")
        if not _timely(stamp, inbound.received_at):
            raise Unauthorized("stale_signature", "the callback is more than 5 minutes old; check the clocks")

    def parse(self, inbound: Inbound) -> list[Normalised]:
        return [made for event in _events(inbound) if (made := _normalised(event)) is not None]

    def simulated(self, settings: Settings | None, simulator: SimulatorAddress) -> Settings:
        made = settings or Settings(secret=Secret(simulated_secret(self.name, "default")))
        return msgspec.structs.replace(made, base_url=simulator.base(self.name))


def _object(answer: Answer) -> Mapping[str, Any]:
    body = answer.json() if isinstance(answer, HttpResponse) else None
    if not isinstance(body, dict):
        raise ValueError("the answer is no object")
    return body


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _timely(stamp: str, received_at: datetime | None) -> bool:
    if not re.fullmatch(r"[0-9]{1,12}", stamp):
        return False
    return received_at is None or abs(received_at.timestamp() - int(stamp)) <= TOLERANCE


def _events(inbound: Inbound) -> list[Mapping[str, Any]]:
    try:
        body = inbound.json()
    except ValueError:
        return []
    events = body.get("events") if isinstance(body, dict) else None
    return [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []


def _normalised(event: Mapping[str, Any]) -> Normalised | None:
    """The event in our words, or None where it lacks what makes it one."""
    try:
        return _inbound(event) if event.get("type") == "inbound" else _status(event)
    except ValueError:
        return None


def _inbound(event: Mapping[str, Any]) -> InboundMessage:
    return InboundMessage(
        provider_message_id=_text(event, "id"),
        channel=Channel(_text(event, "channel")),
        address=_text(event, "from"),
        recipient_address=_text(event, "to"),
        text=_text(event, "text"),
        raw=event,
        signal=SIGNAL.get(str(event.get("signal") or "")),
        occurred_at=_moment(event.get("at")),
    )


def _status(event: Mapping[str, Any]) -> StatusEvent:
    code = event.get("reason")
    return StatusEvent(
        provider_message_id=_text(event, "message_id"),
        state=STATE.get(str(event.get("state")), State.UNKNOWN),
        raw=event,
        reason=REASON.get(code, Reason.OTHER) if isinstance(code, str) else None,
        permanent=code in ADDRESS,
        provider_code=code if isinstance(code, str) else None,
        occurred_at=_moment(event.get("at")),
        address_signal=ADDRESS.get(code) if isinstance(code, str) else None,
    )


def _moment(value: Any) -> datetime | None:
    """A time of the vendor's, in UTC; None where it says none that can be read."""
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, TypeError, OverflowError):
        return None
