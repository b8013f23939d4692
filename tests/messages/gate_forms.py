"""The plausible ways to lock and read that are wrong, to be put in the gate's place. They must be found out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from tabellion.consent import rules
from tabellion.consent.questions import Question, Verdict
from tabellion.consent.service import Consent
from tabellion.consent.types import BUILT_IN, Basis, Decision, Method, Rank, Standing, Strength
from tabellion.core.db import Tx, columns
from tabellion.messages.gate import Gate
from tabellion.recipients.service import Recipients

from .gate_world import Form

Pair = tuple[UUID, UUID]


@dataclass
class OneStatement:
    """Recipients and consent at once: locks the rows and reads what stands in the very same statement.

    Each row it returns is locked and, as a row of `recipients`, current. What it joins them with is as the statement
    found it when it began, which may have been before it waited for the lock.
    """

    recipients: Recipients
    read: dict[int, list[Standing]] = field(default_factory=dict)
    """What was read, by transaction."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.recipients, name)

    async def lock(self, tx: Tx, pairs: Iterable[Pair], skip_locked: bool) -> dict[Pair, UUID]:
        rows = await tx.rows(LOCK_AND_READ, *columns(sorted(set(pairs)), 2))
        self.read[id(tx)] = [_standing(row) for row in rows if row["id"] is not None]
        return {(row["workspace_id"], row["person"]): row["person"] for row in rows if row["person"] == row["root"]}

    async def hold_policies(self, tx: Tx, sides: Iterable[UUID]) -> None:
        """Nothing: it knows the built-in purposes alone."""

    async def verdicts(self, tx: Tx, questions: Sequence[Question]) -> list[Verdict]:
        standing = self.read.pop(id(tx))
        return [
            rules.verdict(one, standing, BUILT_IN[one.purpose], rules.line(BUILT_IN, one.purpose), tx.now)
            for one in questions
        ]


LOCK_AND_READ = """
with locked as materialized (
    select r.workspace_id, r.id, r.merged_into
      from recipients r
      join unnest($1::uuid[], $2::uuid[]) as wanted (workspace_id, id)
        on wanted.workspace_id = r.workspace_id and wanted.id = r.id
     order by r.workspace_id, r.id
       for no key update of r
)
select locked.workspace_id, locked.id as person, locked.merged_into as root, e.id, e.log_index, e.recipient_id,
       e.identifier_hash, e.person_scope, e.channel, e.purpose, e.decision, e.basis, e.method, e.rank, e.strength,
       e.effective_at, e.expires_at, e.lifts
  from locked
  left join consent_entries e
    on e.workspace_id = locked.workspace_id and e.standing
   and (e.recipient_id = locked.id or e.identifier_hash in (
           select i.hash from identifiers i where i.workspace_id = locked.workspace_id and i.recipient_id = locked.id
       ))
"""


def _standing(row: Any) -> Standing:
    return Standing(
        row["id"],
        row["log_index"],
        row["recipient_id"],
        row["identifier_hash"],
        row["person_scope"],
        row["channel"],
        row["purpose"],
        Decision(row["decision"]),
        Basis(row["basis"]) if row["basis"] else None,
        Method(row["method"]),
        Rank(row["rank"]),
        Strength(row["strength"]),
        row["effective_at"],
        row["expires_at"],
        frozenset(row["lifts"]),
    )


def one_statement(gate: Gate) -> Gate:
    both: Any = OneStatement(gate.recipients)
    return replace(gate, recipients=both, consent=both)


@dataclass
class Unlocked:
    """Reads in the right order, and locks nothing."""

    recipients: Recipients

    def __getattr__(self, name: str) -> Any:
        return getattr(self.recipients, name)

    async def lock(self, tx: Tx, pairs: Iterable[Pair], skip_locked: bool) -> dict[Pair, UUID]:
        return {pair: pair[1] for pair in pairs}


def unlocked(gate: Gate) -> Gate:
    open_: Any = Unlocked(gate.recipients)
    return replace(gate, recipients=open_)


@dataclass
class Unheld:
    """Reads the policies as they are, and lets them change under it."""

    consent: Consent

    def __getattr__(self, name: str) -> Any:
        return getattr(self.consent, name)

    async def hold_policies(self, tx: Tx, sides: Iterable[UUID]) -> None:
        """Nothing."""


def unheld(gate: Gate) -> Gate:
    free: Any = Unheld(gate.consent)
    return replace(gate, consent=free)


ONE_STATEMENT = Form("one statement", gate=one_statement)
REPEATABLE_READ = Form("repeatable read", isolation="repeatable read")
NO_LOCK = Form("no lock", gate=unlocked)
POLICIES_UNHELD = Form("policies unheld", gate=unheld)
