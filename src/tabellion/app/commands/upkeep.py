"""The commands that look after an installation."""

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from tabellion.app import keys as installed
from tabellion.app.audit import verify
from tabellion.app.doctor import examine
from tabellion.app.drill import rehearse_ledger_key
from tabellion.app.ledger import Log, list_keys, rotate_key, succeed
from tabellion.app.options import HERE, Json, Side, Where, Workspace, show, wait
from tabellion.app.output import print_json, print_rows, print_text
from tabellion.core.errors import HubError, Invalid

ALog = Annotated[Log, Parameter(help="Which log of the side.")]


def migrate(*, where: Where = HERE, json: Json = False) -> None:
    """Apply the migrations that are missing."""
    applied = wait(installed.migrate(where.settings))
    if json:
        print_json({"applied": applied})
    else:
        print_text("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


def doctor(
    look: Annotated[Literal["drill"] | None, Parameter(help="Everything, when left out.")] = None,
    drill: Annotated[Literal["ledger-key"] | None, Parameter(help="What to rehearse, on a copy.")] = None,
    /,
    *,
    workspace: Annotated[str | None, Parameter(help="Of a drill: whose log; the largest, when left out.")] = None,
    mode: Side = "live",
    log: ALog = "consent",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Check configuration, database, clock, keys, ledger and accounts, and say what to do. Warnings are no failure.

    `doctor drill ledger-key` rehearses what to do when a log's signing key was stolen, on a copy.
    """
    if look and not drill:
        raise Invalid("drill_missing", "name what to rehearse: tabellion doctor drill ledger-key")
    if drill:
        findings = wait(rehearse_ledger_key(where.settings, workspace, mode, log))
    else:
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
    """Start the successors of the logs that have lost entries, where no newer backup brings them back."""
    made = wait(succeed(where.settings, workspace, mode))
    show(made, json, "\n".join(f"the log goes on as {origin}" for origin in made["origins"]))


def rotate_ledger_key(
    *,
    workspace: Workspace,
    mode: Side,
    log: ALog = "consent",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Let a new key sign a log from its present size on. Whoever verifies it needs the new key: publish it."""
    made = wait(rotate_key(where.settings, workspace, mode, log))
    old, new = made["retired"], made["key"]
    text = (
        f"{new['vkey']}\nsigns from size {new['from_size']} on; {old['vkey']} signed up to {old['to_size']}\n"
        "Publish both with their sizes (GET /v1/ledger/keys), and tell the log's witnesses the new key."
    )
    show(made, json, text)


def verify_audit(*, workspace: Workspace, mode: Side, where: Where = HERE, json: Json = False) -> None:
    """Compare every row of the audit table with its entry in the log, and the log with what was signed."""
    found = wait(verify(where.settings, workspace, mode))
    if json:
        print_json(found)
    else:
        told = f"{found['entries']} entries"
        told += f", {found['earlier']} rows from before the log" if found["earlier"] else ""
        told += f", {found['lost']} entries lost when a log was succeeded" if found["lost"] else ""
        print_text(f"{told}: {found['count'] or 'nothing'} differs")
        print_rows([[one["kind"], _place(one), one["detail"]] for one in found["differences"]])
    if found["count"]:
        raise HubError("audit_differs", "the audit table is not what its log says; see docs/how-to-audit.md")


def _place(one: dict[str, Any]) -> str:
    place = f"{one['log']} {one['log_index']}" if one["log_index"] is not None else one["log"]
    return " ".join(part for part in (place, one["id"]) if part) or "-"
