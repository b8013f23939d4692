"""Words and values of regulations: what may be ordered about a person's data, and how far it is."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.errors import Conflict, Forbidden, HubError, NotFound

UNDO: Final = timedelta(hours=24)
"""How long an erasure can be taken back; nothing is sent to the person meanwhile."""
CLOCK: Final = timedelta(days=30)
"""Until when an order is to be carried out, unless it says otherwise."""
DOWNLOAD: Final = timedelta(days=7)
"""How long an export can be fetched."""


class Type(StrEnum):
    ERASE = "erase"
    EXPORT = "export"
    RESTRICT = "restrict"
    OBJECT = "object"


class State(StrEnum):
    AWAITING_APPROVAL = "awaiting_approval"
    SCHEDULED = "scheduled"
    """It will be carried out at `execute_at`, and can be taken back until then."""
    BLOCKED = "blocked"
    """A legal hold forbids to destroy anything."""
    RUNNING = "running"
    IN_FORCE = "in_force"
    """A restriction that holds."""
    DONE = "done"
    CANCELLED = "cancelled"


OPEN: Final = frozenset({State.AWAITING_APPROVAL, State.SCHEDULED, State.BLOCKED, State.RUNNING})
UNDONE: Final = frozenset({State.AWAITING_APPROVAL, State.SCHEDULED, State.BLOCKED, State.IN_FORCE})
"""The states in which an order can be taken back."""


class Step(StrEnum):
    """What an erasure is at. Each is done in batches, and goes on where it was after a crash."""

    SEARCH = "search"
    """Callbacks that nobody's key seals are searched for the person's addresses."""
    ERASE = "erase"
    """All that is the person's own ends in one transaction, their keys last. From here there is no way back."""
    MESSAGES = "messages"
    CALLBACKS = "callbacks"
    EVENTS = "events"
    CERTIFY = "certify"


class Progress(msgspec.Struct, frozen=True):
    step: Step = Step.SEARCH
    cursor: str | None = None


class SystemState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    MANUAL = "manual"
    """Somebody has to do it: the vendor offers no way that the hub can use."""


class System(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an order in one system."""

    state: SystemState
    detail: Mapping[str, Any] = {}
    at: datetime | None = None


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    immediate: bool = False
    keep_opt_outs: bool = True
    """Keyed hashes of the person's addresses stay, with what they refused, so that no import brings them back."""
    purposes: Sequence[str] = ()
    """Of an objection: to what; none is all marketing."""


class Regulation(msgspec.Struct, frozen=True):
    workspace_id: UUID
    id: UUID
    type: Type
    state: State
    recipient_id: UUID
    recipient_ids: Sequence[UUID]
    requested_by: str
    verified_by: str
    options: Options
    created_at: datetime
    execute_at: datetime
    due_at: datetime
    approved_by: str | None = None
    approved_at: datetime | None = None
    cancelled_by: str | None = None
    cancelled_at: datetime | None = None
    erased_at: datetime | None = None
    done_at: datetime | None = None
    systems: Mapping[str, System] = {}
    progress: Progress = Progress()
    certificate: str | None = None
    backups_expire_at: datetime | None = None
    in_flight: Sequence[UUID] = ()
    """Attempts that had started when the order was taken; it is known only then."""

    @property
    def shown(self) -> str:
        return ids.show("reg", self.id)


class PrivacySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a workspace side deals with orders."""

    approvals: Annotated[list[Type], Meta(max_length=4)] = []
    """The types that a second key must approve before they are carried out."""


class UnknownRegulation(NotFound):
    def __init__(self, shown: str) -> None:
        super().__init__(
            "regulation_not_found", f"there is no regulation {shown} here; check the id and the key's mode"
        )


class Pending(Conflict):
    def __init__(self, shown: str) -> None:
        super().__init__("regulation_pending", f"{shown} orders that already; read it, or cancel it first")


class NotCancellable(Conflict):
    def __init__(self, state: State) -> None:
        super().__init__("regulation_executed", f"the regulation is {state}; it cannot be taken back any more")


class Held(Conflict):
    def __init__(self) -> None:
        super().__init__(
            "legal_hold", "a legal hold forbids to destroy what is kept about this person; release it first"
        )


class NotReady(Conflict):
    def __init__(self, what: str) -> None:
        super().__init__("not_ready", what)


class Gone(HubError):
    def __init__(self, detail: str) -> None:
        super().__init__("gone", detail, 410)


def require_other(caller: Caller, first: str) -> None:
    """Return if this key is another than the first: what two persons must agree to. Raises `Forbidden`."""
    if caller.actor == first:
        raise Forbidden("second_approver_required", "the key that asked cannot approve it; use another person's key")
