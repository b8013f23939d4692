"""The bundled PostgreSQL, started, refused, killed and taken over for real."""

import asyncio
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from tabellion.core.clock import SystemClock
from tabellion.core.errors import Misconfigured
from tabellion.core.postgres import Postgres, logfile, ownership, pidfile, programs, running_url, user

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="needs root, to become somebody else")
QUICK = {"shared_buffers": "64MB", "fsync": "off"}
"""For tests that crash nothing."""
DEBIAN = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that every user can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="tabellion-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def running(data: Path, bin: Path | None = None, **settings: str) -> AsyncIterator[tuple[Postgres, str]]:
    postgres = Postgres(data, bin, clock=SystemClock(), settings=settings)
    url = await postgres.start()
    try:
        yield postgres, url
    finally:
        await postgres.stop()


async def ask(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def rows(url: str) -> set[int]:
    connection = await asyncpg.connect(url)
    try:
        return {row["n"] for row in await connection.fetch("select n from acknowledged")}
    finally:
        await connection.close()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def postmaster(data: Path) -> int:
    return int((data / "pg" / "postmaster.pid").read_text().split()[0])


class Writers:
    """Connections that insert numbers and remember each one that was acknowledged."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.acknowledged: set[int] = set()
        self._more = asyncio.Condition()

    async def run(self, first: int) -> None:
        number = first
        while True:
            # A lost connection is the point of these tests: come back and go on.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                connection = await asyncpg.connect(self.url)
                while True:
                    number += 4
                    await connection.execute("insert into acknowledged values ($1)", number)
                    await self._note(number)
            await asyncio.sleep(0.01)

    async def reach(self, total: int) -> None:
        async with self._more:
            await self._more.wait_for(lambda: len(self.acknowledged) >= total)

    async def _note(self, number: int) -> None:
        async with self._more:
            self.acknowledged.add(number)
            self._more.notify_all()


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Writers]:
    await ask(url, "create table if not exists acknowledged (n bigint primary key)")
    writers = Writers(url)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(writers.run(first)) for first in range(4)]
        yield writers
        for task in tasks:
            task.cancel()


async def test_it_starts_stops_and_keeps_its_data(tmp_path: Path) -> None:
    assert running_url(tmp_path / "data") is None
    async with running(tmp_path / "data", **QUICK) as (_, url):
        await ask(url, "create table kept (n int)")
        assert running_url(tmp_path / "data") == url
    assert running_url(tmp_path / "data") is None
    assert not (tmp_path / "data" / "pg" / "postmaster.pid").exists()
    async with running(tmp_path / "data", **QUICK) as (_, url):
        assert await ask(url, "select count(*) from kept") == 0


async def test_the_hub_is_no_superuser_and_owns_its_database(tmp_path: Path) -> None:
    async with running(tmp_path / "data", **QUICK) as (_, url):
        assert await ask(url, "select rolsuper from pg_roles where rolname = current_user") is False
        assert await ask(url, "select current_user || ' ' || current_database()") == "tabellion tabellion"
        assert await ask(url, "show listen_addresses") == ""


async def test_our_settings_hold_and_the_operators_win(tmp_path: Path) -> None:
    async with running(tmp_path / "data", fsync="off") as (_, url):
        assert await ask(url, "show jit") == "off"
        assert await ask(url, "show shared_buffers") == "256MB"
        assert await ask(url, "show timezone") == "UTC"
    with (tmp_path / "data" / "pg" / "local.conf").open("a") as local:
        local.write("shared_buffers = 32MB\n")
    async with running(tmp_path / "data", fsync="off") as (_, url):
        assert await ask(url, "show shared_buffers") == "32MB"


async def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    async with running(tmp_path / "data", **QUICK) as (_, url):
        with pytest.raises(Misconfigured, match=f"in use by process {os.getpid()} ") as refused:
            await Postgres(tmp_path / "data", clock=SystemClock()).start()
        assert refused.value.code == "data_in_use"
        assert running_url(tmp_path / "data") == url
        assert await ask(url, "select 1") == 1


async def test_a_look_from_beside_does_not_keep_an_owner_out(tmp_path: Path) -> None:
    """`running_url` takes the lock for a moment; a start in that moment asks again."""
    with (tmp_path / "owner.lock").open("w") as look:
        fcntl.flock(look, fcntl.LOCK_EX)
        owning = asyncio.create_task(ownership.own(tmp_path))
        await asyncio.sleep(0)
        assert not owning.done()
        fcntl.flock(look, fcntl.LOCK_UN)
        os.close(await owning)


HUB = """
import asyncio, sys
from pathlib import Path
import asyncpg
from tabellion.core.clock import SystemClock
from tabellion.core.postgres import Postgres

async def main():
    url = await Postgres(Path(sys.argv[1]), clock=SystemClock()).start()
    connection = await asyncpg.connect(url)
    await connection.execute("create table if not exists acknowledged (n bigint primary key)")
    for number in range(1_000_000):
        await connection.execute("insert into acknowledged values ($1)", number)
        print(number, flush=True)

asyncio.run(main())
"""


async def test_a_killed_hub_loses_no_acknowledged_row_and_the_next_takes_over(tmp_path: Path) -> None:
    hub = subprocess.Popen([sys.executable, "-c", HUB, tmp_path / "data"], stdout=subprocess.PIPE, text=True)
    assert hub.stdout is not None
    acknowledged = {int(hub.stdout.readline()) for _ in range(300)}
    hub.kill()
    acknowledged |= {int(line) for line in hub.stdout.read().splitlines(keepends=True) if line.endswith("\n")}
    hub.wait()
    orphan = postmaster(tmp_path / "data")
    assert running_url(tmp_path / "data") is None
    assert pidfile.runs(orphan, tmp_path / "data" / "pg")
    async with running(tmp_path / "data") as (_, url):
        assert acknowledged <= await rows(url)
        assert postmaster(tmp_path / "data") != orphan
        assert not pidfile.runs(orphan, tmp_path / "data" / "pg"), "two servers never share a cluster"


async def test_a_killed_postmaster_comes_back_at_the_same_url_with_every_acknowledged_row(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as (postgres, url):
        keeper = asyncio.create_task(postgres.keep())
        async with writing(url) as writers:
            for turn in (1, 2):
                await writers.reach(200 * turn)
                os.kill(postmaster(tmp_path / "data"), signal.SIGKILL)
            await writers.reach(600)
        assert writers.acknowledged <= await rows(url)
        keeper.cancel()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find the server's processes")
async def test_killing_the_server_with_all_its_processes_loses_no_acknowledged_row(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as (postgres, url):
        keeper = asyncio.create_task(postgres.keep())
        async with writing(url) as writers:
            await writers.reach(200)
            server = postmaster(tmp_path / "data")
            for pid in (server, *children(server)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await writers.reach(400)
        assert writers.acknowledged <= await rows(url)
        keeper.cancel()


# its log


async def test_a_log_that_has_outgrown_its_bound_begins_anew_while_the_server_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grew for as long as the hub lived."""
    monkeypatch.setattr(logfile.outgrown, "__defaults__", (4096,))
    async with running(tmp_path / "data", **QUICK, log_statement="all") as (postgres, url):
        keeper = asyncio.create_task(postgres.keep())
        kept = postgres.log.with_name("postgres.log.1")
        number = 0
        while not kept.exists() or f"turn {number}" not in postgres.log.read_text():
            number += 1
            await ask(url, f"select 'turn {number}', '{'x' * 200}'")
        assert "turn" in kept.read_text()
        assert b"\0" not in postgres.log.read_bytes(), "the server goes on at the new beginning"
        assert kept.stat().st_mode & 0o077 == 0
        keeper.cancel()


async def test_a_long_log_of_earlier_runs_is_put_aside_at_the_start(tmp_path: Path) -> None:
    log = tmp_path / "data" / "postgres.log"
    log.parent.mkdir()
    with log.open("wb") as file:
        file.truncate(logfile.BOUND + 1)
    async with running(tmp_path / "data", **QUICK):
        assert log.stat().st_size < logfile.BOUND
    assert log.with_name("postgres.log.1").stat().st_size == logfile.BOUND + 1


def test_where_the_copy_fails_the_log_is_emptied_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.write_text("old")
    log.with_name("postgres.log.1").mkdir()
    logfile.begin_anew(log)
    assert log.read_text() == ""


async def crash(data: Path) -> None:
    """Leave a cluster as a power cut leaves it, with a `postmaster.pid` that names the dead."""
    postgres = Postgres(data, clock=SystemClock(), settings=QUICK)
    await ask(await postgres.start(), "create table survivor (n int)")
    os.kill(postmaster(data), signal.SIGKILL)
    await postgres.stop()
    assert (data / "pg" / "postmaster.pid").exists()


async def blame(data: Path, pid: int) -> None:
    """Let the stale pid file name pid instead."""
    file = data / "pg" / "postmaster.pid"
    file.write_text("\n".join([str(pid), *file.read_text().split("\n")[1:]]))


async def test_a_pid_file_that_names_a_zombie_does_not_stop_the_start(tmp_path: Path) -> None:
    await crash(tmp_path / "data")
    child = await asyncio.to_thread(dying_child, tmp_path / "data")
    await blame(tmp_path / "data", child.pid)
    assert "\nState:\tZ" in Path(f"/proc/{child.pid}/status").read_text()
    async with running(tmp_path / "data", **QUICK) as (_, url):
        assert await ask(url, "select count(*) from survivor") == 0
    child.wait()


def dying_child(data: Path) -> "subprocess.Popen[bytes]":
    """A process of the server's user that has ended and that nobody has waited for."""
    child = subprocess.Popen(["true"], **user.choose(data / "pg").identity())
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return child


async def test_a_pid_that_another_program_has_now_does_not_stop_the_start_and_is_left_alone(tmp_path: Path) -> None:
    await crash(tmp_path / "data")
    with subprocess.Popen(["sleep", "1000"], **user.choose(tmp_path / "data" / "pg").identity()) as stranger:
        await blame(tmp_path / "data", stranger.pid)
        async with running(tmp_path / "data", **QUICK) as (_, url):
            assert await ask(url, "select count(*) from survivor") == 0
        assert stranger.poll() is None
        stranger.kill()


async def test_an_empty_pid_file_does_not_stop_the_start(tmp_path: Path) -> None:
    await crash(tmp_path / "data")
    (tmp_path / "data" / "pg" / "postmaster.pid").write_text("")
    async with running(tmp_path / "data", **QUICK) as (_, url):
        assert await ask(url, "select count(*) from survivor") == 0


async def test_half_a_cluster_is_made_again(tmp_path: Path) -> None:
    half = tmp_path / "data" / "pg.new-killed"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")
    async with running(tmp_path / "data", **QUICK) as (_, url):
        assert await ask(url, "select 1") == 1
    assert not half.exists()


async def test_a_server_that_cannot_start_says_why_and_gives_the_directory_up(tmp_path: Path) -> None:
    async with running(tmp_path / "data", **QUICK):
        pass
    broken = Postgres(tmp_path / "data", clock=SystemClock(), settings={"shared_buffers": "much"})
    with pytest.raises(Misconfigured, match='invalid value for parameter "shared_buffers"'):
        await broken.start()
    async with running(tmp_path / "data", **QUICK) as (_, url):
        assert await ask(url, "select 1") == 1


async def test_a_cluster_of_another_major_version_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "data", **QUICK):
        pass
    (tmp_path / "data" / "pg" / "PG_VERSION").write_text("14\n")
    with pytest.raises(Misconfigured, match="was made by PostgreSQL 14"):
        await Postgres(tmp_path / "data", clock=SystemClock(), settings=QUICK).start()


