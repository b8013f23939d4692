"""The commands that take lists out."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tabellion.app.exporting import export_suppressions as take_out
from tabellion.app.options import HERE, Json, Side, Where, Workspace, show, wait


def export_suppressions(
    file: Annotated[Path, Parameter(help="The CSV file to write; one that is there is replaced.")],
    /,
    *,
    workspace: Workspace,
    mode: Side,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Write every address that must not be written to, as `tabellion import suppressions` takes it. Audited.

    Only its owner may read the file. What erased people refused is not among it: nobody can read of whom that was.
    """
    report = wait(take_out(where.settings, workspace, mode, file))
    show(report, json, f"{report['rows']} rows are in {report['file']}")
