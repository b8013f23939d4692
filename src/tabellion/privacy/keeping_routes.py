"""`/v1/legal-holds` and `/v1/proofs`: what is kept although somebody wants it gone, and who may read it."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from msgspec import Meta, Struct

from tabellion.access.answers import Cursor, Limit, next_cursor, read_cursor
from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.ledger import ordinals
from tabellion.ledger.ordinals import InLog
from tabellion.privacy.legal_hold_store import LegalHold
from tabellion.privacy.legal_holds import LegalHolds
from tabellion.privacy.proof_store import HeldProof, Opening
from tabellion.privacy.proofs import Opened, Proofs
from tabellion.privacy.regulations import Regulations
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import RecipientRef

Name = Annotated[str, Parameter(max_length=255)]
YesNo = Annotated[str | None, Parameter(pattern="^(true|false)$", schema_extra={"enum": ["true", "false"]})]
Why = Annotated[str, Meta(min_length=1, max_length=500)]


class LegalHoldBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose data is needed, and what for."""

    recipient: RecipientRef
    reason: Why
    until: datetime | None = None


class LegalHoldView(Struct, frozen=True):
    id: str
    recipient_id: str
    reason: str
    set_by: str
    created_at: datetime
    until: datetime | None
    released_by: str | None
    released_at: datetime | None


class LegalHoldPage(Struct, frozen=True):
    data: list[LegalHoldView]
    next_cursor: str | None


class OpeningBody(Struct, frozen=True, forbid_unknown_fields=True):
    reason: Why
    """What it is needed for; it stands in the audit."""


class ProofView(Struct, frozen=True):
    id: str
    regulation_id: str
    consent_id: str
    log_index: int
    purpose: str
    created_at: datetime
    held_until: datetime
    destroyed_at: datetime | None
    log: InLog = None


class ProofPage(Struct, frozen=True):
    data: list[ProofView]
    next_cursor: str | None


class OpeningView(Struct, frozen=True):
    id: str
    proof_id: str
    reason: str
    requested_by: str
    requested_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    ends_at: datetime | None
    """Until then the key that asked can read the proof."""


class OpenedView(Struct, frozen=True):
    proof: ProofView
    opened: Opened


def hold_routes(
    edge: Edge, recipients: Recipients, holds: LegalHolds, regulations: Regulations
) -> list[HTTPRouteHandler]:
    @post(
        "/v1/legal-holds", status_code=201, tags=["Privacy"], summary="Hold what is kept about a person",
        opt={
            "scope": "regulations:write",
            "example": {"recipient": {"email": "ann@example.org"}, "reason": "case 12/2026"},
        },
    )  # fmt: skip
    async def set_hold(request: Request[Any, Any, Any], caller: Caller, data: LegalHoldBody) -> Response[LegalHoldView]:
        """Nothing about the person is destroyed until it ends: not by an erasure, not by retention. Compliance only."""
        ref = recipients.ref(caller.workspace_id, data.recipient, "/recipient")

        async def work(tx: Tx) -> tuple[int, LegalHoldView]:
            return 201, _hold(await holds.set(tx, caller, ref, data.reason, data.until))

        return await edge.mutate(request, caller, "regulations:write", work)

    @get(
        "/v1/legal-holds", opt={"scope": "regulations:read"}, tags=["Privacy"], summary="List legal holds, newest first"
    )  # fmt: skip
    async def list_holds(
        caller: Caller, standing: YesNo = None, limit: Limit = 50, cursor: Cursor = None
    ) -> LegalHoldPage:
        """With `standing=true` only those that hold now."""
        before = read_cursor(cursor)
        async with edge.db.transaction() as tx:
            found = await holds.page(
                tx,
                caller.workspace_id,
                standing=None if standing is None else standing == "true",
                before=before,
                limit=limit,
            )
        return LegalHoldPage([_hold(one) for one in found], next_cursor([one.id for one in found], limit))

    @delete(
        "/v1/legal-holds/{hold_id:str}", status_code=204, tags=["Privacy"], summary="Release a legal hold",
        opt={"scope": "regulations:write"},
    )  # fmt: skip
    async def release(caller: Caller, hold_id: Name) -> None:
        """Erasures that waited for its end go on. Compliance only."""
        wanted = ids.parse("lgh", hold_id)

        async def work(tx: Tx) -> None:
            hold = await holds.release(tx, caller, wanted)
            await regulations.released(tx, caller.workspace_id, hold.recipient_id)

        await edge.db.run(work)

    return [set_hold, list_holds, release]


