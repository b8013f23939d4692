"""The processes of the demo: vendors in one, the hub in another, and plain HTTP to both."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tabellion.core.simulation import simulated_secret

LOOPBACK = "127.0.0.0/8"
ACCOUNT_SID = "AC" + "7ab3" * 8
OUR_NUMBER = "+12025550100"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class World:
    """Starts and kills the processes; every request goes over a real socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.vendors = f"http://127.0.0.1:{free_port()}"
        self.smtp_port = free_port()
        self.key = ""
        self._log = (folder / "hub.log").open("ab")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._hub: subprocess.Popen[bytes] | None = None

    # Processes

    def start_vendors(self) -> None:
        listen = self.vendors.removeprefix("http://")
        self._start("simulate", "--listen", listen, "--smtp-port", str(self.smtp_port))

    def start_hub(self, *options: str) -> None:
        """Start the hub and return when it says `ready`."""
        listen = self.url.removeprefix("http://")
        self._hub = self._start("up", "--data", str(self.data), "--listen", listen, *options)

    def kill_hub(self) -> None:
        """kill -9: the hub has no chance to tidy up."""
        assert self._hub is not None
        self._hub.send_signal(signal.SIGKILL)
        self._hub.wait()

    def stop(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        self._log.close()

    def command(self, *words: str) -> dict[str, Any]:
        """What a `tabellion … --json` command printed."""
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "tabellion", *words, "--data", str(self.data), "--json"],
            env=self._environment(), capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"tabellion {' '.join(words)}: {done.stderr.decode()[-2000:]}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _start(self, *words: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "tabellion", *words],
            env=self._environment(), stdout=subprocess.PIPE, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        self._processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"ready "):
                return process
        raise RuntimeError(f"tabellion {words[0]} did not start; see {self._log.name}")

    def _environment(self) -> dict[str, str]:
        ours = {
            "TABELLION_ALLOW_PRIVATE_NETWORKS": LOOPBACK,
            "TABELLION_PUBLIC_URL": self.url,
            "PYTHONUNBUFFERED": "1",
        }
        return {**os.environ, **ours}

    # HTTP

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The hub's answer to a request with the demo's key."""
        return request(method, self.url + path, body, {"Authorization": f"Bearer {self.key}"})

    def vendor(self, method: str, path: str, body: Any = None) -> Any:
        """What a simulator says of itself."""
        return request(method, f"{self.vendors}/sim{path}", body, {})

    def text(self, path: str) -> str:
        asked = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.key}"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310 - our own hub
            said: str = answer.read().decode()
            return said

    # What the vendors saw

    def mails(self, to: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.vendor("GET", f"/smtp/control/mails?to={to}")["data"]
        return found

    def accounts(self) -> None:
        """Configure the two vendors, with credentials, as an operator does."""
        self.call("POST", "/v1/accounts", {
            "provider": "twilio",
            "settings": {
                "account_sid": ACCOUNT_SID,
                "auth_token": simulated_secret("twilio", ACCOUNT_SID),
                "from": OUR_NUMBER,
                "base_url": f"{self.vendors}/sim/twilio",
            },
        })  # fmt: skip
        self.call("POST", "/v1/accounts", {
            "provider": "smtp",
            "settings": {
                "host": "127.0.0.1",
                "port": self.smtp_port,
                "security": "none",
                "username": "hub",
                "password": simulated_secret("smtp", "hub"),
                "from": "Tabellion <hello@tabellion.example>",
            },
        })  # fmt: skip


def press(url: str, body: str) -> int:
    """The status that a form gets which is sent from outside, without a key."""
    asked = urllib.request.Request(url, data=body.encode(), method="POST")  # noqa: S310 - http to loopback
    with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
        status: int = answer.status
        return status


def request(method: str, url: str, body: Any, headers: dict[str, str]) -> Any:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(  # noqa: S310 - http to loopback
        url, data=data, method=method, headers={"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
            said = answer.read()
            return json.loads(said) if said else None
    except urllib.error.HTTPError as refusal:
        raise RuntimeError(f"{method} {url}: {refusal.code} {refusal.read().decode()[:1000]}") from None
