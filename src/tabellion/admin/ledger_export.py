"""A copy of a log for auditors: its files as C2SP tlog-tiles has them, its keys, and a signed manifest.

Read in many short transactions; what a size of the tree covers never changes, so the copy is of one moment.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

import msgspec

from tabellion import __version__
from tabellion.access.answers import encode
from tabellion.access.service import mode_of, workspace_of
from tabellion.access.types import Mode
from tabellion.admin.ledger_readme import README
from tabellion.consent.notices.service import Notices
from tabellion.core import ids
from tabellion.core.crypto import b64, b64url
from tabellion.core.db import Database, Tx
from tabellion.core.errors import NotFound
from tabellion.core.ids import WorkspaceId
from tabellion.ledger import layout, note
from tabellion.ledger.paths import File, LogName
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.reading import Reading
from tabellion.ledger.types import Shown, VerifierKey
from tabellion.privacy import notice_files
from tabellion.privacy.certificates import Certificates
from tabellion.privacy.exported import Page, Part

FORMAT: Final = "tabellion-ledger-export/1"
KIND: Final = "tabellion-ledger-export"
"""The type of the signed manifest."""
AT_ONCE: Final = 32
"""Files of one transaction."""
_IN_MEMORY: Final = 8 << 20
_PIECE: Final = 256 << 10
Kept = Callable[[str], "Standing | None"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A file that the copy has already."""

    sha256: str
    size: int


def nothing_kept(name: str) -> Standing | None:
    """For a copy that is begun anew."""
    return None


@dataclass(frozen=True, slots=True)
class Copied:
    """What is copied, as of when the copy began."""

    workspace_id: WorkspaceId
    log: str
    since: int
    by: str
    at: datetime
    shown: Shown
    before: Sequence[Shown]
    """The logs that this one succeeds, the oldest first."""
    keys: Sequence[VerifierKey]
    workspace: str
    mode: Mode
    extra: Mapping[str, str]
    """Notes beside the checkpoint, by the name of their file."""


@dataclass
class _Sums:
    """The SHA-256 of every file so far, outside of memory where they are many."""

    lines: IO[bytes]
    files: int = 0
    size: int = 0

    def add(self, name: str, digest: str, size: int) -> None:
        self.lines.write(f"{digest}  {name}\n".encode())
        self.files, self.size = self.files + 1, self.size + size

    def digest(self) -> str:
        """The SHA-256 of all lines."""
        whole = sha256()
        for piece in self.pieces():
            whole.update(piece)
        return whole.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        self.lines.seek(0)
        while piece := self.lines.read(_PIECE):
            yield piece


