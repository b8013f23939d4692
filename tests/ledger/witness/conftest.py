"""Logs without a database, and witnesses on real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from tabellion.app.roles import Server
from tabellion.core.clock import FakeClock
from tabellion.ledger import merkle, note
from tabellion.ledger.note import Checkpoint, Cosigner, Signer
from tabellion.ledger.witness.asgi import WitnessApp
from tabellion.ledger.witness.folder import Folder, hash_of
from tabellion.ledger.witness.submission import Submission
from tabellion.ledger.witness.watch import Watch


@dataclass
class PaperLog:
    """A log in memory. Forks are another log with the same key."""

    signer: Signer = field(default_factory=lambda: Signer.of("example.org/log", bytes(32)))
    hashes: list[bytes] = field(default_factory=list)

    def grow(self, entries: Iterable[bytes]) -> "PaperLog":
        self.hashes += [merkle.leaf_hash(entry) for entry in entries]
        return self

    def checkpoint(self, size: int | None = None) -> str:
        hashes = self.hashes[:size]
        return self.signer.sign(Checkpoint(self.signer.name, len(hashes), merkle.root(hashes)).text())

    def submission(self, old: int, size: int | None = None) -> Submission:
        new = len(self.hashes) if size is None else size
        ranges = merkle.consistency_ranges(old, new) if 0 < old < new else []
        return Submission(old, tuple(merkle.path(self.hashes, ranges)), self.checkpoint(size))


@dataclass
class Standing:
    """A witness of its own, with its folder."""

    folder: Folder
    cosigner: Cosigner
    watch: Watch
    url: str = ""

    def policy_line(self, name: str) -> str:
        return f"witness {name} {self.cosigner.witness.line()} {self.url}\n"

    def size_of(self, origin: str) -> int | None:
        last = self.folder.last(hash_of(origin))
        return note.parse_checkpoint(note.parse(last).text).size if last else None


NewWitness = Callable[..., Standing]
Serve = Callable[[Any], Awaitable[str]]


@pytest.fixture
def paper() -> PaperLog:
    return PaperLog()


@pytest.fixture
def new_witness(tmp_path: Path, clock: FakeClock) -> NewWitness:
    """Makes witnesses that trust these logs; not served yet."""

    def make(name: str, *logs: note.Verifier) -> Standing:
        folder = Folder(tmp_path / "witnesses" / name)
        cosigner = folder.prepare(f"{name}.example")
        folder.trust(logs)
        return Standing(folder, cosigner, Watch(folder, cosigner, clock))

    return make


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """The application on a socket of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Puts applications on real sockets, until the test ends."""
    async with AsyncExitStack() as stack:
        yield lambda app: stack.enter_async_context(serving(app))


@pytest.fixture
def witness_of(new_witness: NewWitness, serve: Serve) -> Callable[..., Awaitable[Standing]]:
    """Makes witnesses that answer."""

    async def make(name: str, *logs: note.Verifier) -> Standing:
        made = new_witness(name, *logs)
        made.url = await serve(WitnessApp(made.watch))
        return made

    return make
