"""The commands that bring files in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tabellion.app.importing.recipients import Wanted
from tabellion.app.importing.recipients import import_recipients as bring_in
from tabellion.app.importing.suppressions import Meant
from tabellion.app.importing.suppressions import import_suppressions as suppress
from tabellion.app.memory import settle_memory
from tabellion.app.opening import say
from tabellion.app.options import HERE, Json, Side, Where, Workspace, show, wait
from tabellion.core.errors import HubError

Input = Annotated[Path, Parameter(help="A .csv, .tsv, .jsonl, .ndjson or .parquet file, UTF-8.")]
Map = Annotated[
    tuple[str, ...],
    Parameter(name="--map", negative="", help="COLUMN=FIELD, once a column; left out: the obvious ones."),
]
DryRun = Annotated[bool, Parameter(negative="", help="Check every row and store none.")]
Beside = Annotated[Path | None, Parameter(help="The folder for rejects and progress; else FILE's own.")]


def import_recipients(
    file: Input,
    /,
    *,
    workspace: Workspace,
    mode: Side,
    map_: Map = (),
    dry_run: DryRun = False,
    source: Annotated[
        str | None, Parameter(help="Whom the file speaks for, as crm; else it is import:FILE. What it may set depends.")
    ] = None,
    beside: Beside = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Make or update the recipients in a file. A run that was cut short goes on where it was.

    A FIELD is external_id, email, phone, locale, time_zone, trait.NAME or identifier.KIND. Exit code 0: all rows are
    in; 1: some were refused, and are in FILE.rejects.csv or .jsonl with the reason; 2: wrong usage.
    """
    settle_memory()
    report = wait(bring_in(where.settings, Wanted(file, workspace, mode, map_, dry_run, beside, source)))
    would = "would be in" if dry_run else f"are in ({report['created']} new)"
    accepted = report["created"] + report["updated"]
    show(report, json, f"{accepted} of {report['rows']} rows {would}, {report['per_second']} a second")
    if report["ignored"] and not json:
        say(f"{report['ignored']} fields were left out: by the settings, another source has the say of them")
    _require_all(report)


def import_suppressions(
    file: Input,
    /,
    *,
    workspace: Workspace,
    mode: Side,
    map_: Map = (),
    purpose: Annotated[str, Parameter(help="What rows restrict that do not say; * is all but security.")] = "marketing",
    reason: Annotated[str, Parameter(help="Why, of rows that do not say.")] = "unsubscribed",
    dry_run: DryRun = False,
    beside: Beside = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Write no more to the addresses in a file. A run that was cut short goes on where it was; again changes nothing.

    A FIELD is address, email, phone, kind and value, channel, purpose, occurred_at, reason or source. A reason is
    unsubscribed, complaint, stop, manual or hard_bounce. Exit code 0: all rows are in; 1: some were refused, and are in
    FILE.rejects.csv or .jsonl with the reason; 2: wrong usage.
    """
    wanted = Wanted(file, workspace, mode, map_, dry_run, beside)
    report = wait(suppress(where.settings, wanted, Meant(purpose, reason)))
    would = "would be suppressed" if dry_run else "are suppressed now"
    show(
        report,
        json,
        f"{report['applied']} of {report['rows']} rows {would}, {report['already']} were already,"
        f" {report['kept']} are older than a consent that stands",
    )
    _require_all(report)


def _require_all(report: Mapping[str, Any]) -> None:
    if report["rejected"]:
        raise HubError("rows_rejected", f"{report['rejected']} rows were refused; {report['rejects']} says why")
