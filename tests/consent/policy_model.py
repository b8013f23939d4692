"""A model of consent that knows no state, while purposes and policies change: it reads all that was said.

Written from the law of consent, not from the code. There is no `standing`, no `lifts`, and nothing is
replaced. Every thing said keeps the purposes as they were when it was said: which restriction a grant had answered, and
which grants a restriction had ended, is read off them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

NEVER = float("-inf")
FOREVER = float("inf")
ORDER = ("security", "service", "research", "marketing")


@dataclass(frozen=True)
class Aim:
    """A purpose as the model knows it. `ttl` is in hours."""

    kind: str
    parent: str | None = None
    brand: str | None = None
    unknown: bool = False
    asserted: bool = False
    soft: bool = False
    ttl: float = FOREVER
    least: int = 0
    scope: str = "purpose"
    archived: bool = False


@dataclass(frozen=True)
class Rules:
    """What a side says: its purposes, the brand of those that name none, and which channel stands for which."""

    aims: Mapping[str, Aim]
    own: str = "own"
    cross: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def above(self, key: str) -> Iterator[str]:
        """A purpose and all above it."""
        at: str | None = key
        while at is not None:
            yield at
            at = self.aims[at].parent

    def covered(self, word: str) -> set[str]:
        """The purposes that a purpose word of a restriction is about."""
        if word == "*":
            return {key for key, aim in self.aims.items() if aim.kind != "security"}
        return {key for key in self.aims if word in self.above(key)}

    def left(self, word: str) -> list[str]:
        """What an opt-out of this word is from, too, by the scope of each purpose it is about; the topmost of them."""
        if word == "*":
            return []
        mine, more = self.covered(word), set[str]()
        for one in mine:
            aim = self.aims[one]
            for key, other in self.aims.items():
                brands = (aim.brand or self.own) == (other.brand or self.own)
                if aim.scope == "brand" and brands and other.kind in ("marketing", "research"):
                    more.add(key)
                if aim.scope == "class" and aim.kind == other.kind != "security":
                    more.add(key)
        more -= mine
        return sorted(key for key in more if not more & (set(self.above(key)) - {key}))

    def crossed(self, word: str) -> list[str]:
        """The channels that an opt-out on this channel word is on, too."""
        mine = channels(word)
        return sorted({other for one in mine for other in self.cross.get(one, ())} - mine)


EVERY = frozenset({"email", "sms", "mms", "rcs", "whatsapp", "push", "webpush", "chat", "inapp", "voice", "file"})


def channels(word: str) -> set[str]:
    """The channels that a channel word of a restriction is about."""
    if word == "*":
        return set(EVERY)
    return {"sms", "mms", "rcs"} if word == "phone_messaging" else {word}


@dataclass
class Said:
    """One thing said. Times are hours; `rules` are those that were in force when it was."""

    restricts: bool
    decision: str
    soft: bool
    person: int
    identifier: bytes | None
    whole: bool
    channel: str
    purpose: str
    rank: int
    firm: bool
    at: float
    known: bool
    expires: float
    rules: Rules
    applied: bool = False
    number: int = -1
    spared: set[int] = field(default_factory=set)

    def counts(self, aim: Aim, now: float) -> bool:
        """Of a grant: whether its time is not over."""
        return self.expires > now and (aim.ttl == FOREVER or now - self.at < aim.ttl)


@dataclass
class Manner:
    """How a grant was said."""

    complete: bool
    assertable: bool
    confirm: bool


@dataclass
class Model:
    owner: Mapping[bytes, int]
    reached: Mapping[bytes, tuple[str, ...]]
    """Identifier → the channels it is reached on."""
    history: list[Said] = field(default_factory=list)

    # what is so

    def answer(
        self, rules: Rules, identifier: bytes, channel: str, purpose: str, now: float, years: int | None
    ) -> tuple[str, bool, int | None]:
        """Verdict, whether it may be sent, and the number of what it rests on."""
        aim = rules.aims[purpose]
        grant = self.alive(rules, identifier, channel, purpose, now)
        if grant and grant.decision == "asserted" and not (aim.soft if grant.soft else aim.asserted):
            grant = None
        fit = not aim.archived and (not aim.least or (years is not None and years >= aim.least))
        if against := self.against(rules, identifier, channel, purpose, grant):
            return "denied", False, max(against, key=lambda one: (one.firm, one.at, one.number)).number
        if grant:
            return "allowed", fit, grant.number
        return "unknown", aim.unknown and fit, None

    def alive(self, rules: Rules, identifier: bytes, channel: str, purpose: str, now: float) -> Said | None:
        grant = self.last(identifier, channel, purpose)
        return grant if grant and grant.counts(rules.aims[purpose], now) else None

    def last(self, identifier: bytes, channel: str, purpose: str) -> Said | None:
        """The last grant for exactly this, unless a restriction that reached it then came after it."""
        enders = set[int]()
        for one in reversed(self.history):
            if not one.applied:
                continue
            if one.restricts and self.reaches(one.rules, one, identifier, channel, purpose):
                enders.add(one.number)
            elif not one.restricts and (one.identifier, one.channel, one.purpose) == (identifier, channel, purpose):
                return one if all(one.number in self.history[ender].spared for ender in enders) else None
        return None

    def against(self, rules: Rules, identifier: bytes, channel: str, purpose: str, grant: Said | None) -> list[Said]:
        """The restrictions that reach it now, but for those that the grant answered."""
        return [
            one
            for one in self.history
            if one.applied
            and one.restricts
            and self.reaches(rules, one, identifier, channel, purpose)
            and not (grant and self.answered(grant, one, identifier, channel, purpose))
        ]

    def answered(self, grant: Said, one: Said, identifier: bytes, channel: str, purpose: str) -> bool:
        """Whether a grant was given in the face of a restriction, which reached it then; or was spared by it."""
        before = one.number < grant.number and self.reaches(grant.rules, one, identifier, channel, purpose)
        return before or grant.number in one.spared

    def reaches(self, rules: Rules, one: Said, identifier: bytes, channel: str, purpose: str) -> bool:
        who = one.identifier == identifier or (one.whole and one.person == self.owner[identifier])
        return who and channel in channels(one.channel) and purpose in rules.covered(one.purpose)

    def points(self, said: Said) -> list[tuple[bytes, str, str]]:
        """Everything that a restriction is about."""
        return [
            (identifier, channel, purpose)
            for identifier, reached in self.reached.items()
            for channel in reached
            for purpose in said.rules.aims
            if self.reaches(said.rules, said, identifier, channel, purpose)
        ]

    # what becomes of something said

    def hear(self, said: Said, manner: Manner, now: float) -> tuple[str | None, list[Said]]:
        """Why it does not count, if it does not, and what the policies bring with it."""
        if said.restricts:
            reason = self.restrict(said, now)
            self.keep(said)
            return reason, self.bring(said, now) if said.applied else []
        if said.rank == 0:
            return "ignored", []
        reason = self.permit(said, manner, now)
        self.keep(said)
        return reason, []

    def keep(self, said: Said) -> None:
        said.number = len(self.history)
        self.history.append(said)

    def bring(self, said: Said, now: float) -> list[Said]:
        """What the scopes of purposes and the channels that stand for each other add, but for what says nothing new."""
        rules, more = said.rules, list[Said]()
        purposes, others = rules.left(said.purpose), rules.crossed(said.channel)
        for channel, purpose in [
            *((said.channel, one) for one in purposes),
            *((one, said.purpose) for one in others),
            *((one, two) for one in others for two in purposes),
        ]:
            whole = said.whole or channel != said.channel
            one = replace(said, channel=channel, purpose=purpose, whole=whole, applied=False, spared=set())
            reason = self.restrict(one, now)
            if self.news(one, reason):
                self.keep(one)
                more.append(one)
        return more

    def news(self, said: Said, reason: str | None) -> bool:
        """Whether it ends a grant, or says what was not said as strongly, as late and by as much already."""
        grants = {grant.number for point in self.points(said) if (grant := self.last(*point))}
        if said.applied and grants - said.spared:
            return True
        return not any(
            one.applied
            and one.restricts
            and (one.firm, one.at) >= (said.firm, one.at)
            and one.at >= said.at
            and one.rank >= said.rank
            and one.identifier == said.identifier
            and (not said.whole or (one.whole and one.person == said.person))
            and (one.channel, one.purpose) == (said.channel, said.purpose)
            for one in self.history
        )

    def restrict(self, said: Said, now: float) -> str | None:
        grants = [grant for point in self.points(said) if (grant := self.last(*point))]
        newer = [grant for grant in grants if self.outlives(grant, said, now)]
        exactly = all((one.channel, one.purpose) == (said.channel, said.purpose) for one in newer)
        mine = {i for i in self.owner if said.whole and self.owner[i] == said.person}
        addresses = {i for i in mine if channels(said.channel) & set(self.reached[i])}
        if newer and len(newer) == len(grants) and exactly and addresses <= {one.identifier for one in newer}:
            said.applied = False
            return "newer_grant_stands"
        said.applied, said.spared = True, {one.number for one in newer}
        return None

    @staticmethod
    def outlives(grant: Said, said: Said, now: float) -> bool:
        alive = grant.counts(said.rules.aims[grant.purpose], now)
        return said.known and grant.decision == "granted" and grant.rank >= 2 and grant.at > said.at and alive

    def permit(self, said: Said, manner: Manner, now: float) -> str | None:
        assert said.identifier is not None
        point = (said.identifier, said.channel, said.purpose)
        if manner.confirm:
            said.decision = "pending"
            return "confirmation_requested"
        current = self.alive(said.rules, *point, now)
        if against := self.against(said.rules, *point, current):
            return self.face(said, against, manner)
        if current:
            return self.renew(said, current, manner)
        return self.begin(said, manner)

    def renew(self, said: Said, current: Said, manner: Manner) -> str | None:
        full = current.decision == "granted"
        if said.decision == "asserted" and full:
            return "grant_stands"
        if said.at < current.at or (said.at == current.at and said.expires > current.expires):
            return "newer_grant_stands"
        if said.rank != 1:
            return self.begin(said, manner)
        reason = None
        if full:
            said.applied = True
        else:
            reason = self.begin(said, manner)
        said.rank = max(1, current.rank)
        return reason

    def face(self, said: Said, against: list[Said], manner: Manner) -> str | None:
        """A grant in the face of restrictions."""
        firm = [one for one in against if one.firm]
        newer = all(said.at > one.at for one in against)
        if said.decision == "asserted" or said.rank == 1:
            return "objection_stands" if firm else "restriction_stands"
        if said.rank == 3:
            place = (said.channel, said.purpose)
            mine = [i for i in firm if i.identifier in (None, said.identifier) and (i.channel, i.purpose) == place]
            if len(mine) < len(firm):
                return "wider_objection_stands"
            said.applied = newer
            return None if newer else "newer_restriction_stands"
        reason = "objection_stands" if firm else None if newer else "newer_restriction_stands"
        if reason is None and not manner.complete:
            reason = "notice_or_evidence_incomplete"
        said.applied = reason is None
        said.decision = "granted" if said.applied else "pending"
        return reason

    @staticmethod
    def begin(said: Said, manner: Manner) -> str | None:
        if said.decision == "granted" and said.rank >= 2:
            said.applied = True
            return None
        said.decision = "asserted"
        if said.rank == 1 and not manner.assertable:
            return "assertion_incomplete"
        aim = said.rules.aims[said.purpose]
        said.applied = aim.soft if said.soft else aim.asserted
        return None if said.applied else "assertion_not_accepted"
