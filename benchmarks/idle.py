"""The memory of an idle hub: its own resident set, without the PostgreSQL it runs. After the start, and after work.

One process with every role, as `tabellion up` starts it, with the vendor simulators of the test side in it.
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.http import bodies, load
from tabellion.app.demo.world import free_port

MESSAGES = 5_000
QUIET = 0.05
"""A hub is idle when it uses less of a core than this for a second."""
TICKS = os.sysconf("SC_CLK_TCK")


async def run() -> dict[str, Any]:
    """Megabytes when idle: just started, and when it has sent 5,000 messages."""
    with tempfile.TemporaryDirectory(prefix="tabellion-bench-") as folder:
        listen = f"127.0.0.1:{free_port()}"
        hub = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tabellion", "up", "--data", str(Path(folder) / "data"), "--listen", listen,
            "--test-key", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            key = await _key(hub)
            started = await _idle(hub.pid)
            await asyncio.to_thread(load, f"http://{listen}/v1/messages", key, bodies(MESSAGES))
            return {"started_mb": started, "after_work_mb": await _idle(hub.pid), "messages": MESSAGES, "goal_mb": 200}
        finally:
            hub.terminate()
            await hub.wait()


async def _key(hub: asyncio.subprocess.Process) -> str:
    """The test key it shows before it says `ready`."""
    assert hub.stdout is not None
    key = ""
    async for line in hub.stdout:
        text = line.decode().strip()
        if text.startswith("tbl_test_"):
            key = text
        if text.startswith("ready "):
            return key
    raise RuntimeError("the hub did not start")


async def _idle(pid: int) -> float:
    """The megabytes that the process holds once it has nothing to do."""
    before, used = _cpu(pid), 1.0
    while used > QUIET:
        await asyncio.sleep(1)
        now = _cpu(pid)
        before, used = now, now - before
    return _resident(pid)


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in status if line.startswith("VmRSS:")]
    return round(int(line.split()[1]) / 1024, 1)


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run()), indent=1) + "\n")
