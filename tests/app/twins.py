"""Twins: two workspace sides that nothing but their own words tells apart.

The same requests are made of both with the same dice and at the same time, so that every id, every key and thereby
every keyed hash is equal; what they say is not. A statement that leaves out the workspace finds the wrong twin or both.
Only what is unique by itself differs: workspaces, API keys, accounts, and what is signed.
"""

import asyncio
import contextlib
import os
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import pytest

from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Mode, Role, Workspace
from tabellion.app.routes import App, build
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.config import Settings
from tabellion.core.db import Tx
from tabellion.core.ids import WorkspaceId
from tabellion.jobs import service as jobs
from tabellion.jobs.engine import Engine, Options
from tabellion.jobs.types import Lane
from tabellion.messages.jobs import Deliver
from tabellion.providers.base import Accepted, Deferred, Outbound, Reason, Rejected, Result, Signal, SignalSeen

SECRET = "the same with everyone"
UNLIKE = frozenset({"leaf_hash", "position", "next_cursor", "last_used_at", "mode"})
"""What differs between twins, and gives nothing away: places in the shared log, hashes over the log's own name."""

AUDITED = frozenset({"log_index"})
"""And of audited actions: the log of a live side begins with the word that the workspace was made."""


class Dice:
    """Stands in for `os` and `time` where ids and keys are made: after `put_back`, the same fall again."""

    def __init__(self) -> None:
        self._thrown: Counter[int] | None = None

    def urandom(self, size: int) -> bytes:
        if self._thrown is None or size not in (8, 32):
            return os.urandom(size)
        self._thrown[size] += 1
        return sha256(f"{size}: {self._thrown[size]}".encode()).digest()[:size]

    def time_ns(self) -> int:
        if self._thrown is None:
            return time.time_ns()
        return (1_800_000_000_000 + self._thrown[8]) * 1_000_000

    def taken_up(self) -> Counter[int]:
        """Where they lie, for `put_back`."""
        return Counter(self._thrown or ())

    def put_back(self, lay: Counter[int]) -> None:
        self._thrown = Counter(lay)

    @contextlib.contextmanager
    def honest(self) -> Iterator[None]:
        """Ids that nobody has twice."""
        kept, self._thrown = self._thrown, None
        yield
        self._thrown = kept


@dataclass
class Vendor:
    """Does what the text's first word says; its ids are the attempts', so twins have the same."""

    held: asyncio.Event = field(default_factory=asyncio.Event)
    slowed: set[str] = field(default_factory=set)

    async def send(self, provider: Any, outbound: Outbound, settings: Any, not_after: float) -> Result:
        match outbound.text.split()[0]:
            case "refuse":
                return Rejected(Reason.OPTED_OUT, "stopped", signals=(SignalSeen(Signal.STOP, outbound.to),))
            case "slow" if outbound.text not in self.slowed:
                self.slowed.add(outbound.text)
                return Deferred("slower", retry_after=2.0, reason=Reason.RATE_LIMITED)
            case "wait":
                await self.held.wait()
        return Accepted(f"v-{outbound.attempt_id}")


@dataclass
class Twin:
    word: str
    """All that its data has of its own."""
    id: WorkspaceId
    client: httpx.AsyncClient
    account: str
    own: dict[str, str]
    """What only it has, and what stands for that when twins are compared."""
    said: list[tuple[str, int, Any]] = field(default_factory=list)
    """Each request and its answer, in words that are both twins'."""

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The answer, which is kept."""
        answer = await self.client.request(method, path, json=body, headers=headers)
        said = answer.json() if "json" in answer.headers.get("content-type", "") else _unsigned(answer.text)
        replayed = " again" if "idempotent-replay" in answer.headers else ""
        self.said.append((self._common(f"{method} {path}{replayed}"), answer.status_code, self._alike(said)))
        return said

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        answer = await self.ask("POST", path, body, **headers)
        assert self.said[-1][1] < 300, self.said[-1]
        return answer

    def _alike(self, value: Any) -> Any:
        match value:
            case dict():
                unlike = UNLIKE | AUDITED if "actor" in value and "action" in value else UNLIKE
                return {self._common(key): self._alike(one) for key, one in value.items() if key not in unlike}
            case list():
                return [self._alike(one) for one in value if not (isinstance(one, dict) and _of_one_side(one))]
            case str():
                return self._common(value)
        return value

    def _common(self, text: str) -> str:
        for mine, ours in self.own.items():
            text = text.replace(mine, ours)
        return text

    def heard(self) -> list[tuple[str, int, Any]]:
        """What was said since the last time."""
        said, self.said = self.said, []
        return said


@dataclass
class Twins:
    hub: Hub
    app: App
    dice: Dice
    clock: FakeClock
    vendor: Vendor
    chance: random.Random
    engine: Engine
    performed: asyncio.Event
    both: list[Twin] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def life_of(self, twin: Twin, moment: datetime, lay: Counter[int]) -> AsyncIterator[None]:
        """The same time and the same luck as before, nothing remembered in the process, and the other's work asleep."""
        self.clock.advance(timedelta(minutes=5))
        self.clock.moment = moment
        self.dice.put_back(lay)
        self.chance.seed(7)
        await self.hub.around.db.run(lambda tx: tx.execute(PUT_OFF, twin.id, timedelta(days=99)))
        yield
        await self.hub.around.db.run(lambda tx: tx.execute(PUT_OFF, twin.id, timedelta(days=-99)))

    async def work(self) -> None:
        """Do what is due, and what is within half a minute."""
        until = self.clock.now() + timedelta(seconds=30)
        while True:
            while (await self.hub.around.db.run(lambda tx: jobs.tick(tx, 256, self.hub.around.bell)))[0]:
                pass
            await self.engine.claim(list(Lane), rescan=True)
            await self.finish()
            due = await self.hub.around.db.run(lambda tx: tx.value(NEXT_DUE))
            if due is None or due > until:
                return
            self.clock.advance(max(due - self.clock.now(), timedelta()))

    async def finish(self) -> None:
        """Return when all that was begun is written."""
        while self.engine.slots.held:
            self.performed.clear()
            await self.performed.wait()
        while self.engine.results:
            await self.engine.finish()

    async def rows_of(self, twin: Twin) -> dict[str, list[str]]:
        """Everything the database holds of a side, by table."""
        await self.hub.keyring.flush()
        return await self.hub.around.db.run(lambda tx: dump(tx, twin.id))

    async def close(self) -> None:
        self.vendor.held.set()
        await self.engine.slots.close()
        for twin in self.both:
            await twin.client.aclose()
        await self.app.drain()
        await self.hub.close()


