"""`tabellion export suppressions`: the list of one side of a workspace, as a file."""

import os
from pathlib import Path
from typing import Any

from tabellion.access.service import COMMAND_LINE, audit, find_workspace
from tabellion.access.types import Mode
from tabellion.app.domains import domains
from tabellion.app.opening import opened
from tabellion.app.wiring import Hub
from tabellion.consent.suppressions import listing
from tabellion.core.config import Settings
from tabellion.core.ids import WorkspaceId


async def export_suppressions(settings: Settings, workspace: str, mode: Mode, file: Path) -> dict[str, Any]:
    """How many rows there were, and where they are. Audited. The file is whole, or it is as it was."""
    async with opened(settings) as installation, domains(installation, settings) as hub:
        found = await installation.db.run(lambda tx: find_workspace(tx, workspace))
        side = found.side(mode)
        await installation.db.run(lambda tx: audit(tx, side, COMMAND_LINE, "suppressions.exported", "suppressions", {}))
        part = file.with_name(file.name + ".part")
        try:
            rows = await _write(hub, side, part)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    return {"rows": rows, "file": str(file)}


async def _write(hub: Hub, side: WorkspaceId, part: Path) -> int:
    count = 0
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(listing.HEAD)
        async for rows in hub.suppressions.rows(hub.around.db, side):
            stream.write(listing.drawn(rows))
            count += len(rows)
        stream.flush()
        os.fsync(stream.fileno())
    return count
