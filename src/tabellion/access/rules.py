"""What a role may do, and what a key looks like. Pure."""

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from uuid import UUID

from tabellion.access.types import Caller, KeyOptions, Network, Public, Role
from tabellion.core import ids
from tabellion.core.crypto import sha256
from tabellion.core.errors import FieldError, Forbidden, Invalid, NotFound

# scopes

RESOURCES: Final = (
    "accounts", "audiences", "audit", "backlog", "callbacks", "consents", "dead_letters", "destinations", "endpoints",
    "events", "files", "flows", "holds", "inbound", "keys", "ledger", "messages", "metrics", "notices", "providers",
    "purposes", "recipients", "regulations", "reviews", "routes", "search", "senders", "settings", "sources",
    "suppressions", "templates", "workspace",
)  # fmt: skip


def _read(*resources: str) -> frozenset[str]:
    return frozenset(f"{resource}:read" for resource in resources)


def _write(*resources: str) -> frozenset[str]:
    """May change, and therefore see."""
    return _read(*resources) | {f"{resource}:write" for resource in resources}


ALL: Final = _write(*RESOURCES)
_GUARDED: Final = ("audit", "keys", "regulations", "workspace")
_DELIVERY: Final = (
    "accounts",
    "backlog",
    "callbacks",
    "events",
    "inbound",
    "metrics",
    "providers",
    "routes",
    "search",
    "senders",
)

SCOPES: Final[dict[Role, frozenset[str]]] = {
    # `workspace:write` is what an owner has and an admin has not: whoever gives a key must hold its scopes.
    Role.OWNER: ALL,
    Role.ADMIN: ALL - {"workspace:write"},
    # builds against the API: everything that a program does, nothing that decides who may do it
    Role.DEVELOPER: _write(
        "audiences", "consents", "destinations", "endpoints", "files", "flows", "messages", "recipients", "routes",
        "sources", "suppressions", "templates",
    ) | _read("dead_letters", "holds", "ledger", "notices", "purposes", "reviews", "settings", *_DELIVERY),
    # keeps it running: sees why a message did not arrive, pauses, repeats, cancels
    Role.OPERATOR: _write("accounts", "backlog", "callbacks", "dead_letters", "holds", "messages", "senders")
    | _read("consents", "destinations", "endpoints", "flows", "ledger", "purposes", "recipients", "sources",
            "suppressions", "templates", *_DELIVERY),
    # proves and erases: decisions, purposes, notices, regulations; sends nothing
    Role.COMPLIANCE: _write(
        "consents", "holds", "ledger", "notices", "purposes", "recipients", "regulations", "reviews", "suppressions",
    ) | _read("audit", "events", "inbound", "messages", "search", "settings", "templates"),
    # brings data in; reads nothing but what it may have written
    Role.INGEST: frozenset({"recipients:write", "consents:write", "sources:write", "inbound:write"}),
    Role.READONLY: _read(*(resource for resource in RESOURCES if resource not in _GUARDED)),
    # in the hands of everybody: only what `public_key=True` stands at, and there by rules of its own
    Role.PUBLIC: frozenset({"recipients:write", "consents:write"}),
}  # fmt: skip


def scopes_of(role: Role, asked: Iterable[str] | None) -> frozenset[str]:
    """The scopes of a new key: the role's, or those of them that were asked for."""
    allowed = SCOPES[role]
    if asked is None:
        return allowed
    wanted = list(asked)
    wrong = [
        FieldError(f"/scopes/{index}", f"'{scope[:64]}' is not a scope of the role {role}")
        for index, scope in enumerate(wanted)
        if scope not in allowed
    ]
    if wrong or not wanted:
        raise Invalid("invalid_scopes", f"name one or more scopes of the role {role}, or none for all of them", *wrong)
    return frozenset(wanted)


def require_not_above(giver: frozenset[str], given: frozenset[str]) -> None:
    """Return if a key with the scopes `giver` may make, rotate or revoke one with the scopes `given`."""
    if missing := sorted(given - giver):
        raise Forbidden(
            "scope_missing", f"that key may do what this one may not ({', '.join(missing[:5])}); use a key that may"
        )


