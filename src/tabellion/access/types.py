"""The words of access: roles, modes, keys, and the caller a request is made by."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal, TypeAlias
from uuid import UUID

from tabellion.core import ids
from tabellion.core.errors import Forbidden
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import ordinals

Mode: TypeAlias = Literal["live", "test"]
Network: TypeAlias = IPv4Network | IPv6Network


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    OPERATOR = "operator"
    COMPLIANCE = "compliance"
    INGEST = "ingest"
    READONLY = "readonly"
    PUBLIC = "public"
    """For browsers and apps: its key is no secret."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A tenant. Its two sides share nothing but the name."""

    id: UUID
    name: str
    live: WorkspaceId
    test: WorkspaceId

    def side(self, mode: Mode) -> WorkspaceId:
        return self.live if mode == "live" else self.test


@dataclass(frozen=True, slots=True)
class Public:
    """What bounds a key that everybody can read."""

    source: str
    """What its writes are recorded with."""
    origins: tuple[str, ...]
    """The web origins it may be used from. What is no browser names none."""
    address_limit: int
    """Requests a second from one source address."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whom a user token vouches for, as the customer's backend wrote it, and the key that signed it."""

    key_id: UUID
    external_id: str
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: the key, the workspace side it opens, and what it may do there."""

    workspace_id: WorkspaceId
    workspace: UUID
    key_id: UUID
    role: Role
    mode: Mode
    scopes: frozenset[str]
    public: Public | None = None
    """Of a public key alone."""

    @property
    def actor(self) -> str:
        return ids.show("key", self.key_id)

    def require(self, scope: str) -> None:
        """Return if the caller holds scope (`messages:write`); raise Forbidden otherwise."""
        if scope not in self.scopes:
            raise Forbidden(
                "scope_missing",
                f"this key ({self.role}) lacks the scope {scope}; use a key whose role or scopes have it",
            )

    def require_compliance(self, what: str) -> None:
        """Return if the caller may decide on what needs the compliance role; raise Forbidden otherwise."""
        if self.role not in (Role.COMPLIANCE, Role.OWNER):
            raise Forbidden("compliance_required", f"{what} needs a key of role compliance")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is kept and shown: everything but the secret, which is not kept."""

    id: UUID
    workspace_id: WorkspaceId
    workspace: UUID
    mode: Mode
    role: Role
    scopes: frozenset[str]
    name: str | None
    networks: tuple[Network, ...]
    rate_limit: int | None
    """Requests a second; None is no limit."""
    api_version: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    retires_at: datetime | None = None
    """When a rotated key stops working."""
    replaced_by: UUID | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    public: Public | None = None
    """Of a public key alone."""

    @property
    def shown(self) -> str:
        return ids.show("key", self.id)

    def ends_at(self) -> datetime | None:
        """When the key stops being valid, or stopped; None when nothing ends it."""
        ends = [moment for moment in (self.expires_at, self.retires_at, self.revoked_at) if moment]
        return min(ends) if ends else None

    def active(self, at: datetime) -> bool:
        ends = self.ends_at()
        return ends is None or at < ends


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What narrows a key. `scopes` None means all of the role's; `networks` empty means from anywhere.

    `source`, `origins` and `address_limit` are a public key's.
    """

    scopes: frozenset[str] | None = None
    name: str | None = None
    expires_at: datetime | None = None
    networks: tuple[Network, ...] = ()
    rate_limit: int | None = None
    source: str | None = None
    origins: tuple[str, ...] = ()
    address_limit: int | None = None


UNBOUNDED: Final = KeyOptions()
"""Everything the role may do, from anywhere, for ever."""


Algorithm: TypeAlias = Literal["HS256", "ES256", "EdDSA"]
"""How a user token is signed: by a secret both sides have, or by a key that only the customer's backend has."""


@dataclass(frozen=True, slots=True)
class UserTokenKey:
    """A key whose signature vouches for the workspace's users; without the secret, if it has one."""

    id: UUID
    name: str | None
    algorithm: Algorithm
    public_key: str | None
    """PEM, of what is signed with a private key."""
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None

    @property
    def shown(self) -> str:
        return ids.show("utk", self.id)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to what, and when; and where that stands in the side's log `audit`."""

    id: UUID
    at: datetime
    actor: str
    action: str
    target: str
    detail: dict[str, object]
    generation: int | None = None
    """Which of the logs, after one was succeeded by another."""
    log_index: int | None = None
    """None of what was audited before there was a log."""

    @property
    def log(self) -> str | None:
        """The log that it stands in as addresses name it, where that is not the first."""
        return ordinals.named("audit", self.generation)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which audit entries are wanted: those that are all of what is said."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """They happened before it."""
