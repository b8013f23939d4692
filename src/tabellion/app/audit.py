"""`tabellion audit verify`: whether the audit table is what the log says."""

from dataclasses import asdict
from typing import Any

from tabellion.access import service
from tabellion.access.trail import Trail
from tabellion.access.trail_check import Check
from tabellion.access.types import Mode
from tabellion.app.opening import opened
from tabellion.core import ids
from tabellion.core.config import Settings


async def verify(settings: Settings, workspace: str, mode: Mode) -> dict[str, Any]:
    """What a comparison of a side's audit table with its log came to. Changes nothing, and may run beside a hub."""
    async with opened(settings) as hub:
        found = await hub.db.run(lambda tx: service.find_workspace(tx, workspace))
        side = found.side(mode)
        compared = await Check(hub.db, Trail(hub.vault, hub.ledger), hub.ledger, side).run()
        shown = {"workspace": ids.show("wsp", found.id), "mode": mode, "ok": compared.count == 0}
        return shown | asdict(compared)
