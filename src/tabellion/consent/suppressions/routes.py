"""`/v1/suppressions`: list, add, end, bring in, take out."""

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from litestar import Request, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from tabellion.access.answers import Answer, Cursor, Limit, next_cursor, read_cursor
from tabellion.access.calls import Call, visit_of
from tabellion.access.edge import Edge, hot
from tabellion.access.grouped import Grouped
from tabellion.access.itemised import entries, key_at, key_of
from tabellion.access.service import audit
from tabellion.access.types import Caller
from tabellion.consent.batch_routes import DecisionEntries, Recording, stated_or_not
from tabellion.consent.routes import DecisionAnswer
from tabellion.consent.suppressions import listing, views
from tabellion.consent.suppressions.service import Suppressions
from tabellion.consent.suppressions.types import REASONS, Wanted
from tabellion.consent.suppressions.views import (
    Ended,
    ImportReport,
    SuppressionBody,
    SuppressionItems,
    SuppressionPage,
    SuppressionView,
)
from tabellion.consent.types import NewDecision
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import RefObject

Name = Annotated[str, Parameter(max_length=64)]
OfAddress = Annotated[
    str | None, Parameter(max_length=512, description="Those that cover an e-mail address, or a phone number with `+`.")
]
Word = Annotated[str | None, Parameter(max_length=64)]
OfReason = Annotated[str | None, Parameter(pattern=f"^({'|'.join(REASONS)})$", schema_extra={"enum": list(REASONS)})]
# Not a time itself: the framework would take the word `null` for left out.
Since = Annotated[
    str | None,
    Parameter(max_length=40, schema_extra={"format": "date-time"}, description="Recorded at that time or later."),
]
WRONG_KIND = ResponseSpec(
    None, description="Unsupported Media Type: neither CSV nor JSON lines", generate_examples=False
)
UNREADABLE = ResponseSpec(None, description="Unprocessable: no column is an address", generate_examples=False)
Why = Annotated[str, Parameter(min_length=1, max_length=500, description="Stands in the entry that ends it.")]
Purpose = Annotated[str, Parameter(max_length=64, description="What rows restrict that do not say.")]
Reason = Annotated[str, Parameter(max_length=64, description="Why, of rows that do not say.")]
Source = Annotated[str, Parameter(min_length=1, max_length=64, description="What the entries say they came from.")]
DryRun = Annotated[bool, Parameter(description="Check every row and store none.")]
PATH: Final = "/v1/suppressions/batch"
ONE: Final = {"recipient": {"email": "ann@example.org"}, "purpose": "marketing", "reason": "unsubscribed"}


def routes(
    edge: Edge,
    recipients: Recipients,
    suppressions: Suppressions,
    record: Grouped[NewDecision],
    recording: Recording,
) -> list[HTTPRouteHandler]:
    """Adding and ending."""

    async def suppress(call: Call[SuppressionBody]) -> Answer:
        return await record.answer(call, _decision(recipients, call.caller, call.body))

    async def suppress_many(call: Call[SuppressionItems]) -> Answer:
        items = call.body.items
        keys = [key_of(PATH, one.idempotency_key, one) or key_at(call.idempotency, at) for at, one in enumerate(items)]
        stated = [stated_or_not(partial(_decision, recipients, call.caller, one)) for one in items]
        return entries(await recording.record(call, keys, stated))

    @delete(
        "/v1/suppressions/{suppression_id:str}", status_code=200, tags=["Suppressions"], summary="End a suppression",
        opt={"scope": "suppressions:write"},
    )  # fmt: skip
    async def end_suppression(caller: Caller, suppression_id: Name, reason: Why) -> Ended:
        """One that was entered by mistake: afterwards nothing is said, and nothing is allowed by that. Compliance only.

        What the person did themselves, and objections, complaints and STOP: 409 `suppression_firm`, with what to do.
        """
        caller.require_compliance("the end of a suppression")
        wanted = ids.parse("cns", suppression_id)
        made = await edge.db.run(lambda tx: suppressions.end(tx, caller.workspace_id, wanted, reason, caller.actor))
        return Ended(ids.show("cns", made), suppression_id)

    return [
        hot(
            edge, "POST", "/v1/suppressions", "suppressions:write", SuppressionBody, suppress, status=201,
            answer_type=DecisionAnswer, example=ONE, tags=("Suppressions",), summary="Write no more to somebody",
            description="A decision like any other, of method `api`: in the ledger, and in force when it is answered.",
        ),
        hot(
            edge, "POST", PATH, "suppressions:write", SuppressionItems, suppress_many, answer_type=DecisionEntries,
            example={"items": [ONE]}, tags=("Suppressions",), summary="Write no more to up to 1,000",
            description="One answer an item, in order; a refused item stops no other.",
        ),
        end_suppression,
    ]  # fmt: skip


