"""`/v1/ledger`: the signed head of a workspace side's consent log, and the keys to check it with."""

from litestar import get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler

from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.ledger.service import Ledger


def routes(edge: Edge, ledger: Ledger) -> list[HTTPRouteHandler]:
    @get(
        "/v1/ledger/checkpoint", opt={"scope": "ledger:read"}, media_type=MediaType.TEXT, tags=["Ledger"],
        summary="Read the checkpoint",
    )  # fmt: skip
    async def read_checkpoint(caller: Caller) -> str:
        """The signed head of the consent log: a C2SP `tlog-checkpoint`, which is a signed note.

        Three lines (origin, number of entries, base64 of the RFC 9162 root hash), an empty line, and the signature
        over the three. Every acknowledged decision is in the tree it signs. A log without entries has size 0.
        """
        return await edge.db.run(lambda tx: ledger.checkpoint(tx, caller.workspace_id))

    @get(
        "/v1/ledger/key",
        opt={"scope": "ledger:read"},
        media_type=MediaType.TEXT,
        tags=["Ledger"],
        summary="Read the keys",
    )
    async def read_keys(caller: Caller) -> str:
        """One verifier key line (C2SP `signed-note`, Ed25519) for each key the log was ever signed with, the current
        one last. Keep them: a checkpoint or a receipt is checked against a key, not against this hub.
        """
        return await edge.db.run(lambda tx: ledger.verifier_keys(tx, caller.workspace_id))

    return [read_checkpoint, read_keys]
