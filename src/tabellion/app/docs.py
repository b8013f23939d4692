"""`/docs`: the OpenAPI document as one plain page. No script, nothing from elsewhere."""

import base64
import json
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from tabellion.core.crypto import sha256

STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}h3{margin-top:2rem}"
    "code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:#f6f8fa;padding:.75rem;overflow:auto}"
    "b{display:inline-block;min-width:4.5rem}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}"
    "@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}pre{background:#161b22}a{color:#79c0ff}}"
)
_HASH: Final = base64.b64encode(sha256(STYLE.encode())).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: its one style sheet, by its hash, and nothing else."""


def page(document: Mapping[str, Any]) -> str:
    """The page. Everything in the document is text to it."""
    info = document["info"]
    by_tag: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = next(iter(operation.get("tags") or ["Other"]))
            by_tag.setdefault(tag, []).append(_operation(path, method, operation))
    sections = [f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in sorted(by_tag.items())]
    schemas = [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>"
        f"<body><h1>{title}</h1>{_text(info['description'])}"
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"{''.join(sections)}<h2>Schemas</h2>{''.join(schemas)}</body></html>"
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [
        f"<h3><b>{escape(method.upper())}</b> <code>{escape(path)}</code></h3>",
        f"<p>{escape(operation.get('summary') or '')}</p>{_text(operation.get('description') or '')}",
        _parameters(operation.get("parameters") or []),
    ]
    for media, content in (operation.get("requestBody") or {}).get("content", {}).items():
        parts.append(f"<p>Body: {escape(media)}, {_shape(content.get('schema', {}))}</p>")
        if "example" in content:
            parts.append(_json(content["example"]))
    parts.append(f"<table>{''.join(_response(*one) for one in sorted(operation['responses'].items()))}</table>")
    return "".join(parts)


def _parameters(parameters: list[Mapping[str, Any]]) -> str:
    rows = [
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one['in'])}</td><td>{_shape(one['schema'])}</td>"
        f"<td>{escape(one.get('description') or '')}</td></tr>"
        for one in parameters
        if "name" in one
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _response(status: str, response: Mapping[str, Any]) -> str:
    if "$ref" in response:
        return f"<tr><td>{escape(status)}</td><td>{escape(response['$ref'].rpartition('/')[2])}, a Problem</td></tr>"
    shapes = ", ".join(_shape(content.get("schema", {})) for content in (response.get("content") or {}).values())
    return f"<tr><td>{escape(status)}</td><td>{shapes or escape(response.get('description') or '')}</td></tr>"


def _shape(schema: Mapping[str, Any]) -> str:
    """A schema in a few words: a link to it where it has a name."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    kind = schema.get("type") or ("one of several" if {"anyOf", "oneOf"} & schema.keys() else "any")
    return escape(" or ".join(kind) if isinstance(kind, list) else str(kind))


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    return f'<h3 id="{escape(name)}">{escape(name)}</h3>{_json(schema)}'


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _text(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part.strip())
