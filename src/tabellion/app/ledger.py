"""The commands about the logs of decisions."""

from typing import Any, Literal

from tabellion.access import service
from tabellion.access.types import Mode
from tabellion.app.opening import opened
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.db import Tx
from tabellion.ledger.note import Verifier
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import VerifierKey

Log = Literal["consent", "audit"]


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


async def rotate_key(settings: Settings, workspace: str, mode: Mode, log: Log) -> dict[str, Any]:
    """A new signing key in place of a log's old one, audited: both with the tree sizes that they sign."""
    async with opened(settings) as hub:
        ledger = Ledger(hub.vault, Checkpoints(hub.keys.checkpoints), hub.install_id)

        async def work(tx: Tx) -> dict[str, Any]:
            found = await service.find_workspace(tx, workspace)
            side = found.side(mode)
            *_, old, new = await ledger.rotate_key(tx, side, log)
            detail = {"retired": key_line(old), "key": key_line(new), "size": new.from_size}
            await service.audit(tx, side, service.COMMAND_LINE, "ledger.key_rotated", new.origin, detail)
            shown = {"workspace": ids.show("wsp", found.id), "mode": mode, "log": log, "origin": new.origin}
            return {**shown, "key": _range(new), "retired": _range(old)}

        return await hub.db.run(work)


def key_line(key: VerifierKey) -> str:
    return Verifier(key.origin, key.public_key).line()


def _range(key: VerifierKey) -> dict[str, Any]:
    """A key as `GET /v1/ledger/keys` shows it."""
    return {"vkey": key_line(key), "from_size": key.from_size, "to_size": key.to_size}
