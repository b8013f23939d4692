"""Withdrawals that name an address by its keyed hash alone: links in mail, which outlive whom they were sent to.

Where somebody has the address, it is recorded as if they had named it. Where nobody has, because they were erased, the
refusal stands on the hash alone, in the ledger like any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from uuid import UUID

from tabellion.consent import policy_lock, rules, store
from tabellion.consent.placing import reached
from tabellion.consent.policies import Policies, added
from tabellion.consent.recording import Recorder
from tabellion.consent.stating import Stated, state
from tabellion.consent.types import (
    ANY,
    Decision,
    Incoming,
    Method,
    NewDecision,
    Placed,
    Purposes,
    Rank,
    Recorded,
    Scope,
    Standing,
    Strength,
)
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.types import Identifier, Kind, Ref

MARKETING: Final = "marketing"
PERSON: Final = "recipient"
"""The actor of what people do on their own pages."""

Place = tuple[str, str]
"""Channel word and purpose word."""


Added = tuple[Place, UUID, Sequence[str]]
"""What the policies add to an opt-out: the place, the entry of the opt-out, and the policies."""


class Record(Protocol):
    async def __call__(
        self, tx: Tx, workspace_id: WorkspaceId, decisions: Sequence[NewDecision], /
    ) -> list[Recorded | HubError]:
        """What became of each decision, in order, with what the policies of the side add to it."""
        ...


class Current(Protocol):
    async def __call__(self, tx: Tx, workspace_id: WorkspaceId, /) -> Policies:
        """The purposes and policies of a side, as they are now."""
        ...


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What somebody who reads at an address wants no more."""

    identifier_hash: bytes
    kind: Kind
    places: Sequence[Place]
    method: Method
    source: str
    evidence: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Withdrawing:
    recorder: Recorder
    record: Record
    policies: Current

    async def withdraw(self, tx: Tx, workspace_id: WorkspaceId, said: Withdrawal) -> list[Recorded | HubError]:
        """Restrict an address, and whoever has it. What stands already leaves no second entry.

        An address that nobody has gives no row to lock, and whoever gets it now could be written to by a gate that had
        asked before. So it is restricted while no gate is at work on the side.
        """
        owner = await self._owner(tx, workspace_id, said.identifier_hash)
        if owner is None and await self._news(tx, workspace_id, said, None):
            await policy_lock.change(tx, workspace_id)
            owner = await self._owner(tx, workspace_id, said.identifier_hash)
        news = await self._news(tx, workspace_id, said, owner[0] if owner else None)
        if owner is None:
            await self._nameless(tx, workspace_id, said, news)
            return []
        decisions = [_decision(said, one, Ref(kind=owner[1].kind, value=owner[1].value)) for one in news]
        return await self.record(tx, workspace_id, decisions)

    async def _news(self, tx: Tx, workspace_id: WorkspaceId, said: Withdrawal, owner: UUID | None) -> list[Place]:
        """What is withdrawn and does not stand already."""
        purposes = (await self.policies(tx, workspace_id)).purposes
        standing = await store.around_decisions(tx, workspace_id, [said.identifier_hash], [owner] if owner else [])
        places = _places(said, purposes)
        return [one for one in places if not stands(standing, said.identifier_hash, owner, one, purposes)]

    async def _owner(self, tx: Tx, workspace_id: WorkspaceId, hash_: bytes) -> tuple[UUID, Identifier] | None:
        """Who has the address, under lock, and the address. While the lock was waited for it may have changed hands."""
        recipients, locked = self.recorder.recipients, set[UUID]()
        while (owner := (await recipients.owners(tx, workspace_id, [hash_])).get(hash_)) and owner not in locked:
            pair = (workspace_id, owner)
            root = (await recipients.lock(tx, [pair], skip_locked=False)).get(pair, owner)
            found = (await recipients.identifiers(tx, [(workspace_id, root)]))[workspace_id, root]
            if mine := next((one for one in found if one.hash == hash_), None):
                return root, mine
            locked.add(owner)
        return None

    async def _nameless(self, tx: Tx, workspace_id: WorkspaceId, said: Withdrawal, places: Sequence[Place]) -> None:
        """Restrict the hash alone. The entries are about somebody new, of whom nothing is known but this."""
        policies = await self.policies(tx, workspace_id)
        standing = await store.around_decisions(tx, workspace_id, [said.identifier_hash], [])

        def own(some: Sequence[Place]) -> Iterator[Stated]:
            return (_nameless(said, one, said.evidence, standing, policies.purposes, tx) for one in some)

        def brought(some: Sequence[Added]) -> Iterator[Stated]:
            for place, by, names in some:
                evidence = {"entry": ids.show("cns", by), "policies": list(names)}
                yield _nameless(said, place, evidence, standing, policies.purposes, tx)

        purposes = policies.purposes
        made = await state(self.recorder, tx, workspace_id, purposes, standing, places, own)
        more = list(_added(said, dict(zip(places, made, strict=True)), standing, policies))
        await state(self.recorder, tx, workspace_id, purposes, standing, more, brought)