def require_compliance(caller: Caller, what: str) -> None:
    """Return if a key may decide on what needs the compliance role. Raises `Forbidden`."""
    if caller.role not in (Role.COMPLIANCE, Role.OWNER):
        raise Forbidden("compliance_required", f"{what} needs a key of role compliance")


# public keys

ADDRESS_LIMIT: Final = 10
"""Requests a second that a public key takes from one address, where nobody says otherwise."""
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(:(?P<port>[1-9][0-9]{0,4}))?",
    re.ASCII,
)
_PORTS: Final = {"http": "80", "https": "443"}
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


def public_of(role: Role, options: KeyOptions) -> Public | None:
    """What bounds a new key of role public; None for any other, which has no such bounds. Raises `Invalid`."""
    if role is not Role.PUBLIC:
        given = {"source": options.source, "origins": options.origins, "address_limit": options.address_limit}
        wrong = [FieldError(f"/{name}", "is only for role public") for name, value in given.items() if value]
        if wrong:
            raise Invalid("invalid_request", "source, origins and address_limit are for keys of role public", *wrong)
        return None
    source = (options.source or "").strip()
    if not 1 <= len(source) <= 64 or not source.isprintable():
        detail = "name the source that its writes are recorded with, 1 to 64 characters, as shop-web"
        raise Invalid("invalid_request", f"a public key needs its source: {detail}", FieldError("/source", detail))
    origins = [origin(text, f"/origins/{index}") for index, text in enumerate(options.origins)]
    return Public(source, tuple(dict.fromkeys(origins)), options.address_limit or ADDRESS_LIMIT)


def origin(text: str, pointer: str) -> str:
    """A web origin as browsers write it: scheme, host and port, lower case. Raises `Invalid` at pointer."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None or (found["scheme"] == "http" and found["host"] not in _LOCAL) or int(found["port"] or 1) > 65535:
        detail = "not a web origin; write it as https://shop.example, with its port if it has one and no path"
        raise Invalid("invalid_origin", f"'{text[:100]}' is {detail}", FieldError(pointer, detail))
    port = found["port"]
    return f"{found['scheme']}://{found['host']}" + (f":{port}" if port and port != _PORTS[found["scheme"]] else "")


# keys

KEY: Final = re.compile(
    r"tbl_(?P<kind>live|test|pub)_(?P<id>[0-7][0-9a-hjkmnp-tv-z]{25})_[0-9A-Za-z]{43}_(?P<crc>[0-9A-Za-z]{6})", re.ASCII
)
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class KeyText:
    """What the text of a key says about itself; its secret is proved by the hash alone."""

    kind: str
    key_id: UUID


def key_text(kind: str, key_id: UUID, secret: bytes) -> str:
    """The text of a key: `tbl_<live|test|pub>_<id>_<256 bit>_<crc>`, the only place where its secret is."""
    body = f"tbl_{kind}_{ids.show('key', key_id)[4:]}_{base62(int.from_bytes(secret, 'big'), 43)}"
    return f"{body}_{_crc(body)}"


def read_key(text: str) -> KeyText | None:
    """What a key's text says; None where it is not a key: mistyped, cut, or invented without its checksum."""
    found = KEY.fullmatch(text)
    if found is None or _crc(text[:-7]) != found["crc"]:
        return None
    try:
        return KeyText(found["kind"], ids.parse("key", f"key_{found['id']}"))
    except NotFound:
        return None


def key_hash(text: str) -> bytes:
    """What is stored of a key. A plain hash is right: 256 random bits cannot be guessed, so nothing need be slow."""
    return sha256(text.encode())


def base62(value: int, width: int) -> str:
    digits = []
    for _ in range(width):
        value, digit = divmod(value, 62)
        digits.append(_BASE62[digit])
    if value:
        raise ValueError(f"does not fit in {width} base62 digits")
    return "".join(reversed(digits))


def _crc(body: str) -> str:
    return base62(zlib.crc32(body.encode()), 6)


# addresses


def from_allowed(address: str | None, networks: tuple[Network, ...]) -> bool:
    """Whether a request from address may use a key bound to networks; any address may where there are none."""
    if not networks:
        return True
    try:
        source = ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(source, "ipv4_mapped", None)
    return any((mapped or source) in network for network in networks)
