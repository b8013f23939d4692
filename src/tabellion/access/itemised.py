"""Requests of many items: each has its own answer, and its own idempotency key where it names one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from tabellion.access.answers import Answer
from tabellion.access.edge import LASTING
from tabellion.access.idempotency import Busy, Fresh, IdempotencyKey, Outcome, Replay, claim, identify, store
from tabellion.access.problems import draw, in_progress, reused
from tabellion.core.crypto import sha256
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault

Work = Callable[[Sequence[int]], Awaitable[Sequence[Answer | HubError]]]
"""Answers the items at these places, in their order."""
_EMPTY: Final = b"{}"


def key_of(path: str, named: str | None, item: object) -> IdempotencyKey | None:
    """The key that an item names."""
    return identify("POST", path, named, msgspec.json.encode(item)) if named else None


def key_at(whole: IdempotencyKey | None, place: int) -> IdempotencyKey | None:
    """The key that an item has because its request has one."""
    return whole and IdempotencyKey(sha256(whole.scope + b"\0%d" % place), whole.body)


async def settle(
    tx: Tx, vault: Vault, workspace_id: WorkspaceId, keys: Sequence[IdempotencyKey | None], work: Work
) -> list[Answer | HubError]:
    """The answer to each item, in order: what `work` says of those that are new, what was said of the others."""
    named = list(dict.fromkeys(key for key in keys if key is not None))
    if not named:
        return list(await work(range(len(keys))))
    answers = await vault.workspace(tx, workspace_id, "answers")
    outcomes = dict(zip(named, await claim(tx, workspace_id, named, answers), strict=True))
    places = [at for at, key in enumerate(keys) if key is None or _first(at, keys, outcomes)]
    done = dict(zip(places, await work(places), strict=True)) if places else {}
    lasting = [(key, said) for at, one in done.items() if (key := keys[at]) and (said := _lasting(one))]
    if lasting:
        await store(tx, workspace_id, [(key, said.status, said.body) for key, said in lasting], answers)
    firsts = {key: one for at, one in done.items() if (key := keys[at]) is not None}
    return [done[at] if at in done else _earlier(key, firsts, outcomes) for at, key in enumerate(keys)]


def entry(place: int, answer: Answer | HubError) -> bytes:
    """An item's answer as JSON: its place and status, and what it says; a problem under `error`."""
    if isinstance(answer, HubError):
        return b'{"index":%d,"status":%d,"error":%b}' % (place, answer.status, draw(answer))
    if answer.status >= 400:
        return b'{"index":%d,"status":%d,"error":%b}' % (place, answer.status, answer.body)
    rest = b"}" if answer.body in (b"", _EMPTY) else b"," + answer.body[1:]
    return b'{"index":%d,"status":%d%b' % (place, answer.status, rest)


def entries(answers: Sequence[Answer | HubError]) -> Answer:
    """The answer to the request: one entry an item, in order."""
    replayed = bool(answers) and all(isinstance(one, Answer) and one.replayed for one in answers)
    data = b",".join(entry(place, one) for place, one in enumerate(answers))
    return Answer(200, b'{"data":[%b]}' % data, {"Idempotent-Replay": "true"} if replayed else {})


def _first(at: int, keys: Sequence[IdempotencyKey | None], outcomes: Mapping[IdempotencyKey, Outcome]) -> bool:
    key = keys[at]
    return key is not None and isinstance(outcomes[key], Fresh) and keys.index(key) == at


def _lasting(answer: Answer | HubError) -> Answer | None:
    """The answer to keep for a repeated item; None where it may come again, corrected."""
    if isinstance(answer, Answer):
        return answer
    return Answer.refusal(answer) if answer.status in LASTING else None


def _earlier(
    key: IdempotencyKey | None,
    firsts: Mapping[IdempotencyKey, Answer | HubError],
    outcomes: Mapping[IdempotencyKey, Outcome],
) -> Answer | HubError:
    """The answer of an item that was done before: in this request, or in an earlier one."""
    if key is None or key in firsts:
        return firsts[key] if key else in_progress()
    match outcomes[key]:
        case Replay() as kept:
            return Answer.replay(kept)
        case Busy():
            return in_progress()
        case _:
            return reused()
