"""Pure rules of consent: what a decision does to the state, what the state says, what the API takes.

The state is the set of standing entries. Denial comes first: a standing restriction denies unless a standing,
unexpired grant for exactly the identifier, channel and purpose asked about says that it lifted it. Whatever ends that
grant (a later restriction, expiry, a merge) thereby brings the restriction back.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from tabellion.consent.questions import OPEN, Inputs, Looked, Question, Verdict
from tabellion.consent.types import (
    ANY,
    GRANTS,
    MARKETING,
    OLDEST,
    PHONE_MESSAGING,
    RESEARCH,
    RESTRICTIONS,
    Basis,
    Decision,
    Incoming,
    Method,
    Outcome,
    Purpose,
    PurposeClass,
    Purposes,
    Rank,
    Scope,
    Standing,
    Strength,
)
from tabellion.providers.base import Channel
from tabellion.recipients.types import Identifier

PHONE_CHANNELS: Final = frozenset({Channel.SMS, Channel.MMS, Channel.RCS})
FUTURE_TOLERANCE: Final = timedelta(minutes=5)
_FIRM_METHODS: Final = frozenset({Method.KEYWORD, Method.COMPLAINT, Method.ERASURE})
_IMPORTING: Final = frozenset({Method.IMPORT, Method.SYNC})

_STANDS: Final = ("restriction_stands", "objection_stands")

_REACH: Final[Mapping[str, frozenset[str]]] = {
    channel: frozenset({channel, ANY, PHONE_MESSAGING} if channel in PHONE_CHANNELS else {channel, ANY})
    for channel in Channel
}
"""For each channel, the channel words of restrictions that reach it."""


# scope


def line(purposes: Purposes, key: str) -> frozenset[str]:
    """The purpose words of restrictions that reach a purpose: itself, all above it, and `*` outside class security.

    Beside these, the words for all of its brand and for its class; for what answers a person, none at all.
    """
    words = set()
    purpose = purposes.get(key)
    if purpose is not None and purpose.answers:
        return frozenset()
    words |= _groups(purpose) if purpose is not None else set()
    while purpose is not None and purpose.key not in words:
        words.add(purpose.key)
        purpose = purposes.get(purpose.parent) if purpose.parent else None
    if key not in purposes or purposes[key].purpose_class is not PurposeClass.SECURITY:
        words.add(ANY)
    return frozenset(words)


def _groups(purpose: Purpose) -> set[str]:
    """The words for many purposes that a purpose is among. Class security is reached by none."""
    if purpose.purpose_class is PurposeClass.SECURITY:
        return set()
    found = {f"*@{purpose.brand}"} if purpose.brand else set()
    if purpose.purpose_class is PurposeClass.MARKETING:
        found |= {MARKETING} | ({f"marketing@{purpose.brand}"} if purpose.brand else set())
    if purpose.purpose_class is PurposeClass.RESEARCH:
        found.add(RESEARCH)
    return found


def is_group(word: str) -> bool:
    """Whether a purpose word is one for many purposes of a brand or a class."""
    return "@" in word


def purposes_under(purposes: Purposes, word: str) -> frozenset[str]:
    """The purposes that a restriction of this purpose word reaches."""
    return frozenset(key for key in purposes if word in line(purposes, key))


def channels_under(word: str) -> frozenset[str]:
    """The channels that a restriction of this channel word reaches."""
    return frozenset(channel for channel, words in _REACH.items() if word in words)


def strength(decision: Decision, method: Method) -> Strength:
    """How hard a restriction is to lift."""
    if decision not in RESTRICTIONS:
        return Strength.NONE
    firm = decision is Decision.OBJECTED or method in _FIRM_METHODS
    return Strength.FIRM if firm else Strength.PLAIN


def imported(method: Method, rank: Rank) -> bool:
    """Whether a decision was not made to us: it counts from when it happened, and may come late."""
    return rank is Rank.IMPORT or method in _IMPORTING


def effective(decision: Decision, method: Method, rank: Rank, occurred_at: datetime | None, now: datetime) -> datetime:
    """When a decision counts from.

    A live restriction counts from its receipt. What was imported counts from when it happened, unknown being oldest,
    and nothing counts from the future.
    """
    past = imported(method, rank)
    if decision in RESTRICTIONS and not past:
        return now
    if occurred_at is None:
        return OLDEST if past else now
    return min(occurred_at.replace(microsecond=occurred_at.microsecond // 1000 * 1000), now)


# verdict


def verdict(
    question: Question,
    standing: Iterable[Standing],
    purpose: Purpose,
    reach: frozenset[str],
    now: datetime,
    inputs: Inputs = OPEN,
) -> Verdict:
    """May it be sent? `reach` is the `line` of the purpose; entries about others in `standing` do no harm."""
    grant: Standing | None = None
    restrictions: list[Standing] = []
    channels = _REACH[question.channel]
    for entry in standing:
        if entry.strength:
            if _restricts(entry, question, channels, reach):
                restrictions.append(entry)
        elif _is_grant_for(entry, question) and _alive(entry, purpose, now) and _accepted(entry, purpose):
            grant = entry if grant is None or _later(entry, grant) else grant
    lifted = grant.lifts if grant else frozenset()
    against = restrictions and [entry for entry in restrictions if entry.ordinal not in lifted]
    return _answer(question, purpose, grant, against, restrictions, inputs)


def _restricts(restriction: Standing, question: Question, channels: frozenset[str], reach: frozenset[str]) -> bool:
    if restriction.channel not in channels or restriction.purpose not in reach:
        return False
    if restriction.sender is not None and question.sender not in (None, restriction.sender):
        return False
    if restriction.identifier_hash is not None and restriction.identifier_hash == question.identifier_hash:
        return True
    return restriction.person_scope and restriction.recipient_id == question.recipient_id is not None


def _is_grant_for(grant: Standing, question: Question) -> bool:
    return (
        grant.purpose == question.purpose
        and grant.channel == question.channel
        and grant.identifier_hash == question.identifier_hash is not None
        and grant.recipient_id == question.recipient_id is not None
    )


def _alive(grant: Standing, purpose: Purpose, now: datetime) -> bool:
    if grant.expires_at is not None and grant.expires_at <= now:
        return False
    return purpose.consent_ttl is None or now - grant.effective_at < purpose.consent_ttl


def _accepted(grant: Standing, purpose: Purpose) -> bool:
    return grant.decision is Decision.GRANTED or accepts(purpose, grant.basis)


def accepts(purpose: Purpose, basis: Basis | None) -> bool:
    """Whether an assertion on this basis allows this purpose."""
    return purpose.soft_opt_in if basis is Basis.SOFT_OPT_IN else purpose.accepts_asserted


def _later(one: Standing, other: Standing) -> bool:
    return (one.decision is Decision.GRANTED, one.ordinal) > (other.decision is Decision.GRANTED, other.ordinal)


def strongest(restrictions: Iterable[Standing]) -> Standing:
    """The restriction that answers for all: the firmest, then the latest."""
    return max(restrictions, key=lambda entry: (entry.strength, entry.effective_at, entry.ordinal))


def _answer(
    question: Question,
    purpose: Purpose,
    grant: Standing | None,
    against: Sequence[Standing],
    restrictions: Sequence[Standing],
    inputs: Inputs,
) -> Verdict:
    if against:
        word, rule, entry, sendable = "denied", "restriction", strongest(against), False
        reason = _why(entry)
    elif grant:
        word, rule, entry, sendable = "allowed", "grant", grant, True
        reason = str(grant.decision)
        rule = "assertion" if grant.decision is Decision.ASSERTED else rule
    else:
        word, entry, sendable = "unknown", None, purpose.unknown_allowed
        rule = "unknown_allowed" if sendable else "unknown_denied"
        reason = rule if sendable else "no_consent"
    if sendable and (refusal := _refusal(question, purpose, inputs)):
        sendable, reason, rule = False, refusal, refusal
    return Verdict(
        word,
        sendable,
        reason,
        rule,
        entry.ordinal if entry else None,
        entry.id if entry else None,
        Looked(purpose, grant, restrictions, inputs),
    )


def _why(restriction: Standing) -> str:
    """The reason word of a restriction: how it came about where that says more than what it is."""
    if restriction.method is Method.KEYWORD:
        return "stop"
    return "complaint" if restriction.method is Method.COMPLAINT else str(restriction.decision)


def _refusal(question: Question, purpose: Purpose, inputs: Inputs) -> str | None:
    """What else refuses a send that consent would permit, the weightiest first."""
    if question.identifier_hash is None:
        return "no_address"
    if purpose.archived:
        return "purpose_archived"
    if inputs is OPEN:
        return None
    if purpose.answers:
        return "vendor_block" if inputs.vendor_block and question.channel in PHONE_CHANNELS else None
    secure = purpose.purpose_class is PurposeClass.SECURITY
    refusals = (
        (inputs.processing_restricted, "processing_restricted"),
        (inputs.hold is not None, "hold"),
        (inputs.vendor_block and question.channel in PHONE_CHANNELS, "vendor_block"),
        (inputs.identifier_health is not None, "identifier_unhealthy"),
        (inputs.under_age, "under_age"),
        (inputs.age_unknown, "age_unknown"),
        (inputs.window_closed and not secure, "legal_window"),
    )
    return next((reason for refused, reason in refusals if refused), None)


Address = Identifier | bytes | None
"""What a question was about: an identifier, the hash of an address nobody has, or no address at all."""


def best(answers: Sequence[tuple[Verdict, Address]]) -> Verdict:
    """The answer about the address a send would choose: best verdict, then verified, latest grant, latest seen, id."""
    return max(answers, key=lambda pair: _preference(*pair))[0]


def _preference(answer: Verdict, address: Address) -> tuple[bool, int, bool, int, float, bytes]:
    known = address if isinstance(address, Identifier) else None
    grant = answer.looked.grant if answer.looked else None
    return (
        answer.sendable,
        ("denied", "unknown", "allowed").index(answer.verdict),
        known is not None and known.verified_at is not None,
        grant.ordinal if grant else -1,
        known.last_seen_at.timestamp() if known else 0.0,
        known.hash if known else b"",
    )


# which decision wins


Suspended = Mapping[UUID, Mapping[UUID, Standing]]
"""By what a person said by keyword and stands: the grants that nothing else had ended, by their ids."""


def decide(
    incoming: Incoming,
    standing: Sequence[Standing],
    purposes: Purposes,
    now: datetime,
    suspended: Suspended = MappingProxyType({}),
) -> Outcome:
    """What a decision does to the state: the decision table, cell by cell.

    `standing` holds at least every standing entry of the identifier and of the person; others do no harm.
    """
    if incoming.decision in RESTRICTIONS:
        return _restrict(incoming, standing, purposes, now)
    if incoming.decision is Decision.EXPIRED:
        return _resume(incoming, standing, suspended, purposes, now)
    if incoming.rank is Rank.PUBLIC_KEY or incoming.method is Method.TRAIT:
        return Outcome(incoming.decision, incoming.rank, applied=False, reason="grant_not_trusted", ignored=True)
    return _permit(incoming, standing, purposes, now)


def _restrict(incoming: Incoming, standing: Sequence[Standing], purposes: Purposes, now: datetime) -> Outcome:
    """A restriction applies, and ends the grants it covers, except those that are known to be newer.

    Where they are all it reaches it says nothing any more, and does not apply.
    """
    force = strength(incoming.decision, incoming.method)
    # Grants are for whatever sender: one who stops a single one of ours takes none of them back.
    whole = incoming.scope.sender is None
    covered = [entry for entry in standing if whole and not entry.strength and covers(incoming.scope, entry, purposes)]
    newer = [grant for grant in covered if _outlives(grant, incoming, purposes, now)]
    older = [grant.id for grant in covered if grant not in newer]
    plain = Outcome(incoming.decision, incoming.rank, applied=True, strength=force)
    unspoken = incoming.addresses - {grant.identifier_hash for grant in newer}
    if newer and not older and not unspoken and all(_same_place(incoming.scope, grant) for grant in newer):
        return replace(plain, applied=False, reason="newer_grant_stands")
    replaced = [entry.id for entry in standing if _replaces(incoming, force, entry)]
    return replace(plain, ends=frozenset(older + replaced), survived=frozenset(grant.id for grant in newer))


def covers(scope: Scope, grant: Standing, purposes: Purposes) -> bool:
    """Whether a restriction of this scope covers what a grant allows."""
    owner = scope.person_scope and grant.recipient_id == scope.recipient_id
    if not owner and (scope.identifier_hash is None or grant.identifier_hash != scope.identifier_hash):
        return False
    return scope.channel in _REACH[grant.channel] and scope.purpose in line(purposes, grant.purpose)


def _outlives(grant: Standing, incoming: Incoming, purposes: Purposes, now: datetime) -> bool:
    """Whether a restriction is known to be older than a grant that counts at least as a secret key's."""
    return (
        incoming.time_known
        and grant.decision is Decision.GRANTED
        and grant.rank >= Rank.SECRET_KEY
        and grant.effective_at > incoming.effective_at
        and grant.purpose in purposes
        and _alive(grant, purposes[grant.purpose], now)
    )


