"""Words and values of identity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

import msgspec

from tabellion.consent.types import Joined
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.moving import Moved
from tabellion.recipients.types import Identifier

HUB = "hub"
"""Who merges where nobody asked for it."""


class BeingErased(Protocol):
    async def __call__(self, tx: Tx, workspace_id: WorkspaceId, people: Sequence[UUID]) -> bool:
        """Whether there is an open order to erase one of the people, who are locked."""
        ...


class Rule(StrEnum):
    """Why two recipients became one."""

    REQUESTED = "requested"
    ADDRESS_ATTACHED = "address_attached"
    """Somebody known only by an address turned out to be this person."""
    REVIEW = "review"
    """Somebody looked at what was in conflict and found that it is one person."""
    ANONYMOUS_TO_KNOWN = "anonymous_to_known"
    """A device or a browser that nobody was known by turned out to be this person's."""
    ALIASED = "aliased"
    """Another system says that one id took the place of another."""


class Winner(StrEnum):
    """Why this one of the two goes on as the person."""

    KNOWN = "known"
    """The other was anonymous, or an id that an alias brought."""
    FULL_RECIPIENT = "full_recipient"
    MOST_IDENTIFIERS = "most_identifiers"
    OLDEST = "oldest"
    SMALLER_ID = "smaller_id"


class Evidence(msgspec.Struct, frozen=True):
    """What a merge rests on, and what it took. Sealed: names of traits may be telling."""

    reason: str | None
    winner: Winner
    identifiers: Mapping[str, Sequence[str]]
    """The kinds of identifiers each had, by id."""
    taken: Sequence[Sequence[str]] = ()
    """Paths of the fields that were taken from the one merged, because the other had none."""


@dataclass(frozen=True, slots=True)
class Merge:
    """One merge, as it is stored."""

    id: UUID
    from_id: UUID
    into_id: UUID
    rule: Rule
    actor: str
    merged_at: datetime
    undone_at: datetime | None
    undone_by: str | None
    sealed: bytes | None
    moved: Moved
    consent: Joined


@dataclass(frozen=True, slots=True)
class Told:
    """One merge as it is explained."""

    merge: Merge
    evidence: Evidence | None
    """None once the person was erased."""


@dataclass(frozen=True, slots=True)
class Known:
    """An identifier, and the recipient it is kept with."""

    identifier: Identifier
    recipient_id: UUID


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a person is who they are: newest merge first, ids the root first."""

    root: UUID
    ids: Sequence[UUID]
    identifiers: Sequence[Known]
    merges: Sequence[Told]


Document = Mapping[str, Any]


class SameRecipient(Conflict):
    def __init__(self, shown: str) -> None:
        super().__init__("same_recipient", f"both are {shown} already; GET its identity to see why")


class AddressOnly(Conflict):
    def __init__(self) -> None:
        super().__init__(
            "address_only", "of both only an address is known; make one a recipient with POST /v1/recipients first"
        )


class UnknownMerge(NotFound):
    def __init__(self, shown: str) -> None:
        super().__init__("merge_not_found", f"the recipient has no merge {shown}; GET its identity lists them")


class MergeUndone(Conflict):
    def __init__(self, shown: str) -> None:
        super().__init__("merge_undone", f"{shown} was taken back already")


class OpenErasure(Conflict):
    def __init__(self) -> None:
        super().__init__(
            "erasure_open",
            "one of the two is being erased, which would end differently for each; cancel the order first, or let it"
            " end (GET /v1/regulations?state=scheduled)",
        )


class MergedFurther(Conflict):
    def __init__(self, shown: str) -> None:
        super().__init__("merged_further", f"the recipient was merged further since; split {shown} first")
