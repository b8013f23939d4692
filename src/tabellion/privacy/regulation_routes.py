"""`/v1/regulations`, `DELETE /v1/recipients/{id}`, and the settings and keys that belong to them."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream

from tabellion.access.answers import Cursor, Limit, Person, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.privacy.certificates import Certificates
from tabellion.privacy.evidence import Evidence
from tabellion.privacy.export import Export
from tabellion.privacy.orders import PrivacySettings, Regulation, State, Type
from tabellion.privacy.regulation_views import (
    KeySetView,
    PrivacySettingsView,
    RegulationBody,
    RegulationPage,
    RegulationView,
    ReportBody,
    shown,
)
from tabellion.privacy.regulations import Order, Regulations
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Ref

Name = Annotated[str, Parameter(max_length=255)]
AType = Annotated[str | None, Parameter(pattern=f"^({'|'.join(Type)})$", schema_extra={"enum": list(Type)})]
AState = Annotated[
    str | None, QueryParameter(name="state", pattern=f"^({'|'.join(State)})$", schema_extra={"enum": list(State)})
]
NOT_READY = ResponseSpec(None, description="Conflict: there is nothing to read yet", generate_examples=False)
OVER = ResponseSpec(None, description="Gone: its time is over", generate_examples=False)
TOO_LARGE = ResponseSpec(None, description="Content Too Large: take the ZIP", generate_examples=False)
NEVER_STORED = {"Cache-Control": "no-store"}
BY_ALIAS = "DELETE /v1/recipients"
"""How identity was verified where nobody could say: the key that may erase answers for it."""


def routes(edge: Edge, recipients: Recipients, regulations: Regulations) -> list[HTTPRouteHandler]:
    """What may be ordered about a person's data, and how far it is."""

    @post(
        "/v1/regulations", status_code=202, tags=["Privacy"], summary="Order something about a person's data",
        opt={
            "scope": "regulations:write",
            "example": {"type": "erase", "recipient": {"email": "ann@example.org"}, "verified_by": "ticket 4711"},
        },
    )  # fmt: skip
    async def order(request: Request[Any, Any, Any], caller: Caller, data: RegulationBody) -> Response[RegulationView]:
        """`erase`: nothing is sent to the person from now on; after 24 hours, in which it can be taken back, all that
        is the person's own is destroyed, and a certificate says so. `restrict`: nothing is sent until it is cancelled.
        `object`: recorded as an objection on every channel. `export`: everything about the person, to be fetched for
        7 days. Audited.
        """
        ref = recipients.ref(caller.workspace_id, data.recipient, "/recipient")
        wanted = Order(data.type, ref, data.verified_by, data.due_at, data.options())

        async def work(tx: Tx) -> tuple[int, RegulationView]:
            return 202, shown(await regulations.order(tx, caller, wanted))

        return await edge.mutate(request, caller, "regulations:write", work)

    @delete(
        "/v1/recipients/{recipient_id:str}", status_code=202, tags=["Recipients"], summary="Erase a recipient",
        opt={"scope": "regulations:write"},
    )  # fmt: skip
    async def erase(caller: Caller, recipient_id: Name) -> RegulationView:
        """The same as POST /v1/regulations with type `erase`: it can be taken back for 24 hours."""
        wanted = Order(Type.ERASE, Ref(id=ids.parse("rcp", recipient_id)), BY_ALIAS)
        return shown(await edge.db.run(lambda tx: regulations.order(tx, caller, wanted)))

    @get(
        "/v1/regulations", opt={"scope": "regulations:read"}, tags=["Privacy"], summary="List regulations, newest first"
    )  # fmt: skip
    async def list_regulations(
        caller: Caller,
        recipient: Person = None,
        type: AType = None,
        in_state: AState = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> RegulationPage:
        """Orders on people's data: of one person, of a type, in a state."""
        ref = recipients.asked(caller.workspace_id, recipient) if recipient else None
        before = read_cursor(cursor)
        async with edge.db.transaction() as tx:
            people = await recipients.meant(tx, caller.workspace_id, ref) if ref else None
            found = await regulations.page(
                tx,
                caller.workspace_id,
                recipients=people,
                type=Type(type) if type else None,
                state=State(in_state) if in_state else None,
                before=before,
                limit=limit,
            )
        return RegulationPage([shown(one) for one in found], next_cursor([one.id for one in found], limit))

    @get(
        "/v1/regulations/{regulation_id:str}", opt={"scope": "regulations:read"}, tags=["Privacy"],
        summary="Read a regulation",
    )  # fmt: skip
    async def read_regulation(caller: Caller, regulation_id: Name) -> RegulationView:
        """How far it is, in each system that holds something about the person."""
        wanted = ids.parse("reg", regulation_id)
        async with edge.db.transaction() as tx:
            return shown(await regulations.read(tx, caller.workspace_id, wanted))

    @post(
        "/v1/regulations/{regulation_id:str}/approve", status_code=200, tags=["Privacy"],
        summary="Approve a regulation", opt={"scope": "regulations:write"},
    )  # fmt: skip
    async def approve(request: Request[Any, Any, Any], caller: Caller, regulation_id: Name) -> Response[RegulationView]:
        """Agree to an order that waits for it (see privacy settings), with another key than the one that gave it."""
        wanted = ids.parse("reg", regulation_id)

        async def work(tx: Tx) -> tuple[int, RegulationView]:
            return 200, shown(await regulations.approve(tx, caller, wanted))

        return await edge.mutate(request, caller, "regulations:write", work)

    @delete(
        "/v1/regulations/{regulation_id:str}", status_code=200, tags=["Privacy"], summary="Take a regulation back",
        opt={"scope": "regulations:write"},
    )  # fmt: skip
    async def cancel(caller: Caller, regulation_id: Name) -> RegulationView:
        """Take an order back before it is carried out, or end a restriction. Audited."""
        wanted = ids.parse("reg", regulation_id)
        return shown(await edge.db.run(lambda tx: regulations.cancel(tx, caller, wanted)))

    @post(
        "/v1/regulations/{regulation_id:str}/systems/{system:str}", status_code=200, tags=["Privacy"],
        summary="Report that a system has done its part",
        opt={"scope": "regulations:write", "example": {"note": "request 17 at the vendor, confirmed"}},
    )  # fmt: skip
    async def report(
        request: Request[Any, Any, Any], caller: Caller, regulation_id: Name, system: Name, data: ReportBody
    ) -> Response[RegulationView]:
        """Of a system in state `manual`: somebody saw to it. The certificate is signed anew. Audited."""
        wanted = ids.parse("reg", regulation_id)

        async def work(tx: Tx) -> tuple[int, RegulationView]:
            return 200, shown(await regulations.report(tx, caller, wanted, system, data.note))

        return await edge.mutate(request, caller, "regulations:write", work)

    @get(
        "/v1/regulations/{regulation_id:str}/certificate", opt={"scope": "regulations:read"}, tags=["Privacy"],
        summary="Read the certificate of an erasure", media_type="application/jose", responses={409: NOT_READY},
    )  # fmt: skip
    async def certificate(caller: Caller, regulation_id: Name) -> Response[str]:
        """A compact JWS: what was erased, what is held, why and until when, and when no backup can be read either.

        Its key is at /.well-known/jwks.json.
        """
        wanted = ids.parse("reg", regulation_id)
        async with edge.db.transaction() as tx:
            signed = await regulations.certificate(tx, caller.workspace_id, wanted)
        return Response(signed, media_type="application/jose", headers=NEVER_STORED)

    return [order, erase, list_regulations, read_regulation, approve, cancel, report, certificate]


def export_routes(edge: Edge, regulations: Regulations, export: Export, evidence: Evidence) -> list[HTTPRouteHandler]:
    """What an order of type `export` gives."""

    async def begun(caller: Caller, regulation_id: str) -> UUID:
        """Whom the order is about, once it is audited that they are shown."""
        wanted = ids.parse("reg", regulation_id)

        async def work(tx: Tx) -> UUID:
            regulation = await regulations.exported(tx, caller, wanted)
            await export.person(tx, caller.workspace_id, regulation.recipient_id)
            return regulation.recipient_id

        return await edge.db.run(work)

    @get(
        "/v1/regulations/{regulation_id:str}/export", opt={"scope": "regulations:read"}, tags=["Privacy"],
        summary="Fetch an export", media_type="application/zip", responses={409: NOT_READY, 410: OVER},
    )  # fmt: skip
    async def fetch(caller: Caller, regulation_id: Name) -> Response[Any]:
        """Everything the hub holds about the person, as it is now: a ZIP with a manifest of hashes.

        For 7 days after the order is done. Audited each time. A ZIP that ends early is none: fetch it again.
        """
        person = await begun(caller, regulation_id)
        headers = NEVER_STORED | {"Content-Disposition": f'attachment; filename="{regulation_id}.zip"'}
        packed = export.zipped(edge.db, caller.workspace_id, person)
        return Stream(packed, media_type="application/zip", headers=headers)

    @get(
        "/v1/regulations/{regulation_id:str}/document", opt={"scope": "regulations:read"}, tags=["Privacy"],
        summary="Fetch an export as one document", responses={409: NOT_READY, 410: OVER, 413: TOO_LARGE},
    )  # fmt: skip
    async def read_document(caller: Caller, regulation_id: Name) -> Response[Any]:
        """The same as one JSON object, whose members are the files. Up to 20 MiB. Audited each time."""
        person = await begun(caller, regulation_id)
        said = await export.document(edge.db, caller.workspace_id, person)
        return Response(said, media_type="application/json", headers=NEVER_STORED)

    @get(
        "/v1/regulations/{regulation_id:str}/evidence", opt={"scope": "regulations:read"}, tags=["Privacy"],
        summary="Fetch an export as evidence", media_type="application/zip", responses={409: NOT_READY, 410: OVER},
    )  # fmt: skip
    async def fetch_evidence(caller: Caller, regulation_id: Name) -> Response[Any]:
        """The export with a receipt of each decision, the texts agreed to, what was audited about the person, and
        `custody.json`: who asked and why, who agreed, who took it and when, a hash of each file, signed.

        Of an order with a `reason`; compliance only; audited when it begins and when it is whole. Checked without the
        hub by `tabellion export verify FILE.zip --key …`.
        """
        caller.require_compliance("taking evidence")
        wanted = ids.parse("reg", regulation_id)

        async def begin(tx: Tx) -> Regulation:
            order = await regulations.evidence(tx, caller.workspace_id, caller.actor, wanted)
            await export.person(tx, caller.workspace_id, order.recipient_id)
            return order

        order = await edge.db.run(begin)
        headers = NEVER_STORED | {"Content-Disposition": f'attachment; filename="{regulation_id}-evidence.zip"'}
        return Stream(evidence.zipped(edge.db, order, caller.actor), media_type="application/zip", headers=headers)

    return [fetch, read_document, fetch_evidence]


def settings_routes(edge: Edge, regulations: Regulations, certificates: Certificates) -> list[HTTPRouteHandler]:
    """How orders are dealt with, and the keys that certificates are signed with."""

    @get(
        "/v1/privacy-settings", opt={"scope": "regulations:read"}, tags=["Privacy"],
        summary="Read how regulations are dealt with",
    )  # fmt: skip
    async def read_settings(caller: Caller) -> PrivacySettingsView:
        """Which types of orders a second key must approve."""
        async with edge.db.transaction() as tx:
            return PrivacySettingsView(*await regulations.settings(tx, caller.workspace_id))

    @put(
        "/v1/privacy-settings", tags=["Privacy"], summary="Set how regulations are dealt with",
        opt={"scope": "regulations:write", "example": {"approvals": ["erase", "export"]}},
    )  # fmt: skip
    async def set_settings(
        request: Request[Any, Any, Any], caller: Caller, data: PrivacySettings
    ) -> Response[PrivacySettingsView]:
        """All of them: what is left out takes its default. Needs a compliance key. Audited."""

        async def work(tx: Tx) -> tuple[int, PrivacySettingsView]:
            await regulations.set_settings(tx, caller, data)
            return 200, PrivacySettingsView(*await regulations.settings(tx, caller.workspace_id))

        return await edge.mutate(request, caller, "regulations:write", work)

    @get(
        "/.well-known/jwks.json", public=True, tags=["Privacy"], summary="The public keys of certificates",
    )  # fmt: skip
    async def jwks() -> Response[KeySetView]:
        """A JWK set (RFC 7517). Keys stay in it for ever."""
        async with edge.db.transaction() as tx:
            keys = await certificates.published(tx)
        return Response(KeySetView(keys), headers={"Cache-Control": "max-age=300"})

    return [read_settings, set_settings, jwks]
