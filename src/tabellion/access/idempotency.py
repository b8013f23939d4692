"""Idempotency keys: one execution for each (workspace side, method, path, key), its answer kept sealed for 24 hours.

`claim` and `store` run inside the caller's transaction, so that an answer exists exactly when its effects do. Whoever
holds a key's advisory lock is the only one executing it; the rest see Busy, and wait outside their transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from tabellion.access import store as tables
from tabellion.access.store import KeptAnswer
from tabellion.core.crypto import Key, sha256
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId

LIFE = timedelta(hours=24)
PURGE = 1_000


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """`scope` is the hash of what was asked for (method, path, key), `body` the hash of what was said."""

    scope: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Fresh:
    """Nobody did this yet: do it, and store the answer."""


@dataclass(frozen=True, slots=True)
class Replay:
    """It was done with the same body: this was the answer."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Reused:
    """The key was used with another body."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody is doing it just now; end the transaction, and ask again."""


Outcome: TypeAlias = Fresh | Replay | Reused | Busy


def identify(method: str, path: str, key: str, body: bytes, query: bytes = b"") -> IdempotencyKey:
    """The idempotency key of a request. The body counts with its query: both say what to do."""
    scope = sha256(f"{method}\0{path}\0{key}".encode())
    return IdempotencyKey(scope, sha256(query + b"\0" + body if query else body))


async def claim(tx: Tx, workspace_id: WorkspaceId, keys: Sequence[IdempotencyKey], key: Key) -> list[Outcome]:
    """What each request is, in the order given: Fresh to execute, or why not. `key` is the side's `answers` key.

    Named twice in one batch, the second is Busy with the same body (it replays once the first is committed) and
    Reused with another. A claim whose answer is not stored by the end of the transaction is forgotten.
    """
    firsts = {one.scope: one for one in reversed(keys)}
    got = await tables.lock_scopes(tx, workspace_id, list(firsts))
    ours = [firsts[scope] for scope in got]
    fresh = await tables.insert_claims(tx, workspace_id, [(one.scope, one.body) for one in ours], tx.now + LIFE)
    taken = [one for one in ours if one.scope not in fresh]
    outcomes: dict[bytes, Outcome] = dict.fromkeys(fresh, Fresh())
    if taken:
        outcomes |= await _reread(tx, workspace_id, taken, key)
    return [_settle(one, firsts, outcomes) for one in keys]


async def store(
    tx: Tx, workspace_id: WorkspaceId, answers: Sequence[tuple[IdempotencyKey, int, bytes]], key: Key
) -> None:
    """Keep the answers of claimed keys, sealed, in the transaction that did the work."""
    rows = [(one.scope, status, key.seal(body, _context(workspace_id, one.scope))) for one, status, body in answers]
    if rows and await tables.store_answers(tx, workspace_id, rows) != len(rows):
        raise HubError("not_claimed", "an answer was to be stored for a key that was not claimed", 500)


async def purge(tx: Tx, limit: int = PURGE) -> int:
    """Delete up to `limit` expired answers, of all workspaces; the number deleted. Call until it is less than that."""
    return await tables.delete_expired_answers(tx, limit)


async def _reread(tx: Tx, workspace_id: WorkspaceId, taken: Sequence[IdempotencyKey], key: Key) -> dict[bytes, Outcome]:
    """The outcomes of keys that have a row: replayed, reused, or taken over where the row is expired or unanswered."""
    rows = await tables.read_answers(tx, workspace_id, [one.scope for one in taken])
    stale = [one for one in taken if (row := rows.get(one.scope)) is None or row.sealed is None or row.expired(tx.now)]
    renewed = await tables.renew_claims(tx, workspace_id, [(one.scope, one.body) for one in stale], tx.now + LIFE)
    outcomes: dict[bytes, Outcome] = dict.fromkeys(renewed, Fresh())
    gone = {one.scope for one in stale}
    for one in taken:
        if one.scope not in gone:
            outcomes[one.scope] = _kept(workspace_id, one, rows[one.scope], key)
    return outcomes


def _kept(workspace_id: WorkspaceId, one: IdempotencyKey, row: KeptAnswer, key: Key) -> Outcome:
    if row.body != one.body:
        return Reused()
    assert row.sealed is not None
    assert row.status is not None
    return Replay(row.status, key.open(row.sealed, _context(workspace_id, one.scope)))


def _settle(one: IdempotencyKey, firsts: dict[bytes, IdempotencyKey], outcomes: dict[bytes, Outcome]) -> Outcome:
    """The outcome of one key of a batch. A scope's first key takes it; what follows can only wait or lose."""
    outcome = outcomes.get(one.scope, Busy())
    first = firsts[one.scope]
    outcomes[one.scope] = Busy() if isinstance(outcome, Fresh) else outcome
    if one.body == first.body:
        return outcome
    return Busy() if isinstance(outcome, Reused) else Reused()


def _context(workspace_id: WorkspaceId, scope: bytes) -> str:
    return f"answer:{workspace_id}:{scope.hex()}"
