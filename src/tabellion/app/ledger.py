"""The commands about the logs of a workspace side."""

from itertools import product
from typing import Any, Final, Literal

from tabellion.access import service
from tabellion.access.types import Mode
from tabellion.app.opening import opened
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict
from tabellion.core.ids import WorkspaceId
from tabellion.ledger.note import Verifier
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import VerifierKey
from tabellion.ledger.witness import store as witnessed

Log = Literal["consent", "audit"]
LOGS: Final[tuple[Log, ...]] = ("consent", "audit")
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


async def rotate_key(settings: Settings, workspace: str, mode: Mode, log: Log) -> dict[str, Any]:
    """A new signing key in place of a log's old one, audited: both with the tree sizes that they sign."""
    async with opened(settings) as hub:

        async def work(tx: Tx) -> dict[str, Any]:
            found = await service.find_workspace(tx, workspace)
            side = found.side(mode)
            *_, old, new = await hub.ledger.rotate_key(tx, side, log)
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


async def list_keys(settings: Settings) -> list[str]:
    """The verifier keys of all logs in use, of all workspaces. Each side has both by then: made, where it had none."""
    async with opened(settings) as hub:

        async def work(tx: Tx) -> list[tuple[str, bytes]]:
            sides = sorted(side for one in await service.list_workspaces(tx) for side in (one.live, one.test))
            for log, side in product(LOGS, sides):
                await hub.ledger.origin(tx, side, log)
            return await witnessed.verifier_keys(tx)

        return [Verifier(*key).line() for key in await hub.db.run(work)]
