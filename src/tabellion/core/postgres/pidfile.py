"""What `postmaster.pid` says, and whether it is still true.

The file outlives a crash. The process it names may be gone, a zombie that nobody reaps (usual in containers), or
another program that got the number since (after a reboot, or a volume mounted into a new container).
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PidFile:
    pid: int
    ready: bool


def read(cluster: Path) -> PidFile | None:
    """The pid file of a cluster; None where there is none, or one that its writer did not live to fill."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        return PidFile(abs(int(lines[0])), [line.strip() for line in lines[7:8]] == ["ready"])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def mark(cluster: Path) -> str:
    """The last argument of our postmaster: tells whose it is, to us and to people who read `ps`."""
    return f"tabellion.data={cluster}"


def runs(pid: int, cluster: Path) -> bool:
    """Whether pid is a living postmaster of this cluster, started by us."""
    state, command = _look(pid)
    return state not in ("", "Z", "X") and command.endswith(mark(cluster))


def command_of(pid: int) -> str:
    """The command line of a process as people type it, empty when there is none."""
    return _look(pid)[1]


def _look(pid: int) -> tuple[str, str]:
    """State letter and command line of a process, both empty when it is gone."""
    process = Path("/proc") / str(pid)
    if not Path("/proc/self/stat").exists():
        return _ask_ps(pid)
    try:
        # The name in parentheses may itself hold spaces and parentheses.
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        command = (process / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    except OSError:
        return "", ""
    return state, command.decode(errors="replace")


def _ask_ps(pid: int) -> tuple[str, str]:
    done = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, command = done.stdout.strip().partition(" ")
    return state[:1], command.strip()
