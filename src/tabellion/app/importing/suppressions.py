"""`tabellion import suppressions`: a list of addresses not to write to, into one side of a workspace.

Running it again adds nothing to the ledger: what stands is told apart under the person's lock, where it would be
recorded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from msgspec.structs import replace

from tabellion.access.service import find_workspace
from tabellion.app.domains import domains
from tabellion.app.importing.beside import Count, Progress, ProgressFile, Rejects, Same, digest
from tabellion.app.importing.recipients import Wanted, bring, progress_of, source_name
from tabellion.app.importing.sources import open_source
from tabellion.app.opening import opened
from tabellion.app.wiring import Hub
from tabellion.consent.record import unknown_purpose
from tabellion.consent.service import MOST
from tabellion.consent.suppressions.rows import REASONS, Reader, Suppression, choose
from tabellion.consent.suppressions.service import Answers
from tabellion.consent.suppressions.types import Became
from tabellion.consent.types import ANY
from tabellion.core.config import Settings
from tabellion.core.errors import HubError, Invalid
from tabellion.core.ids import WorkspaceId
from tabellion.core.rows.batches import durable, read
from tabellion.core.rows.types import Place, Reason, Row, Source

Store = Callable[[Sequence[Suppression]], Awaitable[Answers]]


@dataclass(frozen=True, slots=True)
class Meant:
    """What holds for rows that say nothing else."""

    purpose: str = "marketing"
    reason: str = "unsubscribed"


async def import_suppressions(settings: Settings, wanted: Wanted, meant: Meant) -> dict[str, Any]:
    """The report of an import: what became of the rows, and where those are that were refused."""
    source = open_source(wanted.file)
    fields = choose(wanted.told, source)
    if meant.reason not in REASONS:
        raise Invalid("reason_unknown", f"--reason {meant.reason}: there are {', '.join(REASONS)}")
    async with opened(settings, connections=2) as installation:
        workspace = await installation.db.run(lambda tx: find_workspace(tx, wanted.workspace))
        side = workspace.side(wanted.mode)
        async with domains(installation, settings) as hub:
            purposes = await hub.around.db.run(lambda tx: hub.consent.purposes(tx, side))
            if meant.purpose not in (ANY, *purposes):
                raise unknown_purpose(purposes)
            name = source_name(wanted.file)
            work = Listed(
                source,
                Reader(hub.recipients, side, fields, name, meant.purpose, meant.reason, purposes),
                None if wanted.dry_run else storing(hub, side, name),
                progress_of(wanted),
                Same(digest(wanted.file), side, fields, ("suppressions", meant.purpose, meant.reason)),
            )
            return await bring(hub, "suppressions", wanted, source, work, [one.value for one in Became])


def storing(hub: Hub, side: WorkspaceId, source: str) -> Store:
    """What makes suppressions durable."""

    async def store(some: Sequence[Suppression]) -> Answers:
        return await hub.suppressions.bring(hub.around.db, side, some, source)

    return store


@dataclass(frozen=True)
class Listed:
    """One list into one side, batch after batch, in the order of the file. `store` None: nothing is stored."""

    source: Source
    reader: Reader
    store: Store | None
    progress: ProgressFile
    same: Same
    most: int = MOST

    def begun(self) -> Progress | None:
        """How far an earlier run of the same import got."""
        return self.progress.read(self.same) if self.store else None

    async def run(self, rejects: Rejects, begun: Progress | None, show: Callable[[Progress], None]) -> Count:
        """What became of all rows. Whatever ends it, the next run goes on after the last batch that counts."""
        at = begun or Progress(self.same, Place(), Count())
        rows = self.source.rows(begun.place if begun else None)
        while batch := list(islice(rows, self.most)):
            at = await self._bring(batch, at, rejects)
            show(at)
        if self.store:
            self.progress.remove()
        return at.count

    async def _bring(self, batch: Sequence[Row], at: Progress, rejects: Rejects) -> Progress:
        """Rows made durable: their rejects are kept, then their end. Killed between, they are repeated."""
        stated = [(row, read(row, self.reader.unit)) for row in batch]
        sound = [(row, one) for row, one in stated if isinstance(one, Suppression)]
        answers = await self._stored([one for _, one in sound])
        late = (
            (row, Reason.of(one)) for (row, _), one in zip(sound, answers, strict=True) if isinstance(one, HubError)
        )
        refused = sorted([*_flawed(stated), *late], key=lambda one: one[0].line)
        became = [one.value for one in answers if isinstance(one, Became)]
        counted: Mapping[str, int] = {
            name: getattr(at.count, name) + became.count(name) for name in (one.value for one in Became)
        }
        rows, rejected = at.count.rows + len(batch), at.count.rejected + len(refused)
        count = replace(at.count, rows=rows, rejected=rejected, **counted)
        after = Progress(self.same, batch[-1].after, count, rejects.add(refused))
        if self.store:
            await asyncio.to_thread(self.progress.write, after)
        return after

    async def _stored(self, some: Sequence[Suppression]) -> Answers:
        return await durable(self.store, some) if self.store else [Became.APPLIED] * len(some)


def _flawed(stated: Sequence[tuple[Row, Suppression | Reason]]) -> Iterator[tuple[Row, Reason]]:
    return ((row, one) for row, one in stated if isinstance(one, Reason))
