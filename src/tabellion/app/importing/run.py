"""An import under way: rows in transactions of at most 1,000, each batch known to be durable before it counts.

Two batches are with the database at once: it works on one while we prepare the other. Only batches that name nobody in
common, so that the rows about one person apply in the order of the file.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from tabellion.app.importing.beside import Count, Progress, ProgressFile, Rejects, Same
from tabellion.app.importing.mapping import Reader
from tabellion.core.errors import HubError
from tabellion.core.rows.batches import durable, read
from tabellion.core.rows.types import Place, Reason, Row, Source
from tabellion.recipients.types import NewRecipient, Upserted

MOST = 1000
"""Rows of one transaction."""
AT_ONCE = 2
BREATH = 50
"""Rows read between two looks at what the database answered."""
Answers = Sequence[Upserted | HubError | None]
Store = Callable[[Sequence[NewRecipient]], Awaitable[Sequence[Upserted | HubError]]]


@dataclass
class Batch:
    """Some rows in a row: those that state a recipient, and those that do not."""

    after: Place
    rows: list[Row] = field(default_factory=list)
    units: list[NewRecipient] = field(default_factory=list)
    refused: list[tuple[Row, Reason]] = field(default_factory=list)
    names: set[tuple[str, str]] = field(default_factory=set)
    """Whom it names."""

    def take(self, row: Row, one: NewRecipient | Reason) -> None:
        self.after = row.after
        if isinstance(one, Reason):
            self.refused.append((row, one))
            return
        self.rows.append(row)
        self.units.append(one)
        self.names.update((named.kind, named.value.lower()) for named in one.identifiers)

    def __len__(self) -> int:
        return len(self.rows) + len(self.refused)


@dataclass
class _Sent:
    """A batch that is with the database."""

    batch: Batch
    task: "asyncio.Task[Answers]"
    people: set[UUID] = field(default_factory=set)
    """Whom the batches meant that were with the database at the same time, and stand before it in the file."""


@dataclass(frozen=True)
class Import:
    """One file into one side. `store` makes units durable, in one transaction; None: nothing is stored."""

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
        sent: deque[_Sent] = deque()
        try:
            while len(batch := await self._next(rows)):
                while len(sent) >= AT_ONCE or any(one.batch.names & batch.names for one in sent):
                    at = await self._settle(sent, at, rejects, show)
                sent.append(_Sent(batch, asyncio.create_task(self._stored(batch.units))))
            while sent:
                at = await self._settle(sent, at, rejects, show)
        finally:
            for one in sent:
                one.task.cancel()
            await asyncio.gather(*(one.task for one in sent), return_exceptions=True)
        if self.store:
            self.progress.remove()
        return at.count

    async def _next(self, rows: Iterator[Row]) -> Batch:
        batch = Batch(Place())
        for number, row in enumerate(islice(rows, self.most), 1):
            batch.take(row, read(row, self.reader.unit))
            if number % BREATH == 0:
                await asyncio.sleep(0)
        return batch

    async def _settle(
        self, sent: deque[_Sent], at: Progress, rejects: Rejects, show: Callable[[Progress], None]
    ) -> Progress:
        """The first batch once it is durable: its rejects are kept, then its end. Killed between, it is repeated."""
        first = sent[0]
        answers = await first.task
        await self._again(first, answers)
        sent.popleft()
        people = {one.recipient_id for one in answers if isinstance(one, Upserted)}
        for one in sent:
            one.people |= people
        after = self._counted(first.batch, answers, at, rejects)
        if self.store:
            await asyncio.to_thread(self.progress.write, after)  # the disk is waited for; the other batch goes on
        show(after)
        return after

    async def _again(self, sent: _Sent, answers: Answers) -> None:
        """Repeat what changed a person whom an earlier batch named otherwise and may have changed later."""
        repeated = [
            unit
            for unit, one in zip(sent.batch.units, answers, strict=True)
            if isinstance(one, Upserted) and one.recipient_id in sent.people
        ]
        await self._stored(repeated)

    def _counted(self, batch: Batch, answers: Answers, at: Progress, rejects: Rejects) -> Progress:
        became = list(zip(batch.rows, answers, strict=True))
        late = [(row, Reason.of(one)) for row, one in became if isinstance(one, HubError)]
        refused = sorted([*batch.refused, *late], key=lambda one: one[0].line)
        created = sum(isinstance(one, Upserted) and one.created for one in answers)
        count = Count(
            at.count.rows + len(batch),
            at.count.created + created,
            at.count.updated + len(batch) - created - len(refused),
            at.count.rejected + len(refused),
            ignored=at.count.ignored + sum(len(one.ignored) for one in answers if isinstance(one, Upserted)),
        )
        return Progress(self.same, batch.after, count, rejects.add(refused))

    async def _stored(self, units: Sequence[NewRecipient]) -> Answers:
        return await durable(self.store, units) if self.store else [None] * len(units)
