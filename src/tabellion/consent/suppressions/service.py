"""Use cases of suppressions: list, end, bring in, take out."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from tabellion.access.service import audit
from tabellion.consent.service import Consent
from tabellion.consent.suppressions import rules, store
from tabellion.consent.suppressions.rows import Suppression
from tabellion.consent.suppressions.types import Became, Listed, Owned, Row, Standing, Wanted
from tabellion.consent.types import STATED, Recorded
from tabellion.core import ids
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Health, Identifier, Kind, Resolved

Answers = Sequence[Became | HubError]
BOUNCED: Final = "hard_bounce"
PAGE: Final = 500
"""Suppressions of one transaction of an export."""


@dataclass(frozen=True)
class Suppressions:
    """The only way to suppressions. What is added goes through `Consent.record`."""

    recipients: Recipients
    consent: Consent

    async def page(
        self, tx: Tx, workspace_id: WorkspaceId, wanted: Wanted, before: UUID | None, limit: int
    ) -> list[Listed]:
        """Newest first."""
        return await self.listed(tx, workspace_id, await store.page(tx, workspace_id, wanted, before, limit))

    async def read(self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> Listed:
        """A restriction, also one that is not in force any more. Raises `NotFound`."""
        [one] = await self.listed(tx, workspace_id, [await self._read(tx, workspace_id, entry_id)])
        return one

    async def end(self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID, reason: str, actor: str) -> UUID:
        """End a plain restriction that was not the person's own; the entry that says so. Audited.

        Raises `NotFound`, and `Conflict` with what to do instead.
        """
        found = await self._held(tx, workspace_id, entry_id)
        if wrong := rules.refusal(found):
            raise wrong
        [listed] = await self.listed(tx, workspace_id, [found])
        entry = found.entry
        assert entry.recipient_id is not None, "rules.refusal"
        made = await self.consent.lift(
            tx, workspace_id, entry.id, entry.recipient_id, _identifier(listed, tx), reason, actor
        )
        detail: dict[str, object] = {"entry": ids.show("cns", made)}
        await audit(tx, workspace_id, actor, "suppression.ended", ids.show("cns", entry.id), detail)
        return made

    async def bring(self, db: Database, workspace_id: WorkspaceId, some: Sequence[Suppression], source: str) -> Answers:
        """What became of rows of a list, durable: decisions in one transaction, addresses that do not work in another.

        At most 256. A second time changes nothing.
        """
        decided = {index: one.decision for index, one in enumerate(some) if one.decision is not None}
        bounced = {index: one for index, one in enumerate(some) if one.decision is None}
        answers: dict[int, Became | HubError] = {}
        if bounced:
            done = await db.run(lambda tx: self._bounce(tx, workspace_id, list(bounced.values()), source))
            answers |= zip(bounced, done, strict=True)
        if decided:
            new = list(decided.values())
            recorded = await db.run(lambda tx: self.consent.record(tx, workspace_id, new, news_only=True))
            answers |= zip(decided, map(_became, recorded), strict=True)
        return [answers[index] for index in range(len(some))]

    async def rows(self, db: Database, workspace_id: WorkspaceId) -> AsyncIterator[Sequence[Row]]:
        """Every suppression of an address that can still be read, a page a transaction, oldest first."""
        behind = -1
        while True:

            async def work(tx: Tx, behind: int = behind) -> tuple[list[Row], int | None]:
                found = await store.after(tx, workspace_id, behind, PAGE)
                listed = await self.listed(tx, workspace_id, found, blocks=False)
                owned = await self._owned(tx, workspace_id, found)
                further = found[-1].entry.ordinal if len(found) == PAGE else None
                return [row for one in listed for row in rules.rows(one, owned)], further

            some, further = await db.run(work)
            if some:
                yield some
            if further is None:
                return
            behind = further

    async def listed(
        self, tx: Tx, workspace_id: WorkspaceId, found: Sequence[Standing], *, blocks: bool = True
    ) -> list[Listed]:
        """Restrictions with the addresses that they name, and what vendors block of these."""
        opened = await self.consent.opened(tx, workspace_id, [one.entry for one in found])
        hashes = {one.identifier_hash for one in found if one.identifier_hash} if blocks else set()
        senders = await self.consent.blocks(tx, workspace_id, sorted(hashes)) if hashes else {}
        return [
            Listed(
                one,
                _address(opened[one.entry.id]) if one.entry.id in opened else None,
                senders.get(one.identifier_hash or b"", frozenset()),
            )
            for one in found
        ]

    async def _owned(self, tx: Tx, workspace_id: WorkspaceId, found: Collection[Standing]) -> Owned:
        people = {one.entry.recipient_id for one in found if one.whole_person and one.entry.recipient_id}
        known = await self.recipients.identifiers(tx, [(workspace_id, one) for one in people])
        return {person: identifiers for (_, person), identifiers in known.items()}

    async def _read(self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> Standing:
        found = await store.read(tx, workspace_id, entry_id)
        if found is None:
            shown = ids.show("cns", entry_id)
            raise NotFound("suppression_not_found", f"there is no suppression {shown} here; GET /v1/suppressions lists")
        return found

    async def _held(self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> Standing:
        """The restriction as it is once its person is locked, whoever that is by then."""
        found = await self._read(tx, workspace_id, entry_id)
        while person := found.entry.recipient_id:
            held = await self.recipients.lock(tx, [(workspace_id, person)], skip_locked=False)
            found = await self._read(tx, workspace_id, entry_id)
            if found.entry.recipient_id in held.values():
                break
        return found

    async def _bounce(self, tx: Tx, workspace_id: WorkspaceId, some: Sequence[Suppression], source: str) -> Answers:
        """Note of addresses that they do not work, unless their owner proved since that they do."""
        refs, recipients = [one.address for one in some], self.recipients
        found = await recipients.resolve(tx, workspace_id, refs, create=True, address_only=True, source=source)
        people = {one.recipient_id for one in found if isinstance(one, Resolved)}
        await recipients.lock(tx, [(workspace_id, one) for one in people], skip_locked=False)
        found = await recipients.resolve(tx, workspace_id, refs, create=False)
        answers = [_works(one, said) for one, said in zip(found, some, strict=True)]
        changes = [
            (one.identifier.hash, Health.INVALID, BOUNCED)
            for one, answer in zip(found, answers, strict=True)
            if answer is Became.APPLIED and isinstance(one, Resolved) and one.identifier is not None
        ]
        await recipients.set_health(tx, workspace_id, changes)
        return answers


def _became(recorded: Recorded | HubError) -> Became | HubError:
    if isinstance(recorded, HubError):
        return recorded
    if not recorded.applied:
        return Became.KEPT
    return Became.ALREADY if recorded.reason == STATED else Became.APPLIED


def _works(found: Resolved | HubError, said: Suppression) -> Became | HubError:
    if isinstance(found, HubError) or found.identifier is None:
        return found if isinstance(found, HubError) else Became.KEPT
    known = found.identifier
    if known.health is Health.INVALID:
        return Became.ALREADY
    proved = known.verified_at is not None and said.occurred_at is not None and known.verified_at > said.occurred_at
    return Became.KEPT if proved else Became.APPLIED


def _address(record: dict[str, object]) -> tuple[str, str] | None:
    """The address that a record is about."""
    named = record.get("identifier")
    return (str(named["kind"]), str(named["value"])) if isinstance(named, dict) else None


def _identifier(listed: Listed, tx: Tx) -> Identifier | None:
    """The address of a restriction as an entry about it names it."""
    hash_ = listed.standing.identifier_hash
    if listed.address is None or hash_ is None:
        return None
    kind, value = listed.address
    return Identifier(Kind(kind), value, hash_, listed.standing.entry.source, tx.now, tx.now)
