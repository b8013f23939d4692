"""Each vendor, from its adapter."""

import inspect
import sys
from collections.abc import Mapping
from typing import Any

from reference.text import code, listed, sheet, table
from tabellion.providers import ALL, describe
from tabellion.providers.base import Provider

INTRODUCTION = (
    "Every adapter has a simulator: with a test key all of them work at once. `POST /v1/accounts` takes the settings"
    " below; secrets are sealed, shown as dots, and bound to the host they are for."
)


def page() -> str:
    """Every provider with its form, its quirks, and its tables."""
    return sheet("Providers", INTRODUCTION, *(_provider(one) for one in ALL))


def _provider(provider: Provider[Any]) -> str:
    module = sys.modules[type(provider).__module__]
    said = listed(inspect.getdoc(module) or "")
    fields = [
        [code(one.name), one.type, "required" if one.required else code(_shown(one.default))]
        for one in describe(provider.settings_type)
    ]
    tables = [
        f"### {provider.name}: {name}\n\n" + table(["theirs", "ours"], [[code(a), code(b)] for a, b in found.items()])
        for name in ("STATUS", "STATE", "REASON", "SIGNAL")
        if (found := _mapping(module, name))
    ]
    head = f"## {provider.name}\n\nChannels: {', '.join(sorted(code(one.value) for one in provider.channels))}"
    return "\n\n".join([head, said, table(["setting", "form", "default"], fields), *tables])


def _shown(default: object) -> str:
    return "" if default is None else str(default)


def _mapping(module: object, name: str) -> Mapping[Any, Any] | None:
    found = getattr(module, name, None)
    return found if isinstance(found, Mapping) else None
