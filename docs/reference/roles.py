"""What a key of each role may do, from the table that the edge asks."""

from reference.text import sheet, table
from tabellion.access.rules import RESOURCES, SCOPES

INTRODUCTION = (
    "A key has a role, and of its role's scopes all or those that were asked for. `write` is written **W** and contains"
    " `read`, written r. Whoever gives a key must hold its scopes."
)


def page() -> str:
    """A row a resource, a column a role."""
    rows = [[f"`{resource}`", *(_may(scopes, resource) for scopes in SCOPES.values())] for resource in RESOURCES]
    return sheet("Roles and scopes", INTRODUCTION, table(["", *(str(role) for role in SCOPES)], rows))


def _may(scopes: frozenset[str], resource: str) -> str:
    if f"{resource}:write" in scopes:
        return "**W**"
    return "r" if f"{resource}:read" in scopes else ""
