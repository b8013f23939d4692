"""The commands about the logs of decisions."""

from typing import Any

from tabellion.access import service
from tabellion.access.types import Mode
from tabellion.app.opening import opened
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.db import Tx
from tabellion.ledger import note
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.ledger.witness import store as witnessed


async def succeed(settings: Settings, workspace: str, mode: Mode) -> dict[str, Any]:
    """The successor started in place of a side's log that has lost entries, audited. Refused while it is sound."""
    async with opened(settings) as hub:
        checkpoints = Checkpoints(hub.keys.checkpoints)
        ledger = Ledger(hub.vault, checkpoints, hub.install_id)

        async def work(tx: Tx) -> dict[str, Any]:
            found = await service.find_workspace(tx, workspace)
            side = found.side(mode)
            origin = await ledger.succeed(tx, side)
            await service.audit(tx, side, service.COMMAND_LINE, "ledger.succeeded", origin, {})
            return {"workspace": ids.show("wsp", found.id), "mode": mode, "origin": origin}

        try:
            return await hub.db.run(work)
        finally:
            await checkpoints.close()


async def list_keys(settings: Settings) -> list[str]:
    """The verifier keys of all logs in use, of all workspaces. Each side has one by then: made, where it had none."""
    async with opened(settings) as hub:
        ledger = Ledger(hub.vault, Checkpoints(hub.keys.checkpoints), hub.install_id)

        async def work(tx: Tx) -> list[tuple[str, bytes]]:
            for found in await service.list_workspaces(tx):
                for side in (found.live, found.test):
                    await ledger.origin(tx, side)
            return await witnessed.verifier_keys(tx)

        return [note.Verifier(*key).line() for key in await hub.db.run(work)]