def _same_place(scope: Scope, grant: Standing) -> bool:
    return scope.channel == grant.channel and scope.purpose == grant.purpose


def _replaces(incoming: Incoming, force: Strength, entry: Standing) -> bool:
    """Whether a standing restriction says nothing that this one does not say at least as strongly and as late.

    And with as much authority: what the person said themselves stays theirs, whoever says it after them.
    """
    scope = incoming.scope
    return (
        Strength.NONE < entry.strength <= force
        and entry.rank <= incoming.rank
        and entry.effective_at <= incoming.effective_at
        and entry.identifier_hash == scope.identifier_hash
        and entry.person_scope == scope.person_scope
        and (entry.recipient_id == scope.recipient_id or not scope.person_scope)
        and _same_place(scope, entry)
        and _same_end(incoming, entry)
    )


def _same_end(incoming: Incoming, entry: Standing) -> bool:
    """Whether what ends one ends the other: START ends what was said by keyword, and nothing else."""
    by_keyword = incoming.method is Method.KEYWORD, entry.method is Method.KEYWORD
    return by_keyword[0] == by_keyword[1] and incoming.scope.sender == entry.sender


def repeats(incoming: Incoming, outcome: Outcome, standing: Iterable[Standing]) -> bool:
    """Whether a restriction says nothing that does not stand already: as strongly, as late, on the same authority."""
    scope = incoming.scope
    return any(
        entry.strength >= outcome.strength > Strength.NONE
        and entry.rank >= incoming.rank
        and entry.effective_at >= incoming.effective_at
        and entry.identifier_hash == scope.identifier_hash
        and (not scope.person_scope or (entry.person_scope and entry.recipient_id == scope.recipient_id))
        and _same_place(scope, entry)
        and _same_end(incoming, entry)
        for entry in standing
    )


