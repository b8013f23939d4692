"""The commands that look after an installation."""

from tabellion.app import keys as installed
from tabellion.app.doctor import examine
from tabellion.app.ledger import list_keys, succeed
from tabellion.app.options import HERE, Json, Side, Where, Workspace, show, wait
from tabellion.app.output import print_json, print_rows, print_text
from tabellion.core.errors import HubError


def migrate(*, where: Where = HERE, json: Json = False) -> None:
    """Apply the migrations that are missing."""
    applied = wait(installed.migrate(where.settings))
    if json:
        print_json({"applied": applied})
    else:
        print_text("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


def doctor(*, where: Where = HERE, json: Json = False) -> None:
    """Check configuration, database, clock, keys, ledger and accounts, and say what to do. Warnings are no failure."""
    findings = wait(examine(where.config()))
    if json:
        print_json({"ok": all(one.ok for one in findings), "findings": [one.shown() for one in findings]})
    else:
        print_rows([[one.mark, one.name, one.text] for one in findings])
    if not all(one.ok for one in findings):
        raise HubError("doctor_found", "some checks failed; each line above says what to do")


def show_ledger_keys(*, where: Where = HERE, json: Json = False) -> None:
    """Show one verifier key a line: for witnesses to trust, and for whoever verifies."""
    keys = wait(list_keys(where.settings))
    show({"keys": keys}, json, "\n".join(keys))


def succeed_ledger(
    *,
    workspace: Workspace,
    mode: Side,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Start the successor of a log that has lost entries, where no newer backup brings them back."""
    made = wait(succeed(where.settings, workspace, mode))
    show(made, json, f"the log goes on as {made['origin']}")
