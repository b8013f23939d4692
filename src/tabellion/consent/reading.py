"""What is known of a person's consent: what holds now, for each address, and every entry there ever was."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from tabellion.access.service import audit
from tabellion.consent import rules, store
from tabellion.consent.questions import Question, Verdict
from tabellion.consent.service import Consent
from tabellion.consent.types import KINDS, KeptEntry, Purpose, Standing
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError, NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Identifier, Ref

PENDING_FOR: Final = timedelta(hours=48)
"""How long a confirmation is waited for."""


@dataclass(frozen=True, slots=True)
class Held:
    """What holds for one address, channel and purpose."""

    identifier: Identifier
    channel: str
    purpose: str
    verdict: Verdict
    chosen: bool
    """Of several addresses of the channel it is the one that a send would choose."""
    since: datetime | None
    expires_at: datetime | None
    entries: Sequence[UUID]
    """The standing entries that bear on it."""
    pending: tuple[UUID, datetime] | None
    """The grant that waits for the person's confirmation, and until when."""


@dataclass(frozen=True, slots=True)
class State:
    recipient_id: UUID
    held: Sequence[Held]
    standing: Sequence[Standing]
    notices: Mapping[UUID, tuple[str, str]]
    """The notice and version that an entry names."""
    blocks: Sequence[tuple[Identifier, frozenset[str]]]
    """The person's numbers that a vendor refuses, and from which of our senders."""


@dataclass(frozen=True)
class Reading:
    recipients: Recipients
    consent: Consent

    async def state(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> State:
        """What holds for a person now. Raises `NotFound`, or what became of them."""
        root = await self._root(tx, workspace_id, recipient_id)
        owned = (await self.recipients.identifiers(tx, [(workspace_id, root)]))[workspace_id, root]
        standing = await store.around_decisions(tx, workspace_id, [one.hash for one in owned], [root])
        purposes = await self.consent.purposes(tx, workspace_id)
        asked = [
            (one, Question(workspace_id, root, one.hash, one.kind, channel, purpose, health=one.health))
            for channel, kinds in KINDS.items()
            for one in owned
            if one.kind in kinds
            for purpose in purposes
        ]
        verdicts = await self.consent.verdicts(tx, [question for _, question in asked])
        answers = [(one, question, said) for (one, question), said in zip(asked, verdicts, strict=True)]
        pending = await store.pending(tx, workspace_id, root, tx.now - PENDING_FOR)
        blocks = await self.consent.blocks(tx, workspace_id, [one.hash for one in owned])
        return State(
            root,
            list(_held(answers, standing, purposes, pending)),
            sorted(standing, key=lambda one: -one.ordinal),
            await store.notices(tx, workspace_id, [one.id for one in standing]),
            [(one, blocks[one.hash]) for one in owned if one.hash in blocks],
        )

    async def entries(
        self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID, before: UUID | None, limit: int
    ) -> list[KeptEntry]:
        """Every entry that counts for a person, newest first. Raises as `state` does."""
        root = await self._root(tx, workspace_id, recipient_id)
        return await store.page(tx, workspace_id, root, before, limit)

    async def entry(self, tx: Tx, workspace_id: WorkspaceId, entry_id: UUID) -> KeptEntry:
        """Raises `NotFound`."""
        found = await store.entry(tx, workspace_id, entry_id)
        if found is None:
            raise NotFound("consent_not_found", f"there is no decision {ids.show('cns', entry_id)} here")
        return found

    async def disclosed(
        self, tx: Tx, workspace_id: WorkspaceId, entries: Sequence[KeptEntry], actor: str
    ) -> dict[UUID, dict[str, Any]]:
        """What the ledger committed to, of those entries that still open. Audited, by whom they are about."""
        opened = await self.consent.opened(tx, workspace_id, entries)
        people = sorted({one.recipient_id for one in entries if one.recipient_id and one.id in opened})
        for person in people:
            about = [ids.show("cns", one.id) for one in entries if one.recipient_id == person and one.id in opened]
            detail: dict[str, object] = {"entries": about[:100], "count": len(about)}
            await audit(tx, workspace_id, actor, "consent.disclosed", ids.show("rcp", person), detail)
        return opened

    async def _root(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> UUID:
        [found] = await self.recipients.resolve(tx, workspace_id, [Ref(id=recipient_id)], create=False)
        if isinstance(found, HubError):
            raise found
        return found.recipient_id


Answered = tuple[Identifier, Question, Verdict]


def _held(
    answers: Sequence[Answered],
    standing: Iterable[Standing],
    purposes: Mapping[str, Purpose],
    pending: Mapping[tuple[bytes, str, str], tuple[UUID, datetime]],
) -> Iterator[Held]:
    entries = {one.ordinal: one for one in standing}
    best: dict[tuple[str, str], list[Answered]] = {}
    for answer in answers:
        best.setdefault((answer[1].channel, answer[1].purpose), []).append(answer)
    chosen = {id(rules.best([(said, one) for one, _, said in some])) for some in best.values()}
    for one, question, said in answers:
        bearing = [said.inputs.get("grant"), *said.inputs.get("restrictions", ())]
        deciding = entries.get(said.ordinal) if said.ordinal is not None else None
        waits = pending.get((one.hash, question.channel, question.purpose))
        yield Held(
            identifier=one,
            channel=question.channel,
            purpose=question.purpose,
            verdict=said,
            chosen=id(said) in chosen,
            since=deciding.effective_at if deciding else None,
            expires_at=_expires(deciding, purposes[question.purpose]) if deciding else None,
            entries=[entries[at].id for at in bearing if at in entries],
            pending=(waits[0], waits[1] + PENDING_FOR) if waits else None,
        )


def _expires(entry: Standing, purpose: Purpose) -> datetime | None:
    """When an entry ends by itself: as it says, or as long after as consents to the purpose last."""
    if entry.strength:
        return None
    ends = [entry.expires_at] if entry.expires_at else []
    if purpose.consent_ttl is not None:
        ends.append(entry.effective_at + purpose.consent_ttl)
    return min(ends, default=None)
