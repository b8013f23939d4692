"""The rules and policies against a model that reads the whole history, while purposes change in between."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tabellion.consent import rules
from tabellion.consent.batch import Batch
from tabellion.consent.policies import Policies, widened
from tabellion.consent.purposes.rules import age, loosened
from tabellion.consent.questions import Inputs, Question
from tabellion.consent.types import (
    ANY,
    KINDS,
    PHONE_MESSAGING,
    RESTRICTIONS,
    Basis,
    Decision,
    Incoming,
    Method,
    NewDecision,
    OptOutScope,
    Placed,
    Purpose,
    PurposeClass,
    Rank,
    Scope,
    Standing,
)
from tabellion.core import ids
from tabellion.providers.base import Channel
from tabellion.recipients.types import Identifier, Kind, Ref

from .policy_model import FOREVER, NEVER, ORDER, Aim, Manner, Model, Said
from .policy_model import Rules as Spoken

START = datetime(2026, 1, 1, tzinfo=UTC)
ANN, BOB = 1, 2
OWNER = {b"a": ANN, b"b": ANN, b"c": ANN, b"d": BOB}
KIND = {b"a": Kind.EMAIL, b"b": Kind.EMAIL, b"c": Kind.PHONE, b"d": Kind.PHONE}
REACHED = {
    one: tuple(channel.value for channel in (Channel.EMAIL, Channel.SMS, Channel.WHATSAPP) if kind in KINDS[channel])
    for one, kind in KIND.items()
}
KEYS = ("security", "orders", "survey", "news", "sale")


# worlds: purposes and policies, in both languages


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Aim]:
    """Purposes below one another, no class looser than the one above it."""
    kinds = {"security": "security", "orders": "service", "survey": draw(st.sampled_from(["research", "marketing"]))}
    made: dict[str, Aim] = {}
    for key in KEYS:
        kind = kinds.get(key, "marketing")
        above = [one for one, aim in made.items() if ORDER.index(aim.kind) <= ORDER.index(kind)]
        made[key] = Aim(
            kind,
            parent=draw(st.none() | st.sampled_from(above)) if above else None,
            brand=draw(st.sampled_from([None, "own", "other"])),
            unknown=kind in ("security", "service") and draw(st.booleans()),
            asserted=draw(st.booleans()),
            soft=draw(st.booleans()),
            ttl=draw(st.sampled_from([FOREVER, FOREVER, 6, 12])),
            least=draw(st.sampled_from([0, 0, 0, 16, 18])),
            scope="purpose" if kind == "security" else draw(st.sampled_from(["purpose", "purpose", "brand", "class"])),
            archived=draw(st.integers(0, 9)) == 0,
        )
    return made


crossings = st.dictionaries(
    st.sampled_from(["sms", "email", "whatsapp"]),
    st.lists(st.sampled_from(["sms", "email", "whatsapp"]), min_size=1, max_size=2, unique=True).map(tuple),
    max_size=2,
)
spoken = st.builds(Spoken, trees(), st.just("own"), st.one_of(st.just({}), crossings))


@st.composite
def altered(draw: st.DrawFn, said: Spoken) -> Spoken:
    """The same, with one field of one purpose another's, or other crossings."""
    other = draw(spoken)
    if draw(st.integers(0, 4)) == 0:
        return replace(said, cross=other.cross)
    key = draw(st.sampled_from(KEYS))
    field = draw(
        st.sampled_from(["parent", "unknown", "asserted", "soft", "ttl", "least", "scope", "archived", "brand"])
    )
    aims = {**said.aims, key: replace(said.aims[key], **{field: getattr(other.aims[key], field)})}
    return replace(said, aims=aims) if _sound(aims) else said


def _sound(aims: dict[str, Aim]) -> bool:
    """Whether classes still stand as they must. (Trees are made from the top, so nothing goes round.)"""
    pairs = [(aim, aims[aim.parent]) for aim in aims.values() if aim.parent]
    return all(ORDER.index(one.kind) >= ORDER.index(above.kind) for one, above in pairs)


