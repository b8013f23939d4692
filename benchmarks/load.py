"""An HTTP load generator in one lean process: keep-alive connections that send prepared requests one after another.

    python -m benchmarks.load URL CONNECTIONS < requests.jsonl

Each input line is the body of a POST; with BENCH_METHOD=GET, the query of one. Sends all of them, or what BENCH_SECONDS
allow. Prints one JSON line: seconds, requests, statuses, latency percentiles.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from math import inf
from urllib.parse import urlsplit


class Client(asyncio.Protocol):
    """One connection: sends the next request as soon as the answer to the last is whole."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._seen = b""
        self._began = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, gap, rest = self._seen.partition(b"\r\n\r\n")
        if not gap or len(rest) < _length(head):
            return
        self._seen = rest[_length(head) :]
        self._load.answered(int(head[9:12]), time.perf_counter() - self._began)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.closed()

    def _next(self) -> None:
        assert self._transport is not None
        request = self._load.take()
        if request is None:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)


class Load:
    def __init__(self, requests: Iterator[bytes], connections: int, until: float) -> None:
        self._requests = requests
        self._open = connections
        self._until = until
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self) -> bytes | None:
        return next(self._requests, None) if time.perf_counter() < self._until else None

    def answered(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.latencies.append(seconds)

    def closed(self) -> None:
        self._open -= 1
        if not self._open and not self.done.done():
            self.done.set_result(None)


def _length(head: bytes) -> int:
    lower = head.lower()
    place = lower.find(b"content-length:")
    return int(lower[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0


def prepare(url: str, key: str, bodies: list[bytes], method: str = "POST") -> list[bytes]:
    parts = urlsplit(url)
    if method == "GET":
        tail = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
        return [f"GET {parts.path}?".encode() + query + tail for query in bodies]
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {key}\r\n" if key else ""
    return [head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]


async def drive(
    url: str, key: str, bodies: list[bytes], connections: int, method: str = "POST", within: float = inf
) -> dict[str, object]:
    """Send every body once over `connections` connections, as far as the seconds go; what came of it."""
    parts = urlsplit(url)
    host, port = str(parts.hostname), int(parts.port or 80)
    requests = iter(prepare(url, key, bodies, method))
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    load = Load(requests, connections, began + within)
    for _ in range(connections):
        await loop.create_connection(lambda: Client(load), host, port)
    await load.done
    seconds = time.perf_counter() - began
    ordered = sorted(load.latencies)
    return {
        "seconds": round(seconds, 3),
        "requests": len(ordered),
        "per_second": round(len(ordered) / seconds),
        "statuses": {str(status): count for status, count in sorted(load.statuses.items())},
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
    }


if __name__ == "__main__":
    lines = [line for line in sys.stdin.buffer.read().split(b"\n") if line]
    told = os.environ
    seconds = float(told.get("BENCH_SECONDS", "inf"))
    work = drive(
        sys.argv[1], told.get("BENCH_KEY", ""), lines, int(sys.argv[2]), told.get("BENCH_METHOD", "POST"), seconds
    )
    report = asyncio.run(work)
    sys.stdout.write(json.dumps(report) + "\n")
