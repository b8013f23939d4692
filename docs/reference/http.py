"""Every address, a page a subject, from the OpenAPI document as a hub serves it."""

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reference.text import code, sheet, table
from tabellion.app.domains import domains
from tabellion.app.opening import opened
from tabellion.app.routes import build
from tabellion.core.config import Settings

Operation = tuple[str, str, Mapping[str, Any]]


def pages() -> dict[str, str]:
    """A page a tag, and one that lists them."""
    document = asyncio.run(_document())
    schemas = document["components"]["schemas"]
    by_tag: dict[str, list[Operation]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            by_tag.setdefault(next(iter(operation.get("tags") or ["Other"])), []).append((method, path, operation))
    made = {_address(tag): _page(tag, some, schemas) for tag, some in sorted(by_tag.items())}
    return {"reference/http/index.md": _index(document, by_tag), **made}


async def _document() -> dict[str, Any]:
    """The document of a hub that is made for this and taken away again."""
    with tempfile.TemporaryDirectory(prefix="tabellion-docs-") as folder:
        settings = Settings(data=Path(folder) / "data")
        async with opened(settings, make=True) as installation, domains(installation, settings) as hub:
            body = await _got(build(hub, settings).asgi, "/openapi.json")
    document: dict[str, Any] = json.loads(body)
    return document


async def _got(app: Any, path: str) -> bytes:
    """The body that the application answers a GET with."""
    body: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        body.append(message.get("body", b""))

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [(b"host", b"hub")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return b"".join(body)


def _address(tag: str) -> str:
    return f"reference/http/{re.sub(r'[^a-z0-9]+', '-', tag.lower())}.md"


def _index(document: Mapping[str, Any], by_tag: Mapping[str, list[Operation]]) -> str:
    rows = [
        [f"[{tag}]({_address(tag).rpartition('/')[2]})", ", ".join(sorted({code(path) for _, path, _ in some}))]
        for tag, some in sorted(by_tag.items())
    ]
    return sheet("HTTP", document["info"]["description"], table(["subject", "addresses"], rows))


def _page(tag: str, operations: list[Operation], schemas: Mapping[str, Any]) -> str:
    return sheet(tag, *(_operation(*one, schemas) for one in operations))


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [f"## {operation.get('summary') or path}", f"`{method.upper()} {path}`", operation.get("description") or ""]
    if rows := [_parameter(one) for one in operation.get("parameters") or [] if "name" in one]:
        parts.append(table(["parameter", "in", "form", "what"], rows))
    for media, content in (operation.get("requestBody") or {}).get("content", {}).items():
        parts.append(f"**Body** ({media})\n\n{_fields(content.get('schema', {}), schemas)}")
        if "example" in content:
            shown = json.dumps(content["example"], indent=2, ensure_ascii=False)
            parts.append(f"```json\n{shown}\n```")
    for status, answer in sorted(operation["responses"].items()):
        for content in (answer.get("content") or {}).values():
            if fields := _fields(content.get("schema", {}), schemas):
                parts.append(f"**{status}** {answer.get('description') or ''}\n\n{fields}")
    return "\n\n".join(part for part in parts if part)


def _parameter(one: Mapping[str, Any]) -> list[str]:
    name = code(one["name"]) + (", required" if one.get("required") else "")
    return [name, one["in"], _form(one.get("schema", {}), {}), one.get("description") or ""]


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """A table of an object's fields; what it is where it has none."""
    found = schemas.get(_name(schema), schema)
    needed = set(found.get("required", ()))
    rows = [
        [code(name) + (", required" if name in needed else ""), _form(one, schemas), one.get("description") or ""]
        for name, one in _flat(found)
    ]
    return table(["field", "form", "what"], rows) if rows else _form(schema, schemas)


def _flat(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from schema.get("properties", {}).items()


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _form(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """A schema in a few words; of a closed list, its words."""
    if name := _name(schema):
        return _form(schemas[name], schemas) if "enum" in schemas.get(name, {}) else name
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_form(one, schemas) for one in options))
    if "enum" in schema:
        return ", ".join(code(one) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_form(schema.get('items', {}), schemas)}"
    kind = schema.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
