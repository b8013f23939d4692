"""A whole hub on a database of its own, vendors on real sockets, and jobs that are done one turn at a time.

Time stands still but for `world.pass_time`, which goes from one due moment to the next and does what is due there.
"""

import asyncio
import hmac
import io
import random
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
import uvicorn
from tests.consent.conftest import publish

from tabellion.access.rules import SCOPES
from tabellion.access.service import create_key, create_workspace
from tabellion.access.types import Caller, Mode, Role, Workspace
from tabellion.accounts.types import NewAccount
from tabellion.app.roles import Server
from tabellion.app.routes import App, build
from tabellion.app.wiring import Callbacks, Hub, Surroundings, wire
from tabellion.consent.types import (
    Basis,
    Decision,
    Method,
    NewDecision,
    Notice,
    Rank,
    RecipientSignal,
    Recorded,
)
from tabellion.core import ids
from tabellion.core.clock import FakeClock
from tabellion.core.config import Settings
from tabellion.core.db import Database, Row
from tabellion.core.errors import HubError
from tabellion.core.http import HttpRequest
from tabellion.core.ids import WorkspaceId
from tabellion.core.log import open_log
from tabellion.core.telemetry import Metrics
from tabellion.core.vault import KeyFolder, Vault
from tabellion.core.wake import Bell
from tabellion.events.service import open_log as open_event_log
from tabellion.jobs.engine import Engine, Options
from tabellion.jobs.types import Kind, Lane
from tabellion.messages.jobs import Deliver
from tabellion.messages.service import Send
from tabellion.messages.types import Attempt, Content, Guarantee, Message, Step
from tabellion.providers.base import Channel, Outbound, Result, Signal
from tabellion.recipients.types import Kind as Identified
from tabellion.recipients.types import Named, Profile, Ref, RefObject
from tabellion.simulators.server import Simulators
from tabellion.simulators.twilio import signed

ANN = "ann@example.org"
NUMBER = "+12025550111"
OTHER_NUMBER = "+12025550122"
ACCOUNT = f"AC{0:032x}"
"""What the simulator account of a test side is called at Twilio."""
SECRET = "our secret"
"""Of the accounts of the fake vendor."""
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

Answer = Result | Callable[[Outbound], Result] | Callable[[Outbound], Any]


@dataclass
class Wire:
    """Carries hand-offs to the simulators, or has its script answer; keeps what it carried."""

    real: Any
    script: deque[Answer] = field(default_factory=deque)
    carried: list[Outbound] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)

    async def send(self, provider: Any, outbound: Outbound, settings: Any, not_after: float) -> Result:
        self.carried.append(outbound)
        self.deadlines.append(not_after)
        if not self.script:
            result: Result = await self.real(provider, outbound, settings, not_after)
            return result
        said = self.script.popleft()
        if not callable(said):
            return said
        answer = said(outbound)
        return await answer if asyncio.iscoroutine(answer) else answer


class Worker:
    """The steps of a worker, one at a time: claim and begin, perform, finish, tick."""

    def __init__(self, hub: Hub, kinds: Sequence[Kind], settle: Callable[[], Any]) -> None:
        around = hub.around
        self._db = around.db
        self._settle = settle
        self._done = asyncio.Event()
        self.engine = Engine(
            around.db, kinds, around.log, around.bell, Options(slots=64), random.Random(7), performed=self._done.set
        )

    async def claim(self) -> None:
        """Claim, begin, perform; and let the vendors report what they will."""
        await self.engine.claim(list(Lane), rescan=True)
        await self.performed()
        await self._settle()

    async def performed(self) -> None:
        while self.engine.slots.held:
            self._done.clear()
            await self._done.wait()

    async def one_performed(self) -> None:
        await self._done.wait()

    async def finish(self) -> None:
        while self.engine.results:
            await self.engine.finish()

    async def run(self, most: int = 200) -> None:
        """Do whatever is due, and what becomes due by it."""
        for _ in range(most):
            more = True
            while more:
                more, _ = await self.engine.tick()
            if not await self._due():
                return
            await self.claim()
            await self.finish()
        raise AssertionError(f"jobs are still due after {most} turns")

    async def _due(self) -> bool:
        now = self._db.clock.now()
        due: bool = await self._db.run(
            lambda tx: tx.value("select exists (select from jobs where lease_until is null or lease_until < $1)", now)
        )
        return due

    async def next_due(self) -> datetime | None:
        """When the next put-off job runs, or the next lease has run out."""
        moment: datetime | None = await self._db.run(
            lambda tx: tx.value(
                """
                select min(at)
                  from (select run_at as at from delayed
                         union all
                        select lease_until + interval '1 millisecond' from jobs where lease_until > '-infinity') as due
                """
            )
        )
        return moment


