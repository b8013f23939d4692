"""Values of received callbacks."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from tabellion.accounts.types import Account
from tabellion.providers.base import Inbound, Normalised


class Raw(msgspec.Struct, frozen=True):
    """A callback's request as stored (sealed): enough to verify and parse it again."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, inbound: Inbound) -> "Raw":
        return cls(inbound.method, inbound.url, dict(inbound.headers), inbound.body)

    def inbound(self) -> Inbound:
        return Inbound(self.method, self.url, self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A verified callback, parsed, on its way into the database."""

    account: Account
    inbound: Inbound
    parsed: tuple[Normalised, ...]


@dataclass(frozen=True, slots=True)
class Callback:
    """A stored callback, still sealed."""

    workspace_id: UUID
    id: UUID
    account_id: UUID
    provider: str
    received_at: datetime
    digest: bytes
    raw: bytes
    recipient_id: UUID | None = None
    """Whose key seals `raw`; None: the key of the workspace side."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A callback's request sealed for one person; None: the person was erased."""

    recipient_id: UUID
    raw: bytes | None
