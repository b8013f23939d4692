"""`tabellion up` as a process: it stops in order, and what it acknowledged survives whatever ends it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from threading import Event, Thread
from typing import Any

import pytest

from .processes import SMS, Load, Running, Tabellion, alive, environment, eventually, handed_off

NOBODY = 65534


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tabellion, str]]:
    """An installation at rest with one test key, to be copied."""
    tabellion = Tabellion(tmp_path_factory.mktemp("installed"))
    key = tabellion.key("acme")["key"]
    yield tabellion, key
    tabellion.close()


@pytest.fixture
def key(installed: tuple[Tabellion, str]) -> str:
    return installed[1]


@pytest.fixture
def tabellion(installed: tuple[Tabellion, str], tmp_path: Path) -> Iterator[Tabellion]:
    copied = installed[0].copy(tmp_path)
    yield copied
    copied.close()


def all_handed_off(hub: Running, key: str, wanted: Sequence[str]) -> bool:
    return handed_off(hub, key) >= set(wanted)


# stopping


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_under_load_finishes_what_it_began(tabellion, key, sign):
    hub = tabellion.up()
    postmaster = tabellion.postmaster()
    with Load(hub, key) as load:
        eventually(lambda: len(load.acknowledged) > 100)
        assert hub.stop(sign) == 0
    assert load.refused == []
    assert not alive(postmaster)
    assert "Traceback" not in hub.said()
    assert hub.logged("hub.stopping")
    assert not [line for line in hub.said().splitlines() if '"level":"error"' in line]
    again = tabellion.up()
    eventually(lambda: all_handed_off(again, key, load.acknowledged))
    assert again.stop() == 0


def test_a_stop_while_it_starts_leaves_nothing_behind(tmp_path):
    tabellion = Tabellion(tmp_path)
    try:
        hub = tabellion.start("up", "--listen", "127.0.0.1:0")
        eventually(lambda: (tabellion.data / "owner.lock").exists())
        assert hub.stop() == 0
        assert not alive(tabellion.postmaster())
        assert "Traceback" not in hub.said()
        assert tabellion.up().stop() == 0
    finally:
        tabellion.close()


# dying


def test_a_killed_hub_loses_nothing_it_acknowledged(tabellion, key):
    hub = tabellion.up()
    with Load(hub, key) as load:
        eventually(lambda: len(load.acknowledged) > 200)
        hub.kill()
    orphan = tabellion.postmaster()
    assert alive(orphan)
    again = tabellion.up()
    assert f"earlier run left behind (process {orphan})" in again.said()
    assert not alive(orphan)
    eventually(lambda: all_handed_off(again, key, load.acknowledged))
    assert again.stop() == 0
    assert not alive(tabellion.postmaster())


def test_a_command_after_a_killed_hub_leaves_no_postmaster_behind(tabellion):
    """Also where nobody starts the hub again."""
    tabellion.up().kill()
    orphan = tabellion.postmaster()
    assert alive(orphan)
    assert tabellion.json("doctor")["ok"]
    assert not alive(orphan)
    assert tabellion.postmaster() == 0


def test_a_killed_postmaster_is_replaced_under_load(tabellion, key):
    hub = tabellion.up()
    before = tabellion.postmaster()
    with Load(hub, key) as load:
        eventually(lambda: len(load.acknowledged) > 100)
        os.kill(before, signal.SIGKILL)
        eventually(lambda: tabellion.postmaster() not in (0, before))
        count = len(load.acknowledged)
        eventually(lambda: len(load.acknowledged) > count + 100)
    assert set(load.refused) <= {503}
    assert load.cut == 0
    eventually(lambda: all_handed_off(hub, key, load.acknowledged))
    assert hub.stop() == 0
    assert "Traceback" not in hub.said()
    assert not alive(tabellion.postmaster())


# several processes on one database


@dataclass
class Split:
    """Three processes of the hub, each with its role, and a second worker."""

    tabellion: Tabellion
    key: str
    api: Running
    workers: list[Running]
    followers: Running


@pytest.fixture
def split(tmp_path: Path, empty_database_url: str) -> Iterator[Split]:
    """On a database of the operator's own, with a keys folder that all share."""
    settings = {"TABELLION_DATABASE_URL": empty_database_url, "TABELLION_KEYS": str(tmp_path / "keys")}
    tabellion = Tabellion(tmp_path, environ=environment(**settings))
    key = tabellion.key("acme")["key"]
    api = tabellion.up("--roles", "api")
    beside = ["up", "--listen", api.url.removeprefix("http://"), "--roles"]
    others = [tabellion.start(*beside, role) for role in ("worker", "worker", "followers")]
    first, second, followers = (one.started() for one in others)
    yield Split(tabellion, key, api, [first, second], followers)
    tabellion.close()


