"""`/v1/ledger/export`: a copy of a log for auditors."""

from typing import Annotated, Any, Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from litestar.response import Stream

from tabellion.access.edge import Edge
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.admin.ledger_export import Copied, LedgerExport
from tabellion.core.db import Tx
from tabellion.ledger.reading import LOGS
from tabellion.privacy.archive import zipped

MOST: Final = 2**53 - 1
ALog = Annotated[str, Parameter(pattern=f"^({'|'.join(LOGS)})$", schema_extra={"enum": list(LOGS)})]
Since = Annotated[int, Parameter(ge=0, le=MOST, description="How many entries an earlier copy has.")]


def routes(edge: Edge, export: LedgerExport) -> list[HTTPRouteHandler]:
    @get(
        "/v1/ledger/export", opt={"scope": "ledger:read"}, tags=["Ledger"], summary="Fetch a copy of a log",
        media_type="application/zip",
    )  # fmt: skip
    async def fetch(caller: Caller, log: ALog = "consent", since: Since = 0) -> Response[Any]:
        """A ZIP to be verified without us: `tabellion ledger verify`. Tiles, entries, checkpoints, keys, and a signed
        manifest with a hash of every file.

        With `since`, only what a copy of so many entries lacks: unpack it over that. Compliance only; audited. A ZIP
        that ends early is none: fetch it again.
        """
        caller.require_compliance("copying a log")
        copied = await export.begin(edge.db, caller.workspace_id, log, since, caller.actor)
        await edge.db.run(lambda tx: told(tx, copied))
        headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="ledger-{log}.zip"'}
        return Stream(zipped(export.parts(edge.db, copied)), media_type="application/zip", headers=headers)

    return [fetch]


async def told(tx: Tx, copied: Copied) -> None:
    """Write down who copied what."""
    detail = {"log": copied.log, "size": copied.shown.size, "since": copied.since}
    await audit(tx, copied.workspace_id, copied.by, "ledger.exported", copied.log, detail)
