"""`/v1/retention`: for how long a workspace side keeps what."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get, put
from litestar.handlers import HTTPRouteHandler

from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.core.db import Tx
from tabellion.privacy.service import Retention
from tabellion.privacy.types import Policy, Standing


class RetentionView(msgspec.Struct, frozen=True):
    """Days; null is for ever."""

    callbacks: int | None
    content: int | None
    proofs: int
    proofs_by_purpose: dict[str, int]
    updated_at: datetime | None
    """When it was set; null for the default."""


def routes(edge: Edge, retention: Retention) -> list[HTTPRouteHandler]:
    @get("/v1/retention", opt={"scope": "regulations:read"}, tags=["Privacy"], summary="Read the retention policy")
    async def read_policy(caller: Caller) -> RetentionView:
        """For how many days raw callbacks and the content of messages are kept on this side."""
        async with edge.db.transaction() as tx:
            return _view(await retention.read(tx, caller.workspace_id))

    @put(
        "/v1/retention", tags=["Privacy"], summary="Set the retention policy",
        opt={"scope": "regulations:write", "example": {"callbacks": 30, "content": 90}},
    )  # fmt: skip
    async def set_policy(request: Request[Any, Any, Any], caller: Caller, data: Policy) -> Response[RetentionView]:
        """The whole policy: what is left out takes its default. Audited.

        It is applied once an hour; the log tells what ended (`retention.applied`).
        """

        async def work(tx: Tx) -> tuple[int, RetentionView]:
            return 200, _view(await retention.set(tx, caller, data))

        return await edge.mutate(request, caller, "regulations:write", work)

    return [read_policy, set_policy]


def _view(standing: Standing) -> RetentionView:
    policy = standing.policy
    return RetentionView(policy.callbacks, policy.content, policy.proofs, policy.proofs_by_purpose, standing.updated_at)
