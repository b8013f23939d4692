"""Real processes of the `tabellion` command: started, asked over real sockets, told to stop, killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

COMMAND = (str(Path(sys.executable).with_name("tabellion")),)
PATIENCE = 60.0
"""Seconds until a test gives up on a process. No test is about them: on a healthy machine it takes one or two."""
SMS = {"to": {"phone": "+12025550111"}, "purpose": "transactional", "content": {"text": "Hello"}}


def eventually(look: Callable[[], T], within: float = PATIENCE) -> T:
    """What look returns once it is true."""
    deadline = time.monotonic() + within
    while not (seen := look()):
        assert time.monotonic() < deadline, f"still {seen!r} after {within} s"
        time.sleep(0.02)
    return seen


def alive(pid: int) -> bool:
    """Whether a process runs. One that ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def environment(**more: str) -> dict[str, str]:
    """The environment of the tests without settings of the hub."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TABELLION_")} | more


@dataclass
class Running:
    """One `tabellion` process that serves."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path
    url: str = ""

    def started(self) -> "Running":
        """Itself, once it says `ready`."""
        line = eventually(lambda: self._ready() or self._ended())
        assert line.startswith("ready"), f"it ended: {self.said()}"
        self.url = line.removeprefix("ready").strip()
        return self

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code, after being told to stop."""
        self.process.send_signal(sign)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        """What it wrote to stderr."""
        return self.err.read_text()

    def printed(self) -> str:
        return self.out.read_text()

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def client(self, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE)

    def _ready(self) -> str:
        return next((line for line in self.printed().splitlines() if line.startswith("ready")), "")

    def _ended(self) -> str:
        return "" if self.process.poll() is None else "ended"


@dataclass
class Tabellion:
    """The command as somebody uses it who works with one data directory."""

    folder: Path
    command: Sequence[str] = COMMAND
    environ: Mapping[str, str] = field(default_factory=environment)
    identity: Mapping[str, Any] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """A command that ends by itself, with the data directory from the environment."""
        return subprocess.run(
            [*self.command, *words], env=self._environ(environ), cwd=self.folder, capture_output=True, text=True,
            check=False, timeout=PATIENCE, **self.identity,
        )  # fmt: skip

    def json(self, *words: str, **environ: str) -> dict[str, Any]:
        """What a command says to programs: exactly one line."""
        done = self.run(*words, "--json", **environ)
        assert done.returncode == 0, done.stderr
        assert (done.stdout.count("\n"), done.stdout[-1]) == (1, "\n")
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def key(self, workspace: str, *, mode: str = "test", role: str = "admin", **environ: str) -> dict[str, Any]:
        """A new key of a workspace that is made if need be."""
        self.run("workspace", "create", workspace, **environ)
        return self.json("keys", "create", "--workspace", workspace, "--role", role, "--mode", mode, **environ)

    def start(self, *words: str, **environ: str) -> Running:
        """A process that runs on, not waited for."""
        name = f"{words[0]}-{len(self.running)}"
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*self.command, *words], env=self._environ(environ), cwd=self.folder, stdout=stdout, stderr=stderr,
                start_new_session=True, **self.identity,
            )  # fmt: skip
        self.running.append(Running(process, out, err))
        return self.running[-1]

    def up(self, *words: str, **environ: str) -> Running:
        """A hub that serves, on a port of its own."""
        return self.start("up", "--listen", "127.0.0.1:0", *words, **environ).started()

    def copy(self, folder: Path) -> "Tabellion":
        """The same installation once more, keys included, in another place."""
        for name in ("data", "data.keys"):
            subprocess.run(["cp", "-a", str(self.folder / name), str(folder / name)], check=True)
        return Tabellion(folder, self.command, self.environ, self.identity)

    def postmaster(self) -> int:
        """The process id of the bundled PostgreSQL; 0 where none is left."""
        try:
            return int((self.data / "pg" / "postmaster.pid").read_text().split("\n")[0])
        except (OSError, ValueError):
            return 0

    def close(self) -> None:
        """End everything that was started, orphans too."""
        for one in self.running:
            if one.process.poll() is None:
                one.kill()
        if pid := self.postmaster():
            end_orphan(pid)
        shutil.rmtree(self.data, ignore_errors=True)

    def _environ(self, more: Mapping[str, str]) -> dict[str, str]:
        return {"TABELLION_DATA": str(self.data), **self.environ, **more}


def end_orphan(pid: int) -> None:
    """Have a PostgreSQL whose owner was killed shut down."""
    if alive(pid):
        os.kill(pid, signal.SIGQUIT)
        eventually(lambda: not alive(pid))


class Load:
    """Sends messages from several threads until told to stop. Keeps the ids of those that were acknowledged."""

    def __init__(self, hub: Running, key: str, threads: int = 4) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[int] = []
        self.cut = 0
        self._over = Event()
        self._pool = ThreadPoolExecutor(threads)
        self._turns: list[Future[None]] = [self._pool.submit(self._send, hub, key) for _ in range(threads)]

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for turn in self._turns:
            turn.result()

    def _send(self, hub: Running, key: str) -> None:
        with hub.client(key) as client:
            while not self._over.is_set():
                try:
                    answer = client.post("/v1/messages", json=SMS)
                except httpx.TransportError:
                    self.cut += 1
                    time.sleep(0.01)
                    continue
                if answer.status_code == 202:
                    self.acknowledged.append(answer.json()["id"])
                else:
                    self.refused.append(answer.status_code)
                    time.sleep(0.05)


def handed_off(hub: Running, key: str, statuses: Sequence[str] = ("sent", "delivered")) -> set[str]:
    """The messages that a vendor took. What it reports later is lost where the simulators died with their hub."""
    found: set[str] = set()
    with hub.client(key) as client:
        for status in statuses:
            cursor: str | None = ""
            while cursor is not None:
                parameters = {"limit": "500", "status": status} | ({"cursor": cursor} if cursor else {})
                page = client.get("/v1/messages", params=parameters).raise_for_status().json()
                found |= {one["id"] for one in page["data"]}
                cursor = page["next_cursor"]
    return found
