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
News = tuple[bytes, Place]
"""A place at an address that was not restricted before."""
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

    async def withdraw(
        self, tx: Tx, workspace_id: WorkspaceId, said: Sequence[Withdrawal]
    ) -> list[list[Recorded | HubError]]:
        """Restrict addresses, and whoever has each. What stands already, or is said twice, leaves one entry.

        An address that nobody has gives no row to lock, and whoever gets it now could be written to by a gate that had
        asked before. So it is restricted while no gate is at work on the side.
        """
        alone = await self._is_nobodys_news(tx, workspace_id, said)
        if alone:
            await policy_lock.change(tx, workspace_id)
        hashes = sorted({one.identifier_hash for one in said})
        owned = await self._owned(tx, workspace_id, hashes)
        policies = await self.policies(tx, workspace_id)
        people = sorted({person for person, _ in owned.values()})
        standing = await store.around_decisions(tx, workspace_id, hashes, people)
        owners = {hash_: person for hash_, (person, _) in owned.items()}
        news = _news(said, owners, standing, policies.purposes)
        nameless = {new: one for new, one in news.items() if new[0] not in owned}
        if nameless and not alone:  # it had somebody when it was looked at
            return await self.withdraw(tx, workspace_id, said)
        await self._nameless(tx, workspace_id, policies, standing, nameless)
        became = await self._named(tx, workspace_id, owned, {new: one for new, one in news.items() if new[0] in owned})
        return [[became[new] for new in _wanted(one, policies.purposes) if new in became] for one in said]

    async def _is_nobodys_news(self, tx: Tx, workspace_id: WorkspaceId, said: Sequence[Withdrawal]) -> bool:
        """Whether something is news at an address that nobody has. Nothing is locked yet."""
        owners = await self.recorder.recipients.owners(tx, workspace_id, sorted({one.identifier_hash for one in said}))
        about = [one for one in said if one.identifier_hash not in owners]
        if not about:
            return False
        purposes = (await self.policies(tx, workspace_id)).purposes
        standing = await store.around_decisions(tx, workspace_id, [one.identifier_hash for one in about], [])
        return bool(_news(about, {}, standing, purposes))

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
        news: Mapping[News, Withdrawal],
    ) -> dict[News, Recorded | HubError]:
        """Restrict where somebody has the address: as if they had named it; as many at once as the ledger takes."""
        became: dict[News, Recorded | HubError] = {}
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
        policies: Policies,
        standing: Sequence[Standing],
        news: Mapping[News, Withdrawal],
    ) -> None:
        """Restrict hashes alone. The entries are about somebody new each, of whom nothing is known but this."""
        purposes = policies.purposes

        def own(some: Sequence[tuple[News, Withdrawal]]) -> Iterator[Stated]:
            return (_nameless(one, place, one.evidence, standing, purposes, tx) for (_, place), one in some)

        def brought(some: Sequence[tuple[Withdrawal, Added]]) -> Iterator[Stated]:
            for one, (place, by, names) in some:
                evidence = {"entry": ids.show("cns", by), "policies": list(names)}
                yield _nameless(one, place, evidence, standing, purposes, tx)

        made = await state(self.recorder, tx, workspace_id, purposes, standing, list(news.items()), own)
        by = dict(zip(made, news.values(), strict=True))
        entries: dict[bytes, dict[Place, UUID]] = {}
        for (hash_, place), entry in zip(news, made, strict=True):
            entries.setdefault(hash_, {})[place] = entry
        said = {one.identifier_hash: one for one in news.values()}
        extra = [one for hash_, some in entries.items() for one in _added(said[hash_], some, standing, policies)]
        more = [(by[one[1]], one) for one in extra]
        await state(self.recorder, tx, workspace_id, purposes, standing, more, brought)


# pure


def _places(said: Withdrawal, purposes: Purposes) -> list[Place]:
    """What is withdrawn. A purpose that is none any more was of some kind of marketing."""
    known = [(channel, one if one in purposes else MARKETING) for channel, one in said.places]
    return list(dict.fromkeys(known))


def _wanted(said: Withdrawal, purposes: Purposes) -> list[News]:
    return [(said.identifier_hash, place) for place in _places(said, purposes)]


def _news(
    said: Sequence[Withdrawal], owners: Mapping[bytes, UUID], standing: Sequence[Standing], purposes: Purposes
) -> dict[News, Withdrawal]:
    """What is withdrawn and does not stand already, each with who said it first."""
    found: dict[News, Withdrawal] = {}
    for one in said:
        for new in _wanted(one, purposes):
            if not stands(standing, one.identifier_hash, owners.get(one.identifier_hash), new[1], purposes):
                found.setdefault(new, one)
    return found


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
