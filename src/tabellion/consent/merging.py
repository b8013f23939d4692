"""Consent when two persons are found to be one, and when that is taken back.

Nothing is rewritten: entries count for the merged person from then on, and for whom they were about again after a
split (`docs/decisions/0006-merge-and-split.md`). As restrictions of a person cover all their addresses, the more
restrictive verdict wins by itself; entries of method `merge` and `split` say so in the ledger.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from tabellion.consent import store
from tabellion.consent.recording import Recorder
from tabellion.consent.stating import Stated, state
from tabellion.consent.types import (
    Because,
    Decision,
    Joined,
    Method,
    NewDecision,
    Outcome,
    Placed,
    Purposes,
    Scope,
    Standing,
    Strength,
)
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.types import Ref


@dataclass(frozen=True, slots=True)
class Statement:
    """An entry that the hub makes of one that stands: the same word for a person, said again or ended."""

    about: UUID
    method: Method
    of: Standing
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Merging:
    recorder: Recorder

    async def join(self, tx: Tx, workspace_id: WorkspaceId, purposes: Purposes, why: Because) -> Joined:
        """Let what counted for one person count for the other, and say which restrictions reach further by that."""
        standing = await store.around_decisions(tx, workspace_id, [], [why.from_id, why.into_id])
        if doubled := doubled_grants(standing):
            await store.end(tx, workspace_id, dict.fromkeys(doubled))
        await store.settle(tx, workspace_id, [why.from_id, why.into_id], None)
        entries = await store.move(tx, workspace_id, why.from_id, why.into_id)
        theirs = [replace(one, recipient_id=why.into_id) for one in standing if one.id not in doubled]
        said = [Statement(why.into_id, Method.MERGE, one) for one in widest(theirs)]
        made = await state(self.recorder, tx, workspace_id, purposes, theirs, said, _entries(why, theirs, tx.now))
        stated = {entry: one.of.id for entry, one in zip(made, said, strict=True)}
        return Joined(entries, stated, await store.latest(tx, workspace_id, why.into_id))

    async def attach(self, tx: Tx, workspace_id: WorkspaceId, why: Because) -> Joined:
        """Let what counted for somebody known only by an address count for a person.

        Nothing is said in the ledger: what was restricted is the address, and it stays so.
        """
        entries = await store.move(tx, workspace_id, why.from_id, why.into_id)
        return Joined(entries, {}, await store.latest(tx, workspace_id, why.into_id))

    async def part(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        purposes: Purposes,
        why: Because,
        joined: Joined,
        others: Sequence[Joined],
        hashes: Collection[bytes],
    ) -> None:
        """Let what counted for one person before a merge count for them again, and end what the merge stated.

        Of what was said in between: a grant goes with its identifier (`hashes` are those that go back), a restriction
        of the person holds for both. `others` are the merges into the same recipient that stay.
        """
        standing = await store.around_decisions(tx, workspace_id, [], [why.into_id])
        between = await store.since(tx, workspace_id, why.into_id, joined.ordinal)
        fallen = fallen_statements(joined, others)
        back = {one.id for one in standing if not one.strength and one.identifier_hash in hashes} | set(joined.entries)
        await store.give(tx, workspace_id, sorted(back), why.from_id)
        now = [replace(one, recipient_id=why.from_id) if one.id in back else one for one in standing]
        ended = [Statement(why.into_id, Method.SPLIT, one, ends=True) for one in now if one.id in fallen]
        copied = [Statement(why.from_id, Method.SPLIT, one) for one in between]
        said = ended + copied
        await state(self.recorder, tx, workspace_id, purposes, now, said, _entries(why, now, tx.now))


# pure


def widest(standing: Iterable[Standing]) -> list[Standing]:
    """The restrictions of whole persons, of each channel and purpose the one that answers for all."""
    found: dict[tuple[str, str], Standing] = {}
    for one in sorted(standing, key=lambda one: (one.strength, one.effective_at, one.ordinal)):
        if one.strength and one.person_scope:
            found[one.channel, one.purpose] = one
    return sorted(found.values(), key=lambda one: one.ordinal)


def doubled_grants(standing: Iterable[Standing]) -> set[UUID]:
    """Grants for one address that both persons have, but for the latest: it belongs to one of them only."""
    latest: dict[tuple[bytes | None, str, str], Standing] = {}
    older = set()
    for one in sorted(standing, key=lambda one: one.ordinal):
        place = one.identifier_hash, one.channel, one.purpose
        if not one.strength:
            older |= {latest[place].id} if place in latest else set()
            latest[place] = one
    return older


def fallen_statements(joined: Joined, others: Iterable[Joined]) -> set[UUID]:
    """The statements that lose what they rest on with a split: its merge's own, and later ones that say these again."""
    fallen = set(joined.stated)
    gone = fallen | set(joined.entries)
    left = {entry: of for other in others for entry, of in other.stated.items()}
    while losing := {entry for entry, of in left.items() if of in gone and entry not in fallen}:
        fallen |= losing
        gone |= losing
    return fallen


_NOTHING: Final[frozenset[UUID]] = frozenset()


def _entries(
    why: Because, standing: Sequence[Standing], now: datetime
) -> Callable[[Sequence[Statement]], Iterator[Stated]]:
    return lambda said: (_entry(one, why, standing, now) for one in said)


def _entry(said: Statement, why: Because, standing: Sequence[Standing], now: datetime) -> Stated:
    """What lifted the restriction it says again lifts it too."""
    of = said.of
    decision = Decision.EXPIRED if said.ends else of.decision
    lifting = (one.id for one in standing if of.ordinal in one.lifts and one.recipient_id == said.about)
    outcome = Outcome(
        decision,
        of.rank,
        applied=True,
        strength=Strength.NONE if said.ends else of.strength,
        ends=frozenset({of.id}) if said.ends else _NOTHING,
        survived=_NOTHING if said.ends else frozenset(lifting),
    )
    new = NewDecision(
        recipient=Ref(id=said.about),
        channel=of.channel,
        purpose=of.purpose,
        decision=decision,
        basis=None,
        method=said.method,
        source=said.method.value,
        rank=of.rank,
        actor=why.actor,
        evidence={
            "merge": ids.show("mrg", why.merge_id),
            "from": ids.show("rcp", why.from_id),
            "into": ids.show("rcp", why.into_id),
            "entry": ids.show("cns", of.id),
        },
    )
    placed = Placed(Scope(said.about, None, True, of.channel, of.purpose), None, address_only=False)
    return Stated(new, placed, outcome, now if said.ends else of.effective_at)
