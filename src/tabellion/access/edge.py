"""The HTTP edge: who calls, may they, did they call before; and one way to answer and to refuse.

A domain's routes use three things of this module:

* `hot(edge, "POST", "/v1/messages", "messages:write", NewMessage, accept, …)` for the few routes that must be fast. Its
  handler takes a `Call` and returns an `Answer`. It stands in the same list as other route handlers.
* Typed Litestar handlers for the rest. Every route needs a key unless it says `public=True`, and a secret one unless it
  says `public_key=True`; a handler that names
  `caller: Caller` gets it; `scope="accounts:read"` (or `caller.require`) says what the key must be allowed. `data: T`
  is decoded strictly, as on hot routes.
* `return await edge.mutate(request, caller, "accounts:write", work)`: idempotency, work and the stored answer in one
  transaction. `work(tx)` returns a status and a struct; a `HubError` it raises rolls everything back.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope
from litestar.typing import FieldDefinition

from tabellion.access import bodies
from tabellion.access.answers import Answer
from tabellion.access.calls import (
    Body,
    Call,
    Scope,
    Visit,
    asked_version,
    bearer,
    idempotency_key,
    visit_of,
)
from tabellion.access.idempotency import Busy, Fresh, IdempotencyKey, Replay, Reused, claim, store
from tabellion.access.keyring import KeyRing
from tabellion.access.limits import Limits, limited
from tabellion.access.problems import already_shown, in_progress, internal, reused, translate
from tabellion.access.public import Accepted, PublicCalls
from tabellion.access.types import Caller
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import Log
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import Vault

__all__ = ["Answer", "Call", "Edge", "HubRequest", "hot", "note", "refuse", "respond"]

T = TypeVar("T")
Work: TypeAlias = Callable[[Tx], Awaitable[tuple[int, T]]]
Execute: TypeAlias = Callable[[Tx], Awaitable[Answer]]

ID: Final = re.compile(r"[a-z]{3}_[0-9a-hjkmnp-tv-z]{26}")
BUSY_FOR: Final = 2.0
BUSY_PAUSE: Final = 0.025
LASTING: Final = frozenset({404, 409, 410, 412})
"""Refusals by the work itself, that are its answer as much as a success is. 422 is not: the request never was one."""
TAKEN: Final = ResponseSpec(
    Accepted, description="Accepted, to a public key: it hears no more", generate_examples=False
)
GIVEN: Final = frozenset({"caller", "data", "edge", "request"})
"""What a typed route's function may be given that is no parameter of the address."""


