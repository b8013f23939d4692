"""Identifiers that change hands in an upsert: a device that somebody else uses now, a browser that became known.

A token goes to whoever identified last, and what was allowed at it ends; an anonymous id stays with the first. What
more persons than the policy says were named with is nobody's any more.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from msgspec.structs import replace

from tabellion.core.crypto import Key
from tabellion.core.db import Tx
from tabellion.core.ids import RecipientId, WorkspaceId
from tabellion.events.service import EventLog
from tabellion.events.types import Event
from tabellion.recipients import happened, history, sealing, store
from tabellion.recipients import tokens_store as tokens
from tabellion.recipients.changes import Change
from tabellion.recipients.history import Version
from tabellion.recipients.resolution import MOVING, Policy
from tabellion.recipients.store import Found, Record
from tabellion.recipients.tokens_store import Handed
from tabellion.recipients.types import Above, Identifier, Named

Owned = Mapping[bytes, tuple[Named, Found]]
"""Identifiers that known persons have and that were named with another, by hash."""


@dataclass(frozen=True, slots=True)
class Case:
    """What one unit says of identifiers that are not its person's. All rows are locked."""

    to_id: UUID
    joins: Sequence[UUID]
    """Recipients who were anonymous."""
    named: Owned
    replaced: Owned
    """Tokens in whose place another one came."""
    records: Mapping[UUID, Record]
    keys: Mapping[UUID, Key]

    def of(self, hashes: Collection[bytes]) -> dict[UUID, list[bytes]]:
        """The identifiers by whose they are, in order."""
        found: dict[UUID, list[bytes]] = {}
        for one in sorted(hashes):
            found.setdefault((self.named | self.replaced)[one][1].recipient_id, []).append(one)  # type: ignore[operator]
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class Handover:
    """Changes of hands in one transaction."""

    events: EventLog
    above: Above
    tx: Tx
    workspace_id: WorkspaceId
    policy: Policy
    source: str
    actor: str | None
    _happened: list[Event] = field(default_factory=list)

    async def settle(self, case: Case) -> list[bytes]:
        """Let everything go to whom it belongs to now; the identifiers that the person of the unit has got.

        Raises `HubError` where somebody cannot become part of the person; then nothing has changed.
        """
        for one in case.joins:
            await self.above.joined(self.tx, self.workspace_id, RecipientId(one), RecipientId(case.to_id), self.actor)
        crowded = await self._crowded(case)
        await self._share(case, crowded)
        got = [one for one, (named, _) in case.named.items() if named.kind in MOVING and one not in crowded]
        await self._give(case, got)
        await self._retire(case)
        if self._happened:
            await self.events.append(self.tx, self._happened)
        return got

    async def _crowded(self, case: Case) -> set[bytes]:
        """Note who was named with what; the identifiers that were now named with too many."""
        if not case.named:
            return set()
        since = self.tx.now - self.policy.within
        claims = [(one, row.recipient_id, row.last_seen_at) for one, (_, row) in case.named.items()]
        claims += [(one, case.to_id, self.tx.now) for one in case.named]
        await tokens.claim(self.tx, self.workspace_id, claims, since)
        people = await tokens.claimants(self.tx, self.workspace_id, list(case.named), since)
        return {one for one, count in people.items() if count > self.policy.people}

    async def _share(self, case: Case, crowded: Collection[bytes]) -> None:
        for owner, hashes in case.of(crowded).items():
            await self._release(owner, hashes, "shared")
            await tokens.share(self.tx, self.workspace_id, hashes)
            for one in hashes:
                kind = case.named[one][0].kind
                self._happened.append(happened.identifier_shared(self.workspace_id, owner, kind))

    async def _give(self, case: Case, got: Sequence[bytes]) -> None:
        for owner, hashes in case.of(got).items():
            await self._release(owner, hashes, "device_moved")
            await self._note_loss(case, owner, hashes)
        if got:
            handed = [self._handed(case, one) for one in got]
            await tokens.hand(self.tx, self.workspace_id, handed, self.source)

    def _handed(self, case: Case, hash_: bytes) -> Handed:
        plain = sealing.plain(case.named[hash_][0])
        value = sealing.seal_value(self.workspace_id, case.to_id, case.keys[case.to_id], hash_, plain)
        return Handed(hash_, case.to_id, value)

    async def _note_loss(self, case: Case, owner: UUID, hashes: Sequence[bytes]) -> None:
        """The owner's next version, without them. They are still as the owner had them."""
        record = case.records[owner]
        after = replace(record, version=record.version + 1)
        await store.write(self.tx, self.workspace_id, [after])
        owned = {row.hash: row for row in await store.identifiers(self.tx, [(self.workspace_id, owner)])}
        lost = tuple((sealing.open_identifier(owned[one], case.keys[owner]), None) for one in hashes)
        change = Change(identifiers=lost)
        version = Version(owner, after.version, change.fields, case.keys[owner], change)
        await history.keep(self.tx, self.workspace_id, [version], source=self.source, actor=self.actor)
        for one in hashes:
            kind = case.named[one][0].kind
            self._happened.append(happened.identifier_released(self.workspace_id, owner, kind, "device_moved"))

    async def _retire(self, case: Case) -> None:
        """Tokens of known persons that another one took the place of: the app on that device is another's now."""
        for owner, hashes in case.of(case.replaced).items():
            await self._release(owner, hashes, "replaced")
            await store.retire(self.tx, self.workspace_id, [(one, owner) for one in hashes])

    async def _release(self, owner: UUID, hashes: Sequence[bytes], why: str) -> None:
        await self.above.released(self.tx, self.workspace_id, RecipientId(owner), hashes, why, self.actor)


def known(hash_: bytes, named: Named, row: Found) -> Identifier:
    """An identifier as its row has it, its value as it was named."""
    return Identifier(
        kind=named.kind,
        value=named.value,
        hash=hash_,
        source=row.source,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        verified_at=row.verified_at,
        health=row.health,
        health_reason=row.health_reason,
        device=named.device,
        keys=named.keys,
    )
