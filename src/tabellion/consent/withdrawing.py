"""Withdrawals that name an address by its keyed hash alone: links in mail, which outlive whom they were sent to.

Where somebody has the address, it is recorded as if they had named it. Where nobody has, because they were erased, the
refusal stands on the hash alone, in the ledger like any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from tabellion.consent import rules, store
from tabellion.consent.recording import Recorder
from tabellion.consent.stating import MOST, Stated, state
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
_News = tuple[bytes, Place]
"""A place at an address that was not restricted before."""


class Record(Protocol):
    async def __call__(
        self, tx: Tx, workspace_id: WorkspaceId, decisions: Sequence[NewDecision], /
    ) -> list[Recorded | HubError]:
        """What became of each decision, in order, with what the policies of the side add to it."""
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

    async def withdraw(
        self, tx: Tx, workspace_id: WorkspaceId, purposes: Purposes, said: Sequence[Withdrawal]
    ) -> list[list[Recorded | HubError]]:
        """Restrict addresses, and whoever has each. What stands already, or is said twice, leaves one entry."""
        hashes = sorted({one.identifier_hash for one in said})
        owned = await self._owned(tx, workspace_id, hashes)
        people = sorted({person for person, _ in owned.values()})
        standing = await store.around_decisions(tx, workspace_id, hashes, people)
        named = [[(one.identifier_hash, place) for place in _places(one, purposes)] for one in said]
        news: dict[_News, Withdrawal] = {}
        for one, some in zip(said, named, strict=True):
            owner = owned.get(one.identifier_hash)
            for new in some:
                if not stands(standing, new[0], owner and owner[0], new[1], purposes):
                    news.setdefault(new, one)
        nameless = [(one, new[1]) for new, one in news.items() if new[0] not in owned]
        await self._nameless(tx, workspace_id, purposes, standing, nameless)
        became = await self._named(tx, workspace_id, owned, {new: one for new, one in news.items() if new[0] in owned})
        return [[became[new] for new in some if new in became] for some in named]

    async def _owned(
        self, tx: Tx, workspace_id: WorkspaceId, hashes: Sequence[bytes]
    ) -> dict[bytes, tuple[UUID, Identifier]]:
        """Who has each address, under lock, and the address; left out where that is nobody.

        While a lock was waited for, an address may have changed hands.
        """
        recipients, waiting = self.recorder.recipients, set(hashes)
        found: dict[bytes, tuple[UUID, Identifier]] = {}
        locked: set[UUID] = set()
        while waiting:
            owners = await recipients.owners(tx, workspace_id, sorted(waiting))
            fresh = {(workspace_id, one) for one in owners.values() if one not in locked}
            if not fresh:
                break
            locked |= {one for _, one in fresh}
            held = await recipients.lock(tx, fresh, skip_locked=False)
            roots = {(workspace_id, held.get(pair, pair[1])) for pair in fresh}
            for (_, root), some in (await recipients.identifiers(tx, roots)).items():
                found |= {one.hash: (root, one) for one in some if one.hash in waiting}
            waiting -= found.keys()
        return found

    async def _named(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        owned: Mapping[bytes, tuple[UUID, Identifier]],
        news: Mapping[_News, Withdrawal],
    ) -> dict[_News, Recorded | HubError]:
        """Restrict where somebody has the address: as if they had named it; as many at once as the ledger takes."""
        became: dict[_News, Recorded | HubError] = {}
        wanted = list(news.items())
        for some in (wanted[first : first + MOST] for first in range(0, len(wanted), MOST)):
            decisions = [_decision(one, place, _ref(owned[hash_][1])) for (hash_, place), one in some]
            recorded = await self.record(tx, workspace_id, decisions)
            became |= dict(zip((new for new, _ in some), recorded, strict=True))
        return became

    async def _nameless(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        purposes: Purposes,
        standing: Sequence[Standing],
        news: Sequence[tuple[Withdrawal, Place]],
    ) -> None:
        """Restrict hashes alone. The entries are about somebody new each, of whom nothing is known but this."""

        def entries(some: Sequence[tuple[Withdrawal, Place]]) -> Iterator[Stated]:
            for said, one in some:
                yield _nameless(said, one, standing, purposes, tx)

        await state(self.recorder, tx, workspace_id, purposes, standing, news, entries)


# pure


def _places(said: Withdrawal, purposes: Purposes) -> list[Place]:
    """What is withdrawn. A purpose that is none any more was of some kind of marketing."""
    known = [(channel, one if one in purposes else MARKETING) for channel, one in said.places]
    return list(dict.fromkeys(known))


def stands(standing: Sequence[Standing], hash_: bytes, person: UUID | None, place: Place, purposes: Purposes) -> bool:
    """Whether a restriction that reaches the place stands for the address and its person, and no grant beside it."""
    channel, purpose = place
    reach = {ANY} if channel == ANY else {ANY, channel}
    line = rules.line(purposes, purpose)
    covered = any(
        one.strength
        and one.identifier_hash == hash_
        and (person is None or (one.person_scope and one.recipient_id == person))
        and one.channel in reach
        and one.purpose in line
        for one in standing
    )
    scope = Scope(person or _NOBODY, hash_, person is not None, channel, purpose)
    return covered and not any(not one.strength and rules.covers(scope, one, purposes) for one in standing)


_NOBODY: Final = UUID(int=0)


def _ref(identifier: Identifier) -> Ref:
    return Ref(kind=identifier.kind, value=identifier.value)


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


def _nameless(said: Withdrawal, place: Place, standing: Sequence[Standing], purposes: Purposes, tx: Tx) -> Stated:
    """The entry about an address that nobody has: its record names the hash where the address would stand."""
    about = ids.new()
    new = _decision(said, place, Ref(id=about))
    scope = Scope(about, said.identifier_hash, False, *place)
    shown = f"hmac:{said.identifier_hash.hex()}"
    identifier = Identifier(said.kind, shown, said.identifier_hash, said.source, tx.now, tx.now)
    incoming = Incoming(scope, new.decision, None, new.method, new.rank, tx.now)
    outcome = rules.decide(incoming, standing, purposes, tx.now)
    return Stated(new, Placed(scope, identifier, address_only=False), outcome, tx.now)