def policies(said: Spoken) -> Policies:
    """The same for the rules."""
    known = {
        key: Purpose(
            key, "", PurposeClass(aim.kind), Basis.CONSENT, aim.unknown, aim.asserted, aim.soft, aim.parent,
            None if aim.ttl == FOREVER else timedelta(hours=aim.ttl), aim.brand, aim.least or None,
            opt_out_scope=OptOutScope(aim.scope), archived=aim.archived,
        )
        for key, aim in said.aims.items()
    }  # fmt: skip
    cross = {Channel(one): [Channel(other) for other in others] for one, others in said.cross.items()}
    return Policies(known, said.own, cross)


# what is said


@dataclass(frozen=True)
class Speech:
    identifier: bytes | None
    person: int
    whole: bool
    channel: str
    purpose: str
    decision: Decision
    basis: Basis
    method: Method
    rank: Rank
    at: int | None
    expires: int | None
    manner: Manner

    @property
    def restricts(self) -> bool:
        return self.decision in RESTRICTIONS

    @property
    def late(self) -> bool:
        return self.restricts and self.at is not None and (self.rank == 1 or self.method is Method.IMPORT)


@st.composite
def restrictions(draw: st.DrawFn) -> Speech:
    identifier = draw(st.sampled_from([None, *OWNER]))
    return Speech(
        identifier,
        OWNER[identifier] if identifier else draw(st.sampled_from([ANN, BOB])),
        identifier is None or draw(st.booleans()),
        draw(st.sampled_from(["email", "email", "sms", "whatsapp", PHONE_MESSAGING, ANY])),
        draw(st.sampled_from([*KEYS, "news", "sale", ANY])),
        draw(st.sampled_from([Decision.WITHDRAWN, Decision.WITHDRAWN, Decision.OBJECTED])),
        Basis.CONSENT,
        draw(st.sampled_from([Method.API, Method.IMPORT, Method.IMPORT])),
        draw(st.sampled_from([Rank.IMPORT, Rank.SECRET_KEY, Rank.PERSON])),
        draw(st.none() | st.integers(-3, 12)),
        None,
        Manner(False, False, False),
    )


@st.composite
def grants(draw: st.DrawFn) -> Speech:
    identifier = draw(st.sampled_from(list(OWNER)))
    decision = draw(st.sampled_from([Decision.GRANTED, Decision.GRANTED, Decision.ASSERTED]))
    return Speech(
        identifier,
        OWNER[identifier],
        False,
        draw(st.sampled_from(REACHED[identifier])),
        draw(st.sampled_from([*KEYS, "news", "sale"])),
        decision,
        draw(st.sampled_from([Basis.CONSENT, Basis.SOFT_OPT_IN])) if decision is Decision.ASSERTED else Basis.CONSENT,
        draw(st.sampled_from([Method.FORM, Method.FORM, Method.IMPORT])),
        draw(st.sampled_from([Rank.IMPORT, Rank.SECRET_KEY, Rank.PERSON, Rank.PERSON, Rank.PUBLIC_KEY])),
        draw(st.none() | st.integers(-3, 12)),
        draw(st.sampled_from([None, None, None, 5, 15])),
        Manner(draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 9)) == 0),
    )


@st.composite
def stories(draw: st.DrawFn) -> tuple[Spoken, list[tuple[int, Spoken, list[Speech]]]]:
    """Batches, the hours that pass before each, and what the side says by then."""
    first = at = draw(spoken)
    parts = []
    for _ in range(draw(st.integers(2, 7))):
        at = draw(st.one_of(st.just(at), altered(at)))
        said = draw(st.lists(st.one_of(restrictions(), grants(), grants()), min_size=1, max_size=4))
        parts.append((draw(st.sampled_from([0, 1, 2, 4])), at, said))
    return first, parts


# the same said to both


