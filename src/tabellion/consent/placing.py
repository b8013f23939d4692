"""Whom and which identifier each decision of a batch means: resolved, then locked, then read.

Every restriction gets a recipient row to lock: an address nobody has gets an address-only recipient.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final
from uuid import UUID

import msgspec

from tabellion.consent.record import mismatch
from tabellion.consent.rules import imported
from tabellion.consent.types import (
    ANY,
    GRANTS,
    KINDS,
    PHONE_MESSAGING,
    RESTRICTIONS,
    Decision,
    NewDecision,
    Placed,
    Rank,
    Scope,
)
from tabellion.core.db import Tx
from tabellion.core.errors import Conflict, FieldError, HubError, Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.providers.base import Channel
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import DELIVERABLE, Identifier, Kind, Ref, Resolved

_KINDS: Final[Mapping[str, tuple[Kind, ...]]] = {
    **{channel.value: KINDS.get(channel, ()) for channel in Channel},
    PHONE_MESSAGING: (Kind.PHONE,),
    ANY: tuple(sorted(DELIVERABLE)),
}
"""The kinds of identifier that each channel word of a decision reaches."""


class _Case(msgspec.Struct, frozen=True, gc=False):
    new: NewDecision
    person: Resolved
    named: Resolved | None
    """Whose the identifier is that was named apart from the recipient."""

    @property
    def identifier(self) -> Identifier | None:
        """The identifier named, if it is of the decision's channel."""
        if self.named is not None:
            return self.named.identifier
        address = self.person.identifier
        return address if address and address.kind in _KINDS[self.new.channel] else None


class _How(Enum):
    """How something named is looked up, in the order it is done."""

    MAKE = 1
    """Nobody's address becomes a recipient."""
    RESTRICT = 2
    """Nobody's address becomes an address-only recipient."""
    FIND = 3


class _Wanted(msgspec.Struct, frozen=True, gc=False):
    index: int
    apart: bool
    ref: Ref
    how: _How


async def place(
    tx: Tx, recipients: Recipients, workspace_id: WorkspaceId, decisions: Mapping[int, NewDecision]
) -> dict[int, Placed | HubError]:
    """Each decision placed, or why it cannot be, under the key it was given."""
    cases, roots = await _held(tx, recipients, workspace_id, decisions)
    sound = [case for case in cases.values() if isinstance(case, _Case)]
    vague = {roots[case.person.recipient_id] for case in sound if case.identifier is None or _late(case.new)}
    owned = await recipients.identifiers(tx, [(workspace_id, one) for one in vague])
    addresses = {person: found for (_, person), found in owned.items()}
    hidden = {roots[case.person.recipient_id] for case in sound if case.person.address_only}
    return {
        index: _placed(case, roots, addresses, roots[case.person.recipient_id] in hidden)
        if isinstance(case, _Case)
        else case
        for index, case in cases.items()
    }


async def _held(
    tx: Tx, recipients: Recipients, workspace_id: WorkspaceId, decisions: Mapping[int, NewDecision]
) -> tuple[dict[int, _Case | HubError], dict[UUID, UUID]]:
    """Whom each decision means under the lock, and the root of everybody who is locked.

    While the lock was waited for, an address may have found another owner: by an upsert, a merge or a split.
    """
    roots: dict[UUID, UUID] = {}
    cases = await _resolve(tx, recipients, workspace_id, decisions)
    while missing := _people(cases) - roots.keys():
        held = await recipients.lock(tx, [(workspace_id, one) for one in missing], skip_locked=False)
        roots |= {asked: root for (_, asked), root in held.items()}
        roots |= {root: root for root in held.values()}
        cases = await _resolve(tx, recipients, workspace_id, decisions)
    return cases, roots


def _people(cases: Mapping[int, _Case | HubError]) -> set[UUID]:
    sound = [case for case in cases.values() if isinstance(case, _Case)]
    return {one.recipient_id for case in sound for one in (case.person, case.named) if one}


async def _resolve(
    tx: Tx, recipients: Recipients, workspace_id: WorkspaceId, decisions: Mapping[int, NewDecision]
) -> dict[int, _Case | HubError]:
    """Whom each decision means. A grant makes the recipient of its address, a restriction an address-only one."""
    cases: dict[int, _Case | HubError] = {
        index: wrong for index, new in decisions.items() if (wrong := wrong_kind(new))
    }
    wanted = [one for index, new in decisions.items() if index not in cases for one in _wanted(index, new)]
    found: dict[tuple[int, bool], Resolved | HubError] = {}
    for how in _How:
        some = [one for one in wanted if one.how is how]
        if some:
            answers = await recipients.resolve(
                tx,
                workspace_id,
                [one.ref for one in some],
                create=how is not _How.FIND,
                address_only=how is _How.RESTRICT,
            )
            found |= {(one.index, one.apart): answer for one, answer in zip(some, answers, strict=True)}
    for index in decisions.keys() - cases.keys():
        cases[index] = _case(decisions[index], found[index, False], found.get((index, True)))
    return cases


