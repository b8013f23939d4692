"""`/v1/retention`: for how long a workspace side keeps what."""

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get, put
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import asdict

from tabellion.access.edge import Edge
from tabellion.access.types import Caller
from tabellion.core.db import Tx
from tabellion.privacy.service import Retention
from tabellion.privacy.types import Policy, Standing


class RoundView(msgspec.Struct, frozen=True):
    """What one round ended."""

    at: datetime
    callbacks: int
    contents: int
    events: int
    recipients: int
    """Whose erasure was ordered; each is a regulation of its own."""
    proofs: int


class RetentionView(msgspec.Struct, frozen=True):
    """Days; null is for ever."""

    callbacks: int | None
    content: int | None
    events: int | None
    recipients: int | None
    proofs: int
    proofs_by_purpose: dict[str, int]
    updated_at: datetime | None
    """When it was set; null for the default."""
    last_round: RoundView | None
    """When the policy was applied last, and what ended by it; null before the first time."""


def routes(edge: Edge, retention: Retention) -> list[HTTPRouteHandler]:
    @get("/v1/retention", opt={"scope": "regulations:read"}, tags=["Privacy"], summary="Read the retention policy")
    async def read_policy(caller: Caller) -> RetentionView:
        """For how many days this side keeps what, and what ended when that was looked at last."""
        async with edge.db.transaction() as tx:
            return _view(await retention.read(tx, caller.workspace_id))

    @put(
        "/v1/retention", tags=["Privacy"], summary="Set the retention policy",
        opt={"scope": "regulations:write", "example": {"callbacks": 30, "content": 90, "events": 400}},
    )  # fmt: skip
    async def set_policy(request: Request[Any, Any, Any], caller: Caller, data: Policy) -> Response[RetentionView]:
        """The whole policy: what is left out takes its default. Audited.

        It is applied once an hour; the log tells what ended (`retention.applied`). Idle recipients are erased as by
        an order (`/v1/regulations`) that cannot be taken back. What a legal hold protects stays.
        """

        async def work(tx: Tx) -> tuple[int, RetentionView]:
            return 200, _view(await retention.set(tx, caller, data))

        return await edge.mutate(request, caller, "regulations:write", work)

    return [read_policy, set_policy]


def _view(standing: Standing) -> RetentionView:
    policy, last = standing.policy, standing.last_round
    return RetentionView(
        callbacks=policy.callbacks,
        content=policy.content,
        events=policy.events,
        recipients=policy.recipients,
        proofs=policy.proofs,
        proofs_by_purpose=policy.proofs_by_purpose,
        updated_at=standing.updated_at,
        last_round=RoundView(at=last.at, **asdict(last.ended)) if last else None,
    )
