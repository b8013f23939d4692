"""What Twilio's Messages resource accepts, from its documentation (read 2026-11-21):
https://www.twilio.com/docs/messaging/api/message-resource, the error dictionary https://www.twilio.com/docs/api/errors
and https://www.twilio.com/docs/iam/test-credentials.

Pure: form fields in, a problem or nothing out.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

Fields: TypeAlias = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Problem:
    code: int
    message: str
    status: int = 400


TO_MAGIC: Final = {
    "+15005550001": Problem(21211, "The 'To' number +15005550001 is not a valid phone number."),
    "+15005550002": Problem(21612, "The 'To' phone number is not currently reachable via SMS."),
    "+15005550003": Problem(21408, "Permission to send an SMS has not been enabled for the region of the 'To' number."),
    "+15005550004": Problem(21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": Problem(21614, "The 'To' number is not a valid mobile number."),
}
FROM_MAGIC: Final = {
    "+15005550001": Problem(21212, "The 'From' number +15005550001 is not a valid phone number."),
    "+15005550007": Problem(21606, "The 'From' number is not a valid, SMS-capable phone number of your account."),
    "+15005550008": Problem(21611, "This 'From' number has exceeded the maximum number of queued messages", 429),
}
"""Twilio's own, for test credentials."""

DELIVERY_MAGIC: Final = {
    "+15005551001": ("failed", "30001"),
    "+15005551003": ("undelivered", "30003"),
    "+15005551005": ("undelivered", "30005"),
    "+15005551006": ("undelivered", "30006"),
    "+15005551007": ("undelivered", "30007"),
    "+15005551008": ("undelivered", "30008"),
}
"""Ours: accepted, and then this final status."""
NO_RECEIPT: Final = "+15005551999"
"""Ours: sent, and no carrier ever says what became of it."""

_PHONE: Final = re.compile(r"\+[1-9][0-9]{1,14}")
_CHANNEL: Final = re.compile(r"(whatsapp|messenger|rcs|sms):[^\s]{1,100}")
_SHORT_CODE: Final = re.compile(r"[0-9]{3,8}")
_ALPHANUMERIC: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 +_&-]{1,11}")
_BOOLEANS: Final = ("ProvideFeedback", "ForceDelivery", "SmartEncoded", "ShortenUrls", "SendAsMms")
_WORDS: Final = {
    "ContentRetention": ("retain", "discard"),
    "AddressRetention": ("retain", "obfuscate"),
    "ScheduleType": ("fixed",),
    "RiskCheck": ("enable", "disable"),
    "TrafficType": ("free",),
}
_LONGEST: Final = 1600


def sid(prefix: str) -> re.Pattern[str]:
    """The form of Twilio's identifiers: two letters and 32 hexadecimal digits."""
    return re.compile(prefix + r"[0-9a-fA-F]{32}")


ACCOUNT: Final = sid("AC")
SERVICE: Final = sid("MG")
_APPLICATION: Final = sid("AP")
_CONTENT: Final = sid("HX")


def problem(fields: Fields) -> Problem | None:
    """The first thing wrong with a request for a new message, in the order Twilio checks."""
    for rule in (_to, _sender, _content, _media, _template, _callback, _options):
        found = rule(fields)
        if found is not None:
            return found
    return None


def one(fields: Fields, name: str) -> str:
    """The value of a field that may be sent once; the last one counts."""
    values = fields.get(name)
    return values[-1] if values else ""


def _to(fields: Fields) -> Problem | None:
    to = one(fields, "To")
    if not to:
        return Problem(21604, "A 'To' phone number is required.")
    if not (_PHONE.fullmatch(to) or _CHANNEL.fullmatch(to)):
        return Problem(21211, f"The 'To' number {to[:40]} is not a valid phone number.")
    return TO_MAGIC.get(to)


def _sender(fields: Fields) -> Problem | None:
    sender, service = one(fields, "From"), one(fields, "MessagingServiceSid")
    if not sender and not service:
        return Problem(21603, "A 'From' or 'MessagingServiceSid' parameter is required to send a message")
    if service and not SERVICE.fullmatch(service):
        return Problem(21705, f"The Messaging Service Sid {service[:40]} is invalid.")
    forms = (_PHONE, _CHANNEL, _SHORT_CODE, _ALPHANUMERIC)
    if sender and not any(form.fullmatch(sender) for form in forms):
        return Problem(21212, f"The 'From' number {sender[:40]} is not a valid phone number, shortcode, or sender ID.")
    return FROM_MAGIC.get(sender)


def _content(fields: Fields) -> Problem | None:
    body = one(fields, "Body")
    if not (body or one(fields, "MediaUrl") or one(fields, "ContentSid")):
        if one(fields, "MessagingServiceSid"):
            return Problem(21619, "A text message body or media urls must be specified.")
        return Problem(21602, "Message body is required.")
    if len(body) > _LONGEST:
        return Problem(21617, "The concatenated message body exceeds the 1600 character limit")
    return None


def _media(fields: Fields) -> Problem | None:
    media = fields.get("MediaUrl", ())
    if len(media) > 10:
        return Problem(21623, "Number of media files exceeds allowed limit")
    if any(not _is_url(url) for url in media):
        return Problem(21620, "Invalid media URL(s)")
    return None


def _template(fields: Fields) -> Problem | None:
    content, variables = one(fields, "ContentSid"), one(fields, "ContentVariables")
    if content and not _CONTENT.fullmatch(content):
        return Problem(21655, "The ContentSid is Invalid")
    if variables and not _is_object(variables):
        return Problem(21656, "The ContentVariables Parameter is invalid")
    application = one(fields, "ApplicationSid")
    if application and not _APPLICATION.fullmatch(application):
        return Problem(21218, "Invalid ApplicationSid")
    return None


def _callback(fields: Fields) -> Problem | None:
    url = one(fields, "StatusCallback")
    if url and not _is_url(url):
        return Problem(21609, "The 'StatusCallback' URL is not a valid URL.")
    return None


def _options(fields: Fields) -> Problem | None:
    checks: list[tuple[str, Callable[[str], bool]]] = [
        ("Attempt", _is_integer),
        ("ValidityPeriod", _is_integer),
        ("MaxPrice", _is_number),
        ("SendAt", _is_moment),
    ]
    checks += [(name, _is_boolean) for name in _BOOLEANS if name in fields]
    checks += [(name, words.__contains__) for name, words in _WORDS.items() if name in fields]
    for name, good in checks:
        if name in fields and not good(one(fields, name)):
            return Problem(20422, f"Invalid Parameter: {name}")
    return None


def _is_url(text: str) -> bool:
    """http or https with a host name. Underscores in it are not allowed, Twilio says."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and re.fullmatch(r"[A-Za-z0-9.:-]+", host) is not None


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except ValueError:
        return False


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]{1,9}", text) is not None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,9})?", text) is not None


def _is_boolean(text: str) -> bool:
    return text.lower() in ("true", "false")


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
