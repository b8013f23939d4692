"""The `tabellion` command. Exit codes: 0 ok, 1 failed, 2 wrong usage. Errors say what to do next."""

import asyncio
import os
import sys
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import uvloop
from cyclopts import App, CycloptsError, Parameter

from tabellion import __version__
from tabellion.access.service import GRACE
from tabellion.access.types import Mode
from tabellion.access.types import Role as KeyRole
from tabellion.app import keys as key_commands
from tabellion.app import ledger as ledger_commands
from tabellion.app.doctor import examine
from tabellion.app.output import print_json, print_rows, print_text
from tabellion.app.roles import run
from tabellion.app.serving import announce, simulate_until_stopped
from tabellion.core.config import Config, Role, load
from tabellion.core.errors import HubError, Invalid

app = App(
    name="tabellion",
    help="A self-hosted hub for recipient communication.",
    version=__version__,
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
)
workspace_app = App(name="workspace", help="Workspaces: tenants, each with a live and a test side.")
keys_app = App(name="keys", help="API keys: shown once, stored hashed.")
ledger_app = App(name="ledger", help="The signed logs of decisions.")
for group in (workspace_app, keys_app, ledger_app):
    app.command(group)

Data = Annotated[Path | None, Parameter(help="The data directory (TABELLION_DATA).")]
Database = Annotated[str | None, Parameter(help="A PostgreSQL to use instead (TABELLION_DATABASE_URL).")]
Keys = Annotated[Path | None, Parameter(help="The keys folder (TABELLION_KEYS).")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="One line of JSON for programs.")]
Workspace = Annotated[str, Parameter(help="Its name or id.")]
Side = Annotated[Mode, Parameter(help="Which side of the workspace.")]
KeyId = Annotated[str, Parameter(help="As `keys list` shows it: key_….")]

WRONG_USAGE = frozenset({"setting_invalid", "setting_unknown", "keys_required"})
"""What is refused with these codes stands on the command line, in the environment or in the file."""


def settings(**options: Any) -> Config:
    """The effective settings: file, environment, then these options."""
    return load(os.environ, options)


def main() -> None:
    """Run the command line; the process exits with the command's code."""
    sys.exit(execute(sys.argv[1:]))


