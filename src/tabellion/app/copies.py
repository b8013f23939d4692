"""The commands that write what a hub holds into files."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from tabellion.access.service import COMMAND_LINE, find_workspace
from tabellion.access.types import Mode
from tabellion.admin.ledger_export import Standing
from tabellion.admin.ledger_export_routes import told
from tabellion.app.domains import domains
from tabellion.app.opening import opened
from tabellion.app.wiring import Hub
from tabellion.core import ids
from tabellion.core.config import Settings
from tabellion.core.db import Database
from tabellion.core.errors import Conflict, HubError, Invalid
from tabellion.core.files import sync_folder
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import layout, note
from tabellion.privacy.exported import Part
from tabellion.privacy.orders import Options, Regulation, State, Type
from tabellion.privacy.regulations import Order
from tabellion.recipients.types import Ref

ASIDE: Final = ".writing"
BELOW: Final = ("tile", "checkpoints", "generations", "notices")
"""The folders of a copy."""
Show = Callable[[int, int], None]
"""How many files are written, and of how many."""


@dataclass(frozen=True, slots=True)
class Wanted:
    workspace: str
    mode: Mode
    log: str
    since: int
    to: Path


async def export_ledger(settings: Settings, wanted: Wanted, show: Show) -> dict[str, Any]:
    """Copy a log into a folder, and what came of it. What a copy there has already is not read again."""
    wanted.to.mkdir(parents=True, exist_ok=True)
    async with opened(settings) as installation, domains(installation, settings) as hub:
        workspace = await hub.around.db.run(lambda tx: find_workspace(tx, wanted.workspace))
        side = workspace.side(wanted.mode)
        copied = await hub.ledger_export.begin(hub.around.db, side, wanted.log, wanted.since, COMMAND_LINE)
        await hub.around.db.run(lambda tx: told(tx, copied))
        _sweep(wanted.to)
        copied = replace(copied, extra={**copied.extra, **_heads(wanted.to, copied.shown.checkpoint)})
        expected, written = layout.count(copied.shown.size, copied.since), 0
        async for part in hub.ledger_export.parts(hub.around.db, copied, lambda name: _standing(wanted.to / name)):
            await _write(wanted.to, part)
            written += 1
            show(written, max(expected, written))
        _tidy(wanted.to, copied.shown.size)
        return {"to": str(wanted.to), "log": wanted.log, "size": copied.shown.size, "written": written}


@dataclass(frozen=True, slots=True)
class Person:
    """Whose evidence is wanted, and what for."""

    workspace: str
    mode: Mode
    ref: str
    reason: str
    verified_by: str
    to: Path
    regulation: str | None = None
    """The order of an earlier run that waited for a second key."""


async def export_person(settings: Settings, wanted: Person, show: Show) -> dict[str, Any]:
    """Write evidence about a person into a ZIP, by an order that is audited; what became of it.

    Raises `Conflict` where a second key has to approve the order first.
    """
    if not wanted.reason.strip():
        raise Invalid("reason_required", "--reason: say what the evidence is for; it stands in custody.json")
    async with opened(settings) as installation, domains(installation, settings) as hub:
        db = hub.around.db
        side = (await db.run(lambda tx: find_workspace(tx, wanted.workspace))).side(wanted.mode)
        regulation = await _ordered(db, hub, side, wanted)
        order = await db.run(lambda tx: hub.regulations.evidence(tx, side, COMMAND_LINE, regulation.id))
        size = 0
        aside = wanted.to.with_name(wanted.to.name + ASIDE)
        with aside.open("wb") as stream:
            async for piece in hub.evidence.zipped(db, order, COMMAND_LINE):
                stream.write(piece)
                size += len(piece)
                show(size, 0)
        aside.replace(wanted.to)
        return {"to": str(wanted.to), "regulation": order.shown, "bytes": size}


async def _ordered(db: Database, hub: Hub, side: WorkspaceId, wanted: Person) -> Regulation:
    if wanted.regulation is not None:
        known = ids.parse("reg", wanted.regulation)
        return await db.run(lambda tx: hub.regulations.read(tx, side, known))
    ref = _ref(hub, side, wanted.ref)
    asked = Order(Type.EXPORT, ref, wanted.verified_by, options=Options(reason=wanted.reason))
    made = await db.run(lambda tx: hub.regulations.order_as(tx, side, COMMAND_LINE, asked))
    if made.state is State.AWAITING_APPROVAL:
        raise Conflict(
            "approval_required",
            f"exports need a second key here: have {made.shown} approved (POST /v1/regulations/{made.shown}/approve),"
            f" and run this again with --regulation {made.shown}",
        )
    return made


def _ref(hub: Hub, side: WorkspaceId, text: str) -> Ref:
    """Whom a word of the command line means."""
    if text.startswith(("rcp_", "{")):
        return hub.recipients.asked(side, text)
    if "@" in text or text.startswith("+"):
        return hub.recipients.asked_identifier(side, None, text, "REF")
    return hub.recipients.asked(side, msgspec.json.encode({"external_id": text}).decode())


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


def _heads(folder: Path, checkpoint: str) -> dict[str, str]:
    """The heads that an earlier run left there, by their files, if it is a copy of this log."""
    try:
        signed = (folder / "checkpoint").read_text()
    except FileNotFoundError:
        return {}
    if signed.partition("\n")[0] != checkpoint.partition("\n")[0]:
        raise HubError("other_copy", f"{folder} holds a copy of another log; name an empty folder")
    heads = {f"checkpoints/{one.name}": one.read_text() for one in (folder / "checkpoints").glob("[0-9]*")}
    size = note.parse_checkpoint(note.parse(signed).text).size
    return heads | ({f"checkpoints/{size}": signed} if signed != checkpoint else {})


def _sweep(folder: Path) -> None:
    """Remove what a run that was cut short was writing."""
    for below in BELOW:
        for file in (folder / below).rglob(f"*{ASIDE}"):
            file.unlink()


def _tidy(folder: Path, size: int) -> None:
    """Remove the partial tiles that the copy needed before it grew, those of runs that were cut short among them."""
    needed = {folder / layout.name(file) for file in layout.partial(size)}
    for file in (folder / "tile").rglob("*.p/*"):
        if file not in needed:
            file.unlink()
