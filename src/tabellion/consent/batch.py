"""The state around the decisions of one batch, changed in memory in the order they arrived. Pure.

Ordinals are known only when the ledger has taken the entries. Until then an entry counts as `UNNUMBERED` plus its
place in the batch, later than everything recorded before; `numbered` puts the real ones in.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from tabellion.consent import rules
from tabellion.consent.types import (
    GRANTS,
    RESTRICTIONS,
    Incoming,
    Kept,
    Method,
    NewDecision,
    Outcome,
    Placed,
    Purposes,
    Scope,
    Standing,
)
from tabellion.recipients.types import Identifier

UNNUMBERED: Final = 1 << 63
"""More than any ordinal that the ledger gives."""


@dataclass(slots=True)
class Written:
    """One entry of the batch as it will be written."""

    new: NewDecision
    scope: Scope
    identifier: Identifier | None
    address_only: bool
    outcome: Outcome
    standing: Standing
    record: bytes
    in_force: bool
    ended_by: UUID | None = None
    """The later entry of the batch that ended it."""
    renews: bool = False
    """It took the place of a restriction that said the same."""


class Batch:
    """`suspended` are the grants that what was said by keyword and stands had ended; only START asks for them."""

    def __init__(
        self,
        purposes: Purposes,
        now: datetime,
        standing: Iterable[Standing],
        kept: Set[Kept] = frozenset(),
        suspended: rules.Suspended = MappingProxyType({}),
    ) -> None:
        self._kept = kept
        self._suspended = dict(suspended)
        self._purposes = purposes
        self._now = now
        self._standing: dict[UUID, Standing] = {}
        self._near: dict[UUID | bytes, set[UUID]] = {}
        self._lifted: list[tuple[UUID, int]] = []
        self.written: list[Written] = []
        self.ended: dict[UUID, UUID] = {}
        """Stored entries that stand no longer, each with the one that ended it."""
        self.restored: set[UUID] = set()
        """Stored entries that stand again."""
        for entry in standing:
            self._add(entry)
        self._stood = frozenset(self._standing)
        self._stored = self._stood | {one for grants in self._suspended.values() for one in grants}

    def decide(self, incoming: Incoming) -> Outcome:
        """What a decision does to the state as the decisions before it left it. Changes nothing."""
        return rules.decide(incoming, self._around(incoming.scope), self._purposes, self._now, self._suspended)

    def stated(self, incoming: Incoming, outcome: Outcome) -> bool:
        """Whether the ledger has what a restriction says, and taking it in would change nothing."""
        if any(not self._standing[one].strength for one in outcome.ends):
            return False
        said = Kept(incoming.scope, incoming.decision, incoming.effective_at)
        return rules.repeats(incoming, outcome, self._around(incoming.scope)) or (
            not outcome.applied and said in self._kept
        )

    def write(
        self, entry_id: UUID, new: NewDecision, incoming: Incoming, placed: Placed, outcome: Outcome, record: bytes
    ) -> None:
        """Take the decision in: it ends what it ends, and stands when it was applied."""
        entry = _standing(entry_id, UNNUMBERED + len(self.written), incoming, outcome)
        back = self._suspended_by(outcome.ends)
        ended = [self._end(one, entry_id) for one in outcome.ends]
        if incoming.method is Method.KEYWORD and outcome.strength:
            self._suspended[entry_id] = back | {one.id: one for one in ended if not one.strength}
        for restored in outcome.restores:
            self._restore(back[restored])
        for survivor in outcome.survived:
            self._lift(survivor, entry.ordinal)
        in_force = outcome.applied and outcome.decision in GRANTS | RESTRICTIONS
        self.written.append(
            Written(
                new, placed.scope, placed.identifier, placed.address_only, outcome, entry, record, in_force,
                renews=outcome.strength > 0 and any(one.strength for one in ended),
            )
        )  # fmt: skip
        if in_force:
            self._add(entry)

    def numbered(self, ordinals: Sequence[int]) -> list[Written]:
        """What is to be written, with the ordinals the ledger gave, in order."""
        for written, ordinal in zip(self.written, ordinals, strict=True):
            latest = self._standing.get(written.standing.id, written.standing)
            lifts = frozenset(_real(one, ordinals) for one in latest.lifts)
            written.standing = replace(latest, ordinal=ordinal, lifts=lifts)
        return self.written

    def lifted(self, ordinals: Sequence[int]) -> list[tuple[UUID, int]]:
        """Stored grants that also lift restrictions of this batch: entry id and ordinal."""
        return [(grant, _real(one, ordinals)) for grant, one in self._lifted if grant not in self.ended]

    def _around(self, scope: Scope) -> list[Standing]:
        near = self._near.get(scope.recipient_id, set())
        if scope.identifier_hash is not None:
            near = near | self._near.get(scope.identifier_hash, set())
        return [self._standing[one] for one in near]

    def _add(self, entry: Standing) -> None:
        self._standing[entry.id] = entry
        for key in (entry.recipient_id, entry.identifier_hash):
            if key is not None:
                self._near.setdefault(key, set()).add(entry.id)

    def _suspended_by(self, stops: Iterable[UUID]) -> dict[UUID, Standing]:
        """The grants that these had ended, for whatever comes in their place."""
        return {one: grant for stop in stops for one, grant in self._suspended.pop(stop, {}).items()}

    def _end(self, entry_id: UUID, by: UUID) -> Standing:
        entry = self._standing.pop(entry_id)
        for key in (entry.recipient_id, entry.identifier_hash):
            if key is not None:
                self._near[key].discard(entry_id)
        if entry_id in self._stored:
            self.restored.discard(entry_id)
            self.ended[entry_id] = by
        else:
            written = self.written[entry.ordinal - UNNUMBERED]
            written.standing, written.in_force, written.ended_by = entry, False, by
        return entry

    def _restore(self, entry: Standing) -> None:
        if entry.id not in self._stored:
            written = self.written[entry.ordinal - UNNUMBERED]
            written.in_force, written.ended_by = True, None
        else:
            self.ended.pop(entry.id, None)
            self.restored |= {entry.id} - self._stood
        self._add(entry)

    def _lift(self, grant_id: UUID, ordinal: int) -> None:
        grant = self._standing[grant_id]
        self._standing[grant_id] = replace(grant, lifts=grant.lifts | {ordinal})
        if grant_id in self._stored:
            self._lifted.append((grant_id, ordinal))


def _standing(entry_id: UUID, ordinal: int, incoming: Incoming, outcome: Outcome) -> Standing:
    scope = incoming.scope
    return Standing(
        id=entry_id,
        ordinal=ordinal,
        recipient_id=scope.recipient_id,
        identifier_hash=scope.identifier_hash,
        person_scope=scope.person_scope,
        channel=scope.channel,
        purpose=scope.purpose,
        decision=outcome.decision,
        basis=incoming.basis,
        method=incoming.method,
        rank=outcome.rank,
        strength=outcome.strength,
        effective_at=incoming.effective_at,
        expires_at=incoming.expires_at,
        lifts=outcome.lifts,
        sender=scope.sender,
    )


def _real(ordinal: int, ordinals: Sequence[int]) -> int:
    return ordinals[ordinal - UNNUMBERED] if ordinal >= UNNUMBERED else ordinal
