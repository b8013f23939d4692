"""Whom an upsert means: strong identifiers say who it is, weak ones only where a device or a browser is. Pure."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from tabellion.core import ids
from tabellion.recipients.rules import LIMITS, limit
from tabellion.recipients.types import IdentityConflict, Kind

WEAK: Final = (Kind.DEVICE, Kind.WEBPUSH, Kind.ANONYMOUS)
"""They name a device or a browser, which one person may hand to another. The first of them says most."""
_STRONG: Final = (Kind.EXTERNAL_ID, Kind.EMAIL, Kind.PHONE, Kind.WHATSAPP, Kind.WALLET)
_LAST: Final = len(_STRONG)
MOVING: Final = frozenset({Kind.DEVICE, Kind.WEBPUSH})
"""They go to whoever identified last; an anonymous id stays with the first."""


def is_strong(kind: Kind) -> bool:
    """Whether an identifier of the kind says who somebody is."""
    return kind not in WEAK


@dataclass(frozen=True, slots=True)
class Policy:
    """What a workspace side sets about resolution."""

    priority: tuple[Kind, ...] = ()
    """Kinds in the order of what they say; those left out follow in the usual one. Weak ones are always last."""
    limits: Mapping[Kind, int] = field(default_factory=lambda: LIMITS)
    people: int = 5
    """More known persons than these make a device or a browser a shared one."""
    within: timedelta = timedelta(days=30)

    def limit(self, kind: Kind) -> int:
        return limit(kind, self.limits)

    def rank(self, kind: Kind) -> tuple[int, int, int]:
        """Smaller says more."""
        placed = self.priority.index(kind) if kind in self.priority else len(self.priority)
        if kind in WEAK:
            return 1, placed, WEAK.index(kind)
        return 0, placed, _STRONG.index(kind) if kind in _STRONG else _LAST


USUAL: Final = Policy()


@dataclass(frozen=True, slots=True)
class Owner:
    """A recipient that has identifiers an upsert names."""

    id: UUID
    address_only: bool
    named: frozenset[Kind]
    """The kinds of those."""
    holds: frozenset[Kind] = frozenset()
    """The kinds of all it has, as far as it matters."""
    lesser: bool = False
    """Nothing named is theirs but a token that another one took the place of."""

    @property
    def strong(self) -> bool:
        """A strong identifier named is theirs."""
        return any(map(is_strong, self.named))

    @property
    def known(self) -> bool:
        """We know who it is, not only that there is a device or a browser."""
        return any(map(is_strong, self.named | self.holds))


@dataclass(frozen=True, slots=True)
class Match:
    """What an upsert does: make a recipient (`into` is None), or change one."""

    into: UUID | None
    promote: bool = False
    """It was address-only and becomes a full recipient, in place, so that its restrictions stay."""
    absorb: tuple[UUID, ...] = ()
    """Address-only recipients that become part of it."""
    joins: tuple[UUID, ...] = ()
    """Recipients nobody knew by anything but weak identifiers: they turn out to be this person."""
    yields: tuple[UUID, ...] = ()
    """Known persons with weak identifiers that are named: theirs are, from now on, this one's device, if not shared."""


def match(
    owners: Sequence[Owner], new: Set[Kind], policy: Policy = USUAL, *, strictly: bool = False
) -> Match | IdentityConflict:
    """Whom a unit means that names identifiers of owners, and new ones of kinds that nobody has.

    Two known persons are never merged silently, nor is one that has another external_id already. `strictly`: new
    strong identifiers are never a known person's by weak ones.
    """
    full = sorted((one for one in owners if not one.address_only), key=lambda one: (_said(one, policy), one.id))
    hidden = tuple(sorted(one.id for one in owners if one.address_only))
    strong = [one for one in full if one.strong]
    if len(strong) > 1:
        return _several(strong)
    if strong and Kind.EXTERNAL_ID in new and Kind.EXTERNAL_ID in strong[0].holds:
        return _another(strong[0])
    identified = bool(strong or hidden or any(map(is_strong, new)))
    if not strong and not identified and _even(full, policy):
        return _several(full)
    target = strong[0] if strong else _by_weak(full, new, policy, strictly) if identified else _first(full)
    joins = tuple(one.id for one in full if one is not target and not one.known)
    yields = tuple(one.id for one in full if one is not target and one.known) if identified else ()
    if target is None and hidden:
        return Match(hidden[0], True, hidden[1:], joins, yields)
    return Match(target.id if target else None, False, hidden, joins, yields)


def _by_weak(full: Sequence[Owner], new: Set[Kind], policy: Policy, strictly: bool) -> Owner | None:
    """Whom strong identifiers belong to that nobody has yet, and that are named with weak ones of others.

    The one known person, where they can have another of each; else who was anonymous until now; else somebody new.
    """
    known = [one for one in full if one.known]
    single = {kind for kind in new if is_strong(kind) and policy.limit(kind) == 1}
    if len(known) == 1 and not strictly and not known[0].holds & single:
        return known[0]
    return next((one for one in full if not one.known), None)


def _first(full: Sequence[Owner]) -> Owner | None:
    return next((one for one in full if one.known), full[0] if full else None)


def _said(owner: Owner, policy: Policy) -> tuple[bool, tuple[int, int, int]]:
    """How much it says that an owner is meant; smaller is more."""
    return owner.lesser, min(map(policy.rank, owner.named))


def _even(full: Sequence[Owner], policy: Policy) -> bool:
    """Whether two known persons are named equally: nothing tells which of them is meant."""
    ranks = [_said(one, policy) for one in full if one.known]
    return len(ranks) > 1 and ranks[0] == ranks[1]


def _several(owners: Sequence[Owner]) -> IdentityConflict:
    both = " and ".join(ids.show("rcp", one.id) for one in owners[:2])
    detail = f"the identifiers belong to {both}; name only those of one"
    return IdentityConflict(detail, tuple(one.id for one in owners))


def _another(owner: Owner) -> IdentityConflict:
    detail = f"an identifier belongs to {ids.show('rcp', owner.id)}, which has another external_id"
    return IdentityConflict(detail, (owner.id,))