def _resume(
    incoming: Incoming, standing: Sequence[Standing], suspended: Suspended, purposes: Purposes, now: datetime
) -> Outcome:
    """START ends what STOP from the same number said, and the grants that only this had ended stand again."""
    stops = [entry for entry in standing if _by_keyword(incoming.scope, entry)]
    if not stops:
        return Outcome(incoming.decision, incoming.rank, applied=False, reason="nothing_stopped")
    ends = {entry.id for entry in standing if entry in stops or any(_follows(entry, one) for one in stops)}
    left = [entry for entry in standing if entry.id not in ends]
    back: dict[tuple[bytes | None, str, str], UUID] = {}
    ended = [grant for one in ends for grant in suspended.get(one, {}).values()]
    for grant in sorted(ended, key=lambda one: one.ordinal):
        if _comes_back(grant, incoming.scope, left, purposes, now):
            back[grant.identifier_hash, grant.channel, grant.purpose] = grant.id
    plain = Outcome(incoming.decision, incoming.rank, applied=True)
    return replace(plain, ends=frozenset(ends), restores=frozenset(back.values()))


def _by_keyword(scope: Scope, entry: Standing) -> bool:
    """Whether somebody said this by keyword from just this number, on these channels."""
    named = entry.identifier_hash is not None and entry.identifier_hash == scope.identifier_hash
    ours = entry.sender is None or scope.sender in (None, entry.sender)
    return named and ours and entry.strength > 0 and entry.method is Method.KEYWORD and entry.channel == scope.channel