PUT_OFF = "update delayed set run_at = run_at + $2 where workspace_id <> $1"
NEXT_DUE = """
select min(at) from (select run_at as at from delayed union all select coalesce(lease_until, enqueued_at) from jobs) d
"""


async def dump(tx: Tx, workspace_id: WorkspaceId) -> dict[str, list[str]]:
    """Every row of a side, by table."""
    tables = await tx.rows(
        """
        select c.relname
          from pg_class c join pg_attribute a on a.attrelid = c.oid
         where a.attname = 'workspace_id' and c.relkind in ('r', 'p') and not c.relispartition
           and c.relnamespace = 'public'::regnamespace
        """
    )
    found = {}
    for name in (table["relname"] for table in tables):
        rows = await tx.rows(
            f"select to_jsonb(t)::text as row from {name} t where workspace_id = $1 order by 1", workspace_id
        )
        found[name] = [row["row"] for row in rows]
    return found


@contextlib.asynccontextmanager
async def twins(surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch, *, of_one: bool) -> AsyncIterator[Twins]:
    """The test sides of two workspaces, or both sides `of_one`; each with a key, an account, and nothing else."""
    dice, vendor, chance, performed = Dice(), Vendor(), random.Random(7), asyncio.Event()
    for name in ("ids.os", "ids.time", "crypto.os"):
        monkeypatch.setattr(f"tabellion.core.{name}", dice)
    hub = wire(replace(surroundings, private_networks=("127.0.0.0/8",)))
    kinds = tuple(
        replace(one, send=vendor.send, chance=chance) if isinstance(one, Deliver) else one for one in hub.kinds
    )
    clock = hub.around.clock
    assert isinstance(clock, FakeClock)
    engine = Engine(
        hub.around.db, kinds, hub.around.log, hub.around.bell, Options(slots=32), chance, performed=performed.set
    )
    made = Twins(hub, build(hub, Settings()), dice, clock, vendor, chance, engine, performed)
    with dice.honest():
        north = await hub.around.db.run(lambda tx: create_workspace(tx, "one"))
        south = north if of_one else await hub.around.db.run(lambda tx: create_workspace(tx, "other"))
        made.both.append(await _twin(made, "north", north, "live" if of_one else "test"))
        made.both.append(await _twin(made, "south", south, "test"))
    try:
        yield made
    finally:
        await made.close()


async def _twin(world: Twins, word: str, workspace: Workspace, mode: Mode) -> Twin:
    db, side = world.hub.around.db, workspace.side(mode)
    key, secret = await db.run(lambda tx: create_key(tx, workspace, mode, Role.OWNER))
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=world.app.asgi, client=("127.0.0.1", 1)),
        base_url="http://127.0.0.1",
        headers={"Authorization": f"Bearer {secret.reveal()}"},
    )
    await client.get("/v1/accounts")  # a test side's simulator accounts are made by the first look
    settings = {"secret": SECRET, "base_url": f"{world.hub.around.simulator.http}/sim/fake"}
    account = await client.post("/v1/accounts", json={"provider": "fake", "name": word, "settings": settings})
    own = {word: "own", key.shown: "key", account.json()["id"]: "account"}
    own[ids.show("wsp", workspace.id)] = "workspace"
    for row in await db.run(lambda tx: tx.rows("select id, action from audit where workspace_id = $1", side)):
        own[ids.show("aud", row["id"])] = f"audit of {row['action']}"
    head = (await client.get("/v1/ledger/checkpoint")).text
    return Twin(word, side, client, account.json()["id"], own | {head.splitlines()[0]: "log"})


def _of_one_side(one: dict[str, Any]) -> bool:
    """Test sides have simulator accounts, live ones the word that the workspace was made."""
    return bool(one.get("simulated")) or one.get("action") == "workspace.created"


def _unsigned(text: str) -> list[str]:
    """Of a checkpoint the log and its size, of keys the logs they are of: the rest is no two logs'."""
    origin, size = re.compile(r"tabellion\.log/\S+?/1(?=$|\+)"), re.compile(r"\d+")
    return [
        word
        for line in text.splitlines()
        for word in (*origin.findall(line), *([line] if size.fullmatch(line) else ()))
    ]
