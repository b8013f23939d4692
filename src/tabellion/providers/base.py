"""The contract of a vendor adapter: values in, values out, both directions, HTTP and SMTP alike.

An adapter builds a request, reads an answer, verifies and parses a callback. It never does I/O, logs, sleeps or
retries; `delivery.deliver` does the sending, and the engine above decides what an outcome means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec

from tabellion.core.crypto import Secret
from tabellion.core.errors import Unauthorized
from tabellion.core.http import HttpRequest, HttpResponse
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.smtp import SmtpReply, SmtpRequest


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"
    MMS = "mms"
    RCS = "rcs"
    WHATSAPP = "whatsapp"
    PUSH = "push"
    WEBPUSH = "webpush"
    CHAT = "chat"
    INAPP = "inapp"
    VOICE = "voice"
    FILE = "file"


class State(StrEnum):
    """Where an attempt stands. `UNKNOWN` is a vendor word we do not list: stored, never applied."""

    STARTED = "started"
    SUBMITTED = "submitted"
    SENT = "sent"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    UNCERTAIN = "uncertain"
    ABORTED = "aborted"
    REJECTED = "rejected"
    BOUNCED = "bounced"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why, in one vocabulary for all vendors."""

    INVALID_ADDRESS = "invalid_address"
    UNREACHABLE = "unreachable"
    MAILBOX_FULL = "mailbox_full"
    OPTED_OUT = "opted_out"
    BLOCKED = "blocked"
    SPAM = "spam"
    CONTENT_REFUSED = "content_refused"
    TOO_LARGE = "too_large"
    SENDER_REFUSED = "sender_refused"
    NOT_PERMITTED = "not_permitted"
    CREDENTIALS = "credentials"
    ACCOUNT = "account"
    RATE_LIMITED = "rate_limited"
    EXPIRED = "expired"
    VENDOR_ERROR = "vendor_error"
    NO_CONNECTION = "no_connection"
    NO_ANSWER = "no_answer"
    OTHER = "other"


class Signal(StrEnum):
    """What a person did that is a decision, not a delivery fact."""

    UNSUBSCRIBED = "unsubscribed"
    RESUBSCRIBED = "resubscribed"
    COMPLAINED = "complained"
    STOP = "stop"
    START = "start"
    HELP = "help"
    BLOCKED = "blocked"
    AUTORESPONDED = "autoresponded"


class AddressSignal(StrEnum):
    """What an answer or a callback says about the address itself."""

    HARD_BOUNCE = "hard_bounce"
    SOFT_BOUNCE_COUNTED = "soft_bounce_counted"
    SOFT_BOUNCE_IGNORED = "soft_bounce_ignored"
    TOKEN_INVALID = "token_invalid"  # noqa: S105 - a word
    NUMBER_DEACTIVATED = "number_deactivated"
    RECOVERED = "recovered"


class Feature(StrEnum):
    IDEMPOTENCY_KEY = "idempotency_key"
    """The vendor drops a repeated request with the key of an earlier one."""
    STATUS_CALLBACKS = "status_callbacks"
    HANDLES_KEYWORDS = "handles_keywords"
    """The vendor answers STOP, START and HELP itself and blocks the number on its side."""


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account's settings. The only description of the form: validation, redaction and documents are derived.

    Fields of type `Secret` are sealed, bound to the host the settings name, and masked wherever shown.
    """

    def host(self) -> str:
        """`scheme://host:port` that the secrets are for; it is part of what they are sealed under."""
        raise NotImplementedError

    def unfit_in_public(self) -> Mapping[str, str]:
        """What these settings must not say where the operator did not open the network of the host: field, detail."""
        return {}


def origin(url: str) -> str:
    """The `scheme://host:port` of a base URL. Raises `ValueError` unless it is http(s) and has nothing but a path."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a base URL looks like https://api.vendor.example")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("a base URL has no user name, query or fragment")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


class Unsendable(Exception):
    """Raised by `request` for what the vendor's protocol cannot say, or not accurately. The attempt ends Rejected."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Outbound:
    """One network hand-off: what to say to one address."""

    attempt_id: str
    message_id: str
    channel: Channel
    to: str
    text: str
    subject: str | None = None
    html: str | None = None
    reply_to: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    callback_url: str | None = None
    """Where the vendor reports back; None where the hub cannot be reached."""
    at: datetime | None = None
    """When the attempt started; for date headers."""
    sender: str | None = None
    """The one of our numbers it must come from: an answer comes from where the person wrote to."""
    repeats: str | None = None
    """The uncertain attempt that this one repeats."""

    @property
    def idempotency_key(self) -> str:
        """For vendors with `IDEMPOTENCY_KEY`: a repeat goes out under the key of what it repeats."""
        return self.repeats or self.attempt_id


@dataclass(frozen=True)
class Inbound:
    """A callback exactly as it arrived. `url` is the public URL with raw path and query: what vendors sign."""

    method: str
    url: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    received_at: datetime | None = None
    """When it arrived, by our clock: for vendors that sign a timestamp."""

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` when it is not, or nests deeper than anybody reads."""
        try:
            return msgspec.json.decode(self.body)
        except RecursionError:
            raise ValueError("the body nests too deep") from None

    @cached_property
    def form(self) -> Sequence[tuple[str, str]]:
        """The fields in the order sent; repeated names stay repeated. Raises `ValueError` above 256 fields."""
        return tuple(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=256))


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer a vendor expects to its callback."""

    status: int = 204
    content_type: str | None = None
    body: bytes = b""


# What a hand-off came to: one of four.


@dataclass(frozen=True, slots=True)
class SignalSeen:
    """A decision of the person that a vendor's *answer* carried (Twilio 21610: this number opted out)."""

    signal: Signal
    address: str


