"""The commands about the logs of a workspace side."""

from typing import Any, Final

from tabellion.access import service
from tabellion.access.types import Mode
from tabellion.app.opening import opened
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict
from tabellion.core.ids import WorkspaceId
from tabellion.ledger.service import Ledger

LOGS: Final = ("consent", "audit")
"""In the order of their locks."""


async def succeed(settings: Settings, workspace: str, mode: Mode) -> dict[str, Any]:
    """The successors of those logs of a side that have lost entries, audited. Refused while all are sound."""
    async with opened(settings) as hub:

        async def work(tx: Tx) -> dict[str, Any]:
            found = await service.find_workspace(tx, workspace)
            side = found.side(mode)
            origins = await _succeed(tx, hub.ledger, side)
            for origin in origins:
                await service.audit(tx, side, service.COMMAND_LINE, "ledger.succeeded", origin, {})
            return {"workspace": ids.show("wsp", found.id), "mode": mode, "origins": origins}

        return await hub.db.run(work)


async def _succeed(tx: Tx, ledger: Ledger, side: WorkspaceId) -> list[str]:
    """All in one transaction: what is done about one log is audited in another that may have lost as much."""
    origins, sound = [], list[Conflict]()
    for log in LOGS:
        try:
            origins.append(await ledger.succeed(tx, side, log))
        except Conflict as refusal:
            sound.append(refusal)
    if not origins:
        raise sound[0]
    return origins
