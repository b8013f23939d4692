"""Markdown from values."""

from collections.abc import Iterable, Sequence


def title(page: str) -> str:
    """The first heading of a page."""
    return next(line.removeprefix("# ") for line in page.splitlines() if line.startswith("# "))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown, on one line each."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines) + "\n"


def code(value: object) -> str:
    """A value as code; nothing for an empty one."""
    text = str(value)
    return f"`{text}`" if text else ""


def sheet(name: str, *parts: str) -> str:
    """A page of parts under one heading."""
    return "\n\n".join([f"# {name}", *(part for part in parts if part)]) + "\n"


def listed(text: str) -> str:
    """A docstring as Markdown reads it: a list needs an empty line before it, and its items one indent."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("* ") and lines and lines[-1] and not lines[-1].startswith(("* ", "  ")):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