async def test_a_directory_that_is_no_cluster_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "data" / "pg" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    with pytest.raises(Misconfigured, match="no cluster"):
        await Postgres(tmp_path / "data", clock=SystemClock()).start()
    assert mine.read_text() == "precious"


async def test_a_path_too_long_for_a_socket_gets_one_elsewhere_and_leaves_nothing(open_folder: Path) -> None:
    data = open_folder / ("long" * 25) / "data"
    async with running(data, **QUICK) as (postgres, url):
        assert await ask(url, "select 1") == 1
        sockets = postgres._sockets
        assert not sockets.is_relative_to(data)
        assert sockets.stat().st_mode & 0o007 == 0
    assert not sockets.exists()


async def test_any_bin_directory_serves(open_folder: Path) -> None:
    (open_folder / "elsewhere").symlink_to(programs.bundled().parent)
    async with running(open_folder / "data", open_folder / "elsewhere" / "bin", **QUICK) as (_, url):
        assert await ask(url, "show server_version_num") >= "180000"


@pytest.mark.skipif(not DEBIAN.exists(), reason="PostgreSQL 15 of Debian is not installed")
async def test_the_oldest_supported_version_serves(open_folder: Path) -> None:
    async with running(open_folder / "data", DEBIAN, **QUICK) as (_, url):
        assert str(await ask(url, "show server_version")).startswith("15.")


