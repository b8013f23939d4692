"""A purpose that is tightened and loosened while messages for it begin, and the judgement of that.

The law: once a tightening is answered, no transaction commits that makes an attempt for the purpose `started`, until
one that loosens it again commits. Changes are made one after the other by one actor; each takes the side's policy lock
before it does anything, so that one whose answer got lost is over, one way or the other, before the next one counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from random import Random
from time import monotonic
from typing import Any, Final
from uuid import UUID

from tabellion.access.rules import SCOPES
from tabellion.access.types import Caller, Role
from tabellion.consent.purposes.service import Catalogue
from tabellion.consent.purposes.types import PurposeSettings
from tabellion.consent.types import Basis, PurposeClass
from tabellion.core import ids
from tabellion.core.db import Tx

from .gate_judge import Span, Started
from .gate_world import Fate, Process, World

GOVERNED: Final = "shop"
"""A purpose that nobody grants and only `*` refuses: it is sent for while it says so itself."""


@dataclass
class Change:
    """One change of the purpose, as its client saw it."""

    span: Span
    tightens: bool


@dataclass
class Governor:
    """Whoever changes the purpose, one change after the other."""

    world: World
    changes: list[Change] = field(default_factory=list)

    async def found(self) -> None:
        """Make the purpose."""
        process = self.world.processes[0]
        new = PurposeSettings(title="Shop", purpose_class=PurposeClass.SERVICE, basis=Basis.CONTRACT, unknown="allowed")
        await process.hub.around.db.run(lambda tx: self._catalogue(process).create(tx, self._caller(), GOVERNED, new))

    async def change(
        self, process: Process, *, tightens: bool, chance: Random | None = None, fate: Fate = Fate.LIVES
    ) -> None:
        """Forbid what is not granted, or archive it; or take both back."""
        made = Change(Span(monotonic()), tightens)
        self.changes.append(made)
        archived = bool(tightens and chance and chance.random() < 0.5)
        patch = {"unknown": "denied" if tightens and not archived else "allowed"}

        async def work(tx: Tx) -> None:
            await self.apply(tx, process, patch, archived=archived)

        await self.world.transact(process, made.span, work, fate=fate, chance=chance)

    async def apply(self, tx: Tx, process: Process, patch: dict[str, Any], *, archived: bool) -> None:
        await self._catalogue(process).change(tx, self._caller(), GOVERNED, patch, archived=archived)

    def _catalogue(self, process: Process) -> Catalogue:
        return Catalogue(process.hub.around.events)

    def _caller(self) -> Caller:
        return Caller(self.world.side, ids.new(), ids.new(), Role.OWNER, "test", SCOPES[Role.OWNER])


def breaches(changes: list[Change], started: Iterable[Started]) -> list[UUID]:
    """The attempts that started after a tightening was answered, and before anything loosened it again."""
    attempts = [one for one in started if one.purpose == GOVERNED]
    return [
        one.id
        for place, change in enumerate(changes)
        if change.tightens and change.span.answered < inf
        for one in attempts
        if one.span.issued > change.span.answered and not _loosened(changes[place + 1 :], one)
    ]


def _loosened(later: Iterable[Change], started: Started) -> bool:
    """Whether the purpose may have been loosened again before the attempt committed."""
    return any(not one.tightens and one.span.issued < started.span.answered for one in later)
