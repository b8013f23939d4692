"""Hot routes that write: requests of one workspace side share a transaction, each with its own answer and key."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from tabellion.access.answers import Answer
from tabellion.access.calls import Call
from tabellion.access.edge import BUSY_FOR, BUSY_PAUSE, LASTING
from tabellion.access.idempotency import Busy, Fresh, IdempotencyKey, Outcome, Replay, claim, store
from tabellion.access.problems import in_progress, reused
from tabellion.core.batching import Batcher
from tabellion.core.db import Database, Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault

Unit = TypeVar("Unit")
Work: TypeAlias = Callable[[Tx, WorkspaceId, list[Unit]], Awaitable[Sequence[Answer | HubError]]]


@dataclass(frozen=True, slots=True)
class _Item(Generic[Unit]):
    unit: Unit
    key: IdempotencyKey | None


class Grouped(Generic[Unit]):
    """Group commit for one route. `work` takes the fresh units of one workspace side and answers each, in order."""

    def __init__(
        self,
        db: Database,
        vault: Vault,
        work: Work[Unit],
        *,
        observe: Callable[[int], None] = lambda size: None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._db = db
        self._vault = vault
        self._work = work
        self._pause = pause
        self._batcher: Batcher[_Item[Unit], Answer | Busy] = Batcher(
            self._commit, fold=lambda item: item.key, observe=observe
        )

    async def answer(self, call: Call[Any], unit: Unit) -> Answer:
        """The unit's answer once it is durable, or the stored one of an earlier request with its key.

        Waits at most 2 s, outside any transaction, while somebody else does the same.
        """
        item = _Item(unit, call.idempotency)
        until = self._db.clock.monotonic() + BUSY_FOR
        while isinstance(outcome := await self._batcher.submit(call.caller.workspace_id, item), Busy):
            if self._db.clock.monotonic() >= until:
                raise in_progress()
            await self._pause(BUSY_PAUSE)
        return outcome

    async def drain(self) -> None:
        """Return when everything under way has its answer."""
        await self._batcher.drain()

    async def _commit(self, key: Hashable, items: list[_Item[Unit]]) -> Sequence[Answer | Busy | HubError]:
        workspace_id: WorkspaceId = key  # type: ignore[assignment]
        return await self._db.run(lambda tx: self._transact(tx, workspace_id, items))

    async def _transact(
        self, tx: Tx, workspace_id: WorkspaceId, items: list[_Item[Unit]]
    ) -> Sequence[Answer | Busy | HubError]:
        keys = [item.key for item in items if item.key is not None]
        if not keys:
            return await self._work(tx, workspace_id, [item.unit for item in items])
        answers = await self._vault.workspace(tx, workspace_id, "answers")
        outcomes = dict(zip(keys, await claim(tx, workspace_id, keys, answers), strict=True))
        fresh = [item for item in items if item.key is None or isinstance(outcomes[item.key], Fresh)]
        done = await self._work(tx, workspace_id, [item.unit for item in fresh]) if fresh else []
        kept = [(item.key, said) for item, one in zip(fresh, done, strict=True) if item.key and (said := _lasting(one))]
        await store(tx, workspace_id, [(mark, said.status, said.body) for mark, said in kept], answers)
        said_of = {id(item): one for item, one in zip(fresh, done, strict=True)}
        return [said_of[id(item)] if id(item) in said_of else _settled(item, outcomes) for item in items]


def _lasting(answer: Answer | HubError) -> Answer | None:
    """The answer to keep for a repeated request; None where the request may be tried again."""
    if isinstance(answer, Answer):
        return answer
    return Answer.refusal(answer) if answer.status in LASTING else None


def _settled(item: _Item[Unit], outcomes: dict[IdempotencyKey, Outcome]) -> Answer | Busy | HubError:
    assert item.key is not None
    match outcomes[item.key]:
        case Replay() as kept:
            return Answer.replay(kept)
        case Busy() as busy:
            return busy
        case _:
            return reused()