def _follows(entry: Standing, stop: Standing) -> bool:
    """Whether a restriction says nothing but what follows from a STOP: by a policy, on other channels; by a merge."""
    if not (entry.strength and entry.person_scope and entry.effective_at == stop.effective_at):
        return False
    if entry.sender != stop.sender:
        return False
    if entry.method is Method.KEYWORD:
        return entry.identifier_hash == stop.identifier_hash and entry.channel != stop.channel
    same = (entry.recipient_id, entry.channel, entry.purpose) == (stop.recipient_id, stop.channel, stop.purpose)
    return entry.method is Method.MERGE and stop.person_scope and same


def _comes_back(grant: Standing, scope: Scope, standing: Iterable[Standing], purposes: Purposes, now: datetime) -> bool:
    """Whether a grant that STOP ended is still the person's, unexpired, and against nothing that stands."""
    purpose = purposes.get(grant.purpose)
    if purpose is None or grant.recipient_id != scope.recipient_id or not _alive(grant, purpose, now):
        return False
    question, reach = _about(grant), line(purposes, grant.purpose)
    against = [entry for entry in standing if entry.sender is None and entry.ordinal not in grant.lifts]
    return not any(
        _restricts(entry, question, _REACH[question.channel], reach)
        if entry.strength
        else _is_grant_for(entry, question)
        for entry in against
    )


