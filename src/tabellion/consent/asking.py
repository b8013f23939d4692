"""Answering questions in bulk: read what stands around all of them at once, then decide each with the pure rules."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from tabellion.consent import record, rules, store
from tabellion.consent.purposes.rules import age
from tabellion.consent.questions import OPEN, Ask, Inputs, Question, Verdict
from tabellion.consent.store import Place
from tabellion.consent.types import KINDS, Purpose, Purposes
from tabellion.core.db import Tx
from tabellion.core.errors import HubError
from tabellion.core.ids import WorkspaceId
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import ADDRESSES, REFUSED, Health, Identifier, Resolved

_NO_PURPOSE: Final = Verdict("unknown", sendable=False, reason="purpose_unknown", rule="purpose_unknown")


async def answer(
    tx: Tx, recipients: Recipients, questions: Sequence[Question], purposes: Mapping[UUID, Purposes]
) -> list[Verdict]:
    """The verdict on each question, in order: two statements for all, three where there are numbers.

    Ages take two more, where a purpose asks for one.
    """
    around = await store.around_questions(tx, questions)
    numbers = {
        (one.workspace_id, one.identifier_hash)
        for one in questions
        if one.channel in rules.PHONE_CHANNELS and one.identifier_hash
    }
    blocks = await store.blocks(tx, numbers) if numbers else {}
    people = {(one.workspace_id, one.recipient_id) for one in questions if one.recipient_id}
    restricted = await recipients.restricted(tx, people) if people else set()
    known = _known(questions, purposes)
    adult = any(purpose is not None and purpose.min_age is not None for purpose, _ in known.values())
    ages = await _ages(tx, recipients, [one for one in questions if _asks_age(one, purposes)]) if adult else {}
    answers = []
    for one, standing in zip(questions, around, strict=True):
        purpose, reach = known[one.workspace_id, one.purpose]
        if purpose is None:
            answers.append(_NO_PURPOSE)
        else:
            looked = blocks or restricted or one.health in REFUSED
            inputs = _inputs(one, blocks, restricted) if looked else OPEN
            if purpose.min_age is not None:
                inputs = _aged(inputs, ages.get((one.workspace_id, one.recipient_id)), purpose.min_age)
            answers.append(rules.verdict(one, standing, purpose, reach, tx.now, inputs))
    return answers


def _known(
    questions: Sequence[Question], purposes: Mapping[UUID, Purposes]
) -> dict[tuple[UUID, str], tuple[Purpose | None, frozenset[str]]]:
    """Each purpose that is asked about, once, with its line."""
    asked = {(one.workspace_id, one.purpose) for one in questions}
    return {(side, key): (purposes[side].get(key), rules.line(purposes[side], key)) for side, key in asked}


def _inputs(
    question: Question, blocks: Mapping[Place, frozenset[str]], restricted: Collection[tuple[UUID, UUID]]
) -> Inputs:
    """The inputs beyond consent. A block whose sender is not known, or a question without one, counts for all."""
    if question.identifier_hash is None:
        return OPEN
    stopped = (question.workspace_id, question.recipient_id) in restricted
    senders = blocks.get((question.workspace_id, question.identifier_hash), frozenset())
    blocked = bool(senders) and (question.sender is None or not senders.isdisjoint({question.sender, ""}))
    unhealthy = question.health.value if question.health in REFUSED else None
    if not (stopped or blocked or unhealthy):
        return OPEN
    return Inputs(processing_restricted=stopped, vendor_block=blocked, identifier_health=unhealthy)


def _asks_age(question: Question, purposes: Mapping[UUID, Purposes]) -> bool:
    purpose = purposes[question.workspace_id].get(question.purpose)
    return purpose is not None and purpose.min_age is not None


async def _ages(
    tx: Tx, recipients: Recipients, questions: Sequence[Question]
) -> dict[tuple[UUID, UUID | None], int | None]:
    """How old the people are whom questions are about; nobody is whom no question names."""
    people = {(one.workspace_id, one.recipient_id) for one in questions if one.recipient_id}
    return {pair: age(traits, tx.now) for pair, traits in (await recipients.traits(tx, people)).items()}


def _aged(inputs: Inputs, years: int | None, least: int) -> Inputs:
    """The inputs of a purpose with a minimum age. Of whom we know no age, it is not reached."""
    return replace(inputs, under_age=years is not None and years < least, age_unknown=years is None)


# checks: questions as people put them


async def check(
    tx: Tx, recipients: Recipients, workspace_id: WorkspaceId, asks: Sequence[Ask], purposes: Purposes
) -> list[Verdict | HubError]:
    """What a gate would say now, in order; where no identifier is named, about the one a send would choose."""
    refs = [ask.recipient for ask in asks] + [ask.identifier for ask in asks if ask.identifier]
    found = await recipients.resolve(tx, workspace_id, refs, create=False)
    people, apart = found[: len(asks)], iter(found[len(asks) :])
    named = [next(apart) if ask.identifier else one for ask, one in zip(asks, people, strict=True)]
    vague = {
        (workspace_id, one.recipient_id)
        for ask, one in zip(asks, people, strict=True)
        if isinstance(one, Resolved) and not _names_address(ask)
    }
    owned = {person: addresses for (_, person), addresses in (await recipients.identifiers(tx, vague)).items()}
    meant: list[Sequence[rules.Address] | HubError] = [
        _refused(ask, person, purposes)
        or _options(
            ask,
            person,
            one.identifier if isinstance(one, Resolved) else await _hash(tx, recipients, workspace_id, ask),
            owned,
        )
        for ask, person, one in zip(asks, people, named, strict=True)
    ]
    questions = [
        _question(workspace_id, ask, person, option)
        for ask, person, some in zip(asks, people, meant, strict=True)
        if not isinstance(some, HubError)
        for option in some
    ]
    verdicts = iter(await answer(tx, recipients, questions, {workspace_id: purposes}))
    return [
        some
        if isinstance(some, HubError)
        else next(verdicts)
        if len(some) == 1
        else rules.best([(next(verdicts), option) for option in some])
        for some in meant
    ]


def _names_address(ask: Ask) -> bool:
    """Whether a question is about one address, and not about whichever a send would choose."""
    return (ask.identifier or ask.recipient).kind in KINDS.get(ask.channel, ())


def _refused(ask: Ask, person: Resolved | HubError, purposes: Purposes) -> HubError | None:
    if ask.purpose not in purposes:
        return record.unknown_purpose(purposes)
    if ask.identifier is not None and ask.identifier.kind not in KINDS.get(ask.channel, ()):
        return record.mismatch(ask.channel, ask.identifier)
    return person if isinstance(person, HubError) and ask.recipient.kind not in ADDRESSES else None


async def _hash(tx: Tx, recipients: Recipients, workspace_id: WorkspaceId, ask: Ask) -> bytes | None:
    """Of an identifier that nobody has its hash, on which what an erased person refused stands."""
    return await recipients.hashed(tx, workspace_id, ask.identifier or ask.recipient)


def _options(
    ask: Ask,
    person: Resolved | HubError,
    named: rules.Address,
    owned: Mapping[UUID, Sequence[Identifier]],
) -> Sequence[rules.Address]:
    """The addresses a question means: the one named if it is of the channel, else all the person's that are."""
    if _names_address(ask):
        return [named]
    kinds = KINDS.get(ask.channel, ())
    known = owned.get(person.recipient_id, ()) if isinstance(person, Resolved) else ()
    return [one for one in known if one.kind in kinds] or [None]


def _question(workspace_id: UUID, ask: Ask, person: Resolved | HubError, option: rules.Address) -> Question:
    return Question(
        workspace_id,
        person.recipient_id if isinstance(person, Resolved) else None,
        option.hash if isinstance(option, Identifier) else option,
        option.kind if isinstance(option, Identifier) else None,
        ask.channel,
        ask.purpose,
        health=option.health if isinstance(option, Identifier) else Health.OK,
    )