def list_routes(edge: Edge, recipients: Recipients, suppressions: Suppressions) -> list[HTTPRouteHandler]:
    """The list: read, brought in, taken out."""

    @get(
        "/v1/suppressions", opt={"scope": "suppressions:read"}, tags=["Suppressions"],
        summary="List suppressions, newest first",
    )  # fmt: skip
    async def list_suppressions(
        caller: Caller,
        limit: Limit = 50,
        cursor: Cursor = None,
        address: OfAddress = None,
        channel: Word = None,
        purpose: Word = None,
        reason: OfReason = None,
        since: Since = None,
    ) -> SuppressionPage:
        """Restrictions in force. Addresses are shown to keys that hold `recipients:read`."""
        before, side = read_cursor(cursor), caller.workspace_id
        recorded = _moment(since) if since is not None else None
        ref = recipients.asked_identifier(side, None, address, "address") if address is not None else None

        async def work(tx: Tx) -> SuppressionPage:
            hashed = await recipients.hashed(tx, side, ref) if ref else None
            people: list[UUID] = await recipients.meant(tx, side, ref) if ref else []
            wanted = Wanted(hashed, people, channel, purpose, reason, recorded)
            found = await suppressions.page(tx, side, wanted, before, limit)
            data = [views.shown(one, values=_values(caller)) for one in found]
            return SuppressionPage(data, next_cursor([one.standing.entry.id for one in found], limit))

        return await edge.db.run(work)

    @get(
        "/v1/suppressions/{suppression_id:str}", opt={"scope": "suppressions:read"}, tags=["Suppressions"],
        summary="Read a suppression",
    )  # fmt: skip
    async def read_suppression(caller: Caller, suppression_id: Name) -> SuppressionView:
        """Also one that is not in force any more (`standing`)."""
        wanted = ids.parse("cns", suppression_id)
        one = await edge.db.run(lambda tx: suppressions.read(tx, caller.workspace_id, wanted))
        return views.shown(one, values=_values(caller))

    @post(
        "/v1/suppressions/import", status_code=200, tags=["Suppressions"], summary="Bring a list in",
        opt={"scope": "suppressions:write"}, responses={415: WRONG_KIND, 422: UNREADABLE},
    )  # fmt: skip
    async def import_list(
        request: Request[Any, Any, Any],
        caller: Caller,
        purpose: Purpose = "marketing",
        reason: Reason = "unsubscribed",
        source: Source = "import:api",
        dry_run: DryRun = False,
    ) -> ImportReport:
        """CSV with a header (`text/csv`) or JSON lines (`application/x-ndjson`), UTF-8, at most 8 MiB.

        Columns as `tabellion import suppressions` takes them by itself: address, email, phone, kind and value, channel,
        purpose, occurred_at, reason, source. 256 rows a transaction; a refused row stops no other. A second time
        changes nothing, so that what was cut short is simply sent again; an `Idempotency-Key` is of no use here.
        """
        visit_of(request.scope).largest = listing.LARGEST
        wanted = listing.Meant(caller.workspace_id, purpose, reason, source, caller.actor, dry_run=dry_run)
        opened = listing.opened(visit_of(request.scope).head.content_type, await request.body())
        report = await listing.bring(edge.db, recipients, suppressions, wanted, opened)
        if not dry_run:
            detail = {"rows": report.rows, "applied": report.applied, "rejected": report.rejected}
            await edge.db.run(
                lambda tx: audit(tx, caller.workspace_id, caller.actor, "suppressions.imported", "suppressions", detail)
            )
        return report

    @get(
        "/v1/suppressions/export", opt={"scope": "suppressions:read"}, tags=["Suppressions"],
        summary="Take the list out", media_type="text/csv",
    )  # fmt: skip
    async def export_list(caller: Caller) -> Stream:
        """CSV, one row an address, as the import takes it; cells that a spreadsheet would run begin with `'`.

        Compliance only, audited. What erased people refused is not among it: nobody can read of whom that was.
        """
        caller.require_compliance("the list of suppressions")
        await edge.db.run(
            lambda tx: audit(tx, caller.workspace_id, caller.actor, "suppressions.exported", "suppressions", {})
        )
        headers = {"Content-Disposition": 'attachment; filename="suppressions.csv"', "Cache-Control": "no-store"}
        return Stream(_csv(suppressions, edge, caller), media_type="text/csv", headers=headers)

    return [list_suppressions, export_list, read_suppression, import_list]


async def _csv(suppressions: Suppressions, edge: Edge, caller: Caller) -> AsyncIterator[bytes]:
    yield listing.HEAD
    async for rows in suppressions.rows(edge.db, caller.workspace_id):
        yield listing.drawn(rows)


def _moment(text: str) -> datetime:
    """The time that a parameter says. Raises 400 for what is none, or names no zone."""
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))  # an unencoded `+` of a zone comes as a space
    except ValueError:
        found = None
    if found is None or "T" not in text or found.tzinfo is None or not 1900 <= found.year <= 9000:
        raise HubError("invalid_parameter", "check the parameter since: write it as 2026-11-21T09:00:00Z", 400)
    return found


def _decision(recipients: Recipients, caller: Caller, body: SuppressionBody) -> NewDecision:
    side = caller.workspace_id
    named = recipients.ref(side, RefObject(identifier=body.identifier), "") if body.identifier else None
    return views.decision(body, recipients.ref(side, body.recipient, "/recipient"), named, caller.actor)


def _values(caller: Caller) -> bool:
    return "recipients:read" in caller.scopes
