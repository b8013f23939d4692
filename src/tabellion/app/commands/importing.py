"""The commands that bring files in."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tabellion.app.importing.recipients import Wanted
from tabellion.app.importing.recipients import import_recipients as bring_in
from tabellion.app.opening import say
from tabellion.app.options import HERE, Json, Side, Where, Workspace, show, wait
from tabellion.core.errors import HubError


def import_recipients(
    file: Annotated[Path, Parameter(help="A .csv, .tsv, .jsonl, .ndjson or .parquet file, UTF-8.")],
    /,
    *,
    workspace: Workspace,
    mode: Side,
    map_: Annotated[
        tuple[str, ...],
        Parameter(name="--map", negative="", help="COLUMN=FIELD, once a column; left out: the obvious ones."),
    ] = (),
    dry_run: Annotated[bool, Parameter(negative="", help="Check every row and store none.")] = False,
    source: Annotated[
        str | None, Parameter(help="Whom the file speaks for, as crm; else it is import:FILE. What it may set depends.")
    ] = None,
    beside: Annotated[Path | None, Parameter(help="The folder for rejects and progress; else FILE's own.")] = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Make or update the recipients in a file. A run that was cut short goes on where it was.

    A FIELD is external_id, email, phone, locale, time_zone, trait.NAME or identifier.KIND. Exit code 0: all rows are
    in; 1: some were refused, and are in FILE.rejects.csv or .jsonl with the reason; 2: wrong usage.
    """
    report = wait(bring_in(where.settings, Wanted(file, workspace, mode, map_, dry_run, beside, source)))
    would = "would be in" if dry_run else f"are in ({report['created']} new)"
    accepted = report["created"] + report["updated"]
    show(report, json, f"{accepted} of {report['rows']} rows {would}, {report['per_second']} a second")
    if report["ignored"] and not json:
        say(f"{report['ignored']} fields were left out: by the settings, another source has the say of them")
    if report["rejected"]:
        raise HubError("rows_rejected", f"{report['rejected']} rows were refused; {report['rejects']} says why")