def _wanted(index: int, new: NewDecision) -> Iterator[_Wanted]:
    """What a decision names: the recipient, and the identifier where that is named apart."""
    restricts = new.decision not in GRANTS
    yield _Wanted(index, False, new.recipient, _How.RESTRICT if restricts else _how(new))
    if new.identifier is not None:
        yield _Wanted(index, True, new.identifier, _How.RESTRICT if restricts else _How.FIND)


def _how(grant: NewDecision) -> _How:
    """A grant makes the recipient it names when it is for the very address that names it.

    One that is going to be ignored makes nobody who shows: only a row that says about whom it was.
    """
    ref, apart = grant.recipient, grant.identifier
    same = apart is None or (apart.kind, apart.value) == (ref.kind, ref.value)
    if not same or ref.kind not in _KINDS[grant.channel]:
        return _How.FIND
    return _How.RESTRICT if grant.rank is Rank.PUBLIC_KEY else _How.MAKE


def wrong_kind(new: NewDecision) -> Invalid | None:
    """Why the identifier that is named apart is none of the channel; None where it is one."""
    if new.identifier is None or new.identifier.kind in _KINDS[new.channel]:
        return None
    return mismatch(new.channel, new.identifier)


def _case(new: NewDecision, person: Resolved | HubError, named: Resolved | HubError | None) -> _Case | HubError:
    if isinstance(person, HubError):
        return person
    if isinstance(named, HubError):
        return _foreign()
    return _Case(new, person, named)


def _placed(
    case: _Case, roots: Mapping[UUID, UUID], addresses: Mapping[UUID, Sequence[Identifier]], hidden: bool
) -> Placed | HubError:
    new = case.new
    person = roots[case.person.recipient_id]
    identifier = case.identifier or _single(new.channel, addresses.get(person, ()))
    if new.decision in GRANTS:
        if identifier is None:
            return _unnamed(new.channel)
        if case.named is not None and roots[case.named.recipient_id] != person:
            return _foreign()
    whole = _whole_person(case, identifier, hidden)
    hash_ = identifier.hash if identifier else None
    scope = Scope(person, hash_, whole, new.channel, new.purpose, new.sender)
    owned = tuple(addresses.get(person, ())) if _late(new) else ()
    fitting = _fitting(new.channel, owned) if whole else ()
    starts = new.decision is Decision.EXPIRED
    return Placed(scope, identifier, hidden, frozenset(one.hash for one in fitting), owned, starts)


def reached(channel: str) -> tuple[Kind, ...]:
    """The kinds of identifier that a channel word of a decision reaches."""
    return _KINDS[channel]


def _late(new: NewDecision) -> bool:
    """Whether it is a restriction that may be older than what stands."""
    return new.decision in RESTRICTIONS and new.occurred_at is not None and imported(new.method, new.rank)


def _whole_person(case: _Case, identifier: Identifier | None, hidden: bool) -> bool:
    """Whether a restriction covers the person as well.

    About the address of somebody known only by it, it does not: it stands on the identifier alone.
    """
    if case.new.decision in GRANTS or case.new.identifier_only:
        return False
    own = case.named is None or case.named.recipient_id == case.person.recipient_id
    return not (hidden and own and identifier is not None)


def _single(channel: str, addresses: Sequence[Identifier]) -> Identifier | None:
    """The person's one identifier of the channel; None where there is none, or a choice."""
    fitting = _fitting(channel, addresses)
    return fitting[0] if len(fitting) == 1 else None


def _fitting(channel: str, addresses: Sequence[Identifier]) -> list[Identifier]:
    return [one for one in addresses if one.kind in _KINDS[channel]]


def _unnamed(channel: str) -> Invalid:
    detail = f"name the identifier: the recipient has none, or several, that channel {channel} reaches"
    return Invalid("identifier_required", detail, FieldError("/identifier", detail))


def _foreign() -> Invalid:
    detail = "the recipient does not have this identifier; add it to the recipient first"
    return Invalid("identifier_unknown", detail, FieldError("/identifier", detail))


def erased() -> Conflict:
    return Conflict("recipient_erased", "the recipient was erased; nothing can be recorded about them any more")
