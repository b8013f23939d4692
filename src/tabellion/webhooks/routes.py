"""`/in/{provider}/{account_id}`: where vendors report back. No key: the vendor's signature says who calls."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import Parameter

from tabellion.access.edge import note
from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Account
from tabellion.core import ids
from tabellion.core.batching import Batcher
from tabellion.core.clock import Clock
from tabellion.core.db import Database
from tabellion.core.errors import HubError, NotFound, Unauthorized
from tabellion.core.ids import WorkspaceId
from tabellion.core.telemetry import Metrics
from tabellion.providers.base import Inbound, Provider
from tabellion.webhooks.service import Webhooks
from tabellion.webhooks.types import Arrived

Name = Annotated[str, Parameter(max_length=255)]
MOST_WAITING = 65_536
"""Callbacks are not shed: many vendors tell only once. This bounds the memory of a process and no more."""
Base = Callable[[Account], str]
"""The address a vendor of this account calls and signs: the public one, or loopback for a simulator."""
Find = Callable[[str, str], Awaitable[Account]]


def receiving(db: Database, webhooks: Webhooks, observe: Callable[[int], None]) -> Batcher[Arrived, None]:
    """Group commit for callbacks, per workspace side."""

    async def commit(key: Hashable, arrived: list[Arrived]) -> Sequence[HubError | None]:
        workspace_id: WorkspaceId = key  # type: ignore[assignment]
        await db.run(lambda tx: webhooks.receive(tx, workspace_id, arrived))
        return [None] * len(arrived)

    return Batcher(commit, observe=observe, most_waiting=MOST_WAITING)


def finding(db: Database, accounts: Accounts) -> Find:
    async def find(provider: str, account_id: str) -> Account:
        async with db.transaction() as tx:
            account = await accounts.for_callback(tx, provider, ids.parse("acc", account_id))
        if account is None:
            raise NotFound("not_found", "there is no such account; check the callback URL at the vendor")
        return account

    return find


def routes(
    find: Find,
    base: Base,
    providers: Mapping[str, Provider[Any]],
    receive: Batcher[Arrived, None],
    metrics: Metrics,
    clock: Clock,
) -> list[HTTPRouteHandler]:
    @post(
        "/in/{provider:str}/{account_id:str}",
        opt={"public": True},
        status_code=200,
        tags=["Callbacks"],
        summary="A vendor reports back",
        description="Form or JSON in the vendor's own shape, signed as the vendor signs. Answered in the vendor's shape"
        " once the raw bytes, and what the person decided, are durable.",
        responses={204: ResponseSpec(None, description="Stored.", generate_examples=False)},
    )
    async def receive_callback(
        request: "Request[Any, Any, Any]", provider: Name, account_id: Name
    ) -> "Response[bytes]":
        account = await find(provider, account_id)
        adapter = providers[account.provider]
        inbound = await _inbound(request, base(account), clock.now())
        try:
            adapter.verify(inbound, account.settings)
        except Unauthorized:
            metrics.callbacks.labels(account.provider, "forged").inc()
            raise
        arrived = Arrived(account, inbound, tuple(adapter.parse(inbound)))
        await receive.submit(account.workspace_id, arrived)
        metrics.callbacks.labels(account.provider, "stored").inc()
        note(request, provider=account.provider, events=len(arrived.parsed))
        reply = adapter.reply(inbound)
        return Response(reply.body, status_code=reply.status, media_type=reply.content_type)

    return [receive_callback]


async def _inbound(request: "Request[Any, Any, Any]", base: str, now: datetime) -> Inbound:
    """The callback as the vendor sent and signed it: public URL, raw path and query, raw bytes."""
    raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
    query = request.scope.get("query_string") or b""
    url = base + raw_path.split(b"?")[0].decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Inbound(request.method, url, headers, await request.body(), now)
