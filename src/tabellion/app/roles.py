"""One process of the hub: serves, works, follows, as its roles say, until it is told to stop."""

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import uvicorn

from tabellion.access import idempotency
from tabellion.app.domains import blocked
from tabellion.app.memory import settle_memory
from tabellion.app.opening import Opened, opened
from tabellion.app.protocol import BoundedProtocol
from tabellion.app.routes import App, build
from tabellion.app.wiring import Hub, Surroundings, wire
from tabellion.app.witnesses import read_policy
from tabellion.core.alone import Alone
from tabellion.core.config import Role, Settings
from tabellion.core.errors import HubError, Unavailable
from tabellion.core.log import Bridge, Log, stderr_log
from tabellion.core.simulation import SimulatorAddress
from tabellion.core.telemetry import Metrics
from tabellion.core.wake import Bell, carry
from tabellion.events.followers import Followers, counting
from tabellion.events.service import ensure_partitions, open_log
from tabellion.jobs.service import waiting
from tabellion.jobs.worker import Worker
from tabellion.ledger.witness.policy import Policy
from tabellion.ledger.witness.publishing import Publisher, behind
from tabellion.simulators.server import Simulators

T = TypeVar("T")

FLUSH = 5.0
"""Seconds between two writes of the key uses counted in memory."""
FRESH = 0.9
"""Seconds between two looks for settings that another process changed."""
TIDY = 60.0
"""Seconds between two rounds of housekeeping."""
DECLARED = 2.0
"""Seconds between two looks for traits to be indexed."""
ROUND = 3600.0
"""Seconds between two rounds of retention, of the rotation of keys, and of looking for tokens that fell silent."""
WATCH = 5.0
"""Seconds between two looks at the ledger, and two counts of the lanes."""
PUBLISH = 2.0
"""Seconds between two looks for heads that witnesses have not cosigned."""
EXAMINE = 15.0
"""Seconds that a start waits for what witnesses know."""
PUBLISHING = 7089325713
"""The advisory lock that the one process holds which publishes."""
LONG = 600.0
"""Seconds that the first look may take: it is at all logs of all workspaces."""


@dataclass
class Process:
    """The parts of a running process, in the order they are stopped."""

    settings: Settings
    hub: Hub
    log: Log
    server: "Server | None" = None
    app: App | None = None
    worker: Worker | None = None
    followers: Followers | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def stop(self) -> None:
        """Take no more, finish what is under way, give back the rest."""
        self.log.info("hub.stopping")
        try:
            await asyncio.gather(self._stop_serving(), self._stop_working(), self._stop_following())
            if self.app is not None:
                await self.app.drain()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
        finally:
            await self.hub.close()

    async def _stop_serving(self) -> None:
        """Return when every request under way is answered and every connection closed."""
        if self.server is not None:
            self.server.should_exit = True
            await self.server.ended.wait()

    async def _stop_working(self) -> None:
        if self.worker is not None:
            await self.worker.stop(self.settings.drain_seconds)

    async def _stop_following(self) -> None:
        if self.followers is not None:
            await self.followers.stop()