@dataclass(frozen=True)
class LedgerExport:
    """Reads a log and writes nothing."""

    reading: Reading
    checkpoints: Checkpoints
    certificates: Certificates
    notices: Notices

    async def begin(self, db: Database, workspace_id: WorkspaceId, log: str, since: int, by: str) -> Copied:
        """What a copy made now is of. With `since`, without what a copy of that many entries has."""
        outside = await self._outside(db, workspace_id, log)
        async with db.transaction() as tx:
            shown = await self.reading.open(tx, workspace_id, LogName(log, None))
            before = [one async for one in self._before(tx, workspace_id, shown)]
            integrated = _tree(await self.reading.ledger.checkpoint(tx, workspace_id, log))
            extra = {"previous": found} if (found := await self._previous(tx, shown, before)) else {}
            if outside is not None and _worth_showing(outside, shown.size, integrated.size):
                extra["checkpoints/outside"] = outside
            return Copied(
                workspace_id, log, min(since, shown.size), by, tx.now, shown, before,
                await self.reading.keys(tx, workspace_id, log),
                ids.show("wsp", await workspace_of(tx, workspace_id)), await mode_of(tx, workspace_id), extra,
            )  # fmt: skip

    async def parts(self, db: Database, copied: Copied, kept: Kept = nothing_kept) -> AsyncIterator[Part]:
        """The files, the checkpoint after all that it covers, the manifest last. `kept` tells which full tiles and
        bundles need not be read again.
        """
        with SpooledTemporaryFile(_IN_MEMORY) as lines:
            sums = _Sums(lines)
            async for name, content in self._contents(db, copied, kept, sums):
                sums.add(name, sha256(content).hexdigest(), len(content))
                yield _part(name, copied.at, content)
            yield _part("SHA256SUMS", copied.at, sums.pieces())
            claims = self._claims(copied, sums, sums.digest())
            yield _part("manifest.json", copied.at, encode(claims) + b"\n")
            signed = await db.run(lambda tx: self.certificates.sign(tx, claims, KIND))
            yield _part("manifest.jws", copied.at, signed.encode() + b"\n")
            known = {"keys": await db.run(self.certificates.published)}
            yield _part("jwks.json", copied.at, encode(known) + b"\n")

    async def _contents(
        self, db: Database, copied: Copied, kept: Kept, sums: _Sums
    ) -> AsyncIterator[tuple[str, bytes]]:
        yield "README.txt", README.encode()
        yield "keys.json", encode({"keys": [_ranged(one) for one in copied.keys]}) + b"\n"
        yield "keys.txt", "".join(_line(one) + "\n" for one in copied.keys).encode()
        for one in copied.before:
            below = f"generations/{one.log.generation}/"
            async for name, content in self._tiles(db, one, 0, kept, sums, below):
                yield name, content
            yield f"{below}checkpoint", one.checkpoint.encode()
        async for name, content in self._tiles(db, copied.shown, copied.since, kept, sums):
            yield name, content
        async for name, content in self._texts(db, copied.workspace_id):
            yield name, content
        for name, said in copied.extra.items():
            yield name, said.encode()
        yield "checkpoint", copied.shown.checkpoint.encode()

    async def _tiles(
        self, db: Database, shown: Shown, since: int, kept: Kept, sums: _Sums, below: str = ""
    ) -> AsyncIterator[tuple[str, bytes]]:
        wanted = layout.files(shown.size, since)
        while some := list(islice(wanted, AT_ONCE)):
            missing: list[File] = []
            for file in some:
                name = below + layout.name(file)
                if file.width == 256 and (found := kept(name)):
                    sums.add(name, found.sha256, found.size)
                else:
                    missing.append(file)

            async def read(tx: Tx, missing: list[File] = missing) -> list[bytes]:
                return [await self.reading.file(tx, shown, one) for one in missing]

            for file, content in zip(missing, await db.run(read) if missing else [], strict=True):
                yield below + layout.name(file), content

    async def _texts(self, db: Database, workspace_id: WorkspaceId) -> AsyncIterator[tuple[str, bytes]]:
        """Those published when they are listed; some of them at a time."""
        listed = await db.run(lambda tx: notice_files.listed(tx, self.notices, workspace_id))
        for first in range(0, len(listed), AT_ONCE):
            some = listed[first : first + AT_ONCE]
            for one in await db.run(lambda tx, some=some: notice_files.named(tx, self.notices, workspace_id, some)):  # type: ignore[misc]
                yield one

    async def _outside(self, db: Database, workspace_id: WorkspaceId, log: str) -> str | None:
        """The last checkpoint kept outside the database. Read before the head: it never runs ahead of a sound one."""
        origin = await db.run(lambda tx: self.reading.ledger.origin(tx, workspace_id, log))
        return await self.checkpoints.last_note(origin)

    async def _before(self, tx: Tx, workspace_id: WorkspaceId, shown: Shown) -> AsyncIterator[Shown]:
        for generation in range(1, shown.log.generation):
            try:
                yield await self.reading.open(tx, workspace_id, LogName(shown.log.name, generation))
            except NotFound:  # the database was older than that log
                continue

    async def _previous(self, tx: Tx, shown: Shown, before: Sequence[Shown]) -> str | None:
        """The note that the first entry of a successor commits to."""
        if shown.log.generation == 1 or not shown.size:
            return None
        first = await self.reading.file(tx, shown, File(None, 0, 1))
        stem = shown.checkpoint.partition("\n")[0].rpartition("/")[0]
        outside = [await self.checkpoints.last_note(f"{stem}/{one}") for one in range(shown.log.generation - 1, 0, -1)]
        for said in (*outside, *(one.checkpoint for one in before)):
            if said and b64url(sha256(said.encode()).digest()).encode() in first:
                return said
        return None

    def _claims(self, copied: Copied, sums: _Sums, digest: str) -> dict[str, Any]:
        tree = _tree(copied.shown.checkpoint)
        claims = {
            "format": FORMAT,
            "generated_at": copied.at,
            "generated_by": copied.by,
            "hub_version": __version__,
            "workspace": copied.workspace,
            "mode": copied.mode,
            "log": copied.log,
            "origin": tree.origin,
            "size": tree.size,
            "root": b64(tree.root),
            "since": copied.since,
            "witnessed": copied.shown.witnessed,
            "generations": [{"generation": one.log.generation, "size": one.size} for one in copied.before],
            "files": sums.files,
            "bytes": sums.size,
            "sha256sums": digest,
        }
        built: dict[str, Any] = msgspec.json.decode(encode(claims))
        return built


def _worth_showing(outside: str, shown: int, integrated: int) -> bool:
    """Whether the checkpoint from outside can be compared with the copy, or says that the database lost entries."""
    size = _tree(outside).size
    return size <= shown or size > integrated


def _tree(signed: str) -> note.Checkpoint:
    return note.parse_checkpoint(note.parse(signed).text)


def _line(key: VerifierKey) -> str:
    return note.Verifier(key.origin, key.public_key).line()


def _ranged(key: VerifierKey) -> dict[str, Any]:
    return {
        "vkey": _line(key),
        "from_size": key.from_size,
        "to_size": key.to_size,
        "created_at": key.created_at,
        "retired_at": key.retired_at,
    }


def _part(name: str, at: datetime, content: bytes | Iterable[bytes]) -> Part:
    whole = [content] if isinstance(content, bytes) else content

    async def pages() -> AsyncIterator[Page]:
        for piece in whole:
            yield Page(1, piece)

    return Part(name, at, pages())
