"""Every setting, from the table that is read at the start."""

import msgspec

from reference.text import code, sheet, table
from tabellion.core.config import DESCRIPTIONS, FILE, OPTIONS, PREFIX, Settings

INTRODUCTION = (
    f"One name each, in three places, the last one wins: `{FILE}` (or the file that `{PREFIX}CONFIG` names), the"
    " environment, the command line. Lists are comma-separated in the latter two. `tabellion doctor` prints the"
    " effective values, where each came from, and variables that nobody reads."
)


def page() -> str:
    """Every setting with its default."""
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    rows = [
        [code(name), code(PREFIX + name.upper()), code(OPTIONS[name]), told, code(_default(fields[name].default))]
        for name, told in DESCRIPTIONS.items()
    ]
    return sheet("Settings", INTRODUCTION, table(["in the file", "environment", "option", "what", "default"], rows))


def _default(value: object) -> str:
    if value is None or value is msgspec.NODEFAULT:
        return ""
    return ",".join(str(one) for one in value) if isinstance(value, tuple) else str(value)
