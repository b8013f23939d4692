"""`tabellion audit verify`, and doctor's shorter look: whether the audit table is what the log says."""

from dataclasses import asdict
from typing import Any, Final

from tabellion.access import service
from tabellion.access.trail import Trail
from tabellion.access.trail_check import Check, Compared
from tabellion.access.types import Mode
from tabellion.app.opening import Opened, opened
from tabellion.core import ids
from tabellion.core.config import Settings

NEWEST: Final = 1_000
MODES: Final[tuple[Mode, ...]] = ("live", "test")


async def verify(settings: Settings, workspace: str, mode: Mode) -> dict[str, Any]:
    """What a comparison of a side's audit table with its log came to. Changes nothing, and may run beside a hub."""
    async with opened(settings) as hub:
        found = await hub.db.run(lambda tx: service.find_workspace(tx, workspace))
        side = found.side(mode)
        compared = await Check(hub.db, Trail(hub.vault, hub.ledger), hub.ledger, side).run()
        shown = {"workspace": ids.show("wsp", found.id), "mode": mode, "ok": compared.count == 0}
        return shown | asdict(compared)


async def look(hub: Opened) -> list[tuple[str, Mode, Compared]]:
    """What came of comparing the newest 1,000 entries of every side on which something was audited."""
    sides = [(one, mode) for one in await hub.db.run(service.list_workspaces) for mode in MODES]
    trail = Trail(hub.vault, hub.ledger)
    found = [
        (one.name, mode, await Check(hub.db, trail, hub.ledger, one.side(mode)).newest(NEWEST)) for one, mode in sides
    ]
    return [one for one in found if one[2].entries or one[2].count]
