"""Every stable `code`, read from the places in the source that refuse."""

import ast
from collections.abc import Iterator
from pathlib import Path

from reference.text import code, sheet, table

SOURCE = Path(__file__).parents[2] / "src" / "tabellion"
STATUS = {
    "NotFound": "404", "Conflict": "409", "Invalid": "422", "Unauthorized": "401", "Forbidden": "403",
    "Overloaded": "429", "Unavailable": "503", "Misconfigured": "500",
}  # fmt: skip
INTRODUCTION = (
    "Every refusal is problem+json (RFC 9457) with a `code` that stays, and a `detail` that says what to do. On the"
    " command line the same code stands in brackets. … stands for what only the case itself can say."
)


def page() -> str:
    """A row a code: its statuses, and the details it comes with."""
    found: dict[str, tuple[set[str], list[str]]] = {"overloaded": ({"429"}, ["slow down and repeat after Retry-After"])}
    for file in sorted(SOURCE.rglob("*.py")):
        for name, status, detail in _refusals(ast.parse(file.read_text(encoding="utf-8"))):
            statuses, details = found.setdefault(name, (set(), []))
            statuses.add(status)
            if detail and detail not in details:
                details.append(detail)
    rows = [
        [code(name), ", ".join(sorted(statuses)), "<br>".join(_plain(one) for one in details[:3])]
        for name, (statuses, details) in sorted(found.items())
    ]
    return sheet("Refusals", INTRODUCTION, table(["code", "status", "for instance"], rows))


def _refusals(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Code, status and detail of every refusal whose code is written out."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in STATUS or name == "HubError":
            status = STATUS.get(name) or _status(node)
            if (first := _text(node.args[0]) if node.args else "") and first.isidentifier():
                yield first, status, _text(node.args[1]) if len(node.args) > 1 else ""
    yield from _own(tree)


def _own(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """The codes of a domain's own errors: what a class passes up to one of the tree."""
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        bases = [base.id for base in kind.bases if isinstance(base, ast.Name) and base.id in STATUS]
        for call in (node for node in ast.walk(kind) if isinstance(node, ast.Call)):
            if bases and isinstance(call.func, ast.Attribute) and call.func.attr == "__init__" and call.args:
                first = _text(call.args[0])
                if first.isidentifier():
                    yield first, STATUS[bases[0]], _text(call.args[1]) if len(call.args) > 1 else ""


def _status(call: ast.Call) -> str:
    given = [*call.args[2:3], *(word.value for word in call.keywords if word.arg == "status")]
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else "400"


def _text(node: ast.expr) -> str:
    """What a string says; what is only known later is an ellipsis."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) for part in parts)
        case ast.BinOp(left=left, right=right):
            return _text(left) + _text(right)
    return "…"


def _plain(detail: str) -> str:
    return detail.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")
