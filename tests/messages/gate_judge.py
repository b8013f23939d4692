"""What an outside observer saw of decisions and begins, and the judgement of the gate's property on it.

The observer knows, of each transaction, the monotonic times just before COMMIT was issued and just after it returned;
what was asked and what was answered; and what is in the database in the end.

The law: an attempt that an applied restriction covers is either *named* in its answer, or had *ended* before, or a
*later applied grant* for exactly its address, channel and purpose committed before it. There is no fourth case: one
that had started and not ended is to be named, and one that starts after the answer needs the grant.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from uuid import UUID

ANY = "*"
PHONE_MESSAGING = frozenset({"sms", "mms", "rcs"})


@dataclass
class Span:
    """One transaction as its client saw it, in monotonic seconds. `inf`: that never happened."""

    opened: float
    issued: float = inf
    """Just before COMMIT was issued: it committed later than this, if at all."""
    answered: float = inf
    """Just after COMMIT returned: it committed earlier than this."""
    closed: float = inf

    def overlaps(self, other: "Span") -> bool:
        return self.opened < other.closed and other.opened < self.closed


@dataclass
class Said:
    """A decision: what was asked for, and what was answered or would have been."""

    span: Span
    restricts: bool
    channel: str
    purpose: str
    people: frozenset[UUID] = frozenset()
    """The persons it was about as a whole, as far as the asker could know."""
    addresses: frozenset[bytes] = frozenset()
    """The addresses it was about, and those its persons were known to have."""
    entry: UUID | None = None
    applied: bool = False
    in_flight: frozenset[UUID] = frozenset()
    index: int | None = None
    """Of its entry in the ledger, read in the end. None: it did not commit."""
    inherited: list[tuple[Span, UUID]] = field(default_factory=list)
    """Persons it came to be about: when the address that stood for somebody unknown was attached to them."""

    def covers(self, started: "Started") -> bool:
        meant = started.address in self.addresses or started.person in self.people
        return meant and self.reaches(started)

    def reaches(self, started: "Started") -> bool:
        """Whether it is about this channel and this purpose."""
        channel = self.channel in (ANY, started.channel) or (
            self.channel == "phone_messaging" and started.channel in PHONE_MESSAGING
        )
        return channel and (self.purpose == started.purpose or (self.purpose == ANY and started.purpose != "security"))

    def allows(self, started: "Started") -> bool:
        """Whether this grant is for exactly what the attempt needs."""
        return (
            started.address in self.addresses
            and (self.channel, self.purpose) == (started.channel, started.purpose)
            and self.applied
            and not self.restricts
        )


@dataclass
class Started:
    """An attempt that is in the database, and the transaction that made it `started`."""

    id: UUID
    message: UUID
    person: UUID
    """The root when it started."""
    address: bytes
    channel: str
    purpose: str
    span: Span
    finished: list[Span] = field(default_factory=list)
    """The transactions that recorded its outcome, if they committed."""
    lost: list[Span] = field(default_factory=list)
    """The transactions that took over its message from a worker that died, and may have given this attempt up."""

    @property
    def may_have_ended(self) -> float:
        """It had not ended before this."""
        given_up = [one for one in self.lost if one is not self.span and one.answered > self.span.issued]
        return min((end.issued for end in (*self.finished, *given_up)), default=inf)

    @property
    def had_ended(self) -> float:
        """It had ended after this."""
        return min((end.answered for end in self.finished), default=inf)


@dataclass(frozen=True)
class Violation:
    what: str
    said: Said
    started: UUID

    def __str__(self) -> str:
        one = self.said
        return f"{self.what}: attempt {self.started}, restriction #{one.index} of {one.purpose} on {one.channel}"


def judge(said: Iterable[Said], started: Iterable[Started]) -> list[Violation]:
    """Every breach of the law. Only what committed counts; an answer that got lost counts as given.

    (Whoever missed it repeats the request with its idempotency key and gets the answer that was stored.)
    """
    attempts = list(started)
    committed = [one for one in said if one.index is not None and one.applied]
    grants = defaultdict(list)
    for one in committed:
        for address in () if one.restricts else one.addresses:
            grants[address].append(one)
    found = []
    for restriction in (one for one in committed if one.restricts):
        found += _unnamed(restriction, attempts, grants)
        found += _disinherited(restriction, attempts, grants)
        found += _misnamed(restriction, {one.id: one for one in attempts})
    return found


def _unnamed(restriction: Said, attempts: Sequence[Started], grants: dict[bytes, list[Said]]) -> list[Violation]:
    """Covered attempts that the answer did not name, that had not ended, and that no later grant allowed."""
    found = []
    for one in attempts:
        if one.id in restriction.in_flight or not restriction.covers(one):
            continue
        if one.may_have_ended < restriction.span.issued:
            continue
        if not any(_excuses(grant, restriction, one) for grant in grants[one.address]):
            found.append(Violation(_when(restriction, one), restriction, one.id))
    return found


def _disinherited(restriction: Said, attempts: Sequence[Started], grants: dict[bytes, list[Said]]) -> list[Violation]:
    """Attempts to a person whom it came to cover, surely started after it did."""
    return [
        Violation("started after it came to cover the person", restriction, one.id)
        for attached, person in restriction.inherited
        for one in attempts
        if one.person == person
        and restriction.reaches(one)
        and one.span.issued > max(attached.answered, restriction.span.answered)
        and not any(_excuses(grant, restriction, one) for grant in grants[one.address])
    ]


def _excuses(grant: Said, restriction: Said, started: Started) -> bool:
    """Whether a grant that is later in the ledger may have committed before the attempt did."""
    assert grant.index is not None
    assert restriction.index is not None
    later = grant.index > restriction.index
    return later and grant.allows(started) and grant.span.issued < started.span.answered


def _when(restriction: Said, started: Started) -> str:
    if started.span.issued > restriction.span.answered:
        return "started after the answer"
    if started.span.answered < restriction.span.opened:
        return "had started and is not named"
    return "started meanwhile, neither named nor held back"


def _misnamed(restriction: Said, attempts: dict[UUID, Started]) -> list[Violation]:
    """Named, but not there, not about it, or surely over when it was asked."""
    found = []
    for attempt_id in restriction.in_flight:
        one = attempts.get(attempt_id)
        if one is None:
            found.append(Violation("named and not there", restriction, attempt_id))
        elif not restriction.reaches(one):
            found.append(Violation("named and not covered", restriction, attempt_id))
        elif one.had_ended < restriction.span.opened or one.span.issued > restriction.span.issued:
            found.append(Violation("named and not in flight", restriction, attempt_id))
    return found
