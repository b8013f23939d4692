"""The application over bare ASGI, with a key for each role, on both sides of two workspaces."""

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from litestar import Request, Response, get, post
from litestar.params import Parameter

from tabellion.access import audit_routes, token_routes
from tabellion.access.answers import Answer
from tabellion.access.calls import Call
from tabellion.access.edge import Edge, hot, note
from tabellion.access.front import Front
from tabellion.access.keyring import KeyRing
from tabellion.access.limits import Limits
from tabellion.access.public import accepted
from tabellion.access.routes import ROUTES
from tabellion.access.service import create_key, create_workspace
from tabellion.access.trail import Trail
from tabellion.access.types import UNBOUNDED, Caller, KeyOptions, Mode, Role, Workspace
from tabellion.app.http import create_app
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.crypto import Secret
from tabellion.core.db import Database, Tx
from tabellion.core.log import open_log
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import Vault
from tabellion.ledger.published import Checkpoints
from tabellion.ledger.reading import Reading
from tabellion.ledger.service import Ledger

NewSecret = Callable[..., Awaitable[str]]


@dataclass
class Hub:
    """One process's worth of edge."""

    edge: Edge
    front: Front
    lines: io.StringIO

    def client(self, key: str | None = None, address: str = "203.0.113.9") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        transport = httpx.ASGITransport(app=self.front, client=(address, 4711), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://hub.example", headers=headers)

    def logged(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]


NewHub = Callable[..., Hub]


@pytest.fixture
async def new_hub(db: Database, vault: Vault, clock: FakeClock) -> AsyncIterator[NewHub]:
    """Makes processes that share one database."""
    rings: list[KeyRing] = []

    def make(deed: "Deed | None" = None, limits: Limits | None = None, **settings: object) -> Hub:
        async def pause(seconds: float) -> None:
            clock.advance(timedelta(seconds=seconds))

        lines = io.StringIO()
        keys = KeyRing(db)
        rings.append(keys)
        log = open_log(lines, clock, pretty=False)
        edge = Edge(db, keys, vault, log, Metrics(process=False), limits=limits, pause=pause)
        routes = things(edge, vault, deed or Deed())
        return Hub(edge, create_app(edge, routes, **settings), lines)  # type: ignore[arg-type]

    yield make
    for ring in rings:
        await ring.close()


@pytest.fixture
async def workspace(db: Database) -> Workspace:
    return await db.run(lambda tx: create_workspace(tx, "acme"))


@pytest.fixture
def new_secret(db: Database, workspace: Workspace) -> NewSecret:
    """Makes keys; gives their secret."""

    async def make(
        role: Role = Role.OWNER, mode: Mode = "live", options: KeyOptions = UNBOUNDED, of: Workspace = workspace
    ) -> str:
        made: Secret = (await db.run(lambda tx: create_key(tx, of, mode, role, options)))[1]
        return made.reveal()

    return make


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    """Something to make."""

    name: Annotated[str, msgspec.Meta(max_length=20)]
    parts: list[Annotated[int, msgspec.Meta(ge=0, le=1000)]] = []


class Made(msgspec.Struct):
    id: str
    name: str


class Deed:
    """What the routes under test do, and how often they did it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.raises: Exception | None = None

    async def work(self, tx: Tx, name: str) -> tuple[int, Made]:
        self.done.append(name)
        if self.raises is not None:
            raise self.raises
        return 201, Made(f"thing_{len(self.done)}", name)


@pytest.fixture
def deed() -> Deed:
    return Deed()


def things(edge: Edge, vault: Vault, deed: Deed) -> list[Any]:
    """A hot and a typed route that do the same, and one that only reads."""

    async def make_hot(call: Call[Thing]) -> Answer:
        if call.idempotency is None:
            return Answer.json(*await edge.db.run(lambda tx: deed.work(tx, call.body.name)))
        return await edge.once(call.caller.workspace_id, call.idempotency, lambda tx: deed.work(tx, call.body.name))

    @post("/v1/cold", scope="messages:write", status_code=201, tags=["Things"], example={"name": "x"})
    async def make_cold(request: Request[Any, Any, Any], caller: Caller, data: Thing) -> Response[Made]:
        note(request, thing=data.name)
        return await edge.mutate(request, caller, "messages:write", lambda tx: deed.work(tx, data.name))

    @get("/v1/hot", scope="messages:read", tags=["Things"])
    async def read(caller: Caller, size: Annotated[int, Parameter(ge=1, le=9)] = 1) -> Made:
        return Made(caller.actor, str(size))

    @get("/v1/hot/{thing_id:str}", scope="messages:read", tags=["Things"])
    async def read_one(caller: Caller, thing_id: str) -> Made:
        if deed.raises is not None:
            raise deed.raises
        return Made(ids.show("msg", ids.parse("msg", thing_id)), "")

    made = hot(
        edge, "POST", "/v1/hot", "messages:write", Thing, make_hot,
        answer_type=Made, status=201, example={"name": "x"}, summary="Make a thing", tags=("Things",),
    )  # fmt: skip

    async def make_open(call: Call[Thing]) -> Answer:
        return await accepted(call, make_hot(call))

    opened = hot(
        edge, "POST", "/v1/open", "recipients:write", Thing, make_open,
        answer_type=Made, status=201, example={"name": "x"}, summary="Make a thing", tags=("Things",), public_key=True,
    )  # fmt: skip
    ledger = Ledger(vault, Checkpoints(Path("unused")), ids.new())
    return [
        made,
        make_cold,
        opened,
        read,
        read_one,
        *ROUTES,
        *audit_routes.routes(edge, Trail(vault, ledger), Reading(ledger)),
        *token_routes.routes(edge, vault),
    ]


@pytest.fixture
async def hub(new_hub: NewHub, deed: Deed) -> Hub:
    return new_hub(deed=deed)


@pytest.fixture
async def key(new_secret: NewSecret) -> str:
    return await new_secret(Role.DEVELOPER)
