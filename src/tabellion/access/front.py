"""Around every request: its id, its log line, its metrics, and the headers that every answer has."""

from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

from tabellion.access.calls import Scope, Visit, open_visit
from tabellion.access.edge import ID, Edge
from tabellion.access.public import PREFLIGHT, readable
from tabellion.core.clock import Clock

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
App: TypeAlias = Callable[[Any, Receive, Send], Awaitable[None]]

METHODS: Final = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"})
CLIENT_LEFT: Final = 499
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
CLOSED: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""For answers that do not say otherwise: what a program reads is kept by no cache and shown by no browser."""


class Front:
    """The application as the server calls it."""

    def __init__(
        self,
        app: App,
        edge: Edge,
        methods: Mapping[str, str],
        hot: Mapping[tuple[str, str], App],
        public: Collection[str] = (),
    ) -> None:
        """`methods` are those of each path template, as `Allow` names them; `hot` are called past the framework.

        `public` are the templates that pages of other origins may post to, with a public key.
        """
        self.app = app
        self._public = public
        self._methods = methods
        self._hot = hot
        self._edge = edge
        self._clock: Clock = edge.db.clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = open_visit(scope, self._clock.monotonic())

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message["headers"] = _headers(message["headers"], visit)
                if scope["method"] == "OPTIONS":
                    message["headers"] = self._allow(scope, message["headers"])
            await send(message)

        try:
            await self._route(scope)(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - the outermost edge
            await self._fail(error, visit, answer)
        finally:
            self._record(scope, visit)

    def _route(self, scope: Scope) -> App:
        path = scope["path"]
        hot = self._hot.get((scope["method"], path))
        if hot is None:
            return self.app
        scope["path_template"] = path
        return hot

    def _allow(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The framework's OPTIONS answer with all methods of the path: its own names those of one registration."""
        path = scope.get("path_template", "")
        methods = self._methods.get(path)
        if methods is None:
            return headers
        allowed = PREFLIGHT if path in self._public else ()
        return [*(one for one in headers if one[0] != b"allow"), (b"allow", methods.encode()), *allowed]

    async def _fail(self, error: Exception, visit: Visit, answer: Send) -> None:
        """Something raised beside the application's own handling. Once an answer has begun it can only be cut off."""
        said = self._edge.refuse(error, visit)
        if not visit.status:
            await said.send(answer)

    def _record(self, scope: Scope, visit: Visit) -> None:
        seconds = self._clock.monotonic() - visit.started
        status = visit.status or CLIENT_LEFT
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        route = scope.get("path_template") or "unmatched"
        self._edge.metrics.answered(method, route, status, seconds)
        self._edge.log.line("request", _line(scope, visit, method, route, status, seconds))


def _headers(headers: Any, visit: Visit) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {name for name, _ in given}
    given += HEADERS
    given += [one for one in CLOSED if one[0] not in names]
    given.append((b"request-id", visit.id.encode()))
    given.append((b"tabellion-version", visit.version.encode()))
    if visit.bucket is not None:
        given += visit.bucket.headers()
    if visit.origin is not None:
        given += readable(visit.origin)
    return given


def _line(scope: Scope, visit: Visit, method: str, route: str, status: int, seconds: float) -> dict[str, object]:
    """The fields of the log line. The path itself is left out: it may carry a token. So is the query."""
    line: dict[str, object] = {
        "request_id": visit.id,
        "method": method,
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 2),
        "bytes_in": len(visit.raw or b""),
    }
    if visit.told is not None:
        line |= visit.told
    if visit.code is not None:
        line["code"] = visit.code
    if visit.replayed:
        line["replayed"] = True
    if status in (401, 403, 429) and scope.get("client"):
        line["address"] = scope["client"][0]
    if parameters := scope.get("path_params"):
        line |= {name: one for name, one in parameters.items() if isinstance(one, str) and ID.fullmatch(one)}
    return line | visit.notes if visit.notes else line
