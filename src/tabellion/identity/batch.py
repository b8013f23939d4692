"""`POST /v1/recipients/batch`: every item has its own answer, and its own idempotency key where it names one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import msgspec

from tabellion.access.edge import LASTING
from tabellion.access.idempotency import Fresh, IdempotencyKey, Outcome, Replay, Reused, claim, identify, store
from tabellion.access.problems import Problem, in_progress, problem, reused
from tabellion.core import ids
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.identity.views import BatchEntry, BatchItem, IgnoredView, not_applied
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Absorbed, NewRecipient, Upserted

PATH = "/v1/recipients/batch"


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """An item's answer as it is stored for a repeated one."""

    status: int
    id: str | None = None
    error: Problem | None = None
    ignored: list[IgnoredView] = []


@dataclass(frozen=True)
class Batch:
    """Upserts many recipients in one transaction; a refused one stops no other."""

    vault: Vault
    recipients: Recipients
    absorbed: Absorbed

    async def upsert(
        self, tx: Tx, workspace_id: WorkspaceId, items: Sequence[BatchItem], actor: str | None = None
    ) -> list[BatchEntry]:
        keys = [_key(item) for item in items]
        outcomes = await self._claim(tx, workspace_id, [key for key in keys if key is not None])
        todo = [index for index, key in enumerate(keys) if key is None or _is_first(index, keys, outcomes)]
        done = dict(zip(todo, await self._apply(tx, workspace_id, items, todo, actor), strict=True))
        await self._store(tx, workspace_id, [(keys[index], kept) for index, kept in done.items()])
        firsts = {key: done[index] for index in todo if (key := keys[index]) is not None}
        return [
            _entry(index, done[index] if index in done else _earlier(key, firsts, outcomes))
            for index, key in enumerate(keys)
        ]

    async def _claim(
        self, tx: Tx, workspace_id: WorkspaceId, keys: Sequence[IdempotencyKey]
    ) -> Mapping[IdempotencyKey, Outcome]:
        """What each key is. Of equal ones the first counts: the others are Busy behind it."""
        if not keys:
            return {}
        answers = await self.vault.workspace(tx, workspace_id, "answers")
        distinct = list(dict.fromkeys(keys))
        return dict(zip(distinct, await claim(tx, workspace_id, distinct, answers), strict=True))

    async def _apply(
        self,
        tx: Tx,
        workspace_id: WorkspaceId,
        items: Sequence[BatchItem],
        todo: Sequence[int],
        actor: str | None,
    ) -> list[Kept]:
        units: dict[int, NewRecipient] = {}
        kept: dict[int, Kept] = {}
        for index in todo:
            try:
                units[index] = self._unit(workspace_id, index, items[index])
            except HubError as refusal:
                kept[index] = _refused(refusal)
        for source, some in groupby(units, key=lambda index: items[index].source):
            places = list(some)
            upserted = await self.recipients.upsert(
                tx, workspace_id, [units[one] for one in places], absorbed=self.absorbed, source=source, actor=actor
            )
            kept |= {index: _kept(one) for index, one in zip(places, upserted, strict=True)}
        return [kept[index] for index in todo]

    def _unit(self, workspace_id: WorkspaceId, index: int, item: BatchItem) -> NewRecipient:
        at = f"/items/{index}"
        return self.recipients.unit(workspace_id, list(item.named(at)), item.profile(), at)

    async def _store(
        self, tx: Tx, workspace_id: WorkspaceId, answers: Sequence[tuple[IdempotencyKey | None, Kept]]
    ) -> None:
        """Keep the answers that are one: a malformed item (422) may come again, corrected, with its key."""
        lasting = [
            (key, one.status, msgspec.json.encode(one))
            for key, one in answers
            if key is not None and (one.error is None or one.status in LASTING)
        ]
        if lasting:
            await store(tx, workspace_id, lasting, await self.vault.workspace(tx, workspace_id, "answers"))


def _key(item: BatchItem) -> IdempotencyKey | None:
    return identify("POST", PATH, item.idempotency_key, msgspec.json.encode(item)) if item.idempotency_key else None


def _is_first(index: int, keys: Sequence[IdempotencyKey | None], outcomes: Mapping[IdempotencyKey, Outcome]) -> bool:
    key = keys[index]
    return key is not None and isinstance(outcomes[key], Fresh) and keys.index(key) == index


def _earlier(
    key: IdempotencyKey | None, firsts: Mapping[IdempotencyKey, Kept], outcomes: Mapping[IdempotencyKey, Outcome]
) -> Kept:
    """The answer of an item that was done before: in this batch, or in an earlier request."""
    if key is None or key in firsts:
        return firsts[key] if key else _refused(in_progress())
    match outcomes[key]:
        case Replay(body=body):
            return msgspec.json.decode(body, type=Kept)
        case Reused():
            return _refused(reused())
        case _:
            return _refused(in_progress())


def _kept(one: Upserted | HubError) -> Kept:
    if isinstance(one, HubError):
        return _refused(one)
    return Kept(201 if one.created else 200, ids.show("rcp", one.recipient_id), ignored=not_applied(one.ignored))


def _refused(refusal: HubError) -> Kept:
    return Kept(refusal.status, error=problem(refusal))


def _entry(index: int, kept: Kept) -> BatchEntry:
    return BatchEntry(index, kept.status, kept.id, kept.error, kept.ignored)
