"""The OpenAPI 3.1 document: the framework's list of operations, with bodies, refusals and keys as they really are.

Bodies are described by msgspec, which also decodes them, so that the document and the decoder cannot differ. The
framework's own description of them would, for one, allow unknown fields.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, get_args, get_origin

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from tabellion import __version__
from tabellion.access.calls import LONGEST_KEY
from tabellion.access.jwt import LARGEST
from tabellion.access.problems import PROBLEM_JSON, TYPE, Problem
from tabellion.access.service import API_VERSION, API_VERSIONS

JSON: Final = "application/json"
SCHEMAS: Final = "#/components/schemas/{name}"
WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_REF: Final = re.compile(r"#/components/schemas/(.+)")

CODES: Final[Mapping[int, str]] = {
    400: "malformed_json", 401: "invalid_key", 403: "scope_missing", 404: "not_found", 409: "idempotency_key_reused",
    412: "changed_meanwhile", 413: "body_too_large", 415: "unsupported_media_type", 422: "invalid_request",
    429: "overloaded", 500: "internal", 503: "database_away",
}  # fmt: skip
"""The refusals any operation may meet, each with the code that stands for it in the examples."""

DESCRIPTION: Final = """\
The hub for recipient communication. Every request but the public ones carries `Authorization: Bearer` and an API key;
the key decides the workspace, its live or test side, and what may be done. Every POST that writes takes an
`Idempotency-Key`: a repeated request gets the answer of the first, marked `Idempotent-Replay: true`, for 24 hours.
Lists are newest first: pass `next_cursor` as `cursor` until it is null. Events are oldest first and never end: pass it
as `after`. Fields and parameters that an address does not have are refused. Refusals are problem+json (RFC 9457) with
a stable `code`.

Keys have no rate limit unless they were given one. It is counted by each process of the hub that serves the API: with
several behind one address, up to that many times the limit passes."""


@dataclass(frozen=True, slots=True)
class Operation:
    path: str
    method: str
    handler: HTTPRouteHandler

    @property
    def public(self) -> bool:
        return bool(self.handler.opt.get("public"))

    @property
    def takes(self) -> Any:
        """The type of the request body; None where there is none."""
        field = self.handler.parsed_data_field
        return field.annotation if field else None

    @property
    def gives(self) -> Any:
        """The type of the answer's body, out of `Response[T]`."""
        annotation = self.handler.parsed_fn_signature.return_type.annotation
        return next(iter(get_args(annotation)), annotation) if _is_response(annotation) else annotation


def document(app: Litestar, public_url: str | None) -> dict[str, Any]:
    """The whole document, as JSON values."""
    drawn: dict[str, Any] = app.openapi_schema.to_schema()
    operations = list(_operations(app))
    described = _Described.of(operations)
    for operation in operations:
        _complete(drawn["paths"][operation.path][operation.method.lower()], operation, described)
    drawn |= {
        "info": {"title": "Tabellion", "version": __version__, "description": DESCRIPTION, "license": _LICENSE},
        "servers": [{"url": public_url or "/"}],
        "security": [{"key": []}],
    }
    found = (drawn.get("components") or {}).get("schemas", {}) | described.components
    drawn["components"] = {"schemas": found, "responses": _responses(), "securitySchemes": _KEY, "parameters": _HEADERS}
    drawn["components"]["schemas"] = _reached(drawn, found)
    return drawn


@dataclass(frozen=True, slots=True)
class _Described:
    """msgspec's schema of every JSON body: of requests (`takes`) and of answers (`gives`)."""

    takes: Mapping[Operation, Any]
    gives: Mapping[Operation, Any]
    components: Mapping[str, Any]

    @classmethod
    def of(cls, operations: list[Operation]) -> "_Described":
        taking = [one for one in operations if _is_json(one.takes)]
        giving = [one for one in operations if _is_json(one.gives)]
        types = [one.takes for one in taking] + [one.gives for one in giving] + [Problem]
        schemas, components = msgspec.json.schema_components(types, ref_template=SCHEMAS)
        found = iter(schemas)
        drawn = {name: _required(schema) for name, schema in components.items()}
        return cls(dict(zip(taking, found, strict=False)), dict(zip(giving, found, strict=False)), drawn)


