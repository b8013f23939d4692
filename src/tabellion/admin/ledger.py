"""`/v1/ledger`: the logs of a workspace side with a key, and whether anybody may read them without."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Example
from litestar.params import Parameter

from tabellion.access.edge import Edge
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.admin import ledger_public
from tabellion.admin.ledger_files import View, resources
from tabellion.core.db import Tx
from tabellion.core.errors import NotFound
from tabellion.ledger.paths import LogName, parse_log
from tabellion.ledger.reading import LOGS, Reading, log_id

PREFIX: Final = "/v1/ledger"
READ: Final = {"scope": "ledger:read"}


class PublicationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which logs anybody may read."""

    published: bool = False
    """The log of decisions."""
    audit_published: bool = False
    """The audit trail's. Its entries say no more than those of decisions, but their number and days do."""


class LogView(msgspec.Struct, frozen=True):
    log: str
    published_at: datetime | None
    path: str
    """Where it is read without a key, once it is published."""


class PublicationView(msgspec.Struct, frozen=True):
    published: bool
    audit_published: bool
    logs: list[LogView]


def routes(edge: Edge, reading: Reading) -> list[HTTPRouteHandler]:
    async def own(caller: Caller) -> View:
        return View(caller.workspace_id, LogName("consent", None), "private")

    async def named(
        caller: Caller,
        log: Annotated[
            str,
            Parameter(
                description="`consent` or `audit`: the log in use. With `-1` behind: that generation, where the log"
                " has a successor.",
                examples=[Example(value="consent")],
                schema_extra={"pattern": "^(consent|audit)(-[1-9][0-9]{0,3})?$"},  # said: `parse_log` checks it
            ),
        ],
    ) -> View:
        known = parse_log(log)
        if known.name not in LOGS:
            raise NotFound("not_found", "there is no such log; there are `consent` and `audit`")
        return View(caller.workspace_id, known, "private")

    return [
        *resources(PREFIX, READ, own, edge, reading),
        *resources(f"{PREFIX}/{{log:str}}", READ, named, edge, reading),
        *ledger_public.routes(edge, reading),
        *_settings(edge, reading),
    ]


def _settings(edge: Edge, reading: Reading) -> list[HTTPRouteHandler]:
    async def shown(tx: Tx, caller: Caller) -> PublicationView:
        found = await reading.publications(tx, caller.workspace_id)
        logs = [
            LogView(
                name,
                found[name].published_at if name in found else None,
                f"{ledger_public.PREFIX}/{log_id(caller.workspace_id, name)}",
            )
            for name in LOGS
        ]
        return PublicationView("consent" in found, "audit" in found, logs)

    @get("/v1/ledger/settings", opt=READ, tags=["Ledger"], summary="Read whether the logs are published")
    async def read_settings(caller: Caller) -> PublicationView:
        """Off by default. `logs` says where anybody would read them, whether they may now or not."""
        async with edge.db.transaction() as tx:
            return await shown(tx, caller)

    @put(
        "/v1/ledger/settings", tags=["Ledger"], summary="Publish the logs, or stop",
        opt={"scope": "ledger:write", "example": {"published": True}},
    )  # fmt: skip
    async def set_settings(
        request: Request[Any, Any, Any], caller: Caller, data: PublicationBody
    ) -> Response[PublicationView]:
        """From then on anybody reads the log without a key: commitments and days, no person and no address. Audited.

        What is left out is off. Caches may keep for a year what was read while it was on.
        """
        chosen = {"consent": data.published, "audit": data.audit_published}

        async def work(tx: Tx) -> tuple[int, PublicationView]:
            await reading.publish(tx, caller.workspace_id, frozenset(name for name, on in chosen.items() if on))
            detail = msgspec.to_builtins(data)
            await audit(tx, caller.workspace_id, caller.actor, "ledger_settings.set", "ledger_settings", detail)
            return 200, await shown(tx, caller)

        return await edge.mutate(request, caller, "ledger:write", work)

    return [read_settings, set_settings]
