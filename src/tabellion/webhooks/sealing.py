"""Whose key seals a stored callback: its workspace side's when it arrives, the person's once it is known who that is.

So what is about a person becomes unreadable with that person's key.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias
from uuid import UUID

import msgspec

from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.vault import Vault
from tabellion.webhooks.types import Callback, Raw, Sealed

Pair: TypeAlias = tuple[UUID, UUID]
"""(workspace_id, id)."""


def context(callback_id: UUID) -> str:
    return f"callback:{callback_id}"


def opened(callback: Callback, key: Key) -> Raw:
    """The request of a callback."""
    return msgspec.json.decode(key.open(callback.raw, context(callback.id)), type=Raw)


async def keys(tx: Tx, vault: Vault, callbacks: Iterable[Callback]) -> dict[Pair, Key]:
    """The key of each callback. Those of a person whose key was destroyed are left out."""
    found = list(callbacks)
    people = await _people(tx, vault, [(one.workspace_id, one.recipient_id) for one in found if one.recipient_id])
    sides = sorted({one.workspace_id for one in found if one.recipient_id is None})
    common = {side: await vault.workspace(tx, side, "callbacks") for side in sides}
    fitting = {
        (one.workspace_id, one.id): people.get((one.workspace_id, one.recipient_id))
        if one.recipient_id
        else common[one.workspace_id]
        for one in found
    }
    return {pair: key for pair, key in fitting.items() if key}


async def reseal(tx: Tx, vault: Vault, about: Mapping[Pair, tuple[UUID, bytes]]) -> dict[Pair, Sealed]:
    """The requests of callbacks, each sealed for the person it is about. Of a person who was erased nothing is kept."""
    people = await _people(tx, vault, [(side, person) for (side, _), (person, _) in about.items()])
    return {
        (side, callback_id): Sealed(person, key.seal(plain, context(callback_id)) if key else None)
        for (side, callback_id), (person, plain) in about.items()
        for key in [people.get((side, person))]
    }


async def _people(tx: Tx, vault: Vault, wanted: Sequence[Pair]) -> dict[Pair, Key]:
    """The keys of people by (workspace_id, recipient_id)."""
    sides = sorted({side for side, _ in wanted})
    of_side = {side: await vault.subjects(tx, side, {one for at, one in wanted if at == side}) for side in sides}
    return {(side, one): key for side, some in of_side.items() for one, key in some.items()}