@dataclass
class World:
    hub: Hub
    app: App
    clock: FakeClock
    vendors: Simulators
    vendors_url: str
    url: str
    workspace: Workspace
    wire: Wire
    worker: Worker
    lines: io.StringIO
    side: WorkspaceId = field(init=False)

    def __post_init__(self) -> None:
        self.side = self.workspace.test

    @property
    def db(self) -> Database:
        return self.hub.around.db

    # Time

    async def run(self) -> None:
        """Do what is due now."""
        await self.worker.run()

    async def pass_time(self, by: timedelta, worker: Worker | None = None) -> None:
        """Let time pass, from one due moment to the next."""
        worker = worker or self.worker
        end = self.clock.now() + by
        await worker.run()
        while (due := await worker.next_due()) is not None and due <= end:
            self.clock.advance(max(due - self.clock.now(), timedelta(milliseconds=1)))
            await worker.run()
        self.clock.advance(max(end - self.clock.now(), timedelta()))

    async def settle(self) -> None:
        """Let the vendors' callbacks arrive, all of them."""
        await self.vendors.courier.settle()

    def another_worker(self) -> Worker:
        return Worker(self.hub, self.kinds, self.settle)

    @property
    def kinds(self) -> list[Kind]:
        return [
            replace(kind, send=self.wire.send, chance=random.Random(11)) if isinstance(kind, Deliver) else kind
            for kind in self.hub.kinds
        ]

    # People and accounts

    async def person(self, *addresses: str, side: WorkspaceId | None = None) -> UUID:
        side = side or self.side
        named = [(Named(_kind(one), one), "/value") for one in addresses]
        unit = self.hub.recipients.unit(side, named, Profile())
        [made] = await self.db.run(
            lambda tx: self.hub.recipients.upsert(tx, side, [unit], absorbed=self.hub.consent.absorbed)
        )
        assert not isinstance(made, HubError), made
        return made.recipient_id

    def ref(self, to: str | UUID | Ref, side: WorkspaceId | None = None) -> Ref:
        match to:
            case Ref():
                return to
            case UUID():
                return Ref(id=to)
        named = RefObject(email=to) if "@" in to else RefObject(phone=to)
        return self.hub.recipients.ref(side or self.side, named, "/to")

    async def account(
        self, behaviour: str = "accept", *, provider: str = "fake", side: WorkspaceId | None = None, **more: Any
    ) -> UUID:
        """A vendor account; `fake` unless said otherwise."""
        settings = {"secret": SECRET, "behaviour": behaviour} if provider == "fake" else more.pop("settings")
        new = NewAccount(provider, settings, **more)
        made = await self.db.run(lambda tx: self.hub.accounts.create(tx, self.caller(side), new))
        return made.id

    async def only(self, account: UUID) -> None:
        """Leave this account the only one that is used."""
        for one in await self.db.run(lambda tx: self.hub.accounts.page(tx, self.side, None, 100)):
            if one.id != account:
                await self.disable(one.id)

    async def disable(self, account: UUID) -> None:
        await self.db.run(lambda tx: self.hub.accounts.disable(tx, self.caller(), account))
        self.clock.advance(2 * SECOND)

    async def simulated(self, provider: str) -> UUID:
        """The account that a test side has by itself."""
        found = await self.db.run(lambda tx: self.hub.accounts.usable(tx, self.side))
        [one] = [account.id for account in found if account.provider == provider]
        return one

    def caller(self, side: WorkspaceId | None = None) -> Caller:
        mode: Mode = "live" if side == self.workspace.live else "test"
        return Caller(side or self.side, self.workspace.id, ids.new(), Role.OWNER, mode, SCOPES[Role.OWNER])

    # Messages

    async def accept(self, *sends: Send, side: WorkspaceId | None = None) -> list[Message | HubError]:
        return await self.db.run(lambda tx: self.hub.messages.accept(tx, side or self.side, sends))

    def a_send(self, to: str | UUID | Ref, *steps: Step, purpose: str = "transactional", **more: Any) -> Send:
        content = more.pop("content", None) or Content(text="Your parcel is here", subject="Parcel")
        return Send(to=self.ref(to), purpose=purpose, content=content, steps=steps, **more)

    async def send(self, to: str | UUID | Ref, *steps: Step, **more: Any) -> UUID:
        """An accepted message, not yet handed over."""
        [message] = await self.accept(self.a_send(to, *steps, **more))
        assert isinstance(message, Message), message
        return message.id

    async def sent(self, to: str | UUID | Ref, *steps: Step, **more: Any) -> UUID:
        """A message accepted, and everything done that is due."""
        message_id = await self.send(to, *steps, **more)
        await self.run()
        return message_id

    async def read(self, message_id: UUID) -> tuple[Message, list[Attempt]]:
        return await self.db.run(lambda tx: self.hub.messages.read(tx, self.side, message_id))

    async def message(self, message_id: UUID) -> Message:
        return (await self.read(message_id))[0]

    async def attempts(self, message_id: UUID) -> list[Attempt]:
        return (await self.read(message_id))[1]

    async def status(self, message_id: UUID) -> tuple[str, bool, str | None]:
        message = await self.message(message_id)
        return message.status.value, message.final, message.reason

    async def states(self, message_id: UUID) -> list[tuple[int, str]]:
        """Step and state of each attempt, oldest first."""
        return [(one.step, one.state.value) for one in await self.attempts(message_id)]

    async def happened(self, message_id: UUID) -> list[str]:
        """The types of the message's events, in order."""
        events = await self.db.run(lambda tx: self.hub.messages.timeline(tx, self.side, message_id))
        return [one.type for one in events]

    # Decisions

    async def decide(self, to: str | UUID, decision: str, channel: str, purpose: str = "marketing") -> Recorded:
        new = NewDecision(
            recipient=self.ref(to), channel=channel, purpose=purpose, decision=Decision(decision),
            basis=Basis.CONSENT if decision == "granted" else None,
            method=Method.FORM if decision == "granted" else Method.API,
            source="test", rank=Rank.SECRET_KEY, actor="key_1", evidence={"url": "https://example.org/join"},
            notice=Notice("newsletter", "3"),
        )  # fmt: skip
        [recorded] = await self.db.run(lambda tx: self.hub.consent.record(tx, self.side, [new]))
        assert isinstance(recorded, Recorded), recorded
        return recorded

    async def stop(self, number: str) -> None:
        """The person texts STOP, to a vendor that does not block on its side."""
        signal = RecipientSignal(Signal.STOP, Channel.SMS, number, "fake", "acc_1", blocked_by_vendor=False)
        [recorded] = await self.db.run(lambda tx: self.hub.consent.record_signals(tx, self.side, [signal]))
        assert isinstance(recorded, Recorded), recorded

    # The outside

    async def http(self, mode: Mode = "test", of: Workspace | None = None) -> httpx.AsyncClient:
        """A client of the hub's API with a key of its own."""
        workspace = of or self.workspace
        secret = (await self.db.run(lambda tx: create_key(tx, workspace, mode, Role.OWNER)))[1].reveal()
        transport = httpx.ASGITransport(app=self.app.asgi, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.AsyncClient(transport=transport, base_url=self.url, headers=headers)

    async def post(self, request: HttpRequest) -> int:
        """The hub's answer to a request, as a vendor makes one."""
        async with httpx.AsyncClient() as client:
            answer = await client.post(request.url, content=request.body, headers=dict(request.headers))
        return answer.status_code

    async def callback_url(self, account: UUID) -> str:
        """Where a vendor reports about an account."""
        found = await self.db.run(lambda tx: self.hub.accounts.by_ids(tx, [(self.side, account)]))
        url = Callbacks(self.hub.around, self.hub.sides).url(found[self.side, account])
        assert url is not None
        return url

    async def reported(self, sid: str, status: str, **more: str) -> int:
        """The hub's answer to a status callback of Twilio's about one of its messages."""
        fields = {"AccountSid": ACCOUNT, "MessageSid": sid, "MessageStatus": status, **more}
        return await self.post(signed(ACCOUNT, await self.callback_url(await self.simulated("twilio")), fields))

    async def fake_report(self, account: UUID, *events: Mapping[str, Any], at: datetime | None = None) -> int:
        """The hub's answer to a callback of the fake vendor's."""
        return await self.post(fake_callback(await self.callback_url(account), events, at or self.clock.now()))

    async def report_to(self, url: str, vendor_id: str, word: str) -> None:
        """The fake vendor reports to a callback URL that it was given."""
        event = {"id": ids.show("evt", ids.new()), "type": "status", "message_id": vendor_id, "state": word}
        assert await self.post(fake_callback(url, [event], self.clock.now())) == 204

    async def vendor(self, method: str, path: str, body: Any = None) -> Any:
        """What a simulator says of itself, and how it is told what to do."""
        async with httpx.AsyncClient(base_url=self.vendors_url) as client:
            answer = await client.request(method, f"/sim{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def texts(self, to: str) -> list[Mapping[str, Any]]:
        """The texts that the simulated Twilio accepted for a number."""
        found: list[Mapping[str, Any]] = (await self.vendor("GET", f"/twilio/control/messages?to=%2B{to[1:]}"))["data"]
        return found

    async def mails(self, to: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = (await self.vendor("GET", f"/smtp/control/mails?to={to}"))["data"]
        return found

    async def rows(self, sql: str, *args: Any) -> list[Row]:
        return await self.db.run(lambda tx: tx.rows(sql, *args))

    async def execute(self, sql: str, *args: Any) -> None:
        await self.db.run(lambda tx: tx.execute(sql, *args))


def sms(**more: Any) -> Step:
    return Step(Channel.SMS, **more)


def mail(**more: Any) -> Step:
    return Step(Channel.EMAIL, **more)


def fake_callback(url: str, events: Sequence[Mapping[str, Any]], at: datetime, secret: str = SECRET) -> HttpRequest:
    """A callback as the fake vendor signs it."""
    body, stamp = msgspec.json.encode({"events": events}), str(int(at.timestamp()))
    signature = hmac.digest(secret.encode(), f"{stamp}.".encode() + body, "sha256").hex()
    headers = {"Content-Type": "application/json", "Fake-Timestamp": stamp, "Fake-Signature": signature}
    return HttpRequest("POST", url, headers, body)


ONCE = Guarantee.AT_MOST_ONCE
"""The guarantee of marketing; also for messages whose other rules are those of service."""


@pytest.fixture
async def world(db: Database, vault: Vault, clock: FakeClock, tmp_path: Path) -> AsyncIterator[World]:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    vendors = Simulators(clock, pace=0.0)
    lines = io.StringIO()
    hub = wire(await _surroundings(db, vault, tmp_path, await vendors.start(), url, lines))
    app = build(hub, Settings())
    server = await _serve(app, listener)
    workspace = await db.run(lambda tx: create_workspace(tx, "acme"))
    wires = Wire(next(kind.send for kind in hub.kinds if isinstance(kind, Deliver)))
    vendors_url = hub.around.simulator.http
    made = World(hub, app, clock, vendors, vendors_url, url, workspace, wires, None, lines)  # type: ignore[arg-type]
    made.worker = made.another_worker()
    await publish(db, made.side, "newsletter", "3", "marketing", "transactional")
    yield made
    server[0].should_exit = True
    await vendors.stop()
    await server[1]
    await hub.close()


async def _surroundings(
    db: Database, vault: Vault, folder: Path, simulator: Any, url: str, lines: io.StringIO
) -> Surroundings:
    bell = Bell()
    return Surroundings(
        db=db,
        clock=db.clock,
        log=open_log(lines, db.clock, pretty=False),
        metrics=Metrics(process=False),
        bell=bell,
        vault=vault,
        keys=KeyFolder(folder / "keys"),
        events=await open_event_log(db, bell),
        install_id=ids.new(),
        simulator=simulator,
        local_url=url,
        public_url=None,
    )


async def _serve(app: App, listener: socket.socket) -> tuple[Server, "asyncio.Task[None]"]:
    """The hub's API on a real socket: where the vendors report to."""
    config = uvicorn.Config(
        app.asgi, loop="none", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = Server(config)
    return server, asyncio.create_task(server.serve(sockets=[listener]))


def _kind(named: str) -> Identified:
    if "@" in named:
        return Identified.EMAIL
    return Identified.PHONE if named.startswith("+") else Identified.EXTERNAL_ID
