"""The HTTP application: every domain's routes behind one edge, and what belongs to the process itself."""

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.di import Provide
from litestar.exceptions import LitestarDeprecationWarning, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.routes import HTTPRoute

from tabellion import __version__
from tabellion.access.answers import HubResponse
from tabellion.access.bodies import MAX_BODY
from tabellion.access.calls import visit_of
from tabellion.access.edge import Edge, HubRequest, refuse
from tabellion.access.front import Front
from tabellion.access.types import Caller
from tabellion.app import docs
from tabellion.app.openapi import document
from tabellion.core.errors import Unavailable
from tabellion.core.telemetry import CONTENT_TYPE

Ready: TypeAlias = Callable[[], Awaitable[Sequence[str]]]
"""What keeps the process from serving, in words; nothing where it is ready."""
Lifespan: TypeAlias = Callable[[Litestar], AbstractAsyncContextManager[None]]

LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
FORWARDED: Final = frozenset({b"x-forwarded-for", b"forwarded", b"x-real-ip"})


class Health(msgspec.Struct, frozen=True):
    status: str


async def always_ready() -> Sequence[str]:
    return ()


def create_app(
    edge: Edge,
    routes: Sequence[HTTPRouteHandler | Router],
    *,
    ready: Ready = always_ready,
    public_url: str | None = None,
    lifespan: Lifespan | None = None,
) -> Front:
    """The application as a server runs it."""

    @cache
    def described() -> dict[str, Any]:
        return document(litestar, public_url)

    litestar = _framework(edge, [*routes, *_own(edge, ready, described)], lifespan or _nothing)
    routed = [one for one in litestar.routes if isinstance(one, HTTPRoute)]
    methods = {one.path_format: ", ".join(sorted(one.methods)) for one in routed}
    return Front(litestar, edge, methods, _hot(routed), _public(routed))


def _hot(routed: Sequence[HTTPRoute]) -> dict[tuple[str, str], Any]:
    """The hot routes whose address has no parameters: these are found by one look-up."""
    return {
        (method, one.path): handler.opt["hot"]
        for one in routed
        for method, (handler, _) in one.route_handler_map.items()
        if "hot" in handler.opt and not one.path_parameters
    }


def _public(routed: Sequence[HTTPRoute]) -> frozenset[str]:
    """The addresses that may be written to with a public key."""
    return frozenset(
        one.path_format
        for one in routed
        if any(handler.opt.get("public_key") for handler, _ in one.route_handler_map.values())
    )


def _framework(edge: Edge, routes: Sequence[HTTPRouteHandler | Router], lifespan: Lifespan) -> Litestar:
    with warnings.catch_warnings():
        # Litestar 3 wants a marker on every parameter; we stay below 3, and the plain form reads better.
        warnings.simplefilter("ignore", LitestarDeprecationWarning)
        return Litestar(
            routes,
            dependencies={"caller": Provide(_caller(edge)), "edge": Provide(_always(edge), sync_to_thread=False)},
            guards=[edge.guard],
            exception_handlers={Exception: refuse(edge)},
            request_class=HubRequest,
            response_class=HubResponse,
            request_max_body_size=MAX_BODY,
            openapi_config=_framework_document(),
            lifespan=[lifespan],
            logging_config=None,
        )


def _own(edge: Edge, ready: Ready, described: Callable[[], dict[str, Any]]) -> list[HTTPRouteHandler]:
    """Health, metrics and documents."""

    @get("/health/live", public=True, tags=["Health"], summary="Whether the process runs")
    async def live() -> Health:
        return Health("live")

    @get(
        "/health/ready", public=True, tags=["Health"], summary="Whether the process serves",
        responses={503: ResponseSpec(None, description="It does not, and says why.", generate_examples=False)},
    )  # fmt: skip
    async def is_ready() -> Health:
        if reasons := await ready():
            raise Unavailable("not_ready", f"not ready: {'; '.join(reasons)}")
        return Health("ready")

    @get("/metrics", public=True, include_in_schema=False)
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        if not is_local(request.scope):
            await edge.admit(request.scope, "metrics:read")
        return Response(edge.metrics.render(), media_type=CONTENT_TYPE)

    @get("/openapi.json", public=True, include_in_schema=False)
    async def openapi() -> Response[bytes]:
        return Response(msgspec.json.encode(described()), media_type="application/json")

    @get("/docs", public=True, include_in_schema=False)
    async def read_docs(request: Request[Any, Any, Any]) -> Response[str]:
        if not is_local(request.scope):
            await edge.admit(request.scope, None)
        headers = {"Content-Security-Policy": docs.POLICY}
        return Response(docs.page(described()), media_type="text/html", headers=headers)

    return [live, is_ready, metrics, openapi, read_docs]


def is_local(scope: Any) -> bool:
    """Whether a request comes from this machine: not through a proxy, nor from a foreign page in a browser here."""
    client = scope.get("client")
    try:
        if client is None or not ip_address(client[0]).is_loopback:
            return False
    except ValueError:
        return False
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.lower() in LOCAL_NAMES and not FORWARDED & headers.keys()


def _caller(edge: Edge) -> Callable[..., Awaitable[Caller]]:
    async def caller(request: Request[Any, Any, Any]) -> Caller:
        return visit_of(request.scope).caller or await edge.admit(request.scope, None)

    return caller


def _always(edge: Edge) -> Callable[[], Edge]:
    def give() -> Edge:
        return edge

    return give


def _framework_document() -> OpenAPIConfig:
    """Lets the framework describe its routes; its own pages are closed, ours are above."""

    def closed(connection: Any, handler: Any) -> None:
        raise NotFoundException

    router = Router("/-/framework", route_handlers=[], include_in_schema=False, guards=[closed], opt={"public": True})
    return OpenAPIConfig("Tabellion", __version__, use_handler_docstrings=True, openapi_router=router)


@asynccontextmanager
async def _nothing(app: Litestar) -> AsyncIterator[None]:
    yield