def _permit(incoming: Incoming, standing: Sequence[Standing], purposes: Purposes, now: datetime) -> Outcome:
    """A grant or an assertion meets what stands for its one identifier, channel and purpose."""
    question = _point(incoming.scope)
    purpose = purposes[incoming.scope.purpose]
    reach = line(purposes, purpose.key)
    held = [entry for entry in standing if not entry.strength and _is_grant_for(entry, question)]
    alive = [grant for grant in held if _alive(grant, purpose, now)]
    current = max(alive, key=lambda grant: (grant.decision is Decision.GRANTED, grant.ordinal), default=None)
    lifted = current.lifts if current else frozenset()
    channels = _REACH[question.channel]
    covering = [
        entry
        for entry in standing
        if entry.strength and entry.sender is None and _restricts(entry, question, channels, reach)
    ]
    against = [entry for entry in covering if entry.ordinal not in lifted]
    outcome = _meet(incoming, purpose, current, against)
    if not outcome.applied:
        return outcome
    return replace(
        outcome, lifts=frozenset(entry.ordinal for entry in covering), ends=frozenset(grant.id for grant in held)
    )


def _meet(incoming: Incoming, purpose: Purpose, current: Standing | None, against: Sequence[Standing]) -> Outcome:
    if incoming.confirm:
        return _pending(incoming, "confirmation_requested")
    if against:
        return _meet_restrictions(incoming, against)
    if current:
        return _meet_grant(incoming, purpose, current)
    return _meet_nothing(incoming, purpose)


