"""The commands that write files for others."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tabellion.app import copies
from tabellion.app.options import HERE, Json, Side, Where, Workspace, show, wait


def export_ledger(
    *,
    workspace: Workspace,
    mode: Side,
    to: Annotated[Path, Parameter(help="The folder. A copy of the log that lies there grows.")],
    log: Annotated[Literal["consent", "audit"], Parameter(help="Which log.")] = "consent",
    since: Annotated[int, Parameter(help="Leave out what a copy of so many entries has.")] = 0,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Copy a log for auditors: tiles, entries, checkpoints, keys, a signed manifest. Audited.

    A run that was cut short goes on where it was. To be checked by: tabellion ledger verify --from DIR --key KEY
    """
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as drawn:
        task = drawn.add_task(f"files of {log}", total=None)
        made = wait(
            copies.export_ledger(
                where.settings,
                copies.Wanted(workspace, mode, log, since, to),
                lambda done, of: drawn.update(task, completed=done, total=of),
            )
        )
    show(made, json, f"{made['size']} entries of {log} are in {to}; keep its checkpoint for the next time")


def export_person(
    ref: Annotated[str, Parameter(help="Who: rcp_…, an e-mail address, a phone number with +, or your own id.")],
    /,
    *,
    workspace: Workspace,
    mode: Side,
    reason: Annotated[str, Parameter(help="What the evidence is for, as `case 12/2026`; it stands in custody.json.")],
    to: Annotated[Path, Parameter(help="The ZIP to write.")],
    verified_by: Annotated[str, Parameter(help="How it was made sure whom it is about.")] = "command line",
    regulation: Annotated[str | None, Parameter(help="The order of an earlier run that was approved since.")] = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Write evidence about one person: everything the hub holds, a receipt of each decision, and who had it in hands.

    Each step is audited. Where exports need a second key, it waits for that. To be checked by: tabellion export verify
    """
    wanted = copies.Person(workspace, mode, ref, reason, verified_by, to, regulation)
    console = Console(file=sys.stderr)
    with Progress(
        TextColumn("{task.description}"), DownloadColumn(), console=console, disable=not console.is_terminal
    ) as drawn:
        task = drawn.add_task(to.name, total=None)
        work = copies.export_person(where.settings, wanted, lambda done, of: drawn.update(task, completed=done))
        made = wait(work)
    show(made, json, f"{to} has {made['bytes']} bytes; the order is {made['regulation']}")