class Stored:
    """What the tables would hold between batches."""

    def __init__(self) -> None:
        self.standing: dict[UUID, Standing] = {}
        self.size = 0

    def commit(self, batch: Batch) -> None:
        indexes = list(range(self.size, self.size + len(batch.written)))
        self.size += len(indexes)
        for ended in batch.ended:
            del self.standing[ended]
        for grant, index in batch.lifted(indexes):
            one = self.standing[grant]
            self.standing[grant] = structs.replace(one, lifts=one.lifts | {index})
        for one in batch.numbered(indexes):
            if one.in_force:
                self.standing[one.standing.id] = one.standing


def _hour(at: int) -> datetime:
    return START + timedelta(hours=at)


def _addresses(person: int) -> tuple[Identifier, ...]:
    mine = [one for one, owner in OWNER.items() if owner == person]
    return tuple(Identifier(KIND[one], one.decode(), one, "test", START, START) for one in mine)


def _take(batch: Batch, new: NewDecision, placed: Placed, speech: Speech, now: int, *, news: bool = False) -> Any:
    """Decide and take in, as recording does it; the outcome, and the entry where there is one."""
    incoming = Incoming(
        placed.scope,
        new.decision,
        new.basis,
        new.method,
        new.rank,
        rules.effective(new.decision, new.method, new.rank, new.occurred_at, _hour(now)),
        time_known=new.occurred_at is not None and rules.imported(new.method, new.rank),
        complete=speech.manner.complete,
        assertable=speech.manner.assertable,
        expires_at=new.expires_at,
        confirm=new.confirm,
        addresses=placed.addresses,
    )
    outcome = batch.decide(incoming)
    if outcome.ignored or (news and batch.stated(incoming, outcome)):
        return outcome, None
    entry_id = ids.new()
    batch.write(entry_id, new, incoming, placed, outcome, b"")
    return outcome, entry_id


def _say(batch: Batch, known: Policies, speech: Speech, now: int) -> list[tuple[str, bool, str | None, str, str, int]]:
    """What the entries of a speech say, its own first; nothing of one that is ignored."""
    person = UUID(int=speech.person)
    scope = Scope(person, speech.identifier, speech.whole, speech.channel, speech.purpose)
    owned = _addresses(speech.person) if speech.late else ()
    kinds = {kind for one in rules.channels_under(speech.channel) for kind in KINDS.get(Channel(one), ())}
    fitting = frozenset(one.hash for one in owned if speech.whole and one.kind in kinds)
    placed = Placed(scope, None, address_only=False, addresses=fitting, owned=owned)
    new = NewDecision(
        Ref(), speech.channel, speech.purpose, speech.decision, speech.basis, speech.method, "test", speech.rank, "key",
        identifier_only=not speech.whole, confirm=speech.manner.confirm,
        occurred_at=None if speech.at is None else _hour(speech.at),
        expires_at=None if speech.expires is None else _hour(speech.expires),
    )  # fmt: skip
    before = len(batch.written)
    outcome, entry_id = _take(batch, new, placed, speech, now)
    if entry_id and outcome.applied and speech.restricts:
        for more, where in widened(known, new, placed, entry_id):
            _take(batch, more, where, speech, now, news=True)
    return [
        (
            one.outcome.decision.value, one.outcome.applied, one.outcome.reason, one.scope.channel, one.scope.purpose,
            int(one.outcome.rank),
        )
        for one in batch.written[before:]
    ]  # fmt: skip