def execute(words: list[str]) -> int:
    """The exit code of a command line."""
    try:
        app(words)
    except CycloptsError as error:
        sys.stderr.write(f"{error}\nSee: tabellion --help\n")
        return 2
    except HubError as error:
        sys.stderr.write(f"tabellion: {error.detail} [{error.code}]\n")
        return 2 if error.code in WRONG_USAGE or isinstance(error, Invalid) else 1
    except (OSError, asyncpg.PostgresError) as error:
        sys.stderr.write(f"tabellion: {_told(error)}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _told(error: OSError | asyncpg.PostgresError) -> str:
    if isinstance(error, asyncpg.PostgresError):
        return f"the database refused: {error}; check the rights of its user, and see: tabellion doctor"
    return f"{error.filename or 'the system'}: {error.strerror or error}"


def wait(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@app.command
def up(
    *,
    data: Data = None,
    listen: Annotated[str | None, Parameter(help="HOST:PORT (TABELLION_LISTEN).")] = None,
    roles: Annotated[str | None, Parameter(help="api, worker, followers (TABELLION_ROLES).")] = None,
    database: Database = None,
    keys: Keys = None,
    behind_proxy: Annotated[str | None, Parameter(help="CIDRs of proxies in front.")] = None,
    test_key: Annotated[bool, Parameter(negative="", help="Make a test key for a day and show a first call.")] = False,
) -> None:
    """Run the hub: one process, all roles, on the bundled PostgreSQL unless told otherwise."""
    given = {"data": data, "listen": listen, "roles": roles, "database_url": database, "keys": keys}
    config = settings(**given, behind_proxy=behind_proxy).settings
    wait(run(config, announce(with_test_key=test_key, serves=Role.API in config.roles)))


@app.command
def migrate(*, data: Data = None, database: Database = None, keys: Keys = None, json: Json = False) -> None:
    """Apply the migrations that are missing."""
    config = settings(data=data, database_url=database, keys=keys)
    applied = wait(key_commands.migrate(config.settings))
    if json:
        print_json({"applied": applied})
    else:
        print_text("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


@app.command
def doctor(*, data: Data = None, database: Database = None, keys: Keys = None, json: Json = False) -> None:
    """Check configuration, database, clock, keys and ledger, and say what to do."""
    findings = wait(examine(settings(data=data, database_url=database, keys=keys)))
    if json:
        print_json({"ok": all(one.ok for one in findings), "findings": [one.shown() for one in findings]})
    else:
        print_rows([[one.mark, one.name, one.text] for one in findings])
    if not all(one.ok for one in findings):
        raise HubError("doctor_found", "some checks failed; each line above says what to do")


@app.command
def simulate(
    *,
    listen: Annotated[str, Parameter(help="HOST:PORT for the HTTP vendors.")] = "127.0.0.1:8090",
    smtp_port: Annotated[int, Parameter(help="The mail server's port; 0 is any.")] = 0,
) -> None:
    """Run all vendor simulators: /sim/{provider}/…, and a mail server."""
    wait(simulate_until_stopped(listen, smtp_port))


@workspace_app.command(name="create")
def create_workspace(
    name: Annotated[str, Parameter(help="A name of its own.")],
    /,
    *,
    data: Data = None,
    database: Database = None,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Make a workspace with its live and its test side."""
    made = wait(key_commands.create_workspace(_of(data, database, keys), name))
    show(made, json, f"workspace {made['name']} is {made['id']}")


@keys_app.command(name="create")
def create_key(
    *,
    workspace: Workspace,
    role: Annotated[KeyRole, Parameter(help="What it may do.")],
    mode: Side = "test",
    name: Annotated[str | None, Parameter(help="What it is for.")] = None,
    scopes: Annotated[str | None, Parameter(help="Fewer than the role's, as messages:write,messages:read.")] = None,
    expires_in: Annotated[timedelta | None, Parameter(help="As 24h or 30d; never, when left out.")] = None,
    networks: Annotated[str | None, Parameter(help="CIDRs the key may be used from.")] = None,
    data: Data = None,
    database: Database = None,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Make an API key and show it, once."""
    wanted = key_commands.Wanted(workspace, role, mode, name, _list(scopes), expires_in, _list(networks))
    made = wait(key_commands.create_key(_of(data, database, keys), wanted))
    show(made, json, f"{made['key']}\nkey {made['id']}; it is not shown again")


@keys_app.command(name="list")
def list_keys(
    *,
    workspace: Workspace,
    mode: Side = "test",
    data: Data = None,
    database: Database = None,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """List the keys of one side, newest first."""
    found = wait(key_commands.list_keys(_of(data, database, keys), workspace, mode))
    if json:
        print_json({"data": found})
    else:
        columns = ("id", "role", "state", "name", "created_at", "expires_at", "last_used_at")
        rows = [[str(one[column] or "-") for column in columns] for one in found]
        print_rows([[column.removesuffix("_at").replace("_", " ").upper() for column in columns], *rows])


@keys_app.command(name="rotate")
def rotate_key(
    key_id: KeyId,
    /,
    *,
    grace: Annotated[timedelta, Parameter(help="How long the old key works on: 24h, 0h.")] = GRACE,
    data: Data = None,
    database: Database = None,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Make a key that replaces another, and show it, once."""
    made = wait(key_commands.rotate_key(_of(data, database, keys), key_id, grace))
    show(made, json, f"{made['key']}\nkey {made['id']} replaces {key_id}")


@keys_app.command(name="revoke")
def revoke_key(
    key_id: KeyId, /, *, data: Data = None, database: Database = None, keys: Keys = None, json: Json = False
) -> None:
    """End a key everywhere, within a second."""
    show(wait(key_commands.revoke_key(_of(data, database, keys), key_id)), json, f"{key_id} is revoked")


@ledger_app.command(name="succeed")
def succeed(
    *,
    workspace: Workspace,
    mode: Side,
    data: Data = None,
    database: Database = None,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Start the successor of a log that has lost entries, where no newer backup brings them back."""
    made = wait(ledger_commands.succeed(_of(data, database, keys), workspace, mode))
    show(made, json, f"the log goes on as {made['origin']}")


def _of(data: Path | None, database: str | None, keys: Path | None) -> Any:
    return settings(data=data, database_url=database, keys=keys).settings


def show(made: Mapping[str, Any], json: bool, text: str) -> None:
    if json:
        print_json(made)
    else:
        print_text(text)


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()
