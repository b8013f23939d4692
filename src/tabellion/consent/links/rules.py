"""Pure rules of links: what is in a token, nonces of forms, codes, masked values.

A token is base64url without padding of: the id of its key (8 bytes), and sealed under that key (AES-256-GCM, a random
nonce) what it names, in a layout of one fixed length a page. So its length and its bytes tell nothing, and there is
one way to write it.
"""

import base64
import hmac
import re
import struct
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from tabellion.consent.links.types import Confirm, Left, LinkUnknown, Named, Page, Preferences, Unsubscribe
from tabellion.core.crypto import Key, b64url
from tabellion.core.errors import HubError
from tabellion.providers.base import Channel
from tabellion.recipients.types import Kind

KEY_ID: Final = 8
PURPOSE: Final = 64
_SEALED: Final = 1 + 12 + 16
"""Version, nonce and tag around what is sealed."""
_NOBODY: Final = UUID(int=0)
_LAYOUT: Final = {
    Page.UNSUBSCRIBE: struct.Struct(f">16s12s32s16s{PURPOSE}s"),
    Page.PREFERENCES: struct.Struct(f">16sq32s12s{PURPOSE}s"),
    Page.CONFIRM: struct.Struct(">16sq"),
}
LENGTH: Final = {page: -(-(KEY_ID + _SEALED + one.size) * 4 // 3) for page, one in _LAYOUT.items()}
"""Characters of a token of each page."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+")

NONCE_LASTS: Final = timedelta(hours=1)
_NONCE: Final = re.compile(r"([0-9a-f]{8,12})\.([0-9a-f]{32})")
_CODE: Final = re.compile(r"[0-9]{6}")


# tokens


def write(key_id: bytes, key: Key, named: Named) -> str:
    """The token that names this."""
    page = page_of(named)
    return b64url(key_id + key.seal(_pack(named), _context(page)))


def key_id(page: Page, token: str) -> bytes:
    """The id of the key a token was made with. Raises `LinkUnknown` for what cannot be one."""
    return _raw(page, token)[:KEY_ID]


def read(page: Page, token: str, key: Key) -> Named:
    """What a token of this page names. Raises `LinkUnknown`, whatever is wrong with it."""
    sealed = _raw(page, token)[KEY_ID:]
    try:
        return _unpack(page, key.open(sealed, _context(page)))
    except (HubError, ValueError):
        raise LinkUnknown from None


def page_of(named: Named) -> Page:
    match named:
        case Unsubscribe():
            return Page.UNSUBSCRIBE
        case Preferences():
            return Page.PREFERENCES
        case Confirm():
            return Page.CONFIRM


def _context(page: Page) -> str:
    """A token of one page opens no other."""
    return f"link:{page}"


def _raw(page: Page, token: str) -> bytes:
    if len(token) != LENGTH[page] or not _TOKEN.fullmatch(token):
        raise LinkUnknown
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    if b64url(raw) != token:  # another spelling of the last bits
        raise LinkUnknown
    return raw


def _pack(named: Named) -> bytes:
    layout = _LAYOUT[page_of(named)]
    match named:
        case Unsubscribe():
            message = (named.message_id or _NOBODY).bytes
            purpose = _purpose(named.purpose)
            return layout.pack(named.kind.encode(), named.channel.encode(), named.identifier_hash, message, purpose)
        case Preferences(recipient, expires_at, only):
            place = (only.identifier_hash, only.channel.encode(), _purpose(only.purpose)) if only else (b"", b"", b"")
            return layout.pack(recipient.bytes, _seconds(expires_at), *place)
        case Confirm():
            return layout.pack(named.entry_id.bytes, _seconds(named.expires_at))


def _unpack(page: Page, packed: bytes) -> Named:
    fields = _LAYOUT[page].unpack(packed)
    match page:
        case Page.UNSUBSCRIBE:
            kind, channel, hash_, message, purpose = fields
            message_id = UUID(bytes=message)
            return Unsubscribe(
                hash_, Kind(_text(kind)), Channel(_text(channel)), _text(purpose),
                None if message_id == _NOBODY else message_id,
            )  # fmt: skip
        case Page.PREFERENCES:
            recipient, expires, hash_, channel, purpose = fields
            only = Left(hash_, Channel(_text(channel)), _text(purpose)) if any(channel) else None
            return Preferences(UUID(bytes=recipient), _moment(expires), only)
        case Page.CONFIRM:
            entry, expires = fields
            return Confirm(UUID(bytes=entry), _moment(expires))


def _purpose(purpose: str) -> bytes:
    said = purpose.encode()
    if len(said) > PURPOSE:
        raise ValueError("a purpose is too long for a link")
    return said


def _text(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode()


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# nonces of forms: they need no memory, and are good for one page of one token


def nonce(key: Key, token: str, now: datetime) -> str:
    """What a form of the page of this token carries, to show that it was read there within the last hour."""
    issued = f"{_seconds(now):08x}"
    return f"{issued}.{_mac(key, token, issued)}"


def fresh(key: Key, token: str, given: str, now: datetime) -> bool:
    """Whether a form carries what `nonce` gave for the page of this token, not too long ago."""
    found = _NONCE.fullmatch(given)
    if found is None or not hmac.compare_digest(found[2], _mac(key, token, found[1])):
        return False
    age = now - _moment(int(found[1], 16))
    return timedelta(minutes=-5) <= age <= NONCE_LASTS


def _mac(key: Key, token: str, issued: str) -> str:
    return key.derive("nonce").hash(f"{issued}\0{token}".encode())[:16].hex()


# codes


def code(key: Key, salt: bytes) -> str:
    """The six digits that belong to a salt."""
    return f"{int.from_bytes(key.derive('code').hash(salt)[:8], 'big') % 1_000_000:06d}"


def same_code(given: str, wanted: str) -> bool:
    digits = re.sub(r"[\s-]", "", given[:32])
    return bool(_CODE.fullmatch(digits)) and hmac.compare_digest(digits, wanted)


# what is shown of an address


HIDDEN: Final = "•••"


def masked(kind: Kind, value: str) -> str:
    """Enough of an address for its owner to know it by, and for nobody else to write to it."""
    match kind:
        case Kind.EMAIL:
            local, _, domain = value.rpartition("@")
            name, dot, rest = domain.rpartition(".")
            return f"{local[:1]}•••@{name[:1]}•••{dot}{rest}"
        case Kind.PHONE | Kind.WHATSAPP:
            return f"{value[:3]} ••• {value[-2:]}"
        case _:
            return HIDDEN
