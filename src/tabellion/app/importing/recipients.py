"""`tabellion import recipients`: a file into one side of a workspace, beside a running hub or on the database alone."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
from rich.console import Console

from tabellion.access.service import COMMAND_LINE, audit, find_workspace
from tabellion.access.types import Mode
from tabellion.app.domains import domains
from tabellion.app.importing.beside import LOCK, Count, Progress, ProgressFile, Rejects, Same, alone, digest
from tabellion.app.importing.display import bar
from tabellion.app.importing.mapping import Reader, choose, preview
from tabellion.app.importing.run import AT_ONCE, Import, Store
from tabellion.app.importing.sources import open_source
from tabellion.app.opening import opened, say
from tabellion.app.wiring import Hub
from tabellion.core.config import Settings
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.core.rows.sources import Csv
from tabellion.core.rows.types import Source as File
from tabellion.recipients.settings import Source
from tabellion.recipients.types import NewRecipient, Upserted

SOURCE_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """An import as the command line asks for it."""

    file: Path
    workspace: str
    mode: Mode
    told: Sequence[str] = ()
    dry_run: bool = False
    beside: Path | None = None
    source: str | None = None
    """Whom the file speaks for; None: itself."""


class Work(Protocol):
    """An import of whatever kind."""

    @property
    def progress(self) -> ProgressFile: ...

    @property
    def same(self) -> Same: ...

    def begun(self) -> Progress | None:
        """How far an earlier run of the same import got."""

    async def run(self, rejects: Rejects, begun: Progress | None, show: Callable[[Progress], None]) -> Count:
        """What became of all rows."""


async def import_recipients(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """The report of an import: what became of the rows, and where those are that were refused."""
    source = open_source(wanted.file)
    fields = choose(wanted.told, source)
    speaks_for = _checked(wanted.source) if wanted.source is not None else source_name(wanted.file)
    async with opened(settings, connections=AT_ONCE + 1) as installation:
        workspace = await installation.db.run(lambda tx: find_workspace(tx, wanted.workspace))
        side = workspace.side(wanted.mode)
        async with domains(installation, settings) as hub:
            work = Import(
                source,
                Reader(hub.recipients, side, fields),
                None if wanted.dry_run else storing(hub, side, speaks_for),
                progress_of(wanted),
                Same(digest(wanted.file), side, fields, source=wanted.source or ""),
            )
            return await bring(hub, "recipients", wanted, source, work, ("created", "updated", "ignored"))


def storing(hub: Hub, side: WorkspaceId, source: str) -> Store:
    """What makes units durable, in one transaction. Nobody is named often enough for their key to be worth keeping."""

    async def store(units: Sequence[NewRecipient]) -> Sequence[Upserted | HubError]:
        async def work(tx: Tx) -> Sequence[Upserted | HubError]:
            return await hub.intake.upsert(tx, side, units, source=source, actor=COMMAND_LINE)

        # It may take hours, and a trait may be declared meanwhile: what is written from then on must keep its index.
        await hub.recipients.settings.refresh(hub.around.db)
        answers = await hub.around.db.run(work)
        for one in answers:
            if isinstance(one, Upserted):
                hub.around.vault.forget(side, one.recipient_id)
        return answers

    return store


def source_name(file: Path) -> str:
    """What the recipients' history says of where they came from."""
    return f"import:{file.name}".encode(errors="replace").decode()[:SOURCE_LENGTH]


def _checked(source: str) -> str:
    try:
        return msgspec.convert(source, Source)
    except msgspec.ValidationError:
        raise Invalid("source_wrong", "write --source with 1 to 64 of a-z, 0-9 and _ . : -") from None


async def bring(
    hub: Hub, what: str, wanted: Wanted, source: File, work: Work, counted: Sequence[str]
) -> dict[str, Any]:
    """The report of an import that has its file to itself: a second one at the same time is refused. Audited."""
    name = f"{wanted.file.name}.dry-run" if wanted.dry_run else wanted.file.name
    with alone(_folder(wanted) / f"{name}{LOCK}"):
        _announce(wanted, source, work)
        if wanted.dry_run:
            return await _run(wanted, source, work, counted)
        await _audited(hub, "import.begun", what, work, {})
        report = await _run(wanted, source, work, counted)
        numbers = {name: report[name] for name in ("rows", *counted, "rejected")}
        await _audited(hub, "import.ended", what, work, numbers)
        return report


async def _audited(hub: Hub, action: str, what: str, work: Work, numbers: Mapping[str, int]) -> None:
    """Note what was brought in: by the file's hash, because its name may be somebody's."""
    side, detail = WorkspaceId(work.same.workspace_id), {"file_sha256": work.same.digest, **numbers}
    await hub.around.db.run(lambda tx: audit(tx, side, COMMAND_LINE, action, what, detail))


async def _run(wanted: Wanted, source: File, work: Work, counted: Sequence[str]) -> dict[str, Any]:
    begun = work.begun()
    rejects = _rejects(wanted, source, begun.rejects if begun else 0)
    since = time.monotonic()
    try:
        with bar(wanted.file.name, source.size, begun, Console(file=sys.stderr)) as show:
            count = await work.run(rejects, begun, show)
    finally:
        rejects.close()
    seconds = time.monotonic() - since
    rows = count.rows - (begun.count.rows if begun else 0)
    return _report(wanted, count, rejects, counted) | {
        "resumed": begun is not None,
        "seconds": round(seconds, 3),
        "per_second": round(rows / seconds) if seconds else 0,
    }


def _report(wanted: Wanted, count: Count, rejects: Rejects, counted: Sequence[str]) -> dict[str, Any]:
    return {
        "file": str(wanted.file),
        "workspace": wanted.workspace,
        "mode": wanted.mode,
        "dry_run": wanted.dry_run,
        "rows": count.rows,
        **{name: getattr(count, name) for name in counted},
        "rejected": count.rejected,
        "rejects": str(rejects.path) if count.rejected else None,
    }


def _rejects(wanted: Wanted, source: File, length: int) -> Rejects:
    delimiter = source.delimiter if isinstance(source, Csv) else None
    # A dry run must not write over the rejects of an import that is under way.
    stem = f"{wanted.file.stem}.dry-run" if wanted.dry_run else wanted.file.stem
    path = _folder(wanted) / f"{stem}.rejects.{'csv' if delimiter else 'jsonl'}"
    return Rejects(path, source.columns, delimiter, length)


def progress_of(wanted: Wanted) -> ProgressFile:
    return ProgressFile(_folder(wanted) / f"{wanted.file.name}.progress")


def _folder(wanted: Wanted) -> Path:
    return wanted.beside or wanted.file.parent


def _announce(wanted: Wanted, source: File, work: Work) -> None:
    """Say, before it begins, what will be done with each column, and where it begins."""
    for column, arrow, field in preview(work.same.fields, source.columns):
        say(f"  {column} {arrow} {field}")
    if begun := work.begun():
        say(f"going on at line {begun.place.line} of {wanted.file.name}: {begun.count.rows} rows are in")
    elif work.progress.path.exists() and not wanted.dry_run:
        say(f"{work.progress.path.name} is about another file, side, mapping or source; beginning at the first row")
