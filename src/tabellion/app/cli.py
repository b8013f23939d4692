"""The `tabellion` command. Exit codes: 0 ok, 1 failed, 2 wrong usage, 130 interrupted. Errors say what to do next."""

import sys
from typing import Final

import asyncpg
from cyclopts import App, CycloptsError

from tabellion import __version__
from tabellion.core.errors import HubError, Invalid

COMMANDS: Final = {
    "": {
        "up": ("serve:up", "Run the hub, on the bundled PostgreSQL unless told otherwise."),
        "migrate": ("upkeep:migrate", "Apply the migrations that are missing."),
        "doctor": ("upkeep:doctor", "Check settings, database, keys, ledger and accounts, and say what to do."),
        "why": ("asking:why", "Say everything the gate knows about an address."),
        "simulate": ("serve:simulate", "Run all vendor simulators."),
    },
    "workspace": {"create": ("keys:create_workspace", "Make a workspace.")},
    "keys": {
        "create": ("keys:create_key", "Make a key and show it, once."),
        "list": ("keys:list_keys", "List the keys of one side."),
        "show": ("keys:show_key", "Show a key, without its secret."),
        "rotate": ("keys:rotate_key", "Make a key that replaces another."),
        "revoke": ("keys:revoke_key", "End a key everywhere, within a second."),
    },
    "import": {
        "recipients": ("importing:import_recipients", "Make or update the recipients in a file."),
        "suppressions": ("importing:import_suppressions", "Write no more to the addresses in a file."),
    },
    "audit": {"verify": ("upkeep:verify_audit", "Compare the audit table with its log, and name what differs.")},
    "export": {
        "ledger": ("copies:export_ledger", "Copy a log into a folder, for auditors."),
        "person": ("copies:export_person", "Write evidence about one person into a ZIP."),
        "suppressions": ("exporting:export_suppressions", "Write the list of suppressions to a file."),
        "verify": ("verifying:verify_export", "Check evidence about a person, by keys alone."),
    },
    "ledger": {
        "keys": ("upkeep:show_ledger_keys", "Show the verifier keys of all logs in use."),
        "rotate-key": ("upkeep:rotate_ledger_key", "Let a new key sign a log from now on."),
        "succeed": ("upkeep:succeed_ledger", "Start the successor of a log that has lost entries."),
        "verify": ("verifying:verify_ledger", "Check a copy of a log, or one behind a URL, by its key alone."),
    },
    "receipt": {"verify": ("verifying:verify_receipt", "Check a receipt, and show what it proves.")},
    "witness": {
        "run": ("witnessing:run_witness", "Watch the logs of others, and cosign them as long as they only grow."),
        "key": ("witnessing:show_witness", "Show the key of a witness, as a policy names it."),
        "trust": ("witnessing:trust_logs", "Have a witness watch these logs too."),
    },
}
"""Each command by its group and name: the function in `commands/` that is loaded when it is called, and its line in
the list of commands, for which nothing is loaded."""
GROUPS: Final = {
    "audit": "Who did what to what.",
    "workspace": "Workspaces: tenants, each with a live and a test side.",
    "keys": "API keys: shown once, stored hashed.",
    "import": "Files brought in, with progress, what was refused, and a second run that goes on.",
    "export": "Lists, copies and evidence taken out for others.",
    "ledger": "The signed logs of decisions.",
    "receipt": "Proofs of single entries.",
    "witness": "A witness for the logs of others. It needs no database.",
}
WRONG_USAGE: Final = frozenset(
    {"setting_invalid", "setting_unknown", "keys_required", "witness_policy_invalid", "witness_dir_required"}
)
"""What is refused with these codes stands on the command line, in the environment or in the file."""


def main() -> None:
    """Run the command line; the process exits with the command's code."""
    sys.exit(execute(sys.argv[1:]))


def execute(words: list[str]) -> int:
    """The exit code of a command line."""
    try:
        build()(words)
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


def build() -> App:
    """The command with everything below it."""
    app = App(
        name="tabellion",
        help="A self-hosted hub for recipient communication.",
        version=__version__,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
    )
    for group, commands in COMMANDS.items():
        holder = app
        if group:
            holder = App(name=group, help=GROUPS[group])
            app.command(holder)
        for name, (place, line) in commands.items():
            holder.command(f"tabellion.app.commands.{place}", name=name, help=line)
    return app
