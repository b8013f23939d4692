"""The incremental rules against a reference model that knows no state: it reads the whole history every time.

The model's idea is different on purpose. It has no `standing`, no `lifts` and replaces nothing: for a question it looks
for the last word spoken on exactly that identifier, channel and purpose, and for any restriction spoken after it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tabellion.consent import rules
from tabellion.consent.batch import Batch
from tabellion.consent.questions import Question
from tabellion.consent.types import (
    ANY,
    OLDEST,
    PHONE_MESSAGING,
    Basis,
    Decision,
    Incoming,
    Method,
    NewDecision,
    Placed,
    Rank,
    Scope,
    Standing,
)
from tabellion.core import ids
from tabellion.ledger.ordinals import generation, ordinal
from tabellion.providers.base import Channel
from tabellion.recipients.types import Ref

from .rules_people import ANN, BOB, CHANNELS, OWNER, PURPOSES, START


@dataclass
class Said:
    """One thing said, as the model remembers it. Times are whole hours after START; None is unknown."""

    number: int
    restricts: bool
    decision: str
    person: UUID
    identifier: bytes | None
    whole: bool
    channel: str
    purpose: str
    rank: int
    firm: bool
    at: float
    expires: int | None
    applied: bool
    spared: set[int] = field(default_factory=set)
    by_keyword: bool = False
    taken_back: bool = False
    """A START came from the same number after it."""


NEVER = float("-inf")
SUCCEEDED = 4
"""So many hours between two batches: the log was succeeded meanwhile."""


class Model:
    def __init__(self) -> None:
        self.history: list[Said] = []

    # what is so

    def answer(self, identifier: bytes, channel: str, purpose: str, now: int) -> tuple[str, bool, int | None]:
        grant = self.live(identifier, channel, purpose, now)
        if grant:
            return "allowed", True, grant.number
        against = self.against(identifier, channel, purpose)
        if against:
            return "denied", False, max(against, key=lambda one: (one.firm, one.at, one.number)).number
        return "unknown", PURPOSES[purpose].unknown_allowed, None

    def live(self, identifier: bytes, channel: str, purpose: str, now: int) -> Said | None:
        grant = self.last(identifier, channel, purpose)
        if grant is None or (grant.expires is not None and grant.expires <= now):
            return None
        return grant

    def last(self, identifier: bytes, channel: str, purpose: str) -> Said | None:
        """The last grant for exactly this, unless a restriction came after it."""
        for one in reversed(self.history):
            if not one.applied or one.taken_back:
                continue
            if one.restricts and self.reaches(one, identifier, channel, purpose):
                spared = [grant for grant in self.history if grant.number in one.spared]
                same = [grant for grant in spared if self.at_point(grant, identifier, channel, purpose)]
                if not same:
                    return None
            elif not one.restricts and self.at_point(one, identifier, channel, purpose):
                return one
        return None

    def against(self, identifier: bytes, channel: str, purpose: str) -> list[Said]:
        return [
            one
            for one in self.history
            if one.restricts and one.applied and not one.taken_back and self.reaches(one, identifier, channel, purpose)
        ]

    @staticmethod
    def at_point(one: Said, identifier: bytes, channel: str, purpose: str) -> bool:
        return (one.identifier, one.channel, one.purpose) == (identifier, channel, purpose)

    @staticmethod
    def reaches(one: Said, identifier: bytes, channel: str, purpose: str) -> bool:
        who = one.identifier == identifier or (one.whole and one.person == OWNER[identifier])
        how = one.channel in (channel, "*") or (one.channel == "phone_messaging" and channel in ("sms", "mms", "rcs"))
        if one.purpose == "*":
            why = not purpose.startswith("security")
        else:
            why = purpose == one.purpose or purpose.startswith(one.purpose + ".")
        return who and how and why

    def addresses(self, said: Said) -> set[bytes | None]:
        """All addresses of the person that a restriction of the whole person reaches, for whatever purpose."""
        reached = [(i, c, p) for i in OWNER for c in CHANNELS[i] for p in PURPOSES if self.reaches(said, i, c, p)]
        return {i for i, _, _ in reached if said.whole and OWNER[i] == said.person}

    # what becomes of something said

    def hear(self, said: Said, known: bool, complete: bool, assertable: bool, confirm: bool, now: int) -> str | None:
        if said.decision == "expired":
            reason = self.start(said)
        elif said.restricts:
            reason = self.restriction(said, known, now)
        else:
            reason = self.grant(said, complete, assertable, confirm, now)
        if reason != "ignored":
            self.history.append(said)
        return reason

    def start(self, said: Said) -> str | None:
        """Whatever was said by keyword from the number on these channels is as if it had never been said."""
        stops = [
            one
            for one in self.history
            if one.by_keyword and one.restricts and one.applied and not one.taken_back
            and (one.identifier, one.channel) == (said.identifier, said.channel)
        ]  # fmt: skip
        brought = [
            one
            for one in self.history
            if one.by_keyword and one.restricts and one.applied and one.whole and one.identifier == said.identifier
            and any(one.at == stop.at and one.channel != stop.channel for stop in stops)
        ]  # fmt: skip
        for one in [*stops, *brought]:
            one.taken_back = True
        said.applied = bool(stops)
        return None if stops else "nothing_stopped"

    def restriction(self, said: Said, known: bool, now: int) -> str | None:
        points = [(i, c, p) for i in OWNER for c in CHANNELS[i] for p in PURPOSES if self.reaches(said, i, c, p)]
        grants = [grant for point in points if (grant := self.last(*point))]
        newer = [
            grant
            for grant in grants
            if known
            and grant.decision == "granted"
            and grant.rank >= 2
            and grant.at > said.at
            and (grant.expires is None or grant.expires > now)
        ]
        exactly = all((one.channel, one.purpose) == (said.channel, said.purpose) for one in newer)
        everywhere = self.addresses(said) <= {one.identifier for one in newer}
        if newer and len(newer) == len(grants) and exactly and everywhere:
            said.applied = False
            return "newer_grant_stands"
        said.applied = True
        said.spared = {one.number for one in newer}
        return None

    def grant(self, said: Said, complete: bool, assertable: bool, confirm: bool, now: int) -> str | None:
        assert said.identifier
        point = (said.identifier, said.channel, said.purpose)
        said.applied = False
        if said.rank == 0:
            return "ignored"
        if confirm:
            said.decision = "pending"
            return "confirmation_requested"
        current = self.live(*point, now)
        against = [] if current else self.against(*point)
        if against:
            return self.over_restrictions(said, against, complete)
        if current:
            if said.decision == "asserted" and current.decision == "granted":
                return "grant_stands"
            sooner = (said.expires or 10**9) <= (current.expires or 10**9)
            if said.at < current.at or (said.at == current.at and not sooner):
                return "newer_grant_stands"
            if said.rank == 1:
                said.rank = max(1, current.rank)
                if current.decision == "granted":
                    said.applied = True
                    return None
                return self.assertion(said, assertable, imported=True)
        if said.decision == "asserted" or said.rank == 1:
            return self.assertion(said, assertable, imported=said.rank == 1)
        said.applied = True
        return None

    def over_restrictions(self, said: Said, against: list[Said], complete: bool) -> str | None:
        firm = [one for one in against if one.firm]
        newest = max(one.at for one in against)
        if said.decision == "asserted" or said.rank == 1:
            return "objection_stands" if firm else "restriction_stands"
        if said.rank == 3:
            same = [
                one
                for one in firm
                if one.identifier in (None, said.identifier)
                and (one.channel, one.purpose) == (said.channel, said.purpose)
            ]
            if len(same) < len(firm):
                return "wider_objection_stands"
            said.applied = said.at > newest
            return None if said.applied else "newer_restriction_stands"
        reason = None
        if firm:
            reason = "objection_stands"
        elif said.at <= newest:
            reason = "newer_restriction_stands"
        elif not complete:
            reason = "notice_or_evidence_incomplete"
        said.applied = reason is None
        said.decision = "granted" if said.applied else "pending"
        return reason

    @staticmethod
    def assertion(said: Said, assertable: bool, imported: bool) -> str | None:
        said.decision = "asserted"
        if imported and not assertable:
            return "assertion_incomplete"
        if not PURPOSES[said.purpose].accepts_asserted:
            return "assertion_not_accepted"
        said.applied = True
        return None


# the same thing said to both


@dataclass
class Speech:
    identifier: bytes | None
    person: UUID
    whole: bool
    channel: str
    purpose: str
    decision: Decision
    method: Method
    rank: Rank
    at: int | None
    expires: int | None
    complete: bool
    assertable: bool
    confirm: bool


@dataclass(frozen=True)
class World:
    """What may be said. The narrow one makes people contradict each other all the time."""

    identifiers: tuple[bytes, ...]
    channels: tuple[str, ...]
    purposes: tuple[str, ...]
    ranks: tuple[Rank, ...]
    methods: tuple[Method, ...]


WIDE = World(
    tuple(OWNER),
    ("email", "sms", "voice", PHONE_MESSAGING, ANY),
    (*PURPOSES, ANY),
    tuple(Rank),
    (Method.API, Method.IMPORT, Method.KEYWORD, Method.COMPLAINT),
)
NARROW = World(
    (b"a", b"b"),
    ("email", "email", ANY),
    ("marketing", "marketing.news", ANY),
    (Rank.IMPORT, Rank.SECRET_KEY, Rank.PERSON),
    (Method.API, Method.IMPORT, Method.IMPORT),
)


@st.composite
def restrictions(draw: st.DrawFn, world: World = WIDE) -> Speech:
    identifier, method = draw(st.sampled_from([None, *world.identifiers])), draw(st.sampled_from(world.methods))
    stop = world is STOPPING and method is Method.KEYWORD
    return Speech(
        identifier,
        OWNER[identifier] if identifier else draw(st.sampled_from([ANN, BOB])),
        identifier is None or draw(st.booleans()),
        PHONE_MESSAGING if stop else draw(st.sampled_from(world.channels)),
        draw(st.sampled_from(world.purposes)),
        draw(st.sampled_from([Decision.DENIED, Decision.WITHDRAWN, Decision.OBJECTED])),
        method,
        draw(st.sampled_from(world.ranks)),
        draw(st.none() | st.integers(-3, 12)),
        None,
        complete=False,
        assertable=False,
        confirm=False,
    )


STOPPING = World(
    (b"c",),
    ("sms", PHONE_MESSAGING, PHONE_MESSAGING, PHONE_MESSAGING),
    ("marketing", "marketing", "marketing.news", ANY),
    (Rank.PERSON, Rank.SECRET_KEY, Rank.SECRET_KEY, Rank.IMPORT),
    (Method.KEYWORD, Method.KEYWORD, Method.KEYWORD, Method.API),
)
"""A number that is stopped and started all the time, with other refusals in between.