def test_roles_in_processes_of_their_own_deliver_together(split):
    assert split.followers.url == "", "only the process that serves says where"
    with Load(split.api, split.key) as load:
        eventually(lambda: len(load.acknowledged) > 100)
        assert split.workers[0].stop() == 0
        eventually(lambda: len(load.acknowledged) > 150)
    wanted = set(load.acknowledged)
    # The vendors are in the workers and report to the api: those of the worker that ended may have said less.
    eventually(lambda: handed_off(split.api, split.key) >= wanted)
    assert len(handed_off(split.api, split.key, ["delivered"]) & wanted) > 100
    assert [one.stop() for one in (split.workers[1], split.followers, split.api)] == [0, 0, 0]


def test_a_key_revoked_by_command_is_refused_within_a_second(split):
    made = split.tabellion.json("keys", "create", "--workspace", "acme", "--role", "readonly")
    with split.api.client(made["key"]) as client:
        assert client.get("/v1/messages").status_code == 200
        ended = Event()
        using = Thread(target=lambda: [client.get("/v1/messages") for _ in iter(ended.is_set, True)])
        using.start()  # a key in use is kept fresh in memory, so this is the harder case
        split.tabellion.json("keys", "revoke", made["id"])
        revoked = time.monotonic()
        ended.set()
        using.join()
        eventually(lambda: client.get("/v1/messages").status_code == 401)
        # The promise is about a second; the rest is what a busy machine may take to ask.
        assert time.monotonic() - revoked < 1.0 + 2.0
        assert client.get("/v1/messages").json()["code"] == "key_revoked"


# starting


def test_an_address_in_use_is_said(tabellion):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = tabellion.run("up", "--listen", listen)
    assert done.returncode == 1
    assert done.stderr == (
        f"tabellion: {listen} cannot be listened on (Address already in use); choose another --listen"
        " [address_in_use]\n"
    )
    assert not alive(tabellion.postmaster())


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as an ordinary user already")
def test_an_ordinary_user_runs_it(ordinary):
    hub = ordinary.up("--test-key")
    owners = {one.stat().st_uid for one in (ordinary.data, ordinary.data / "pg", ordinary.folder / "data.keys")}
    assert owners == {NOBODY}
    assert os.stat(f"/proc/{ordinary.postmaster()}").st_uid == NOBODY
    key = next(word for word in hub.printed().split() if word.startswith("tbl_test_"))
    with hub.client(key) as client:
        sent = client.post("/v1/messages", json=SMS).json()["id"]
    eventually(lambda: handed_off(hub, key) == {sent})
    assert ordinary.json("workspace", "create", "acme")["name"] == "acme"
    assert hub.stop() == 0
    assert not alive(ordinary.postmaster())
    assert "Traceback" not in hub.said()


@pytest.fixture
def ordinary() -> Iterator[Tabellion]:
    """The command as the user `nobody` runs it, who has a home of his own."""
    identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    places = {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one), "PYTHONDONTWRITEBYTECODE": "1"}
    folder = Path(tempfile.mkdtemp(prefix="tabellion-nobody-"))
    os.chown(folder, NOBODY, NOBODY)
    environ = environment(HOME=str(folder), USER="nobody", **places)
    tabellion = Tabellion(folder, _reachable(identity, environ), environ, identity)
    yield tabellion
    tabellion.close()
    rmtree(folder)


def _reachable(identity: dict[str, Any], environ: dict[str, str]) -> list[str]:
    """A Python of this version that the user can run: root's own may lie in root's closed home."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/local/bin/{name}", f"/usr/bin/{name}"):
        command = [python, "-m", "tabellion"]
        try:
            done = subprocess.run([*command, "--version"], env=environ, cwd="/", capture_output=True, **identity)
        except OSError:
            continue
        if done.returncode == 0:
            return command
    pytest.skip(f"no {name} here that an ordinary user can run, with this project in reach")
