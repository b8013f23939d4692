"""What a recipient signal decides: STOP, START, a complaint, and their like. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, assert_never

from tabellion.consent.rules import PHONE_CHANNELS
from tabellion.consent.types import (
    ANY,
    BUILT_IN,
    MARKETING,
    PHONE_MESSAGING,
    Decision,
    Method,
    NewDecision,
    Purposes,
    Rank,
    RecipientSignal,
    StopScope,
)
from tabellion.providers.base import Signal
from tabellion.recipients.types import Kind, Ref


@dataclass(frozen=True, slots=True)
class _Meaning:
    """The decision that a recipient signal is."""

    decision: Decision
    method: Method
    purpose: str
    identifier_only: bool = False


_STOPPED: Final = _Meaning(Decision.WITHDRAWN, Method.KEYWORD, ANY, identifier_only=True)
_UNCLEAR: Final = _Meaning(Decision.WITHDRAWN, Method.KEYWORD, MARKETING, identifier_only=True)
_STARTED: Final = _Meaning(Decision.EXPIRED, Method.KEYWORD, ANY, identifier_only=True)
_COMPLAINED: Final = _Meaning(Decision.OBJECTED, Method.COMPLAINT, MARKETING)
_BY_PHONE: Final[Mapping[Signal | None, _Meaning]] = {
    Signal.STOP: _STOPPED,
    Signal.UNSUBSCRIBED: _STOPPED,
    Signal.BLOCKED: _STOPPED,
    Signal.START: _STARTED,
    Signal.RESUBSCRIBED: _STARTED,
    Signal.COMPLAINED: _COMPLAINED,
}
_BY_MAIL: Final[Mapping[Signal | None, _Meaning]] = {
    Signal.STOP: _Meaning(Decision.WITHDRAWN, Method.ONE_CLICK, MARKETING),
    Signal.UNSUBSCRIBED: _Meaning(Decision.WITHDRAWN, Method.ONE_CLICK, MARKETING),
    Signal.BLOCKED: _Meaning(Decision.WITHDRAWN, Method.ONE_CLICK, ANY, identifier_only=True),
    Signal.COMPLAINED: _COMPLAINED,
}
"""Signals left out decide nothing: HELP asks, and who resubscribes by mail does so at the vendor, not with us."""


def decision_of(
    signal: RecipientSignal, address: Ref, scope: StopScope = StopScope.ALL_MESSAGING, purposes: Purposes = BUILT_IN
) -> NewDecision | None:
    """The person's own decision that a signal is; None when it decides nothing."""
    by_phone = address.kind is Kind.PHONE
    meaning = (_BY_PHONE if by_phone else _BY_MAIL).get(signal.signal)
    if meaning is None:
        return None
    meaning = _UNCLEAR if signal.unclear else meaning
    plain = NewDecision(
        recipient=address,
        channel=_channel(signal, meaning),
        purpose=_of_brand(meaning.purpose, signal.brand, purposes) if meaning is _COMPLAINED else meaning.purpose,
        decision=meaning.decision,
        basis=None,
        method=meaning.method,
        source=signal.source,
        rank=Rank.PERSON,
        actor=signal.actor,
        identifier_only=meaning.identifier_only,
        evidence=signal.evidence,
        occurred_at=signal.occurred_at,
    )
    vendor = (signal.sender or "") if signal.blocked_by_vendor else None
    if meaning is _STARTED:
        return replace(plain, vendor_unblock=vendor, sender=signal.sender)
    return _scoped(replace(plain, vendor_block=vendor), signal, scope, purposes) if meaning is _STOPPED else plain


def _scoped(stop: NewDecision, signal: RecipientSignal, scope: StopScope, purposes: Purposes) -> NewDecision:
    """A STOP with what it restricts on this side. What is not known narrows nothing."""
    match scope:
        case StopScope.ALL_MESSAGING:
            return stop
        case StopScope.BRAND:
            return replace(stop, purpose=_of_brand(stop.purpose, signal.brand, purposes))
        case StopScope.SENDER:
            return replace(stop, sender=signal.sender or None)
        case StopScope.PERSON:
            return replace(stop, identifier_only=False)
        case _:
            assert_never(scope)


def _of_brand(word: str, brand: str | None, purposes: Purposes) -> str:
    """Of a word for many purposes, the one for those of a brand, where it has any."""
    known = brand is not None and any(one.brand == brand for one in purposes.values())
    return f"{word.partition('@')[0]}@{brand}" if known else word


def _channel(signal: RecipientSignal, meaning: _Meaning) -> str:
    """A complaint objects to the marketing, by whatever channel; the rest is about the channel it came on."""
    if meaning is _COMPLAINED:
        return ANY
    by_keyword = meaning.method is Method.KEYWORD and signal.channel in PHONE_CHANNELS
    return PHONE_MESSAGING if by_keyword else signal.channel.value
