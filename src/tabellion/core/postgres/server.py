"""Starting, keeping and stopping the server."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg

from tabellion.core.clock import Clock
from tabellion.core.errors import Misconfigured
from tabellion.core.files import write_file
from tabellion.core.postgres import cluster, logfile, ownership, pidfile, user
from tabellion.core.postgres.cluster import ADMIN, ROLE
from tabellion.core.postgres.programs import programs

RETRY_SECONDS = 10.0
"""How long a start is repeated after a crash: the old backends need a moment to leave the shared memory."""
PROGRESS_SECONDS = 5.0
STOPPING = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
"""Fast, then immediate (the next start recovers), then by force; with seconds of patience."""


def _silent(_: str) -> None:
    pass


class Postgres:
    """The server of one data directory. `start` it, `keep` it while the hub runs, `stop` it.

    `settings` go on top of `cluster.HUB_CONF`; `say` gets a line for people when something takes long.
    """

    def __init__(
        self,
        data: Path,
        bin: Path | None = None,
        *,
        clock: Clock,
        settings: Mapping[str, str] | None = None,
        say: Callable[[str], None] = _silent,
    ) -> None:
        self.data = data.resolve()
        self.cluster = self.data / "pg"
        self.log = self.data / "postgres.log"
        self._wanted = bin
        self._clock = clock
        self._settings = dict(settings or {})
        self._say = say
        self._sockets = self.data / "run"
        self._lock: int | None = None
        self._server: subprocess.Popen[bytes] | None = None

    async def start(self) -> str:
        """The URL of the running server, with a database of our own. Refuses when another process owns the directory.

        A server that a killed owner left behind is stopped first; after a crash the server recovers by itself.
        """
        self._lock = await ownership.own(self.data)
        try:
            await asyncio.to_thread(self._prepare)
            await self._launch()
            await self._make_database()
            url = self._url(ROLE, ROLE)
            write_file(self.data / ownership.URL, url.encode() + b"\n")
        except BaseException:
            await self.stop()
            raise
        return url

    async def keep(self) -> None:
        """Start the server again, at the same URL, whenever it dies, and keep its log from growing without bound.

        Runs until cancelled; raises if the server stays dead.
        """
        while self._server is not None:
            if self._server.poll() is None:
                if logfile.outgrown(self.log):
                    await asyncio.to_thread(logfile.begin_anew, self.log)
                await asyncio.sleep(0.2)
            else:
                self._say(f"PostgreSQL died (status {self._server.returncode}); starting it again")
                await self._launch()

    async def stop(self) -> None:
        """Stop the server in an orderly way and give up the directory. Does nothing where nothing runs."""
        if self._server is not None:
            server, self._server = self._server, None
            await self._end(server.pid, lambda: server.poll() is None)
        if self._lock is not None:
            (self.data / ownership.URL).unlink(missing_ok=True)
            cluster.clear_sockets(self._sockets)
            os.close(self._lock)
            self._lock = None

    def admin_url(self, database: str = "postgres") -> str:
        """The URL for the superuser. For maintenance and tests; the hub itself never needs it."""
        return self._url(ADMIN, database)

    def _prepare(self) -> None:
        """Everything short of the start: user, programs, cluster, socket directory, settings."""
        self._forget_last_owner()
        if logfile.outgrown(self.log):
            logfile.begin_anew(self.log)
        self._user = user.choose(self.cluster)
        self._bin = programs(self._user, self._wanted)
        if not self.cluster.exists():
            cluster.create(self.cluster, self._user, self._bin, durable=self._settings.get("fsync") != "off")
        cluster.require_version(self.cluster, self._user, self._bin)
        self._sockets = cluster.socket_folder(self.data / "run", self._user)
        cluster.configure(self.cluster, self._user, self._sockets, self._settings)

    def _forget_last_owner(self) -> None:
        """Remove the address that a killed owner left, and the socket it leads to."""
        file = self.data / ownership.URL
        if file.exists():
            for folder in parse_qs(urlsplit(file.read_text().strip()).query).get("host", []):
                cluster.clear_sockets(Path(folder))
            file.unlink()

    async def _launch(self) -> None:
        """Start the server and wait while it lives, however long recovery takes."""
        await self._stop_orphan()
        crashed = (self.cluster / "postmaster.pid").exists()
        deadline = self._clock.monotonic() + RETRY_SECONDS
        while not await self._try():
            if not crashed or self._clock.monotonic() > deadline:
                last = "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
                raise Misconfigured("postgres_failed", f"PostgreSQL does not start; {self.log} ends with:\n{last}")
            await asyncio.sleep(0.1)

    async def _stop_orphan(self) -> None:
        """End the server of an owner that was killed: we need to be its parent, and what it committed is durable."""
        left = pidfile.read(self.cluster)
        if left is None:
            # Its writer died between creating and filling it; PostgreSQL would refuse an empty one for ever.
            (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        elif pidfile.runs(left.pid, self.cluster):
            self._say(f"stopping the PostgreSQL that an earlier run left behind (process {left.pid})")
            await self._end(left.pid, lambda: pidfile.runs(left.pid, self.cluster))

    async def _try(self) -> bool:
        """Whether a new server came up; False when it ended instead."""
        self._server = server = self._spawn()
        told = self._clock.monotonic()
        while server.poll() is None:
            if await self._answers(server.pid):
                return True
            await asyncio.sleep(0.01)
            if self._clock.monotonic() > told + PROGRESS_SECONDS:
                told = self._clock.monotonic()
                self._say("PostgreSQL is still starting: after a crash it recovers first, as long as that takes")
        return False

    def _spawn(self) -> "subprocess.Popen[bytes]":
        left = pidfile.read(self.cluster)
        # PostgreSQL takes the pid in its stale file for alive when a zombie or another program has it. Called its
        # grandparent it passes, and the check that matters, on the shared memory, still stands.
        stale = {"PG_GRANDPARENT_PID": str(left.pid)} if left else {}
        command = [str(self._bin / "postgres"), "-D", cluster.directory(self.cluster, self._user, self._bin)]
        with open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own words, no shell
                [*command, "-c", pidfile.mark(self.cluster)],
                cwd=self.cluster,
                env=user.environment() | stale,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._user.identity(),
            )

    async def _answers(self, pid: int) -> bool:
        file = pidfile.read(self.cluster)
        if file is None or file.pid != pid or not file.ready:
            return False
        try:
            connection = await asyncpg.connect(self.admin_url(), timeout=5)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return False
        await connection.execute("select 1")
        await connection.close()
        return True

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(self.admin_url())
        try:
            if not await connection.fetchval("select true from pg_roles where rolname = $1", ROLE):
                await connection.execute(f"create role {ROLE} login in role pg_monitor")
            if not await connection.fetchval("select true from pg_database where datname = $1", ROLE):
                await connection.execute(f"create database {ROLE} owner {ROLE}")
        finally:
            await connection.close()

    async def _end(self, pid: int, lives: Callable[[], bool]) -> None:
        for sign, patience in STOPPING:
            deadline = self._clock.monotonic() + patience
            if lives():
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
            while lives() and self._clock.monotonic() < deadline:  # noqa: ASYNC110 - it need not be our child
                await asyncio.sleep(0.01)
        if lives():
            raise Misconfigured("postgres_stuck", f"PostgreSQL (process {pid}) does not end; look at its disk")

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{role}@/{database}?host={quote(str(self._sockets))}"
