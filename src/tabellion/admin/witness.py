"""`/witness`: the hub as a witness of other logs (C2SP tlog-witness). Open to all: what counts is the signature."""

from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from tabellion.ledger.witness.asgi import WitnessApp


def routes(witness: WitnessApp) -> list[HTTPRouteHandler]:
    """Both are answered by the witness itself, and past the framework; the specification describes them."""
    open_to_all: dict[str, Any] = {"middleware": [lambda app: witness], "include_in_schema": False}
    add = HTTPRouteHandler(
        "/witness/add-checkpoint",
        http_method="POST",
        opt={"public": True, "hot": witness},
        status_code=200,
        **open_to_all,
    )
    show = HTTPRouteHandler(
        "/witness/{origin_hash:str}/checkpoint", http_method="GET", opt={"public": True}, **open_to_all
    )
    return [add(_add_checkpoint), show(_show_checkpoint)]


async def _add_checkpoint() -> Response[bytes]:
    """What the route is made of; the witness answers."""
    raise AssertionError("the middleware answers")


async def _show_checkpoint(origin_hash: str) -> Response[bytes]:
    """What the route is made of; the witness answers."""
    raise AssertionError("the middleware answers")