def proof_routes(edge: Edge, proofs: Proofs) -> list[HTTPRouteHandler]:
    @get("/v1/proofs", opt={"scope": "regulations:read"}, tags=["Privacy"], summary="List held proofs, newest first")
    async def list_proofs(caller: Caller, limit: Limit = 50, cursor: Cursor = None) -> ProofPage:
        """Consents of erased people that messages relied on: what for, and until when they stay provable."""
        before = read_cursor(cursor)
        async with edge.db.transaction() as tx:
            found = await proofs.page(tx, caller.workspace_id, before, limit)
        return ProofPage([_proof(one) for one in found], next_cursor([one.id for one in found], limit))

    @post(
        "/v1/proofs/{proof_id:str}/openings", status_code=201, tags=["Privacy"], summary="Ask to open a held proof",
        opt={"scope": "regulations:write", "example": {"reason": "complaint 17 with the authority"}},
    )  # fmt: skip
    async def ask(
        request: Request[Any, Any, Any], caller: Caller, proof_id: Name, data: OpeningBody
    ) -> Response[OpeningView]:
        """Compliance only. Another compliance key must approve it. Audited."""
        wanted = ids.parse("prf", proof_id)

        async def work(tx: Tx) -> tuple[int, OpeningView]:
            return 201, _opening(await proofs.ask(tx, caller, wanted, data.reason))

        return await edge.mutate(request, caller, "regulations:write", work)

    @post(
        "/v1/proof-openings/{opening_id:str}/approve", status_code=200, tags=["Privacy"],
        summary="Approve the opening of a held proof", opt={"scope": "regulations:write"},
    )  # fmt: skip
    async def approve(request: Request[Any, Any, Any], caller: Caller, opening_id: Name) -> Response[OpeningView]:
        """As another compliance key than the one that asked. Audited."""
        wanted = ids.parse("pop", opening_id)

        async def work(tx: Tx) -> tuple[int, OpeningView]:
            return 200, _opening(await proofs.approve(tx, caller, wanted))

        return await edge.mutate(request, caller, "regulations:write", work)

    @get(
        "/v1/proof-openings/{opening_id:str}", opt={"scope": "regulations:write"}, tags=["Privacy"],
        summary="Read an opened proof",
    )  # fmt: skip
    async def read_opened(caller: Caller, opening_id: Name) -> Response[OpenedView]:
        """For 24 hours after the approval, for the key that asked. Audited each time."""
        wanted = ids.parse("pop", opening_id)
        proof, opened = await edge.db.run(lambda tx: proofs.open(tx, caller, wanted))
        return Response(OpenedView(_proof(proof), opened), headers={"Cache-Control": "no-store"})

    return [list_proofs, ask, approve, read_opened]


def _hold(one: LegalHold) -> LegalHoldView:
    return LegalHoldView(
        ids.show("lgh", one.id),
        ids.show("rcp", one.recipient_id),
        one.reason,
        one.set_by,
        one.created_at,
        one.until,
        one.released_by,
        one.released_at,
    )


def _proof(one: HeldProof) -> ProofView:
    return ProofView(
        ids.show("prf", one.id),
        ids.show("reg", one.regulation_id),
        ids.show("cns", one.entry_id),
        ordinals.index(one.ordinal),
        one.purpose,
        one.created_at,
        one.held_until,
        one.destroyed_at,
        ordinals.log(one.ordinal),
    )


def _opening(one: Opening) -> OpeningView:
    return OpeningView(
        ids.show("pop", one.id),
        ids.show("prf", one.proof_id),
        one.reason,
        one.requested_by,
        one.requested_at,
        one.approved_by,
        one.approved_at,
        one.ends_at,
    )