def _required(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with those fields required that are marked so (`bodies.REQUIRED`)."""
    fields = schema.get("properties", {})
    marked = {name for name, one in fields.items() if one.pop("x-required", False)}
    if not marked:
        return schema
    return schema | {"required": [name for name in fields if name in marked | set(schema.get("required", ()))]}


def _operations(app: Litestar) -> Iterator[Operation]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for method, (handler, _) in route.route_handler_map.items():
                if handler.resolve_include_in_schema():
                    yield Operation(route.path_format, method, handler)


def _complete(drawn: dict[str, Any], operation: Operation, described: _Described) -> None:
    if (schema := described.takes.get(operation)) is not None:
        example = operation.handler.opt.get("example")
        content = {"schema": schema} | ({"example": example} if example is not None else {})
        drawn["requestBody"] = {"required": True, "content": {JSON: content}}
    success = drawn["responses"].get(str(operation.handler.status_code), {})
    success["description"] = HTTPStatus(operation.handler.status_code).phrase
    if (schema := described.gives.get(operation)) is not None:
        success["content"] = {JSON: {"schema": schema}}
    drawn["responses"].pop("400", None)  # the framework's own form of refusal, which never leaves the hub
    for status in _refusals(operation, bool(drawn.get("parameters"))):
        drawn["responses"].setdefault(str(status), {"$ref": f"#/components/responses/{_name(status)}"})
    drawn["parameters"] = [*map(_parameter, drawn.get("parameters", [])), *_headers(operation)]
    drawn.pop("deprecated", None)
    if operation.public:
        drawn["security"] = []
    if scope := operation.handler.opt.get("scope"):
        drawn["x-scope"] = scope
        said = f"Needs the scope `{scope}`."
        if operation.handler.opt.get("public_key"):
            said += " Takes public keys."
        drawn["description"] = f"{drawn.get('description') or ''}\n\n{said}".strip()


def _refusals(operation: Operation, parameters: bool) -> list[int]:
    """Every status a request may be refused with, whatever the operation itself says."""
    statuses = {400, 429, 500, 503}
    if not operation.public:
        statuses |= {401, 403}
    if parameters or operation.takes is not None:
        statuses.add(404)  # an id that is none of ours, wherever it stands
    if operation.method in WRITES:
        statuses |= {401, 409, 413}  # without a key it is a signature that may be wrong
    if operation.takes is not None:
        statuses |= {415, 422}
    return sorted(statuses)


def _headers(operation: Operation) -> list[dict[str, str]]:
    names = ["Tabellion-Version"]
    reads = str(operation.handler.opt.get("scope")).endswith(":read")  # checks: asking again does nothing twice
    if operation.method == "POST" and not operation.public and not reads:
        names.append("Idempotency-Key")
    if operation.handler.opt.get("public_key"):
        names.append("Tabellion-User-Token")
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _parameter(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter without what says nothing, and without `null`: in an address there is none, only leaving it out."""
    schema = dict(drawn["schema"])
    kinds = [one for one in schema.pop("oneOf", []) if one != {"type": "null"}]
    if len(kinds) == 1:
        schema |= kinds[0]
    elif kinds:
        schema["oneOf"] = kinds
    schema.pop("description", None)
    return {name: drawn[name] for name in ("name", "in", "required", "description") if name in drawn} | {
        "schema": schema
    }


def _responses() -> dict[str, Any]:
    return {_name(status): _refusal(status, code) for status, code in CODES.items()}


def _refusal(status: int, code: str) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    example: dict[str, Any] = {"type": TYPE + code, "title": title, "status": status, "code": code, "detail": "…"}
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        example["errors"] = [{"pointer": "/to/email", "detail": "Expected `str`, got `int`"}]
    schema = {"$ref": SCHEMAS.format(name="Problem")}
    return {"description": title, "content": {PROBLEM_JSON: {"schema": schema, "example": example}}}


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "")


def _is_response(annotation: Any) -> bool:
    return str(getattr(get_origin(annotation) or annotation, "__module__", "")).startswith("litestar.response")


def _is_json(kind: Any) -> bool:
    """Whether msgspec describes kind as a JSON body. Text and bytes are answered as they are."""
    if kind in (None, type(None), str, bytes, Any) or not getattr(kind, "__module__", ""):
        return False
    try:
        msgspec.json.schema(kind)
    except TypeError:
        return False
    return True


def _reached(drawn: dict[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas that something refers to, directly or through another."""
    reached: dict[str, Any] = {}
    waiting = list(_references({**drawn, "components": {**drawn["components"], "schemas": {}}}))
    while waiting:
        name = waiting.pop()
        if name not in reached and name in schemas:
            reached[name] = schemas[name]
            waiting += _references(schemas[name])
    return dict(sorted(reached.items()))


def _references(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for key, one in value.items():
                if key == "$ref" and isinstance(one, str) and (found := _REF.fullmatch(one)):
                    yield found[1]
                else:
                    yield from _references(one)
        case list():
            for one in value:
                yield from _references(one)


_LICENSE: Final = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_KEY: Final = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "tbl_live_…, tbl_test_… or tbl_pub_…",
        "description": "An API key. It decides the workspace, its live or test side, the role and its scopes. A public"
        " key (`tbl_pub_…`), for browsers and apps, is taken only where an operation says so; any other answers 403"
        " `public_key_not_allowed`.",
    }
}
_HEADERS: Final = {
    "Idempotency-Key": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Names this request, so that repeating it does nothing twice. Kept for 24 hours.",
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[ -~]+$"},
    },
    "Tabellion-User-Token": {
        "name": "Tabellion-User-Token",
        "in": "header",
        "required": False,
        "description": f"With a public key: a JWT of at most 15 minutes and {LARGEST} characters by which your backend"
        " vouches for the user. See `POST /v1/user-token-keys`. With a secret key it says nothing.",
        "schema": {"type": "string"},
    },
    "Tabellion-Version": {
        "name": "Tabellion-Version",
        "in": "header",
        "required": False,
        "description": "The API version to answer in; the key's own when left out.",
        "schema": {"type": "string", "enum": sorted(API_VERSIONS), "default": API_VERSION},
    },
}