@dataclass(frozen=True, slots=True)
class Accepted:
    provider_id: str
    provider_code: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Final for this attempt; the plan may fall back."""

    reason: Reason
    detail: str
    provider_code: str | None = None
    permanent: bool = False
    signals: Sequence[SignalSeen] = ()
    address_signal: AddressSignal | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """Nothing was accepted; safe to repeat, after `retry_after` seconds where the vendor named a time."""

    detail: str
    reason: Reason = Reason.NO_CONNECTION
    retry_after: float | None = None
    provider_code: str | None = None


@dataclass(frozen=True, slots=True)
class Uncertain:
    """It left, and no readable answer came. Repeated only by explicit policy, never a reason to fall back."""

    detail: str
    reason: Reason = Reason.NO_ANSWER


@dataclass(frozen=True, slots=True)
class Aborted:
    """No byte was written: too late, or the adapter failed. The job goes through the gate again."""

    detail: str


Result: TypeAlias = Accepted | Rejected | Deferred | Uncertain | Aborted
Answer: TypeAlias = HttpResponse | SmtpReply
Request: TypeAlias = HttpRequest | SmtpRequest

# What a callback says.


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """A fact about an attempt."""

    provider_message_id: str
    state: State
    raw: Mapping[str, Any]
    reason: Reason | None = None
    permanent: bool = False
    provider_code: str | None = None
    occurred_at: datetime | None = None
    """The vendor's time, where it says one."""
    address_signal: AddressSignal | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A person wrote to us. `signal` is set when the vendor or the words make it a decision."""

    provider_message_id: str
    channel: Channel
    address: str
    """Theirs."""
    recipient_address: str
    """Ours: the number or mailbox they wrote to."""
    text: str
    raw: Mapping[str, Any]
    signal: Signal | None = None
    occurred_at: datetime | None = None


Normalised: TypeAlias = StatusEvent | InboundMessage

S = TypeVar("S", bound=ProviderSettings)


class Provider(Generic[S]):
    """One vendor. Every optional ability refuses until an adapter implements it."""

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    """Of the normaliser; raise it when STATE or REASON change, so that stored callbacks can be read again."""
    channels: ClassVar[frozenset[Channel]]
    features: ClassVar[frozenset[Feature]] = frozenset()
    settings_type: type[S]

    # outbound

    def request(self, message: Outbound, settings: S) -> Request:
        """The hand-off of message as a value. Raise `Unsendable` for what cannot be said accurately."""
        raise NotImplementedError

    def accepted(self, answer: Answer, message: Outbound, settings: S) -> Accepted:
        """The outcome of a 2xx answer. Raise `ValueError` when it cannot be read: the outcome is then Uncertain."""
        raise NotImplementedError

    def rejected(self, answer: Answer, message: Outbound, settings: S) -> Rejected:
        """The outcome of a refusal (any 4xx but 429; SMTP 5yz). Must not raise on any body."""
        raise NotImplementedError

    def sender(self, settings: S, heard: str | None = None) -> str | None:
        """What messages come from, as a block at the vendor names it: a number of ours, or a pool of them.

        With `heard`, the number that a person wrote to: what a STOP sent there blocks. None: nobody knows.
        """
        return heard

    # inbound

    def verify(self, inbound: Inbound, settings: S) -> None:
        """Return if the callback is the vendor's own; raise `Unauthorized` otherwise."""
        raise Unauthorized("no_callbacks", f"{self.name} sends no callbacks to this address")

    def parse(self, inbound: Inbound) -> list[Normalised]:
        """What a verified callback says. Pure; unlisted words become UNKNOWN, never an exception."""
        return []

    def reply(self, inbound: Inbound) -> Reply:
        return Reply()

    # the test side

    def simulated(self, settings: S | None, simulator: SimulatorAddress) -> S:
        """Settings that point at our simulator: made up where there are none, redirected where there are."""
        raise NotImplementedError


class Wire(Protocol):
    """What carries a request: `core.http` and `core.smtp` behind one method."""

    async def carry(self, request: Request, *, not_after: float) -> Answer:
        """The answer. Raises `NotSent` or `Lost` of `core.http`."""
        ...


__all__ = ["Secret", "SimulatorAddress"]
