"""`/v1/consents/{id}/receipt`."""

from typing import Annotated, Final

from litestar import Response, get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import Parameter

from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.consent.receipts.service import Receipts
from tabellion.core import ids

LATER: Final = ResponseSpec(
    None, description="Conflict: `not_yet_published`, ask again after `Retry-After`", generate_examples=False
)
ERASED: Final = ResponseSpec(None, description="Gone: the person was erased", generate_examples=False)
YesNo = Annotated[str | None, Parameter(pattern="^[01]$", schema_extra={"enum": ["0", "1"]})]


def routes(edge: Edge, receipts: Receipts) -> list[HTTPRouteHandler]:
    @get(
        "/v1/consents/{consent_id:str}/receipt", opt={"scope": "consents:read"}, tags=["Consent"],
        summary="Read the receipt of a decision", media_type=MediaType.TEXT, responses={409: LATER, 410: ERASED},
    )  # fmt: skip
    async def read_receipt(
        caller: Caller,
        consent_id: Annotated[str, Parameter(max_length=255)],
        disclose: YesNo = None,
        unwitnessed: YesNo = None,
    ) -> Response[str]:
        """A C2SP `tlog-proof`: the index, the hashes up to the root, and the signed checkpoint. It verifies for ever
        with the log's key alone, whatever becomes of this hub.

        By itself it proves the entry, which says a commitment and a day. With `disclose=1` its extra data is JSON with
        the `record` that was committed to and the `key` (base64): HMAC-SHA256 of the record's canonical JSON (RFC 8785)
        under the key is the commitment. That shows a person's data: the key must be allowed to read recipients too, and
        it is audited. Where a log has witnesses, 409 `not_yet_published` until they have cosigned; `unwitnessed=1` then
        gives one without them, and its extra data says so (`"unwitnessed":true`).
        """
        wanted, disclosing = ids.parse("cns", consent_id), disclose == "1"
        if disclosing:
            caller.require("recipients:read")
        text = await edge.db.run(
            lambda tx: receipts.issue(tx, caller, wanted, disclose=disclosing, unwitnessed=unwitnessed == "1")
        )
        return Response(text, media_type=MediaType.TEXT, headers={"Content-Disposition": _file(consent_id)})

    return [read_receipt]


def _file(consent_id: str) -> str:
    return f'inline; filename="{consent_id}.tlog-proof"'
