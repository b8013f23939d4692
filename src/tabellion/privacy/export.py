"""Export: everything the hub holds about one person, as files that are read in pages.

No page holds more than so many rows, and each is a transaction of its own: an export may be long, and others write
meanwhile. Where the person is merged, split or erased in the midst of it, it ends with a refusal instead of by halves.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Final, TypeVar
from uuid import UUID

from tabellion.access.answers import encode
from tabellion.access.service import mode_of, workspace_of
from tabellion.consent.notices.serving import Serving
from tabellion.consent.service import Consent
from tabellion.core.db import Database, Tx
from tabellion.core.errors import Conflict, HubError
from tabellion.core.ids import WorkspaceId
from tabellion.core.vault import Vault
from tabellion.events.service import THROUGH, list_events
from tabellion.events.types import START, Cursor, Wanted
from tabellion.identity.service import Identity
from tabellion.messages.service import Messages
from tabellion.privacy import exported
from tabellion.privacy.archive import document, zipped
from tabellion.privacy.exported import Named, Page, Part, Person, Written
from tabellion.privacy.readme import README
from tabellion.recipients.history import History
from tabellion.recipients.moving import Moving
from tabellion.recipients.service import Recipients
from tabellion.recipients.types import Identifier, Kind, Ref, Resolved
from tabellion.webhooks.service import Webhooks

C = TypeVar("C")
Read = Callable[[Tx, Person, C | None], Awaitable[tuple[Sequence[object], C | None]]]
"""The rows of one page behind a place, and the place behind them; None at the end."""

PAGE: Final = 500
"""Rows of one page, and so of one transaction."""
HEAVY: Final = 10
"""As so many rows counts one that carries what somebody wrote."""
LARGEST: Final = 20 << 20
"""Bytes of an export that is given out as one document."""


@dataclass(frozen=True)
class Export:
    """Reads what each domain holds about a person. None of it changes anything."""

    vault: Vault
    recipients: Recipients
    identity: Identity
    consent: Consent
    serving: Serving
    messages: Messages
    webhooks: Webhooks
    page: int = PAGE
    through: int = THROUGH
    """Events, of anybody, that one page looks through: they have no index by person."""
    largest: int = LARGEST

    async def person(self, tx: Tx, workspace_id: WorkspaceId, recipient_id: UUID) -> Person:
        """Who is meant, under any of their ids, as of now.

        Raises `NotFound` where there is nobody, or nobody any more; `Conflict` where what is left does not open.
        """
        explained = await self.identity.explain(tx, workspace_id, recipient_id)
        own = await Moving(self.vault, self.recipients.settings).read(tx, workspace_id, explained.ids)
        if explained.root not in own:
            raise Conflict("recipient_erased", "the recipient was erased; nothing that is left can be read")
        return Person(
            workspace_id=workspace_id,
            workspace=await workspace_of(tx, workspace_id),
            mode=await mode_of(tx, workspace_id),
            at=tx.now,
            ids=tuple(explained.ids),
            undone=exported.undone(explained),
        )

    async def parts(self, db: Database, workspace_id: WorkspaceId, recipient_id: UUID) -> AsyncIterator[Part]:
        """The files of the export, the manifest last. Read each to its end before the next; what is left is skipped.

        Raises as `person` does, at the first; `Conflict` (`merged_meanwhile`) where the person was merged or split.
        """
        person = await db.run(lambda tx: self.person(tx, workspace_id, recipient_id))
        written: list[Written] = []
        for name, pages in self._files(db, person):
            read = counted(name, pages, written)
            yield Part(name, person.at, read)
            async for _ in read:
                pass
        await db.run(lambda tx: self.same(tx, person))
        yield Part("manifest.json", person.at, once(exported.manifest(person, written)))

    def zipped(self, db: Database, workspace_id: WorkspaceId, recipient_id: UUID) -> AsyncIterator[bytes]:
        """The export as a ZIP, in pieces. Raises as `parts` does, so ask `person` before the first byte is promised."""
        return zipped(self.parts(db, workspace_id, recipient_id))

    async def document(self, db: Database, workspace_id: WorkspaceId, recipient_id: UUID) -> bytes:
        """The export as one JSON object, a member a file. Raises 413 `export_too_large` where it is no small one."""
        return await document(self.parts(db, workspace_id, recipient_id), self.largest)

    def _files(self, db: Database, person: Person) -> Iterable[tuple[str, AsyncIterator[Page]]]:
        light, heavy = self.page, max(1, self.page // HEAVY)
        yield "README.txt", _text(README)
        yield "recipient.json", self._one(db, person, self._recipient)
        yield "identity.json", self._one(db, person, self._identity)
        yield "history.jsonl", self._rows(db, person, self._history(light))
        yield "consents.jsonl", self._rows(db, person, self._consents(light))
        yield "notices.jsonl", self._rows(db, person, self._notices(light))
        yield "messages.jsonl", self._rows(db, person, self._messages(heavy))
        yield "callbacks.jsonl", self._rows(db, person, self._callbacks(heavy))
        yield "events.jsonl", self._rows(db, person, self._events(light))

    async def _one(
        self, db: Database, person: Person, read: Callable[[Tx, Person], Awaitable[object]]
    ) -> AsyncIterator[Page]:
        """A file of one record."""

        async def work(tx: Tx) -> object:
            await self.same(tx, person)
            return await read(tx, person)

        yield Page(1, encode(await db.run(work)) + b"\n")

    async def _rows(self, db: Database, person: Person, read: Read[C]) -> AsyncIterator[Page]:
        """A file of a record a line, page after page."""
        after: C | None = None
        while True:

            async def work(tx: Tx, after: C | None = after) -> tuple[Sequence[object], C | None]:
                await self.same(tx, person)
                return await read(tx, person, after)

            rows, after = await db.run(work)
            if rows:
                yield Page(len(rows), b"".join(encode(one) + b"\n" for one in rows))
            if after is None:
                return

    async def same(self, tx: Tx, person: Person) -> None:
        """Refuse to go on about somebody who is not who they were when the export began."""
        [found] = await self.recipients.resolve(tx, person.workspace_id, [Ref(id=person.root)], create=False)
        if isinstance(found, HubError):
            raise found
        parts = await self.recipients.merged(tx, person.workspace_id, [found.recipient_id])
        if {found.recipient_id, *parts.get(found.recipient_id, ())} != set(person.ids):
            raise Conflict("merged_meanwhile", "the recipient was merged or split meanwhile; begin the export again")

    # What each domain holds

    async def _recipient(self, tx: Tx, person: Person) -> object:
        own = await Moving(self.vault, self.recipients.settings).read(tx, person.workspace_id, person.ids)
        known = [identifier for one in person.ids if one in own for identifier in own[one].identifiers]
        blocks = await self.consent.blocks(tx, person.workspace_id, [one.hash for one in known])
        state = await self.consent.contact_state(tx, person.workspace_id, [own[person.root]])
        return exported.recipient([own[one] for one in person.ids if one in own], blocks, state[person.root])

    async def _identity(self, tx: Tx, person: Person) -> object:
        return exported.identity(await self.identity.explain(tx, person.workspace_id, person.root))

    def _history(self, limit: int) -> Read[tuple[int, int | None]]:
        history = History(self.vault)

        async def read(
            tx: Tx, person: Person, after: tuple[int, int | None] | None
        ) -> tuple[Sequence[object], tuple[int, int | None] | None]:
            place, before = after or (0, None)
            one = person.ids[place]
            found = await history.page(tx, person.workspace_id, one, before=before, limit=limit)
            others = await self.others(tx, person, chain.from_iterable(map(exported.named_in_history, found)))
            full = len(found) == limit and found[-1].version > 1
            further = (place, found[-1].version) if full else (place + 1, None)
            rows = [exported.version(one, entry, person, others) for entry in found]
            return rows, further if further[0] < len(person.ids) else None

        return read

    def _consents(self, limit: int) -> Read[int]:
        async def read(tx: Tx, person: Person, after: int | None) -> tuple[Sequence[object], int | None]:
            behind = -1 if after is None else after
            found = await self.consent.entries(tx, person.workspace_id, person.ids, behind, limit)
            others = await self.others(
                tx, person, chain.from_iterable(exported.named_in_record(one) for _, one in found)
            )
            rows = [exported.consent(entry, record, others) for entry, record in found]
            return rows, found[-1][0].ordinal if len(found) == limit else None

        return read

    def _notices(self, limit: int) -> Read[UUID]:
        async def read(tx: Tx, person: Person, after: UUID | None) -> tuple[Sequence[object], UUID | None]:
            hashes = sorted(await self._known(tx, person))
            found = await self.serving.of_people(tx, person.workspace_id, person.ids, hashes, after, limit)
            rows = [exported.served(one, opened) for one, opened in found]
            return rows, found[-1][0].id if len(found) == limit else None

        return read

    def _messages(self, limit: int) -> Read[UUID]:
        async def read(tx: Tx, person: Person, after: UUID | None) -> tuple[Sequence[object], UUID | None]:
            found = await self.messages.of_people(tx, person.workspace_id, person.ids, after, limit)
            known = await self._known(tx, person) if found else {}
            rows = [exported.message(one, attempts, content, known) for one, attempts, content in found]
            return rows, found[-1][0].id if len(found) == limit else None

        return read

    def _callbacks(self, limit: int) -> Read[UUID]:
        async def read(tx: Tx, person: Person, after: UUID | None) -> tuple[Sequence[object], UUID | None]:
            found, further = await self.webhooks.of_people(tx, person.workspace_id, person.ids, after, limit)
            return [exported.callback(one, raw) for one, raw in found], further

        return read

    def _events(self, limit: int) -> Read[Cursor]:
        async def read(tx: Tx, person: Person, after: Cursor | None) -> tuple[Sequence[object], Cursor | None]:
            """What happened to messages is among them: each of these events names whom its message is to."""
            start, wanted = after or START, Wanted(recipients=person.ids)
            page = await list_events(
                tx, person.workspace_id, after=start, wanted=wanted, limit=limit, through=self.through
            )
            return [exported.event(one) for one in page.events], page.after if page.after > start else None

        return read

    async def _known(self, tx: Tx, person: Person) -> dict[bytes, Identifier]:
        """The person's identifiers by the hashes that plans and attempts name them by."""
        found = await self.recipients.identifiers(tx, [(person.workspace_id, one) for one in person.ids])
        return {one.hash: one for some in found.values() for one in some}

    async def others(self, tx: Tx, person: Person, named: Iterable[Named]) -> frozenset[Named]:
        """Those of the identifiers that are somebody else's now: they were the person's until a split."""
        asked = sorted(set(named))
        refs = [Ref(kind=Kind(kind), value=value) for kind, value in asked]
        found = await self.recipients.resolve(tx, person.workspace_id, refs, create=False) if refs else []
        told = zip(asked, found, strict=True)
        return frozenset(pair for pair, one in told if isinstance(one, Resolved) and one.recipient_id not in person.ids)


async def counted(name: str, pages: AsyncIterator[Page], written: list[Written]) -> AsyncIterator[Page]:
    """The pages as they are; at their end, what they came to is noted."""
    digest, size, rows = sha256(), 0, 0
    async for page in pages:
        digest.update(page.content)
        size, rows = size + len(page.content), rows + page.rows
        yield page
    written.append(Written(name, digest.hexdigest(), size, rows))


async def once(said: object) -> AsyncIterator[Page]:
    yield Page(1, encode(said) + b"\n")


async def _text(said: str) -> AsyncIterator[Page]:
    yield Page(0, said.encode())