def _tell(model: Model, said: Spoken, speech: Speech, now: int) -> list[tuple[str, bool, str | None, str, str, int]]:
    """The same to the model."""
    imported = speech.rank == 1 or speech.method is Method.IMPORT
    if speech.restricts and not imported:
        at: float = now
    elif speech.at is None:
        at = NEVER if imported else now
    else:
        at = min(speech.at, now)
    one = Said(
        speech.restricts, speech.decision.value, speech.basis is Basis.SOFT_OPT_IN, speech.person, speech.identifier,
        speech.whole, speech.channel, speech.purpose, int(speech.rank), speech.decision is Decision.OBJECTED, at,
        imported and speech.at is not None, FOREVER if speech.expires is None else speech.expires, said,
    )  # fmt: skip
    before = len(model.history)
    reason, _ = model.hear(one, speech.manner, now)
    reasons = [reason, *([None] * (len(model.history) - before))]
    return [
        (each.decision, each.applied, why if each is one else _late(each), each.channel, each.purpose, each.rank)
        for each, why in zip(model.history[before:], reasons, strict=False)
    ]


def _late(said: Said) -> str | None:
    return None if said.applied else "newer_grant_stands"


TRAITS = ({}, {"birth_date": "2008-06-01"}, {"age": 16}, {"birthday": "1990-01-01T00:00:00Z"}, {"birth_date": "?"})
YEARS = (None, 17, 16, 35, None)
"""How old somebody with these traits is, at any time of these stories."""


def _compare(model: Model, stored: Stored, said: Spoken, now: int, who: int) -> Counter[str]:
    """Every question there is, asked of both."""
    known, everything, seen = policies(said).purposes, list(stored.standing.values()), Counter[str]()
    years = age(TRAITS[who], _hour(now))
    for identifier, person in OWNER.items():
        for channel in REACHED[identifier]:
            for key, purpose in known.items():
                question = Question(UUID(int=9), UUID(int=person), identifier, None, Channel(channel), key)
                least = purpose.min_age
                inputs = Inputs(
                    under_age=least is not None and years is not None and years < least,
                    age_unknown=least is not None and years is None,
                )
                got = rules.verdict(question, everything, purpose, rules.line(known, key), _hour(now), inputs)
                wanted = model.answer(said, identifier, channel, key, now, YEARS[who])
                assert (got.verdict, got.sendable, got.log_index) == wanted, (identifier, channel, key)
                seen[got.verdict] += 1
    return seen


@settings(max_examples=400)
@given(stories(), st.integers(0, len(TRAITS) - 1))
def test_rules_and_policies_agree_with_a_model_that_reads_the_whole_history(story, who) -> None:
    first, parts = story
    model, stored, now, said = Model(OWNER, REACHED), Stored(), 0, first
    for hours, said, speeches in parts:
        now += hours
        _compare(model, stored, said, now, who)
        known = policies(said)
        batch = Batch(known.purposes, _hour(now), list(stored.standing.values()))
        for speech in speeches:
            told = _tell(model, said, speech, now)
            assert _say(batch, known, speech, now) == told
            event(f"entries of one speech: {min(len(told), 3)}")
        stored.commit(batch)
        assert stored.size == len(model.history)
        for verdict in _compare(model, stored, said, now, who):
            event(verdict)
    _compare(model, stored, said, now + 30, who)
    _compare(model, stored, first, now, who)


@settings(max_examples=200)
@given(stories(), st.data())
def test_a_change_that_loosens_nothing_sends_nothing_more(story, data) -> None:
    """Whatever was said before it."""
    first, parts = story
    stored, now, said = Stored(), 0, first
    for hours, said, speeches in parts:
        now += hours
        batch = Batch(policies(said).purposes, _hour(now), list(stored.standing.values()))
        for speech in speeches:
            _say(batch, policies(said), speech, now)
        stored.commit(batch)
    before, after = policies(said).purposes, policies(data.draw(altered(said))).purposes
    if any(loosened(before, after, key) for key in before):
        return
    for identifier, person in OWNER.items():
        for channel in REACHED[identifier]:
            for key in before:
                question = Question(UUID(int=9), UUID(int=person), identifier, None, Channel(channel), key)
                was, is_ = (
                    rules.verdict(
                        question, stored.standing.values(), known[key], rules.line(known, key), _hour(now)
                    ).sendable
                    for known in (before, after)
                )
                assert was or not is_, (identifier, channel, key)