STOP and START are of all channels by phone, as signals have them. Where a STOP of one channel stands beside one of all,
a START of these does not bring a grant back, and neither does one of that channel after it: the model would.
"""


@st.composite
def starts(draw: st.DrawFn, world: World = STOPPING) -> Speech:
    identifier = draw(st.sampled_from(world.identifiers))
    return Speech(
        identifier, OWNER[identifier], False, PHONE_MESSAGING, ANY, Decision.EXPIRED,
        Method.KEYWORD, Rank.PERSON, None, None, complete=False, assertable=False, confirm=False,
    )  # fmt: skip


@st.composite
def grants(draw: st.DrawFn, world: World = WIDE) -> Speech:
    identifier = draw(st.sampled_from(world.identifiers))
    return Speech(
        identifier,
        OWNER[identifier],
        False,
        draw(st.sampled_from(CHANNELS[identifier])),
        draw(st.sampled_from([one for one in world.purposes if one != ANY])),
        draw(st.sampled_from([Decision.GRANTED, Decision.GRANTED, Decision.GRANTED, Decision.ASSERTED])),
        draw(st.sampled_from([Method.FORM, Method.FORM, Method.IMPORT])),
        draw(st.sampled_from(world.ranks)),
        draw(st.none() | st.integers(-3, 12)),
        draw(st.sampled_from([None, None, None, 3, 8, 15])),
        complete=draw(st.sampled_from([True, True, False])),
        assertable=draw(st.sampled_from([True, True, False])),
        confirm=draw(st.sampled_from([False] * 7 + [True])),
    )


def _histories(world: World) -> st.SearchStrategy[list[tuple[int, list[Speech]]]]:
    """Batches, and the hours that pass before each."""
    said = st.one_of(restrictions(world), grants(world), grants(world))
    if world is STOPPING:
        said = st.one_of(restrictions(world), grants(world), starts(world))
    return st.lists(
        st.tuples(st.sampled_from([0, 1, 1, 2, SUCCEEDED]), st.lists(said, min_size=1, max_size=5)),
        min_size=2,
        max_size=8,
    )


histories = st.one_of(_histories(NARROW), _histories(STOPPING), _histories(STOPPING), _histories(WIDE))


class Stored:
    """What the tables would hold between batches."""

    def __init__(self) -> None:
        self.standing: dict[UUID, Standing] = {}
        self.fallen: dict[UUID, tuple[Standing, UUID]] = {}
        """What stands no longer, and what ended it."""
        self.ordinals: list[int] = []
        """Of all that was recorded, in order."""

    def batch(self, now: int) -> Batch:
        return Batch(PURPOSES, _hour(now), list(self.standing.values()), suspended=self.suspended())

    def suspended(self) -> dict[UUID, dict[UUID, Standing]]:
        said = [one for one in self.standing.values() if one.strength and one.method is Method.KEYWORD]
        return {one.id: dict(self.ended_under(one.id)) for one in said}

    def ended_under(self, by: UUID) -> Iterator[tuple[UUID, Standing]]:
        for one, because in self.fallen.values():
            if because == by and not one.strength:
                yield one.id, one
            elif because == by and one.method is Method.KEYWORD:
                yield from self.ended_under(one.id)

    def commit(self, batch: Batch, number: int = 1) -> None:
        first = sum(generation(one) == number for one in self.ordinals)
        made = [ordinal(number, first + place) for place in range(len(batch.written))]
        self.ordinals += made
        for ended, by in batch.ended.items():
            known = self.standing.pop(ended, None) or self.fallen[ended][0]
            self.fallen[ended] = known, by
        for restored in batch.restored:
            self.standing[restored], _ = self.fallen.pop(restored)
        for grant, index in batch.lifted(made):
            one = self.standing[grant]
            self.standing[grant] = structs.replace(one, lifts=one.lifts | {index})
        for one in batch.numbered(made):
            if one.in_force:
                self.standing[one.standing.id] = one.standing
            elif one.ended_by:
                self.fallen[one.standing.id] = one.standing, one.ended_by


def _hour(at: int) -> datetime:
    return START + timedelta(hours=at)


def _said_to_model(model: Model, speech: Speech, number: int, now: int) -> tuple[Said, str | None]:
    restricts = speech.decision in (Decision.DENIED, Decision.WITHDRAWN, Decision.OBJECTED)
    imported = speech.rank == 1 or speech.method is Method.IMPORT
    if restricts and not imported:
        at: float = now
    elif speech.at is None:
        at = NEVER if imported else now
    else:
        at = min(speech.at, now)
    firm = speech.decision is Decision.OBJECTED or speech.method in (Method.KEYWORD, Method.COMPLAINT)
    said = Said(
        number, restricts, speech.decision.value, speech.person, speech.identifier, speech.whole, speech.channel,
        speech.purpose, int(speech.rank), firm, at, speech.expires, False,
        by_keyword=speech.method is Method.KEYWORD,
    )  # fmt: skip
    reason = model.hear(said, speech.at is not None, speech.complete, speech.assertable, speech.confirm, now)
    return said, reason


def _addresses(speech: Speech) -> frozenset[bytes]:
    channels = rules.channels_under(speech.channel)
    mine = [i for i, owner in OWNER.items() if speech.whole and owner == speech.person]
    return frozenset(i for i in mine if not channels.isdisjoint(CHANNELS[i]))


def _said_to_batch(
    batch: Batch, speech: Speech, now: int, sender: str | None = None
) -> tuple[str, bool, str | None, int | None, bool]:
    """With a sender, the speech is its opposite: a STOP of that sender alone."""
    decision = Decision.WITHDRAWN if sender else speech.decision
    scope = Scope(speech.person, speech.identifier, speech.whole, speech.channel, speech.purpose, sender)
    occurred = None if speech.at is None else _hour(speech.at)
    incoming = Incoming(
        scope,
        decision,
        Basis.CONSENT,
        speech.method,
        speech.rank,
        rules.effective(decision, speech.method, speech.rank, occurred, _hour(now)),
        time_known=occurred is not None,
        complete=speech.complete,
        assertable=speech.assertable,
        expires_at=None if speech.expires is None else _hour(speech.expires),
        confirm=speech.confirm,
        addresses=_addresses(speech),
    )
    outcome = batch.decide(incoming)
    if not outcome.ignored:
        new = NewDecision(
            Ref(), speech.channel, speech.purpose, decision, None, speech.method, "test", speech.rank, "key"
        )
        batch.write(ids.new(), new, incoming, Placed(scope, None, address_only=False), outcome, b"")
    return outcome.decision.value, outcome.applied, outcome.reason, int(outcome.rank), outcome.ignored


@settings(max_examples=400, deadline=None)
@given(histories)
def test_rules_agree_with_a_model_that_reads_the_whole_history(history: list[tuple[int, list[Speech]]]) -> None:
    """Over successions too: where four hours pass, the log is succeeded by another."""
    model, stored, now, log = Model(), Stored(), 0, 1
    for hours, speeches in history:
        now, log = now + hours, log + (hours == SUCCEEDED)
        batch = stored.batch(now)
        for speech in speeches:
            said, reason = _said_to_model(model, speech, len(model.history), now)
            decision, applied, why, rank, ignored = _said_to_batch(batch, speech, now)
            assert ignored == (reason == "ignored")
            if not ignored:
                assert (decision, applied, why) == (said.decision, said.applied, reason)
                assert rank == said.rank
        stored.commit(batch, log)
        _compare(model, stored, now)
    _compare(model, stored, now + 30)


def _compare(model: Model, stored: Stored, now: int) -> None:
    """Every question there is, asked of both."""
    everything = list(stored.standing.values())
    for identifier, person in OWNER.items():
        for channel in CHANNELS[identifier]:
            for key, purpose in PURPOSES.items():
                question = Question(UUID(int=9), person, identifier, None, Channel(channel), key)
                got = rules.verdict(question, everything, purpose, rules.line(PURPOSES, key), _hour(now))
                verdict, sendable, number = model.answer(identifier, channel, key, now)
                entry = None if number is None else stored.ordinals[number]
                assert (got.verdict, got.sendable, got.ordinal) == (verdict, sendable, entry)


@settings(max_examples=60, deadline=None)
@given(histories)
def test_at_most_one_grant_stands_for_one_identifier_channel_and_purpose(
    history: list[tuple[int, list[Speech]]],
) -> None:
    stored, now = Stored(), 0
    for hours, speeches in history:
        now += hours
        batch = stored.batch(now)
        for speech in speeches:
            _said_to_batch(batch, speech, now)
        stored.commit(batch)
        points = [
            (one.recipient_id, one.identifier_hash, one.channel, one.purpose)
            for one in stored.standing.values()
            if not one.strength
        ]
        assert len(points) == len(set(points))


@settings(max_examples=80, deadline=None)
@given(histories, restrictions())
def test_after_a_live_restriction_nothing_it_covers_is_allowed(
    history: list[tuple[int, list[Speech]]], last: Speech
) -> None:
    """The property the product stands on, on the pure part: whatever was said before."""
    stored, now = Stored(), 0
    for hours, speeches in history:
        now += hours
        batch = stored.batch(now)
        for speech in speeches:
            _said_to_batch(batch, speech, now)
        stored.commit(batch)
    last.rank, last.method = Rank.SECRET_KEY, Method.API
    batch = Batch(PURPOSES, _hour(now), list(stored.standing.values()))
    _, applied, _, _, _ = _said_to_batch(batch, last, now)
    stored.commit(batch)
    assert applied
    words = Said(
        0, True, "", last.person, last.identifier, last.whole, last.channel, last.purpose, 2, False, 0, None, True
    )
    for identifier, person in OWNER.items():
        for channel in CHANNELS[identifier]:
            for key, purpose in PURPOSES.items():
                if Model.reaches(words, identifier, channel, key):
                    question = Question(UUID(int=9), person, identifier, None, Channel(channel), key)
                    everything = stored.standing.values()
                    got = rules.verdict(question, everything, purpose, rules.line(PURPOSES, key), _hour(now))
                    assert (got.verdict, got.sendable) == ("denied", False)


def test_unknown_time_is_older_than_any() -> None:
    assert rules.effective(Decision.GRANTED, Method.IMPORT, Rank.IMPORT, None, START) == OLDEST


@settings(max_examples=150, deadline=None)
@given(_histories(STOPPING), st.lists(st.tuples(st.integers(0, 7), starts()), max_size=4))
def test_to_stop_one_sender_says_nothing_about_the_others(
    history: list[tuple[int, list[Speech]]], stops: list[tuple[int, Speech]]
) -> None:
    """A history with STOPs of one sender among it answers of every other sender as the history without them."""
    plain, beside, now = Stored(), Stored(), 0
    for place, (hours, speeches) in enumerate(history):
        now += hours
        ours, theirs = plain.batch(now), beside.batch(now)
        for speech in speeches:
            _said_to_batch(ours, speech, now)
        for speech in [*(stop for at, stop in stops if at == place), *speeches]:
            _said_to_batch(theirs, speech, now, sender="12345" if any(speech is stop for _, stop in stops) else None)
        plain.commit(ours)
        beside.commit(theirs)
    for identifier, person in OWNER.items():
        for channel in CHANNELS[identifier]:
            for key, purpose in PURPOSES.items():
                question = Question(UUID(int=9), person, identifier, None, Channel(channel), key, sender="67890")
                reach = rules.line(PURPOSES, key)
                without = rules.verdict(question, plain.standing.values(), purpose, reach, _hour(now))
                among = rules.verdict(question, beside.standing.values(), purpose, reach, _hour(now))
                assert (among.verdict, among.sendable) == (without.verdict, without.sendable)
