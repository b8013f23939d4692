"""Every folder of the code, in the words of its own docstring."""

import ast
import tomllib
from pathlib import Path

from reference.text import listed, sheet

ROOT = Path(__file__).parents[2]
INTRODUCTION = (
    "Order is import order: a folder imports only from those below it here, and a test holds that. What those above"
    " must know goes through the event log."
)


def page() -> str:
    """What each folder owns, from the top of the house down."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    names = [name.strip(" ()") for layer in layers for name in layer.split("|")]
    folders = [ROOT / "src" / "tabellion" / name for name in names]
    return sheet("The house", INTRODUCTION, *(_folder(one) for one in folders if one.is_dir()))


def _folder(folder: Path) -> str:
    parts = [f"## {folder.name}/\n\n{_said(folder)}"]
    inner = sorted(one.parent for one in folder.glob("*/__init__.py"))
    parts += [f"### {folder.name}/{one.name}/\n\n{told}" for one in inner if (told := _said(one))]
    return "\n\n".join(parts)


def _said(folder: Path) -> str:
    return listed(ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or "")