class Edge:
    """What every request passes. Built once."""

    def __init__(
        self,
        db: Database,
        keys: KeyRing,
        vault: Vault,
        log: Log,
        metrics: Metrics,
        *,
        limits: Limits | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.db = db
        self.keys = keys
        self.log = log
        self.metrics = metrics
        self._vault = vault
        self._limits = limits or Limits(db.clock)
        self._public = PublicCalls(db, vault)
        self._pause = pause

    async def admit(self, scope: Any, needed: str | None, *, public_key: bool = False) -> Caller:
        """Who makes the request. Raises 401, 429, or 403 where the key lacks the scope `needed`.

        A public key is refused where it is not said that the route takes one.
        """
        visit = visit_of(scope)
        version = asked_version(visit.head)
        client = scope.get("client")
        held = await self.keys.hold(bearer(visit.head), client[0] if client else None)
        visit.caller, visit.told = held.caller, held.told
        visit.version = version or held.api_version
        if held.caller.public is not None:
            await self._public.admit(scope, visit, held.caller, held.caller.public, allowed=public_key)
        bucket, within = self._limits.admit(held.caller.key_id, held.rate_limit)
        visit.bucket = bucket or visit.bucket
        if not within:
            raise limited()
        if needed is not None:
            held.caller.require(needed)
        return held.caller

    async def guard(self, connection: "ASGIConnection[Any, Any, Any, Any]", handler: BaseRouteHandler) -> None:
        """Admit a request to a typed route before anything else of it is read."""
        scope = connection.scope
        refuse_null(scope)
        if handler.opt.get("public") or scope.get("method") == "OPTIONS":
            asked_version(visit_of(scope).head)
        else:
            await self.admit(scope, handler.opt.get("scope"), public_key=bool(handler.opt.get("public_key")))
            refuse_repeated(scope)
            refuse_unknown(scope, parameters(scope, handler))

    async def mutate(
        self, request: "Request[Any, Any, Any]", caller: Caller, scope: str, work: Work[T], *, secret: bool = False
    ) -> "Response[T]":
        """The answer of work, executed once for each Idempotency-Key.

        With `secret`, the answer holds one: a repeated request is told that it was shown.
        """
        caller.require(scope)
        visit = visit_of(request.scope)
        key = idempotency_key(request.scope, visit.head, await request.body(), visit.apart)  # type: ignore[arg-type]
        if key is None:
            answer = Answer.json(*await self.db.run(work))
        else:
            answer = await self.once(caller.workspace_id, key, work, secret=secret)
        return respond(answer, visit)

    async def once(
        self, workspace_id: WorkspaceId, key: IdempotencyKey, work: Work[Any], *, secret: bool = False
    ) -> Answer:
        """The answer of work, or of the earlier request with this key. Waits up to 2 s while that one is being done."""

        async def execute(tx: Tx) -> Answer:
            return Answer.json(*await work(tx))

        return await self._patiently(lambda: self._attempt(workspace_id, key, execute, secret=secret))

    async def _attempt(
        self, workspace_id: WorkspaceId, key: IdempotencyKey, execute: Execute, *, secret: bool
    ) -> Answer | Reused | Busy:
        """One try. A lasting refusal undoes what the work did, and is then kept as its answer."""
        try:
            return await self._claimed(workspace_id, key, execute, secret=secret)
        except HubError as error:
            if error.status not in LASTING:
                raise
            refusal = Answer.refusal(error)
        return await self._claimed(workspace_id, key, _always(refusal), secret=secret)

    async def _claimed(
        self, workspace_id: WorkspaceId, key: IdempotencyKey, execute: Execute, *, secret: bool
    ) -> Answer | Reused | Busy:
        async def transact(tx: Tx) -> Answer | Reused | Busy:
            answers = await self._vault.workspace(tx, workspace_id, "answers")
            [outcome] = await claim(tx, workspace_id, [key], answers)
            if not isinstance(outcome, Fresh):
                return Answer.replay(outcome) if isinstance(outcome, Replay) else outcome
            answer = await execute(tx)
            kept = Answer.refusal(already_shown()) if secret and answer.status < 300 else answer
            await store(tx, workspace_id, [(key, kept.status, kept.body)], answers)
            return answer

        return await self.db.run(transact)

    async def _patiently(self, attempt: Callable[[], Awaitable[Answer | Reused | Busy]]) -> Answer:
        """What attempt comes to once nobody else does the same. Waits outside any transaction."""
        until = self.db.clock.monotonic() + BUSY_FOR
        while isinstance(outcome := await attempt(), Busy):
            if self.db.clock.monotonic() >= until:
                raise in_progress()
            await self._pause(BUSY_PAUSE)
        if isinstance(outcome, Reused):
            raise reused()
        return outcome

    def refuse(self, error: Exception, visit: Visit) -> Answer:
        """The answer to a request that raised. What is not a refusal is logged, and the client told only that."""
        known = translate(error)
        if known is None or known.status == 500:
            self.log.error("request.failed", request_id=visit.id, error=error)
        said = known or internal()
        visit.code = said.code
        self.metrics.refused.labels(said.code).inc()
        return Answer.refusal(said)


def note(request: "Request[Any, Any, Any]", **fields: object) -> None:
    """Add fields to the request's log line: ids and counts, never what a person said or is called."""
    visit_of(request.scope).notes.update(fields)


def _always(answer: Answer) -> Execute:
    async def give(tx: Tx) -> Answer:
        return answer

    return give


def respond(answer: Answer, visit: Visit) -> "Response[Any]":
    visit.replayed = answer.replayed
    return answer.response()


def refuse_null(scope: Any) -> None:
    """Refuse an address with the character that no text column can hold."""
    if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
        raise HubError("null_character", "the address contains the character U+0000 (%00); remove it", 400)


def refuse_unknown(scope: Any, known: Collection[str]) -> None:
    """Refuse a query parameter the route does not have: a filter that is misspelt must not list everything."""
    given = {name for name, _ in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)}
    if unknown := sorted(given - set(known)):
        has = f"it has {', '.join(sorted(known))}" if known else "it has none"
        detail = f"this address has no parameter {unknown[0][:64]!r}; {has}"
        raise HubError("invalid_parameter", detail, 400)


def parameters(scope: Any, handler: BaseRouteHandler) -> frozenset[str]:
    """The query parameters of a typed route: what its function takes that is not given, in the path or a header."""
    taken = handler.parsed_fn_signature.parameters.items()
    queried = (_name(name, field) for name, field in taken if not _is_header(field))
    placed: Collection[str] = scope.get("path_params", {})
    return frozenset(queried) - GIVEN - frozenset(placed) - handler.resolve_dependencies().keys()


def _name(name: str, field: FieldDefinition) -> str:
    """What a parameter is called in an address, where that is no name for an argument."""
    definition = field.kwarg_definition
    return definition.name or name if isinstance(definition, QueryParameter) else name


def _is_header(field: FieldDefinition) -> bool:
    return isinstance(field.kwarg_definition, HeaderParameter)


