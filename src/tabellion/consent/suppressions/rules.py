"""Pure rules of suppressions: which rows a list has for one, and how its cells are written."""

import re
from collections.abc import Iterator
from typing import Final

from tabellion.consent.placing import reached
from tabellion.consent.suppressions.types import Listed, Owned, Row, Standing
from tabellion.consent.types import ANY
from tabellion.core.errors import Conflict
from tabellion.recipients.types import DELIVERABLE

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
"""What a spreadsheet would run, behind as many apostrophes as it may already have."""


def neutral(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula; `plain` gives back what it was."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def plain(cell: str) -> str:
    """A cell as it was before `neutral`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def rows(listed: Listed, owned: Owned) -> Iterator[Row]:
    """A suppression as a list has it: of the address that it names, and of its whole person one of each of theirs."""
    entry = listed.standing.entry
    addresses = dict.fromkeys([listed.address] if listed.address else [])
    if listed.standing.whole_person and entry.recipient_id is not None:
        kinds = reached(entry.channel)
        addresses |= dict.fromkeys(
            (str(one.kind), one.value) for one in owned.get(entry.recipient_id, ()) if one.kind in kinds
        )
    for kind, value in addresses:
        if kind in DELIVERABLE:
            yield Row(
                kind, value, entry.channel, entry.purpose, listed.standing.reason, entry.effective_at, entry.source
            )


def refusal(one: Standing) -> Conflict | None:
    """Why nobody but the person may end a restriction; None where somebody else may."""
    if not one.entry.standing:
        return Conflict("suppression_ended", "this restriction is not in force any more; there is nothing to end")
    if one.entry.recipient_id is None:
        return Conflict(
            "suppression_of_erased",
            "whom it is about was erased; it stands for whoever has the address, and no key ends it",
        )
    if one.plain:
        return None
    if one.reason == "stop":
        return Conflict("suppression_firm", "they texted STOP; START from the same number lifts it, and nothing else")
    if one.entry.channel == ANY:
        return Conflict("suppression_firm", "they objected on every channel; no grant for a single one lifts that")
    return Conflict(
        "suppression_firm",
        "the person said so themselves, or objected; ask them to agree again: by the preference centre, by a double"
        " opt-in, or with a user token",
    )