class Server(uvicorn.Server):
    """An HTTP server inside our process: signals are ours, and one can wait for its end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = asyncio.Event()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await self._serve(sockets)
        finally:
            self.ended.set()


async def run(settings: Settings, ready: Callable[[Opened, Hub, str], Awaitable[None]]) -> None:
    """Run the hub until SIGINT or SIGTERM. `ready` is called once everything answers, with the address."""
    stopping = _signals()
    async with contextlib.AsyncExitStack() as stack:
        started = await _unless(stopping, _start(settings, stack))
        if started is not None:
            installation, process = started
            settle_memory()
            await ready(installation, process.hub, process.hub.around.local_url)
            await _until(stopping, process.tasks)


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What work returns; None where we are told to stop before it is done, and work is undone."""
    doing, told = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    await asyncio.wait([doing, told], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not doing.done():
        doing.cancel()
    try:
        return await doing
    except asyncio.CancelledError:
        return None


async def _start(settings: Settings, stack: contextlib.AsyncExitStack) -> tuple[Opened, Process]:
    """Everything running. The stack stops it, also when this is cancelled half-way."""
    policy = read_policy(settings)
    opening = opened(settings, make=True, beside=False, connections=settings.database_connections)
    installation = await stack.enter_async_context(opening)
    listener = stack.enter_context(_listen(settings)) if Role.API in settings.roles else None
    simulator = await stack.enter_async_context(_simulators(installation))
    around = await _surroundings(settings, installation, simulator, listener, policy)
    logging.basicConfig(handlers=[Bridge(around.log, logging.WARNING)])
    process = Process(settings, wire(around), around.log)
    stack.push_async_callback(process.stop)
    await process.hub.recipients.settings.refresh(around.db)
    await _replay(process)
    if process.hub.publisher is not None:
        await process.hub.publisher.examine(EXAMINE)
    _spawn(process, carry(around.bell, installation.url))
    _spawn(process, _every(WATCH, around.log, lambda: watch_ledger(process.hub)))
    _spawn(process, _every(FRESH, around.log, lambda: process.hub.recipients.settings.refresh(around.db)))
    if installation.postgres is not None:
        _spawn(process, installation.postgres.keep())
    if listener is not None:
        await _serve(process, listener)
    if Role.WORKER in settings.roles:
        _work(process)
    if Role.FOLLOWERS in settings.roles:
        _follow(process, installation.url)
    return installation, process


async def _replay(process: Process) -> None:
    """Erase once more whom a restored database holds again. Until that is done, nothing is served and nothing sent."""
    again, written = await process.hub.replay.run(process.hub.around.db)
    if again or written:
        process.log.warning("erasures.replayed", again=again, written=written)


async def _surroundings(
    settings: Settings,
    installation: Opened,
    simulator: SimulatorAddress,
    listener: socket.socket | None,
    policy: Policy | None,
) -> Surroundings:
    bell = Bell()
    return Surroundings(
        db=installation.db,
        clock=installation.clock,
        log=stderr_log(installation.clock),
        metrics=Metrics(),
        bell=bell,
        vault=installation.vault,
        keys=installation.keys,
        events=await open_log(installation.db, bell),
        install_id=installation.install_id,
        simulator=simulator,
        local_url=_url(settings, listener),
        public_url=settings.public_url,
        private_networks=settings.allow_private_networks,
        blocked_values=blocked(settings),
        witness_policy=policy,
    )


def _work(process: Process) -> None:
    around = process.hub.around
    chance = random.Random()  # noqa: S311 - jitter, not a secret
    process.worker = Worker(
        around.db, process.hub.kinds, around.clock, around.log, bell=around.bell, metrics=around.metrics, chance=chance
    )
    _spawn(process, process.worker.run())
    _spawn(process, _every(WATCH, around.log, lambda: count_waiting(process.hub)))


def _follow(process: Process, url: str) -> None:
    around = process.hub.around
    following = [counting(), process.hub.asking.follower(), process.hub.answering.follower()]
    process.followers = Followers(around.db, following, around.log, bell=around.bell, metrics=around.metrics)
    _spawn(process, process.followers.run())
    _spawn(process, _tidy(process.hub))
    hub = process.hub
    orders = (hub.regulations.watch, hub.regulations.resume)
    _spawn(process, _every(TIDY, around.log, *(partial(one, around.db) for one in orders)))
    _spawn(process, _every(DECLARED, around.log, lambda: hub.indexes.advance(around.db)))
    _spawn(process, _age(hub))
    if hub.publisher is not None:
        _spawn(process, _publish(hub.publisher, around.log, Alone(url, PUBLISHING)))


async def _serve(process: Process, listener: socket.socket) -> None:
    process.app = build(process.hub, process.settings)
    config = uvicorn.Config(
        process.app.asgi,
        loop="none",
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(process.settings.behind_proxy),
        forwarded_allow_ips=list(process.settings.behind_proxy),
        timeout_graceful_shutdown=int(process.settings.drain_seconds) or 1,
        backlog=1024,
    )
    process.server = Server(config)
    _spawn(process, process.server.serve(sockets=[listener]))
    _spawn(process, _every(FLUSH, process.log, process.hub.keyring.flush))
    while not process.server.started and not process.server.ended.is_set():  # noqa: ASYNC110 - it has no event for it
        await asyncio.sleep(0.005)


def _spawn(process: Process, work: Coroutine[Any, Any, None]) -> None:
    process.tasks.append(asyncio.create_task(work))


async def _until(stopping: asyncio.Event, tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Return when told to stop; raise when a part of the process failed."""
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait([told, *tasks], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    for task in tasks:
        if task.done() and not stopping.is_set():
            task.result()


def _signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise HubError(
            "address_in_use", f"{settings.listen} cannot be listened on ({why}); choose another --listen"
        ) from None


def _url(settings: Settings, listener: socket.socket | None) -> str:
    """Where this machine reaches the API, said alike by the process that serves it and by those that do not."""
    host, port = settings.address
    if listener is not None:
        port = listener.getsockname()[1]
    reach = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reach}]:{port}" if ":" in reach else f"http://{reach}:{port}"


@contextlib.asynccontextmanager
async def _simulators(installation: Opened) -> AsyncIterator[SimulatorAddress]:
    """The vendors of the test side, in this process."""
    simulators = Simulators(installation.clock)
    address = await simulators.start()
    try:
        yield address
    finally:
        await simulators.stop()


async def _every(seconds: float, log: Log, *works: Callable[[], Awaitable[object]]) -> None:
    """Do the works again and again. What fails once is not the end of the process: it is logged, and tried again."""
    while True:
        for work in works:
            try:
                await work()
            except Unavailable as error:
                log.warning("housekeeping.waits", error=error)
            except Exception as error:  # noqa: BLE001 - the edge of a job of the process's own
                log.error("housekeeping.failed", error=error)
        await asyncio.sleep(seconds)


def _tidy(hub: Hub) -> Coroutine[Any, Any, None]:
    """Housekeeping: days ahead in the log; old idempotency answers, and what was not confirmed in time, away."""
    db = hub.around.db
    works = (lambda: db.run(ensure_partitions), lambda: _purge(hub), lambda: hub.confirming.end(db))
    return _every(TIDY, hub.around.log, *works)


def _age(hub: Hub) -> Coroutine[Any, Any, None]:
    """What time does: retention, tokens that fell silent, the rotation of keys."""
    rounds = (hub.rounds.apply, hub.staleness.apply, hub.rotation.apply)
    return _every(ROUND, hub.around.log, *(partial(one, hub.around.db) for one in rounds))


async def _publish(publisher: Publisher, log: Log, alone: Alone) -> None:
    """Have witnesses cosign the heads, in one process at a time: whichever has the lock."""

    async def turn() -> None:
        if await alone.mine():
            await publisher.publish()

    try:
        await _every(PUBLISH, log, turn)
    finally:
        alone.end()


async def watch_ledger(hub: Hub) -> None:
    """See whether the ledger is whole and its checkpoints get out, and say so in the log and the metrics."""
    await hub.around.db.run(hub.ledger.watch, limit=LONG)
    hub.around.metrics.refusing.set(len(hub.ledger.problems))
    if (policy := hub.around.witness_policy) is not None:
        hub.around.metrics.unpublished.set(len(await hub.around.db.run(lambda tx: behind(tx, policy))))
    for trouble in hub.ledger_trouble():
        hub.around.log.error("ledger.troubled", trouble=trouble)


async def count_waiting(hub: Hub) -> None:
    """Measure the lanes, for the metrics; a lane longer than what is counted shows as that many."""
    for lane, jobs in (await hub.around.db.run(waiting)).items():
        hub.around.metrics.backlog.labels(lane.name.lower()).set(jobs)


async def _purge(hub: Hub) -> None:
    """Old idempotency answers away, in batches, until none is left."""
    gone = idempotency.PURGE
    while gone == idempotency.PURGE:
        gone = await hub.around.db.run(idempotency.purge)
