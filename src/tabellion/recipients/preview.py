"""What other settings would come to for the recipients that are there.

Nothing is changed by asking, nor by setting: identifiers stay, and settings count for what is named from then on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.recipients import forms, rules, store
from tabellion.recipients import tokens_store as tokens
from tabellion.recipients.settings import RecipientSettings, SettingsBook
from tabellion.recipients.types import Kind

LOOKED: Final = 100_000
"""Rows that a count looks at, at most."""
SHOWN: Final = 10
"""Recipients shown of each value."""
_OPAQUE: Final = frozenset({Kind.EXTERNAL_ID, Kind.ANONYMOUS})


class BlockedValue(msgspec.Struct, frozen=True):
    """A value that would be blocked from then on."""

    value: str
    kinds: Sequence[Kind]
    """Of the identifiers that it is now."""
    recipients: Sequence[UUID]


class Lowered(msgspec.Struct, frozen=True):
    """A limit that would be lower."""

    kind: Kind
    before: int
    after: int
    recipients: int
    """Who have more of the kind already."""


@dataclass(frozen=True, slots=True)
class Preview:
    blocked: Sequence[BlockedValue]
    lowered: Sequence[Lowered]
    shared: int
    """Devices and browsers that would be shared ones once they are named with another person."""
    stale: int
    """Push tokens and subscriptions that would be stale with the next look."""
    complete: bool
    """False: there is more than a count looks at, so it may be more."""


@dataclass(frozen=True)
class Previewing:
    vault: Vault
    book: SettingsBook

    async def preview(self, tx: Tx, workspace_id: WorkspaceId, wanted: RecipientSettings) -> Preview:
        """What setting all of `wanted` would come to."""
        now, _ = await self.book.read(tx, workspace_id)
        size = await tokens.size(tx, workspace_id, LOOKED + 1)
        return Preview(
            blocked=await self._blocked(tx, workspace_id, now, wanted),
            lowered=await _lowered(tx, workspace_id, now, wanted),
            shared=await _shared(tx, workspace_id, wanted),
            stale=await _stale(tx, workspace_id, wanted),
            complete=size <= LOOKED,
        )

    async def _blocked(
        self, tx: Tx, workspace_id: WorkspaceId, now: RecipientSettings, wanted: RecipientSettings
    ) -> list[BlockedValue]:
        before = {value.lower() for value in now.blocked_values}
        values = [value for value in dict.fromkeys(wanted.blocked_values) if value.lower() not in before]
        systems = await tokens.systems(tx, workspace_id, LOOKED) if values else []
        lookup = await self.vault.workspace(tx, workspace_id, "lookup")
        hashes = {value: dict(_hashes(lookup, value, systems, wanted.default_region)) for value in values}
        wanted_hashes = sorted({one for some in hashes.values() for one in some})
        found = await store.find(tx, workspace_id, wanted_hashes) if wanted_hashes else {}
        owners = {one: row.recipient_id for one, row in found.items()}
        return [_value(value, some, owners) for value, some in hashes.items() if not owners.keys().isdisjoint(some)]


async def _lowered(
    tx: Tx, workspace_id: WorkspaceId, now: RecipientSettings, wanted: RecipientSettings
) -> list[Lowered]:
    before, after = now.policy, wanted.policy
    kinds = sorted({*before.limits, *after.limits})
    lower = [(kind, after.limit(kind)) for kind in kinds if after.limit(kind) < before.limit(kind)]
    over = await tokens.crowded(tx, workspace_id, lower, LOOKED) if lower else {}
    return [Lowered(kind, before.limit(kind), most, over.get(kind, 0)) for kind, most in lower]


async def _shared(tx: Tx, workspace_id: WorkspaceId, wanted: RecipientSettings) -> int:
    policy = wanted.policy
    return await tokens.crowds(tx, workspace_id, tx.now - policy.within, policy.people, LOOKED)


async def _stale(tx: Tx, workspace_id: WorkspaceId, wanted: RecipientSettings) -> int:
    if wanted.stale_after_days is None:
        return 0
    return await tokens.overdue(tx, workspace_id, tx.now - timedelta(days=wanted.stale_after_days), LOOKED)


# pure


def _hashes(lookup: Key, value: str, systems: Sequence[Kind], region: str | None) -> Iterator[tuple[bytes, Kind]]:
    """What identifiers the value may be now: of every kind, and where case is told apart, in the usual ones."""
    for kind in (*Kind, *systems):
        spelled = {value, value.lower(), value.upper(), value.capitalize(), value.title()}
        for one in spelled if kind in _OPAQUE or kind.external else (value,):
            try:
                yield rules.identifier_hash(lookup, kind, forms.normal(kind, one, region)), kind
            except ValueError:
                continue


def _value(value: str, kinds: Mapping[bytes, Kind], owners: Mapping[bytes, UUID]) -> BlockedValue:
    mine = [one for one in kinds if one in owners]
    return BlockedValue(value, sorted({kinds[one] for one in mine}), sorted({owners[one] for one in mine}))