# pure


def _places(said: Withdrawal, purposes: Purposes) -> list[Place]:
    """What is withdrawn. A purpose that is none any more was of some kind of marketing."""
    known = [(channel, one if one in purposes else MARKETING) for channel, one in said.places]
    return list(dict.fromkeys(known))


def _added(
    said: Withdrawal, made: Mapping[Place, UUID], standing: Sequence[Standing], policies: Policies
) -> Iterator[Added]:
    """What the policies add to what was withdrawn, each place once.

    On another channel only where that reaches this very address: which others are the same person's, nobody knows.
    """
    known = set(made)
    for place, by in made.items():
        for one in added(policies, *place):
            more = one.channel, one.purpose
            new = more not in known and said.kind in reached(one.channel)
            if new and not stands(standing, said.identifier_hash, None, more, policies.purposes):
                known.add(more)
                yield more, by, one.by


def stands(standing: Sequence[Standing], hash_: bytes, person: UUID | None, place: Place, purposes: Purposes) -> bool:
    """Whether the person's restriction that reaches the place stands, for the address and them, and no grant beside it.

    One that somebody else said, and may end, does not say it for them; a firm one nobody else may end.
    """
    channel, purpose = place
    reach = {ANY} if channel == ANY else {ANY, channel}
    line = rules.line(purposes, purpose)
    covered = any(
        (one.strength is Strength.FIRM or (one.strength and one.rank is Rank.PERSON))
        and one.identifier_hash == hash_
        and (person is None or (one.person_scope and one.recipient_id == person))
        and one.channel in reach
        and one.purpose in line
        for one in standing
    )
    scope = Scope(person or _NOBODY, hash_, person is not None, channel, purpose)
    return covered and not any(not one.strength and rules.covers(scope, one, purposes) for one in standing)


_NOBODY: Final = UUID(int=0)


def _decision(said: Withdrawal, place: Place, who: Ref) -> NewDecision:
    channel, purpose = place
    return NewDecision(
        recipient=who,
        channel=channel,
        purpose=purpose,
        decision=Decision.WITHDRAWN,
        basis=None,
        method=said.method,
        source=said.source,
        rank=Rank.PERSON,
        actor=PERSON,
        evidence=said.evidence,
    )


def _nameless(
    said: Withdrawal,
    place: Place,
    evidence: Mapping[str, Any] | None,
    standing: Sequence[Standing],
    purposes: Purposes,
    tx: Tx,
) -> Stated:
    """The entry about an address that nobody has: its record names the hash where the address would stand."""
    about = ids.new()
    new = replace(_decision(said, place, Ref(id=about)), evidence=evidence)
    scope = Scope(about, said.identifier_hash, False, *place)
    shown = f"hmac:{said.identifier_hash.hex()}"
    identifier = Identifier(said.kind, shown, said.identifier_hash, said.source, tx.now, tx.now)
    incoming = Incoming(scope, new.decision, None, new.method, new.rank, tx.now)
    outcome = rules.decide(incoming, standing, purposes, tx.now)
    return Stated(new, Placed(scope, identifier, address_only=False), outcome, tx.now)
