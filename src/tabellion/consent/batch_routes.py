"""`/v1/consents/batch` and `/v1/consents/check/batch`: every item has its own answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta

from tabellion.access.answers import Answer
from tabellion.access.calls import Call
from tabellion.access.edge import Edge, hot
from tabellion.access.idempotency import IdempotencyKey
from tabellion.access.itemised import entries, key_at, key_of, settle
from tabellion.access.problems import Problem, reused
from tabellion.consent.questions import Ask
from tabellion.consent.routes import (
    DECISION,
    QUESTION,
    CheckBody,
    DecisionBody,
    Warned,
    asked,
    checked,
    decided,
    shown,
)
from tabellion.consent.service import MOST, Consent
from tabellion.consent.types import Decision, NewDecision
from tabellion.core.db import Database, Tx
from tabellion.core.errors import FieldError, HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.ledger.ordinals import InLog
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import ItemRef

T = TypeVar("T")
PATH: Final = "/v1/consents/batch"
LARGEST: Final = 1_000
REUSED: Final = reused().code


class DecisionItem(DecisionBody, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    recipient: ItemRef
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255, pattern="^[ -~]+$")] | None = None


class DecisionItems(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    items: Annotated[list[DecisionItem], Meta(min_length=1, max_length=LARGEST)]


class DecisionEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one item: as `POST /v1/consents` answers it, or the problem under `error`."""

    index: int
    status: int
    id: str | None = None
    log_index: int | None = None
    log: InLog = None
    leaf_hash: str | None = None
    tree_size: int | None = None
    decision: Decision | None = None
    applied: bool | None = None
    in_flight: list[str] | None = None
    recipient_id: str | None = None
    reason: str | None = None
    deliverable: bool | None = None
    fix: str | None = None
    warnings: list[Warned] | None = None
    error: Problem | None = None


class DecisionEntries(msgspec.Struct, frozen=True):
    data: list[DecisionEntry]


class CheckItem(CheckBody, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    recipient: ItemRef


class CheckItems(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    items: Annotated[list[CheckItem], Meta(min_length=1, max_length=LARGEST)]


class CheckEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one item: as `POST /v1/consents/check` gives it, or the problem under `error`."""

    index: int
    status: int
    verdict: Literal["allowed", "denied", "unknown"] | None = None
    sendable: bool | None = None
    reason: str | None = None
    rule: str | None = None
    inputs: dict[str, Any] | None = None
    log_index: int | None = None
    log: InLog = None
    entry_id: str | None = None
    error: Problem | None = None


class CheckEntries(msgspec.Struct, frozen=True):
    data: list[CheckEntry]


@dataclass(frozen=True)
class Recording:
    """Records the decisions of one request, as many a transaction as the ledger takes."""

    db: Database
    vault: Vault
    consent: Consent

    async def record(
        self, call: Call[Any], keys: Sequence[IdempotencyKey | None], stated: Sequence[NewDecision | HubError]
    ) -> list[Answer | HubError]:
        """The answer to each, in order. Raises 409 where the request's own key was used with another body."""
        answers: list[Answer | HubError] = []
        for first in range(0, len(stated), MOST):
            answers += await self._durable(call.caller.workspace_id, keys, stated[first : first + MOST], first)
        if call.idempotency and all(isinstance(one, HubError) and one.code == REUSED for one in answers):
            raise reused()
        return answers

    async def _durable(
        self,
        side: WorkspaceId,
        keys: Sequence[IdempotencyKey | None],
        stated: Sequence[NewDecision | HubError],
        first: int,
    ) -> Sequence[Answer | HubError]:
        """The answers to some. Where they cannot be stored now, that is their answer."""

        async def work(tx: Tx) -> Sequence[Answer | HubError]:
            async def fresh(places: Sequence[int]) -> Sequence[Answer | HubError]:
                return await self._new(tx, side, {at: stated[at] for at in places}, first)

            return await settle(tx, self.vault, side, keys[first : first + len(stated)], fresh)

        try:
            return await self.db.run(work)
        except HubError as refusal:
            return [refusal] * len(stated)

    async def _new(
        self, tx: Tx, side: WorkspaceId, stated: dict[int, NewDecision | HubError], first: int
    ) -> list[Answer | HubError]:
        sound = {at: one for at, one in stated.items() if isinstance(one, NewDecision)}
        done = dict(zip(sound, await self.consent.record(tx, side, list(sound.values())), strict=True))
        return [
            _placed(one, first + at) if isinstance(one, HubError) else Answer(201, msgspec.json.encode(shown(one)))
            for at, one in ((at, done.get(at) or said) for at, said in stated.items())
            if not isinstance(one, NewDecision)
        ]


def routes(edge: Edge, recipients: Recipients, recording: Recording) -> list[HTTPRouteHandler]:
    """As many decisions, or questions, as a request holds; what one comes to stops no other."""

    async def record_many(call: Call[DecisionItems]) -> Answer:
        items = call.body.items
        keys = [key_of(PATH, one.idempotency_key, one) or key_at(call.idempotency, at) for at, one in enumerate(items)]
        stated = [stated_or_not(partial(decided, one, call.caller, recipients)) for one in items]
        return entries(await recording.record(call, keys, stated))

    async def check_many(call: Call[CheckItems]) -> Answer:
        side = call.caller.workspace_id
        asks = [stated_or_not(partial(asked, one, side, recipients)) for one in call.body.items]
        sound = [one for one in asks if isinstance(one, Ask)]
        verdicts = iter(await recording.db.run(lambda tx: recording.consent.check(tx, side, sound)))
        found = [next(verdicts) if isinstance(one, Ask) else one for one in asks]
        return entries(
            [
                _placed(one, at) if isinstance(one, HubError) else Answer(200, msgspec.json.encode(checked(one)))
                for at, one in enumerate(found)
            ]
        )

    return [
        hot(
            edge, "POST", PATH, "consents:write", DecisionItems, record_many, answer_type=DecisionEntries,
            example={"items": [DECISION]}, tags=("Consent",), summary="Record up to 1,000 decisions",
            description="One answer an item, in order; a refused item stops no other. They are recorded in that order,"
            " 256 a transaction: each that has its answer is durable and in a signed tree. Items may name their own"
            " idempotency key; otherwise each has one by its place where the request has one.",
        ),
        hot(
            edge, "POST", "/v1/consents/check/batch", "consents:read", CheckItems, check_many,
            answer_type=CheckEntries, example={"items": [QUESTION]}, tags=("Consent",),
            summary="Check up to 1,000 times whether one may send",
            description="One answer an item, in order, all as of one moment.",
        ),
    ]  # fmt: skip


def stated_or_not(state: Callable[[], T]) -> T | HubError:
    """What an item states, or why it cannot."""
    try:
        return state()
    except HubError as refusal:
        return refusal


def _placed(error: HubError, at: int) -> HubError:
    """The refusal of an item, its places those of the request."""
    places = [FieldError(f"/items/{at}{one.pointer}", one.detail) for one in error.errors]
    return HubError(error.code, error.detail, error.status, places) if places else error
