"""`/ledger/{log}`: a published log, for anybody, without a key. Read only, bounded by address, silent about others."""

from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from tabellion.access.calls import visit_of
from tabellion.access.edge import Edge
from tabellion.access.limits import AddressLimits, crowded
from tabellion.admin.ledger_files import View, resources
from tabellion.core.errors import NotFound
from tabellion.ledger.paths import LogName, parse_log
from tabellion.ledger.reading import LOGS, Reading

PREFIX: Final = "/ledger"
RATE: Final = 100
"""Requests a second from one address, and twice that at once: enough to follow a log, or to fetch one of a million."""
NOBODY: Final = UUID(int=0)
"""Stands where a key's id would."""


def routes(edge: Edge, reading: Reading) -> list[HTTPRouteHandler]:
    limits = AddressLimits(edge.db.clock)

    async def published(
        request: Request[Any, Any, Any],
        log: Annotated[
            str,
            Parameter(
                description="The 32 hex digits of the log's id, as its origin has them: the log in use. With `-1`"
                " behind: that generation, for ever.",
                schema_extra={"pattern": "^[0-9a-f]{32}(-[1-9][0-9]{0,3})?$"},  # said: `parse_log` checks it
            ),
        ],
    ) -> View:
        """What is asked for, if it is published. Whoever asks for another log hears the same as for none."""
        visit = visit_of(request.scope)
        visit.origin = "*"
        visit.bucket, within = limits.admit(NOBODY, request.client.host if request.client else None, RATE)
        if not within:
            raise crowded()
        named = parse_log(log)
        if named.name in LOGS:
            raise NotFound("not_found", "no log is published here")
        found = await edge.db.run(lambda tx: reading.published(tx, named.name))
        return View(found.workspace_id, LogName(found.name, named.generation), "public")

    return resources(f"{PREFIX}/{{log:str}}", {"public": True}, published, edge, reading)
