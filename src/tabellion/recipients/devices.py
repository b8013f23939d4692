"""What an upsert says of push tokens and web push subscriptions, beside that they are the recipient's."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.events.types import Event
from tabellion.recipients import happened, rules, sealing, store
from tabellion.recipients.store import Description
from tabellion.recipients.types import Device, Kind, Named, Permission


class Said(msgspec.Struct, frozen=True):
    """An identifier that a unit named, and whose it is."""

    recipient_id: UUID
    key: Key
    hash: bytes
    named: Named
    new: bool
    """The recipient did not have it before."""
    guarded: bool = False
    """Nobody vouches for it: it may say only that the device shows nothing any more."""


async def describe(tx: Tx, workspace_id: WorkspaceId, lookup: Key, said: Sequence[Said]) -> list[Event]:
    """Store what is said of tokens and subscriptions of locked recipients; what happened thereby.

    A token that another one replaces is of no use any more, and stays as such: what was agreed to was agreed to there.
    """
    told = {one.hash: one for one in said if one.named.device or one.named.keys}
    if not told:
        return []
    described = [_description(workspace_id, one) for one in told.values()]
    changes = await store.describe(tx, workspace_id, described)
    replaced = [
        (rules.identifier_hash(lookup, Kind.DEVICE, one.named.replaces), one.recipient_id)
        for one in told.values()
        if one.named.replaces not in (None, one.named.value)
    ]
    if replaced:
        await store.retire(tx, workspace_id, replaced)
    return [
        happened.permission_changed(workspace_id, told[hash_].recipient_id, was, now)
        for hash_, (was, now) in changes.items()
        if not told[hash_].new
    ]


def denial(named: Named) -> Named:
    """What is left of an identifier that is named where only a denial counts."""
    device = named.device
    return Named(named.kind, named.value, device=device if device and device.permission is Permission.DENIED else None)


def _description(workspace_id: WorkspaceId, one: Said) -> Description:
    if one.guarded:
        return Description(one.hash, None, None, denied=True)
    if one.named.keys is None or one.new:
        return Description(one.hash, one.named.device, None)
    value = sealing.seal_value(workspace_id, one.recipient_id, one.key, one.hash, sealing.plain(one.named))
    return Description(one.hash, one.named.device, value)


def same_app(one: Device | None, other: Device | None) -> bool:
    """Whether two push tokens are of the same app on a device of the same kind, as far as is told."""
    if one is None or other is None or one.platform is not other.platform:
        return False
    return one.app is None or other.app is None or one.app == other.app
