"""What the HTTP benchmarks share: the body they send, and the load run as a process of its own."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import msgspec

CONNECTIONS = 64


class To(msgspec.Struct):
    phone: str


class Said(msgspec.Struct):
    text: str


class SendBody(msgspec.Struct):
    """The part of `POST /v1/messages` that the benchmarks send."""

    to: To
    purpose: str
    content: Said


def bodies(count: int, people: int = 5_000) -> list[bytes]:
    """Messages to `people` numbers in turn."""
    said = Said("Your parcel is at the door. Reply STOP to end.")
    return [
        msgspec.json.encode(SendBody(To(f"+1202{5000000 + number % people}"), "transactional", said))
        for number in range(count)
    ]


def load(
    url: str,
    key: str,
    messages: list[bytes],
    connections: int = CONNECTIONS,
    *,
    method: str = "POST",
    within: float | None = None,
) -> dict[str, Any]:
    """Send all messages to url from a process of its own, as far as the seconds go; its report. GET: queries."""
    told = {"BENCH_KEY": key, "BENCH_METHOD": method, "BENCH_SECONDS": str(within or "inf")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", url, str(connections)],
        input=b"\n".join(messages), env={**os.environ, **told}, capture_output=True, check=True,
    )  # fmt: skip
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def until_up(url: str, within: float = 20.0) -> None:
    """Return when something answers HTTP at url."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"nothing answers at {url}")
