"""`tabellion why`: everything the gate knows about an address."""

from typing import Any, Final

from tabellion.access import service
from tabellion.access.types import Mode
from tabellion.app.domains import domains
from tabellion.app.opening import opened
from tabellion.app.wiring import Hub
from tabellion.consent.questions import Ask, Verdict
from tabellion.consent.types import KINDS
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import ordinals
from tabellion.messages.store import Filter
from tabellion.providers.base import Channel
from tabellion.recipients.types import Identifier, Ref, Resolved

LATEST: Final = 10
"""Messages told of."""


async def why(settings: Settings, workspace: str, mode: Mode, address: str) -> dict[str, Any]:
    """Whose an address is, what may be sent to it for each purpose and why, and the latest messages. Audited."""
    async with opened(settings) as installation, domains(installation, settings) as hub:
        return await hub.around.db.run(lambda tx: _told(tx, hub, workspace, mode, address))


async def _told(tx: Tx, hub: Hub, workspace: str, mode: Mode, address: str) -> dict[str, Any]:
    side = (await service.find_workspace(tx, workspace)).side(mode)
    ref = hub.recipients.asked_identifier(side, None, address, "ADDRESS")
    [one] = await hub.recipients.resolve(tx, side, [ref], create=False)
    if not isinstance(one, Resolved) or one.identifier is None:
        raise NotFound("recipient_not_found", f"nobody in {workspace}, {mode}, has this address")
    shown = ids.show("rcp", one.recipient_id)
    await service.audit(tx, side, service.COMMAND_LINE, "address.explained", shown, {})
    external = await hub.recipients.external_ids(tx, side, [one.recipient_id])
    return {
        "recipient": {"id": shown, "external_id": external.get(one.recipient_id), "address_only": one.address_only},
        "identifier": _identifier(one.identifier),
        "verdicts": await _verdicts(tx, hub, side, ref, one.identifier),
        "messages": await _messages(tx, hub, side, ref, one.identifier),
    }


def _identifier(one: Identifier) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "source": one.source,
        "first_seen_at": one.first_seen_at,
        "last_seen_at": one.last_seen_at,
        "verified_at": one.verified_at,
    }


async def _verdicts(tx: Tx, hub: Hub, side: WorkspaceId, ref: Ref, address: Identifier) -> list[dict[str, Any]]:
    """What may be sent to the address: a verdict for each purpose and channel, in their order."""
    purposes = await hub.consent.purposes(tx, side)
    channels = [channel for channel in Channel if address.kind in KINDS.get(channel, ())]
    asks = [Ask(ref, channel, purpose) for purpose in sorted(purposes) for channel in channels]
    found = await hub.consent.check(tx, side, asks)
    return [_verdict(ask, one) for ask, one in zip(asks, found, strict=True) if isinstance(one, Verdict)]


def _verdict(ask: Ask, one: Verdict) -> dict[str, Any]:
    return {
        "purpose": ask.purpose,
        "channel": ask.channel,
        "sendable": one.sendable,
        "verdict": one.verdict,
        "reason": one.reason,
        "rule": one.rule,
        **ordinals.told(one.ordinal),
        "entry": ids.show("cns", one.entry_id) if one.entry_id else None,
    }


async def _messages(tx: Tx, hub: Hub, side: WorkspaceId, ref: Ref, address: Identifier) -> list[dict[str, Any]]:
    """The latest to the address. Asked of its person: nothing leads from an address alone to messages."""
    wanted = Filter(recipient_ids=await hub.recipients.meant(tx, side, ref), address=address.hash.hex())
    found = await hub.messages.page(tx, side, wanted, before=None, limit=LATEST)
    return [
        {
            "id": ids.show("msg", message.id),
            "created_at": message.created_at,
            "purpose": message.purpose,
            "status": message.status,
            "reason": message.reason,
            "attempts": [f"{one.channel} by {one.provider}: {one.state}" for one in attempts],
        }
        for message, attempts in found
    ]
