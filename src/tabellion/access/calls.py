"""One request, from its raw headers to what is logged of it. Kept small: it is on the way of every call."""

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from random import getrandbits
from typing import Any, Final, Generic, NamedTuple, TypeVar

from tabellion.access.answers import Answer
from tabellion.access.bodies import MAX_BODY
from tabellion.access.idempotency import IdempotencyKey, identify
from tabellion.access.limits import Bucket
from tabellion.access.service import API_VERSION, API_VERSIONS
from tabellion.access.types import Caller, Vouched
from tabellion.core.errors import HubError, Unauthorized

__all__ = [
    "Answer", "Body", "Call", "Head", "Scope", "Visit", "asked_version", "bearer", "idempotency_key", "open_visit",
    "visit_of",
]  # fmt: skip

Body = TypeVar("Body")
RawHeaders = Iterable[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]

LONGEST_KEY: Final = 255
_SLOT: Final = {
    b"authorization": 0, b"content-type": 1, b"content-length": 2, b"idempotency-key": 3, b"tabellion-version": 4,
    b"content-encoding": 5,
}  # fmt: skip


class Head(NamedTuple):
    """The headers the edge reads, found in one pass."""

    authorization: bytes | None
    content_type: bytes | None
    content_length: bytes | None
    idempotency_key: bytes | None
    version: bytes | None
    content_encoding: bytes | None


@dataclass(slots=True)
class Visit:
    """What is known of a request while it runs: the source of its log line and of some headers of its answer."""

    id: str
    head: Head
    started: float = 0.0
    caller: Caller | None = None
    told: Mapping[str, object] | None = None
    """What the log says of the caller."""
    version: str = API_VERSION
    bucket: Bucket | None = None
    status: int = 0
    code: str | None = None
    replayed: bool = False
    raw: bytes | None = None
    """The body, once it is read."""
    address: str | None = None
    """Where a call with a public key comes from."""
    largest: int = MAX_BODY
    """How long the body may be."""
    origin: str | None = None
    """The web origin whose scripts may read the answer."""
    user: Vouched | None = None
    """Whom the user token of a public call vouches for."""
    apart: str = ""
    """What keeps the call's idempotency key apart from equal ones of others on the same side."""
    notes: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call(Generic[Body]):
    """A request to a hot route, admitted and decoded."""

    caller: Caller
    body: Body
    raw: bytes
    idempotency: IdempotencyKey | None
    headers: RawHeaders
    path: Mapping[str, str]
    """Path parameters."""
    visit: Visit

    def header(self, name: str) -> str | None:
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for one, value in self.headers if one == wanted), None)


def open_visit(scope: Scope, started: float) -> Visit:
    """A new visit, kept with the request."""
    visit = Visit(f"req_{getrandbits(96):024x}", read_head(scope["headers"]), started)
    scope.setdefault("state", {})["visit"] = visit
    return visit


def visit_of(scope: Any) -> Visit:
    """The visit this request belongs to."""
    visit: Visit | None = scope.setdefault("state", {}).get("visit")
    return visit or open_visit(scope, 0.0)


def read_head(headers: RawHeaders) -> Head:
    found: list[bytes | None] = [None] * 6
    for name, value in headers:
        slot = _SLOT.get(name)
        if slot is not None:
            found[slot] = value
    return Head._make(found)


def bearer(head: Head) -> str:
    """The token of `Authorization: Bearer …`. Raises Unauthorized where there is none."""
    scheme, _, token = (head.authorization or b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("missing_key", "send your API key: Authorization: Bearer tbl_test_…")
    return token.strip()


def asked_version(head: Head) -> str | None:
    """The API version the request asks for; None where it leaves that to its key."""
    if head.version is None:
        return None
    version = head.version.decode("latin-1")
    if version not in API_VERSIONS:
        known = ", ".join(sorted(API_VERSIONS))
        raise HubError("unknown_version", f"there is no such API version; Tabellion-Version is one of: {known}", 400)
    return version


def idempotency_key(scope: Scope, head: Head, body: bytes, apart: str = "") -> IdempotencyKey | None:
    """The key of a POST that carries one. Raises 400 where it is not 1 to 255 printable characters.

    It is another key for each value of `apart`.
    """
    if head.idempotency_key is None or scope["method"] != "POST":
        return None
    key = head.idempotency_key.decode("latin-1")
    if not 1 <= len(key) <= LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise HubError(
            "invalid_idempotency_key", f"an Idempotency-Key has 1 to {LONGEST_KEY} printable ASCII characters", 400
        )
    named = f"{key}\0{apart}" if apart else key
    return identify("POST", _plain(scope["path"]), named, body, scope.get("query_string", b""))


def _plain(path: str) -> str:
    """The one spelling of a path: `/v1/messages/` is served as `/v1/messages`, so it is the same to a key."""
    return "/" + "/".join(part for part in path.split("/") if part)