async def test_a_bin_directory_without_postgresql_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="TABELLION_POSTGRES_BIN"):
        await Postgres(tmp_path / "data", tmp_path, clock=SystemClock()).start()


@as_root
async def test_no_directory_of_root_is_opened_for_the_server(tmp_path: Path) -> None:
    """Below a closed home, as a clone in root's is: it works, and what was closed stays closed."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    async with running(home / "hub" / "data", **QUICK) as (_, url):
        assert await ask(url, "select 1") == 1
        assert home.stat().st_mode & 0o777 == 0o700
        assert (home / "hub" / "data" / "pg").stat().st_uid == pwd.getpwnam("tabellion").pw_uid
        assert (home / "hub" / "data").stat().st_uid == 0


@as_root
async def test_an_open_directory_is_named_to_the_server_as_it_is(open_folder: Path) -> None:
    async with running(open_folder / "data", **QUICK) as (postgres, url):
        assert await ask(postgres.admin_url(), "show data_directory") == str(open_folder / "data" / "pg")
        assert url.endswith(f"{open_folder}/data/run")


@as_root
async def test_other_users_of_the_machine_get_no_connection(open_folder: Path) -> None:
    nobody = user.ServiceUser("nobody", 65534, 65534)
    async with running(open_folder / "data", **QUICK) as (_, url):
        psql = str(programs.bundled() / "psql")
        assert user.choose(open_folder / "data" / "pg").run(psql, url, "-c", "select 1").returncode == 0
        assert "ermission denied" in nobody.run(psql, url, "-c", "select 1").stderr
        (open_folder / "data" / "run").chmod(0o755)
        assert "Peer authentication failed" in nobody.run(psql, url, "-c", "select 1").stderr


@as_root
async def test_programs_in_a_closed_home_are_copied_not_opened(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = programs.bundled().parents[1]
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    for name in (package.name, package.name + ".libs"):
        (closed / name).symlink_to(package.with_name(name))
    monkeypatch.setattr(programs, "bundled", lambda: closed / package.name / "pginstall" / "bin")
    find = partial(programs.programs, user.choose(open_folder / "pg"), None, open_folder / "state")
    bin, same = await asyncio.gather(asyncio.to_thread(find), asyncio.to_thread(find))
    assert bin == same == find()
    assert [folder.name for folder in (open_folder / "state").iterdir()] == [bin.parents[2].name]
    assert closed.stat().st_mode & 0o777 == 0o700
    async with running(open_folder / "data", bin, **QUICK) as (_, url):
        assert await ask(url, "select 1") == 1


@as_root
async def test_a_cluster_whose_owner_has_no_name_here_still_starts(tmp_path: Path) -> None:
    async with running(tmp_path / "data", **QUICK):
        pass
    for path in (tmp_path / "data" / "pg", *(tmp_path / "data" / "pg").rglob("*")):
        os.chown(path, 54321, 54321)
    async with running(tmp_path / "data", **QUICK) as (_, url):
        assert await ask(url, "select 1") == 1


@as_root
def test_it_works_as_an_ordinary_user_and_root_can_go_on_with_their_cluster(open_folder: Path) -> None:
    owner = user.choose(open_folder / "none")
    os.chown(open_folder, owner.uid, owner.gid)

    async def one_run() -> object:
        async with running(open_folder / "data", **QUICK) as (_, url):
            return await ask(url, "select count(*) from pg_roles where rolname = 'tabellion'")

    assert as_user(owner, lambda: asyncio.run(one_run()))
    assert (open_folder / "data" / "owner.lock").stat().st_uid == owner.uid
    assert asyncio.run(one_run()) == 1
    assert as_user(owner, lambda: asyncio.run(one_run()))


@as_root
def test_an_ordinary_user_is_told_whose_the_cluster_is(open_folder: Path) -> None:
    (open_folder / "pg").mkdir()

    def refused() -> bool:
        with pytest.raises(Misconfigured, match="belongs to root"):
            user.choose(open_folder / "pg")
        return True

    assert as_user(user.ServiceUser("nobody", 65534, 65534), refused)


def as_user(who: user.ServiceUser, work: Callable[[], object]) -> bool:
    """Whether work ends well in a child process of another user's."""
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            os.setgroups([])
            os.setgid(who.gid)
            os.setuid(who.uid)
            work()
            status = 0
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