def _meet_restrictions(incoming: Incoming, against: Sequence[Standing]) -> Outcome:
    """A grant of the person lifts what is older; a secret key's only what is not firm, with proof; others never."""
    firm = [entry for entry in against if entry.strength is Strength.FIRM]
    stands = _STANDS[bool(firm)]
    newer = all(incoming.effective_at > entry.effective_at for entry in against)
    if incoming.decision is Decision.ASSERTED or incoming.rank <= Rank.IMPORT:
        return _kept(incoming, stands)
    if incoming.rank is Rank.PERSON:
        if not all(_same_scope(incoming.scope, entry) for entry in firm):
            return _kept(incoming, "wider_objection_stands")
        return _applied(incoming) if newer else _kept(incoming, "newer_restriction_stands")
    if firm:
        return _pending(incoming, stands)
    if not newer:
        return _pending(incoming, "newer_restriction_stands")
    return _applied(incoming) if incoming.complete else _pending(incoming, "notice_or_evidence_incomplete")


def for_review(rank: Rank, outcome: Outcome) -> bool:
    """Whether a grant was refused that people should look at: an import's, because of a restriction."""
    return rank is Rank.IMPORT and outcome.decision in GRANTS and outcome.reason in _STANDS


def _same_scope(scope: Scope, restriction: Standing) -> bool:
    named = restriction.identifier_hash is None or restriction.identifier_hash == scope.identifier_hash
    return named and restriction.channel == scope.channel and restriction.purpose == scope.purpose


def _meet_grant(incoming: Incoming, purpose: Purpose, current: Standing) -> Outcome:
    """The newer wins; an assertion never takes the place of a grant; an import keeps the rank of what it renews."""
    full = current.decision is Decision.GRANTED
    if incoming.decision is Decision.ASSERTED and full:
        return _kept(incoming, "grant_stands")
    if not _newer(incoming, current):
        return _kept(incoming, "newer_grant_stands")
    if incoming.rank is Rank.IMPORT:
        renewed = _applied(incoming) if full else _meet_nothing(incoming, purpose)
        return replace(renewed, rank=max(current.rank, incoming.rank))
    return _meet_nothing(incoming, purpose)


def _newer(incoming: Incoming, current: Standing) -> bool:
    """Whether a grant takes the place of another. At the same time the one that ends sooner does."""
    if incoming.effective_at != current.effective_at:
        return incoming.effective_at > current.effective_at
    return current.expires_at is None or (incoming.expires_at is not None and incoming.expires_at <= current.expires_at)


def _meet_nothing(incoming: Incoming, purpose: Purpose) -> Outcome:
    if incoming.decision is Decision.GRANTED and incoming.rank >= Rank.SECRET_KEY:
        return _applied(incoming)
    weak = replace(incoming, decision=Decision.ASSERTED)
    if incoming.rank is Rank.IMPORT and not incoming.assertable:
        return _kept(weak, "assertion_incomplete")
    return _applied(weak) if accepts(purpose, incoming.basis) else _kept(weak, "assertion_not_accepted")


def _applied(incoming: Incoming) -> Outcome:
    return Outcome(incoming.decision, incoming.rank, applied=True)


def _kept(incoming: Incoming, reason: str) -> Outcome:
    """In the ledger, not in force."""
    return Outcome(incoming.decision, incoming.rank, applied=False, reason=reason)


def _pending(incoming: Incoming, reason: str) -> Outcome:
    """In the ledger, and the person is asked."""
    return Outcome(Decision.PENDING, incoming.rank, applied=False, reason=reason)


def _point(scope: Scope) -> Question:
    return Question(
        scope.recipient_id, scope.recipient_id, scope.identifier_hash, None, Channel(scope.channel), scope.purpose
    )


def _about(grant: Standing) -> Question:
    assert grant.recipient_id is not None
    scope = Scope(grant.recipient_id, grant.identifier_hash, False, grant.channel, grant.purpose)
    return _point(scope)
