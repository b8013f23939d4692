"""The commands that write what a hub holds into files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tabellion.access.service import COMMAND_LINE, find_workspace
from tabellion.access.types import Mode
from tabellion.admin.ledger_export import Standing
from tabellion.admin.ledger_export_routes import told
from tabellion.app.domains import domains
from tabellion.app.opening import opened
from tabellion.core.config import Settings
from tabellion.core.errors import HubError
from tabellion.core.files import sync_folder
from tabellion.ledger import layout, note
from tabellion.ledger.paths import file_name
from tabellion.privacy.exported import Part

ASIDE: Final = ".writing"
Show = Callable[[int, int], None]
"""How many files are written, and of how many."""


@dataclass(frozen=True, slots=True)
class Wanted:
    workspace: str
    mode: Mode
    log: str
    since: int
    to: Path


@dataclass(frozen=True, slots=True)
class There:
    """What an earlier run left: how many entries, and the heads it knew."""

    size: int = 0
    heads: Mapping[str, str] = field(default_factory=dict)


async def export_ledger(settings: Settings, wanted: Wanted, show: Show) -> dict[str, Any]:
    """Copy a log into a folder, and what came of it. What a copy there has already is not read again."""
    wanted.to.mkdir(parents=True, exist_ok=True)
    async with opened(settings) as installation, domains(installation, settings) as hub:
        workspace = await hub.around.db.run(lambda tx: find_workspace(tx, wanted.workspace))
        side = workspace.side(wanted.mode)
        copied = await hub.ledger_export.begin(hub.around.db, side, wanted.log, wanted.since, COMMAND_LINE)
        await hub.around.db.run(lambda tx: told(tx, copied))
        kept = _there(wanted.to, copied.shown.checkpoint)
        copied = replace(copied, extra={**copied.extra, **kept.heads})
        expected, written = layout.count(copied.shown.size, copied.since), 0
        async for part in hub.ledger_export.parts(hub.around.db, copied, lambda name: _standing(wanted.to / name)):
            await _write(wanted.to, part)
            written += 1
            show(written, max(expected, written))
        _tidy(wanted.to, kept.size, copied.shown.size)
        return {"to": str(wanted.to), "log": wanted.log, "size": copied.shown.size, "written": written}


async def _write(folder: Path, part: Part) -> None:
    """A file, whole or not at all."""
    file = folder / part.name
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(file.name + ASIDE)
    with aside.open("wb") as stream:
        async for page in part.pages:
            stream.write(page.content)
    aside.replace(file)
    if part.name == "jwks.json":
        sync_folder(folder)


def _standing(file: Path) -> Standing | None:
    """What an earlier run wrote there."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    return Standing(sha256(content).hexdigest(), len(content)) if content else None


def _there(folder: Path, checkpoint: str) -> There:
    """What an earlier run left there, if it is a copy of this log."""
    try:
        signed = (folder / "checkpoint").read_text()
    except FileNotFoundError:
        return There()
    if signed.partition("\n")[0] != checkpoint.partition("\n")[0]:
        raise HubError("other_copy", f"{folder} holds a copy of another log; name an empty folder")
    heads = {f"checkpoints/{one.name}": one.read_text() for one in (folder / "checkpoints").glob("[0-9]*")}
    size = note.parse_checkpoint(note.parse(signed).text).size
    return There(size, heads | ({f"checkpoints/{size}": signed} if signed != checkpoint else {}))


def _tidy(folder: Path, old: int, new: int) -> None:
    """Remove the partial tiles that the copy needed before it grew."""
    needed = set(layout.partial(new))
    for file in set(layout.partial(old)) - needed:
        (folder / "tile" / file_name(file)).unlink(missing_ok=True)
