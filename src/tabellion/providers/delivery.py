"""One hand-off, from a message to its outcome: the only place that decides what an answer, or its absence, means.

| what happened | outcome |
| --- | --- |
| the adapter cannot say it; the address policy forbids the target | Rejected |
| the adapter failed; the deadline passed, or the worker stopped, before a byte | Aborted |
| connecting failed; 429, 503; SMTP 4yz | Deferred |
| any other 4xx; SMTP 5yz | Rejected, by the adapter |
| 2xx that the adapter can read; SMTP 2yz | Accepted |
| everything else: lost after bytes left, other 5xx, unreadable 2xx, 3xx | Uncertain |
"""

from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final, assert_never

from tabellion.core.http import HttpClient, HttpRequest, HttpResponse, Lost, NotSent, Refused, TooLate, Unsent
from tabellion.core.smtp import SmtpClient, SmtpReply, SmtpRequest
from tabellion.providers.base import (
    Aborted,
    Answer,
    Deferred,
    Outbound,
    Provider,
    Reason,
    Rejected,
    Request,
    Result,
    S,
    Uncertain,
    Unsendable,
    Wire,
)

LONGEST_WAIT: Final = 3600.0
"""Seconds; a longer `Retry-After` is cut to this."""
_THROTTLED: Final = {429: Reason.RATE_LIMITED, 503: Reason.VENDOR_ERROR}


class Carrier:
    """The wire: HTTP and SMTP behind one method."""

    def __init__(self, http: HttpClient, smtp: SmtpClient) -> None:
        self._http = http
        self._smtp = smtp

    async def carry(self, request: Request, *, not_after: float) -> Answer:
        match request:
            case HttpRequest():
                return await self._http.send(request, not_after=not_after)
            case SmtpRequest():
                return await self._smtp.send(request, not_after=not_after)
        assert_never(request)


async def deliver(provider: Provider[S], message: Outbound, settings: S, wire: Wire, not_after: float) -> Result:
    """What the hand-off of message came to. No byte is written after `not_after` (monotonic seconds).

    Raises nothing but the cancellation that came when bytes had left.
    """
    try:
        request = provider.request(message, settings)
    except Unsendable as refusal:
        return Rejected(refusal.reason, refusal.detail)
    except Exception as error:  # noqa: BLE001 - whatever an adapter raises, nothing has left yet
        return Aborted(f"the {provider.name} adapter failed: {type(error).__name__}")
    try:
        answer = await wire.carry(request, not_after=not_after)
    except TooLate as late:
        return Aborted(str(late))
    except Unsent:
        return Aborted("the worker stopped before the first byte")
    except Refused as refusal:
        return Rejected(Reason.NOT_PERMITTED, str(refusal))
    except NotSent as failure:
        return Deferred(str(failure))
    except Lost as loss:
        return Uncertain(str(loss))
    except Exception as error:  # noqa: BLE001 - a fault of ours on the way: bytes may have left
        return Uncertain(f"the hand-off failed: {type(error).__name__}", Reason.OTHER)
    return outcome(provider, message, settings, answer)


def outcome(provider: Provider[S], message: Outbound, settings: S, answer: Answer) -> Result:
    """What an answer means."""
    match answer:
        case HttpResponse():
            return _of_response(provider, message, settings, answer)
        case SmtpReply():
            return _of_reply(provider, message, settings, answer)
    assert_never(answer)


def _of_response(provider: Provider[S], message: Outbound, settings: S, answer: HttpResponse) -> Result:
    status = answer.status
    if 200 <= status < 300:
        return _read(provider, message, settings, answer)
    if status in _THROTTLED:
        wait = retry_after(answer, message.at)
        return Deferred(f"the vendor answered {status}", _THROTTLED[status], wait, str(status))
    if 400 <= status < 500:
        return _refused(provider, message, settings, answer, str(status))
    return Uncertain(f"the vendor answered {status}", Reason.VENDOR_ERROR)


def _of_reply(provider: Provider[S], message: Outbound, settings: S, answer: SmtpReply) -> Result:
    text = f"{answer.code} {answer.text}"[:500]
    match answer.code // 100:
        case 2:
            return _read(provider, message, settings, answer)
        case 4:
            return Deferred(text, Reason.VENDOR_ERROR, provider_code=str(answer.code))
        case 5:
            return _refused(provider, message, settings, answer, str(answer.code))
    return Uncertain(text)


def _read(provider: Provider[S], message: Outbound, settings: S, answer: Answer) -> Result:
    try:
        return provider.accepted(answer, message, settings)
    except Exception as error:  # noqa: BLE001 - the message has left: nothing may turn that into "not sent"
        return Uncertain(f"the vendor's answer cannot be read ({type(error).__name__})")


def _refused(provider: Provider[S], message: Outbound, settings: S, answer: Answer, code: str) -> Result:
    try:
        return provider.rejected(answer, message, settings)
    except Exception:  # noqa: BLE001 - a refusal stays one, whatever its body
        return Rejected(Reason.OTHER, f"the vendor answered {code}", provider_code=code)


def retry_after(answer: HttpResponse, started: datetime | None) -> float | None:
    """Seconds until the vendor wants to hear from us again, between 0 and an hour; None where it does not say.

    A date counts from the answer's own `Date`, so that a vendor's wrong clock does not matter, else from `started`.
    """
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_WAIT)
    until, now = _date(value), _date(answer.headers.get("date", "")) or started
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), LONGEST_WAIT)


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
