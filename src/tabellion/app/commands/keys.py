"""The commands about workspaces and their keys. They work beside a running hub, or on the database alone."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated

from cyclopts import Parameter

from tabellion.access.service import GRACE
from tabellion.access.types import Network, Role
from tabellion.app import keys as installed
from tabellion.app.options import HERE, Json, Side, Where, Workspace, show, wait
from tabellion.app.output import print_json, print_rows
from tabellion.core.errors import Invalid

KeyId = Annotated[str, Parameter(help="As `keys list` shows it: key_….")]


def create_workspace(
    name: Annotated[str, Parameter(help="A name of its own.")],
    /,
    *,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Make a workspace with its live and its test side."""
    made = wait(installed.create_workspace(where.settings, name))
    show(made, json, f"workspace {made['name']} is {made['id']}")


def create_key(
    *,
    workspace: Workspace,
    role: Annotated[Role, Parameter(help="What it may do.")],
    mode: Side = "test",
    name: Annotated[str | None, Parameter(help="What it is for.")] = None,
    scopes: Annotated[str | None, Parameter(help="Fewer than the role's, as messages:write,messages:read.")] = None,
    expires_in: Annotated[timedelta | None, Parameter(help="As 24h or 30d; never, when left out.")] = None,
    networks: Annotated[str | None, Parameter(help="CIDRs the key may be used from, as 10.0.0.0/8,192.0.2.7.")] = None,
    rate_limit: Annotated[int | None, Parameter(help="Requests a second; no limit, when left out.")] = None,
    source: Annotated[str | None, Parameter(help="Of a public key: what its writes are recorded with.")] = None,
    origins: Annotated[
        str | None, Parameter(help="Of a public key: as https://shop.example,https://m.example.")
    ] = None,
    address_limit: Annotated[int | None, Parameter(help="Of a public key: requests a second from an address.")] = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Make an API key and show it, once."""
    wanted = installed.Wanted(
        workspace, role, mode, name, _list(scopes), expires_in, _networks(networks), _limit(rate_limit, "rate-limit"),
        source, _list(origins), _limit(address_limit, "address-limit"),
    )  # fmt: skip
    made = wait(installed.create_key(where.settings, wanted))
    show(made, json, f"{made['key']}\nkey {made['id']}; it is not shown again")


def list_keys(
    *,
    workspace: Workspace,
    mode: Side = "test",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """List the keys of one side, newest first."""
    found = wait(installed.list_keys(where.settings, workspace, mode))
    if json:
        print_json({"data": found})
    else:
        columns = ("id", "role", "state", "name", "networks", "created_at", "expires_at", "last_used_at")
        rows = [[_cell(one[column]) for column in columns] for one in found]
        print_rows([[column.removesuffix("_at").replace("_", " ").upper() for column in columns], *rows])


def show_key(key_id: KeyId, /, *, where: Where = HERE, json: Json = False) -> None:
    """Show a key, without its secret."""
    key = wait(installed.show_key(where.settings, key_id))
    if json:
        print_json(key)
    else:
        print_rows([[name.replace("_", " "), _cell(value)] for name, value in key.items()])


def rotate_key(
    key_id: KeyId,
    /,
    *,
    grace: Annotated[timedelta, Parameter(help="How long the old key works on: 24h, 0h.")] = GRACE,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Make a key that replaces another, and show it, once."""
    made = wait(installed.rotate_key(where.settings, key_id, grace))
    show(made, json, f"{made['key']}\nkey {made['id']} replaces {key_id}")


def revoke_key(key_id: KeyId, /, *, where: Where = HERE, json: Json = False) -> None:
    """End a key everywhere, within a second."""
    show(wait(installed.revoke_key(where.settings, key_id)), json, f"{key_id} is revoked")


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def _cell(value: object) -> str:
    """A value as a table shows it."""
    return ", ".join(map(str, value)) or "-" if isinstance(value, list) else str(value or "-")


def _limit(limit: int | None, name: str) -> int | None:
    if limit is not None and not 1 <= limit <= 1_000_000:
        raise Invalid("invalid_limit", f"--{name}: 1 to 1000000 a second; leave it out for the usual")
    return limit


def _networks(text: str | None) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(one) for one in _list(text))
    except ValueError as error:
        raise Invalid("invalid_network", f"--networks: {error}; write networks as 10.0.0.0/8") from None
