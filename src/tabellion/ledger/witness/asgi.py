"""A witness over HTTP: `POST …/add-checkpoint` and `GET …/{origin hash}/checkpoint`, by itself or inside a hub."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from tabellion.ledger.witness.watch import Answer, Watch

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LARGEST: Final = 128 << 10
"""Bytes of a body: 63 hashes, and a checkpoint with sixteen signatures of the longest kind."""
CHECKPOINT: Final = "/checkpoint"


class WitnessApp:
    """The ASGI application; `prefix` is what stands before its addresses."""

    def __init__(self, watch: Watch, prefix: str = "") -> None:
        self._watch = watch
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(scope, receive)
        if answer is not None:
            await _respond(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | None:
        """The answer; None where the other side left before it had said all."""
        path = str(scope["path"]).removeprefix(self._prefix)
        match scope["method"], path:
            case "POST", "/add-checkpoint":
                body = await _read(receive)
                if body is None:
                    return None
                return await self._watch.add_checkpoint(body) if len(body) <= LARGEST else Answer(413, "too large\n")
            case "GET", _ if path.endswith(CHECKPOINT):
                return await self._watch.checkpoint(path.removesuffix(CHECKPOINT).removeprefix("/"))
            case _, "/add-checkpoint":
                return Answer(405, "POST a checkpoint\n")
        return Answer(404, "a witness answers POST /add-checkpoint and GET /{origin hash}/checkpoint\n")


async def _read(receive: Receive) -> bytes | None:
    """The body, or as much of it as shows that it is too large; None where the other side left."""
    body = bytearray()
    while len(body) <= LARGEST:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return bytes(body)


async def _respond(send: Send, answer: Answer) -> None:
    body = answer.text.encode()
    headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
