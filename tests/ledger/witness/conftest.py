"""Logs without a database, and witnesses on real sockets."""

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uvicorn

from tabellion.app.roles import Server
from tabellion.core import ids
from tabellion.core.addresses import AddressPolicy
from tabellion.core.clock import FakeClock
from tabellion.core.db import Database
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import open_log
from tabellion.core.outbound import HttpPool, Limits
from tabellion.core.vault import Vault
from tabellion.ledger import merkle, note
from tabellion.ledger.note import Checkpoint, Cosigner, Signer, Verifier
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.service import Ledger
from tabellion.ledger.types import Leaf, LogId, NotYetPublished
from tabellion.ledger.witness import policy, store
from tabellion.ledger.witness.asgi import WitnessApp
from tabellion.ledger.witness.client import WitnessClient
from tabellion.ledger.witness.folder import Folder, hash_of
from tabellion.ledger.witness.policy import Policy
from tabellion.ledger.witness.publishing import Publisher
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
    server = Server(
        uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1)
    )
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


Make = Callable[[int], list[Leaf]]


@dataclass
class House:
    """A hub's ledger with a policy, its publisher, and what it said."""

    db: Database
    vault: Vault
    checkpoints: Checkpoints
    workspace_id: WorkspaceId
    make: Make
    http: HttpPool
    clock: FakeClock
    folder: Path
    install_id: UUID = field(default_factory=ids.new)
    lines: io.StringIO = field(default_factory=io.StringIO)
    outcomes: list[str] = field(default_factory=list)
    ledger: Ledger = field(init=False)
    publisher: Publisher = field(init=False)
    policy: Policy = field(init=False)

    def under(self, text: str) -> "House":
        """The same, once the policy says this; a process that remembers nothing."""
        self.policy = policy.parse(text.encode())
        self.ledger = Ledger(self.vault, self.checkpoints, self.install_id, self.policy)
        client = WitnessClient(self.http, self.clock)
        log = open_log(self.lines, self.clock)
        self.publisher = Publisher(
            self.db, self.ledger, self.checkpoints, client, self.policy, log, self.outcomes.append
        )
        return self

    async def grow(self, count: int = 1) -> int:
        leaves = self.make(count)
        return (await self.db.run(lambda tx: self.ledger.append(tx, self.workspace_id, leaves)))[1]

    async def verifier(self) -> Verifier:
        line = await self.db.run(lambda tx: self.ledger.verifier_keys(tx, self.workspace_id))
        return note.parse_verifier(line)

    async def shown(self) -> note.Checkpoint | None:
        """The published head, verified as a stranger would; None while there is none."""
        try:
            found = await self.db.run(lambda tx: self.ledger.published(tx, self.workspace_id))
        except NotYetPublished:
            return None
        assert found.witnessed
        assert self.policy.accepts(found.checkpoint)
        stated = note.verify_checkpoint(found.checkpoint, [await self.verifier()])
        assert stated.size == found.size
        return stated

    async def size(self) -> int | None:
        stated = await self.shown()
        return stated.size if stated else None

    async def known(self) -> dict[str, int]:
        """The sizes it believes its witnesses to stand at, by name."""
        log = LogId(self.workspace_id, "consent", 1)
        return {
            key.partition(".")[0]: size for key, size in (await self.db.run(lambda tx: store.sizes(tx, log))).items()
        }

    async def troubles(self) -> list[str]:
        return [one.trouble for one in await self.db.run(store.troubles)]

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.lines.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    def later(self) -> None:
        """When every pause is over."""
        self.clock.advance(timedelta(hours=2))


@pytest.fixture
async def house(
    db: Database,
    vault: Vault,
    checkpoints: Checkpoints,
    workspace_id: WorkspaceId,
    some_leaves: Make,
    clock: FakeClock,
    folder: Path,
) -> AsyncIterator[House]:
    limits = Limits(connect=5.0, read=5.0, total=5.0, body=64 << 10)
    http = HttpPool(clock, AddressPolicy.of(["127.0.0.0/8"]), limits=limits)
    made = House(db, vault, checkpoints, workspace_id, some_leaves, http, clock, folder)
    yield made.under("quorum none\n")
    await http.close()


def any_of(*witnesses: Standing, needed: int | str = "all") -> str:
    lines = "".join(one.policy_line(f"w{number}") for number, one in enumerate(witnesses))
    names = " ".join(f"w{number}" for number in range(len(witnesses)))
    return f"{lines}group g {needed} {names}\nquorum g\n"
