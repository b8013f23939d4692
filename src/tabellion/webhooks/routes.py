"""`/in/{provider}/{account_id}`: where vendors report back. No key: the vendor's signature says who calls."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import Parameter
from litestar.types import Receive, Scope, Send
from msgspec import UnsetType

from tabellion.access import bodies
from tabellion.access.calls import Visit, asked_version, visit_of
from tabellion.access.edge import Edge, refuse_null
from tabellion.accounts.service import Accounts
from tabellion.accounts.types import Account
from tabellion.core import ids
from tabellion.core.batching import Batcher
from tabellion.core.db import Database
from tabellion.core.errors import HubError, NotFound, Unauthorized
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Inbound, Provider, Reply
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
    """Finds the account of an address. However many are called, known or not, one reading at a time asks for all."""

    async def read(_: Hashable, wanted: list[UUID]) -> Sequence[Account | None]:
        found = await db.run(lambda tx: accounts.for_callbacks(tx, wanted))
        return [found.get(one) for one in wanted]

    reading: Batcher[UUID, Account | None] = Batcher(read, fold=lambda one: one, most_waiting=MOST_WAITING)

    async def find(provider: str, account_id: str) -> Account:
        wanted = ids.parse("acc", account_id)
        account = accounts.called(wanted)
        if isinstance(account, UnsetType):
            account = await reading.submit("accounts", wanted)
        if account is None or account.provider != provider:
            raise NotFound("not_found", "there is no such account; check the callback URL at the vendor")
        return account

    return find


def routes(
    edge: Edge, find: Find, base: Base, providers: Mapping[str, Provider[Any]], receive: Batcher[Arrived, None]
) -> list[HTTPRouteHandler]:
    """One route, for every vendor: described like any other, and answered without the framework."""
    receiver = Receiver(edge, find, base, providers, receive)
    described = HTTPRouteHandler(
        "/in/{provider:str}/{account_id:str}",
        http_method="POST",
        middleware=[lambda app: receiver],
        opt={"public": True, "hot": receiver},
        status_code=200,
        tags=["Callbacks"],
        summary="A vendor reports back",
        description="Form or JSON in the vendor's own shape, signed as the vendor signs. Answered in the vendor's shape"
        " once the raw bytes, and what the person decided, are durable.",
        responses={204: ResponseSpec(None, description="Stored.", generate_examples=False)},
    )
    return [described(receive_callback)]


async def receive_callback(provider: Name, account_id: Name) -> Response[bytes]:
    """What the route's description is made of; `Receiver` answers."""
    raise AssertionError("the middleware answers")


class Receiver:
    """The application behind the route."""

    def __init__(
        self,
        edge: Edge,
        find: Find,
        base: Base,
        providers: Mapping[str, Provider[Any]],
        receive: Batcher[Arrived, None],
    ) -> None:
        self._edge = edge
        self._find = find
        self._base = base
        self._providers = providers
        self._receive = receive
        counted = edge.metrics.callbacks
        self._stored = {name: counted.labels(name, "stored") for name in providers}
        self._forged = {name: counted.labels(name, "forged") for name in providers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = visit_of(scope)
        try:
            reply = await self._take(scope, receive, visit)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - the edge: whatever is raised becomes an answer
            await self._edge.refuse(error, visit).send(send)
        else:
            await _answer(reply, send)

    async def _take(self, scope: Any, receive: bodies.Receive, visit: Visit) -> Reply:
        """The vendor's answer, once what it reports is durable. Raises 401 for what the vendor did not sign."""
        refuse_null(scope)
        asked_version(visit.head)
        named = scope["path_params"]
        account = await self._find(named["provider"], named["account_id"])
        visit.raw = await bodies.read(receive, visit.head.content_length)
        adapter = self._providers[account.provider]
        inbound = Inbound(
            scope["method"], _url(self._base(account), scope), _headers(scope), visit.raw, self._edge.db.clock.now()
        )
        try:
            adapter.verify(inbound, account.settings)
        except Unauthorized:
            self._forged[account.provider].inc()
            raise
        arrived = Arrived(account, inbound, tuple(adapter.parse(inbound)))
        await self._receive.submit(account.workspace_id, arrived)
        self._stored[account.provider].inc()
        visit.notes |= {"provider": account.provider, "events": len(arrived.parsed)}
        return adapter.reply(inbound)


def _url(base: str, scope: Any) -> str:
    """The address as the vendor called and signed it: the public base, raw path and query."""
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string") or b""
    return base + raw_path.split(b"?")[0].decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")


def _headers(scope: Any) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def _answer(reply: Reply, send: Send) -> None:
    headers = [(b"content-length", b"%d" % len(reply.body))] if reply.status != 204 else []
    if reply.content_type:
        headers.append((b"content-type", reply.content_type.encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})
