"""Normal forms: the one spelling of an identifier that is stored, compared and sent to.

Pure, and each leaves what it made as it is. What is wrong is a `ValueError` that says so. Also what is derived from a
normal form: the key under which mailboxes are matched, and what a phone number reaches.
"""

import base64
import re
from collections.abc import Set
from typing import Final
from urllib.parse import urlsplit

import phonenumbers
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from email_validator import EmailNotValidError, validate_email

from tabellion.core.crypto import b64url
from tabellion.recipients import plain, wallets
from tabellion.recipients.types import Kind, Line, PushKeys

EXTERNAL_ID_LENGTH: Final = 256
_PHONE_LENGTH: Final = 64
_ENDPOINT_LENGTH: Final = 2048
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_WA_ID: Final = re.compile(r"[1-9][0-9]{7,14}")
_TOKEN: Final = re.compile(r"[!-~]{16,4096}")
_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_HOST: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*(:[1-9][0-9]{0,4})?")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")

# values that are nobody's

_NOBODY: Final = frozenset(
    {
        "-1", "(null)", "[object object]", "anonymous", "n/a", "nan", "nil", "none", "null", "true", "false",
        "undefined", "unidentified", "unknown", "not set", "(not set)",
        "anonymous@anonymous.com", "noemail@noemail.com", "none@none.com", "null@null.com", "test@test.com",
        "unknown@unknown.com", "0x0000000000000000000000000000000000000000",
        "0x000000000000000000000000000000000000dead", "11111111111111111111111111111111",
    }
)  # fmt: skip
_NO_NUMBERS: Final = frozenset({"1234567890", "0123456789", "123456789", "1111111111", "9999999999"})
BLOCKED: Final = frozenset(_NOBODY | _NO_NUMBERS)
"""What programs and people write where they have nothing, whatever the case: it would make one person of many.

Blocked as well is what has only zeros, dashes, plus signs and spaces. The numbers are blocked as phone numbers only.
"""


def blocked(kind: Kind, text: str, more: Set[str] = frozenset()) -> bool:
    """Whether text, written or normalised, is nobody's; `more` are further values, in lower case."""
    bare = text.strip().lower()
    if not bare:
        return False
    numbered = kind in (Kind.PHONE, Kind.WHATSAPP) and bare.lstrip("+") in _NO_NUMBERS
    return numbered or bare in _NOBODY or bare in more or not bare.strip("0-+ ")


# normal forms


def normal(kind: Kind, text: str, region: str | None = None) -> str:
    """The normal form of text; phone numbers without `+` are read in region."""
    value = text.strip()
    match kind:
        case Kind.EMAIL:
            return _email(value)
        case Kind.PHONE:
            return _phone(value, region)
        case Kind.WHATSAPP:
            return _phone(f"+{value}" if _WA_ID.fullmatch(value) else value, region)
        case Kind.DEVICE:
            return _token(value)
        case Kind.WEBPUSH:
            return _endpoint(value)
        case Kind.WALLET:
            return wallets.address(value)
        case _:
            return _opaque(kind, value)


def push_keys(keys: PushKeys) -> PushKeys:
    """The keys of a web push subscription, in whatever base64 they came."""
    point, secret = _unbase64(keys.p256dh), _unbase64(keys.auth)
    try:
        if len(point) != 65:
            raise ValueError(point)
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point)
    except ValueError:
        raise ValueError("p256dh is no point of P-256 (65 bytes, base64url)") from None
    if len(secret) != 16:
        raise ValueError("auth has 16 bytes, base64url")
    return PushKeys(b64url(point), b64url(secret))


def _email(value: str) -> str:
    if (usual := plain.email(value)) is not None:
        return usual
    # `test_environment` admits the reserved domain `.test` and nothing else.
    try:
        address = validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(f"not an e-mail address: {error}") from None
    return f"{address.local_part}@{address.ascii_domain}"


def _phone(value: str, region: str | None) -> str:
    if (usual := plain.phone(value)) is not None:
        return usual
    hint = "write it with + and country code, as +43 1 234567"
    if len(value) > _PHONE_LENGTH:
        raise ValueError(f"not a phone number; {hint}")
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        raise ValueError(f"not a phone number; {hint}") from None
    if number.extension or not phonenumbers.is_possible_number(number):
        raise ValueError(f"no network has a number of this form; {hint}, without extension")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("a push token has 16 to 4,096 printable ASCII characters and no space; send it as it was got")
    # APNs gives bytes, which apps write as hex in either case; a token of FCM is never hex alone.
    return value.lower() if _HEX.fullmatch(value) else value


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    host = parts.netloc.lower().removesuffix(":443")
    plain = len(value) <= _ENDPOINT_LENGTH and value.isascii() and value.isprintable() and " " not in value
    if not plain or parts.scheme != "https" or not _HOST.fullmatch(host) or parts.fragment:
        raise ValueError("not the endpoint of a web push subscription: an https URL of at most 2,048 characters")
    return parts._replace(netloc=host, path=parts.path or "/", fragment="").geturl()


def _opaque(kind: Kind, value: str) -> str:
    if not value or len(value) > EXTERNAL_ID_LENGTH or _CONTROL.search(value):
        raise ValueError(f"an identifier {kind} has 1 to {EXTERNAL_ID_LENGTH} characters, no control characters")
    return value


def _unbase64(text: str) -> bytes:
    if not _BASE64.fullmatch(text):
        raise ValueError("the keys of a subscription are base64url")
    bare = text.rstrip("=").replace("+", "-").replace("/", "_")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


# what follows from a normal form

_PLUS: Final = ("+", False)
_MAILBOXES: Final = {
    "gmail.com": ("gmail.com", "+", True),
    "googlemail.com": ("gmail.com", "+", True),
    "outlook.com": ("outlook.com", *_PLUS),
    "hotmail.com": ("hotmail.com", *_PLUS),
    "live.com": ("live.com", *_PLUS),
    "icloud.com": ("icloud.com", *_PLUS),
    "me.com": ("icloud.com", *_PLUS),
    "mac.com": ("icloud.com", *_PLUS),
    "proton.me": ("proton.me", *_PLUS),
    "protonmail.com": ("proton.me", *_PLUS),
    "pm.me": ("proton.me", *_PLUS),
    "fastmail.com": ("fastmail.com", *_PLUS),
    "zoho.com": ("zoho.com", *_PLUS),
    "yahoo.com": ("yahoo.com", "-", False),
}
"""Domain → the one its mailboxes are called by, what starts a tag in the local part, whether dots count for nothing.

Only what the provider itself says of its own domain; a company's domain may be hosted by any of them and follow none.
"""


def mailbox(email: str) -> str:
    """What a normalised address is matched by: those of one mailbox come to the same. Never send to it."""
    local, _, domain = email.lower().rpartition("@")
    if domain not in _MAILBOXES:
        return f"{local}@{domain}"
    home, tag, dotless = _MAILBOXES[domain]
    name = local.partition(tag)[0]
    return f"{(name.replace('.', '') if dotless else name) or local}@{home}"


_LINES: Final = {
    phonenumbers.PhoneNumberType.MOBILE: Line.MOBILE,
    phonenumbers.PhoneNumberType.FIXED_LINE: Line.LANDLINE,
}


def line(number: str) -> Line:
    """What a normalised number reaches. In North America, for one, numbers do not tell."""
    return _LINES.get(phonenumbers.number_type(phonenumbers.parse(number)), Line.UNKNOWN)
