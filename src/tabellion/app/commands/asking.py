"""The commands that answer a question of an operator's."""

from typing import Annotated, Any

from cyclopts import Parameter

from tabellion.app.options import HERE, Json, Side, Where, Workspace, wait
from tabellion.app.output import print_json, print_rows, print_text
from tabellion.app.why import why as told


def why(
    address: Annotated[str, Parameter(help="An e-mail address, or a phone number with +.")],
    /,
    *,
    workspace: Workspace,
    mode: Side = "live",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Say everything the gate knows about an address: whose it is, what may be sent and why. The look is audited."""
    found = wait(told(where.settings, workspace, mode, address))
    if json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    person, identifier = found["recipient"], found["identifier"]
    known = f", known as {person['external_id']}" if person["external_id"] else ""
    hidden = "; nobody but this address is known" if person["address_only"] else ""
    print_text(f"{identifier['kind']} of {person['id']}{known}{hidden}")
    verified = f"verified {identifier['verified_at']:%Y-%m-%d}" if identifier["verified_at"] else "not verified"
    print_text(f"{verified}; first seen {identifier['first_seen_at']:%Y-%m-%d}, from {identifier['source']}\n")
    head = ["PURPOSE", "CHANNEL", "MAY BE SENT", "VERDICT", "REASON", "LEDGER ENTRY"]
    print_rows([head, *(_row(one) for one in found["verdicts"])])
    if found["messages"]:
        print_text("\nlatest messages")
        columns = ("id", "created_at", "purpose", "status", "reason")
        print_rows([
            [*(_cell(one[column]) for column in columns), ", ".join(one["attempts"]) or "-"]
            for one in found["messages"]
        ])  # fmt: skip


def _row(one: dict[str, Any]) -> list[str]:
    where = " ".join(str(one[name]) for name in ("log", "log_index", "entry") if name in one)
    entry = where if one["entry"] else "-"
    return [one["purpose"], one["channel"], "yes" if one["sendable"] else "no", one["verdict"], one["reason"], entry]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "year") else str(value)
