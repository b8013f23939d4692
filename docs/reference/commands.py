"""Every command, from the command line's own description of itself."""

from cyclopts import App

from reference.text import code, sheet, table
from tabellion.app.cli import COMMANDS, GROUPS, build

INTRODUCTION = (
    "Exit codes: 0 ok, 1 failed, 2 wrong usage. With `--json` a command prints exactly one line for programs. Commands"
    " that touch the database work beside a running hub, or start the bundled PostgreSQL, work and stop it."
)


def page() -> str:
    """Every command with its options."""
    app = build()
    parts = []
    for group, commands in COMMANDS.items():
        if group:
            parts.append(f"## tabellion {group}\n\n{GROUPS[group]}")
        holder = app[group] if group else app
        parts += [_command(" ".join(word for word in ("tabellion", group, name) if word), holder[name])
                  for name in commands]  # fmt: skip
    return sheet("Commands", INTRODUCTION, *parts)


def _command(name: str, app: App) -> str:
    arguments = app.assemble_argument_collection(parse_docstring=False)
    rows = [
        [
            ", ".join(code(one) for one in argument.names) or code(argument.name),
            str(argument.parameter.help or "").strip(),
            "required" if argument.required else "",
        ]
        for argument in arguments
        if argument.show
    ]
    told = (app.default_command.__doc__ or "").strip() if app.default_command else ""
    options = table(["option", "what it says", ""], rows) if rows else ""
    return f"### {name}\n\n{told}\n\n{options}"