def refuse_repeated(scope: Any) -> None:
    """Refuse a query that says something twice: no parameter of ours is a list, and which of the two was meant?"""
    names = [part.partition(b"=")[0] for part in scope.get("query_string", b"").split(b"&") if part]
    if len(set(names)) < len(names):
        raise HubError("repeated_parameter", "a parameter stands in the address twice; give each once", 400)


class HubRequest(Request[Any, Any, Any]):
    """A request whose `data` is decoded as on hot routes: declared as JSON, bounded, strict, unknown fields refused."""

    async def json(self) -> Any:
        head = visit_of(self.scope).head
        bodies.require_json(head.content_type, head.content_encoding)
        field = self.route_handler.parsed_data_field
        return bodies.decode(msgspec.json.Decoder(field.annotation if field else Any), await self.body())

    async def body(self) -> bytes:
        visit = visit_of(self.scope)
        if visit.raw is None:
            visit.raw = await bodies.read(
                self.receive,  # type: ignore[arg-type]
                visit.head.content_length,
                visit.largest,
            )
        return visit.raw


def refuse(edge: Edge) -> "Callable[[Request[Any, Any, Any], Exception], Response[Any]]":
    """The exception handler of the application."""

    def answer(request: "Request[Any, Any, Any]", error: Exception) -> "Response[Any]":
        visit = visit_of(request.scope)
        if isinstance(error, MethodNotAllowedException) and not _is_there(request):
            error = NotFoundException()
        return respond(edge.refuse(error, visit), visit)

    return answer


def _is_there(request: "Request[Any, Any, Any]") -> bool:
    """Whether an address is more than a word where an id would stand: `/v1/messages/cancel` is not a message."""
    path = request.scope["path"].rstrip("/")
    return any(route.path == path for route in request.app.routes) or any(map(ID.fullmatch, path.split("/")))


# hot routes

Handler: TypeAlias = Callable[[Call[Body]], Awaitable[Answer]]


def hot(
    edge: Edge,
    method: str,
    path: str,
    scope: str,
    request_type: type[Body],
    handler: Handler[Body],
    *,
    answer_type: Any = dict[str, Any],
    status: int = 200,
    example: object = None,
    summary: str | None = None,
    description: str | None = None,
    tags: tuple[str, ...] = (),
    responses: Mapping[int, ResponseSpec] | None = None,
    public_key: bool = False,
) -> HTTPRouteHandler:
    """A route without the framework's cost per request: bare ASGI up to the handler, described like any other.

    For the framework it is a typed route (so that it shares its path with others, and stands in the OpenAPI document)
    whose middleware answers every request itself. With `public_key` it takes public keys too: its handler answers
    these as `public.accepted` does.
    """
    fast = Hot(edge, scope, msgspec.json.Decoder(request_type), handler, public_key=public_key)
    return HTTPRouteHandler(
        path,
        http_method=method,  # type: ignore[arg-type]
        status_code=status,
        middleware=[lambda app: fast],
        summary=summary,
        description=description,
        tags=list(tags),
        responses={**(responses or {}), 202: TAKEN} if public_key else responses,
        opt={"scope": scope, "example": example, "hot": fast, "public_key": public_key},
    )(_described(handler.__name__, request_type, answer_type))


def _described(name: str, takes: Any, gives: Any) -> Callable[[Any], Awaitable[Any]]:
    """A function that only its signature matters of."""

    async def described(data: Any) -> Any:
        raise AssertionError("the middleware answers")

    described.__name__ = name
    described.__annotations__ = {"data": takes, "return": Response[gives]}
    return described


class Hot:
    """A hot route's application."""

    def __init__(
        self,
        edge: Edge,
        scope: str,
        decoder: "msgspec.json.Decoder[Any]",
        handler: Callable[[Call[Any]], Awaitable[Answer]],
        *,
        public_key: bool = False,
    ) -> None:
        self._public_key = public_key
        self._edge = edge
        self._scope = scope
        self._decoder = decoder
        self._handler = handler

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        visit = visit_of(scope)
        try:
            answer = await self._answer(scope, receive, visit)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - the edge: whatever is raised becomes an answer
            answer = self._edge.refuse(error, visit)
        visit.replayed = answer.replayed
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive, visit: Visit) -> Answer:
        caller = await self._edge.admit(scope, self._scope, public_key=self._public_key)
        if scope["query_string"]:
            refuse_unknown(scope, ())
        bodies.require_json(visit.head.content_type, visit.head.content_encoding)
        visit.raw = raw = await bodies.read(receive, visit.head.content_length, visit.largest)  # type: ignore[arg-type]
        body = bodies.decode(self._decoder, raw)
        key = idempotency_key(scope, visit.head, raw, visit.apart)
        return await self._handler(Call(caller, body, raw, key, scope["headers"], scope.get("path_params", {}), visit))
