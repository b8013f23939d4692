"""The system user that PostgreSQL runs as: ourselves, or, because PostgreSQL refuses root, one of its own.

Nothing here changes the mode or owner of a directory it did not make.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabellion.core.errors import Misconfigured

NAME = "tabellion"


@dataclass(frozen=True, slots=True)
class ServiceUser:
    name: str
    uid: int
    gid: int

    def identity(self) -> dict[str, Any]:
        """The arguments that make a subprocess run as this user."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def run(self, *command: str, cwd: Path = Path("/"), input: str = "") -> "subprocess.CompletedProcess[str]":
        """The finished command. It has the rights of this user, also where it writes into this user's directories."""
        return subprocess.run(  # noqa: S603 - our own words, no shell
            command,
            cwd=cwd,
            input=input,
            env=environment(),
            umask=0o077,
            capture_output=True,
            text=True,
            check=False,
            **self.identity(),
        )

    def write(self, folder: Path, name: str, text: str, *, append: bool = False) -> None:
        """Write a file into a directory of this user's, with its rights: a link laid there leads no further than it."""
        done = self.run("tee", *(["-a"] if append else []), name, cwd=folder, input=text)
        if done.returncode:
            raise Misconfigured("data_unusable", f"{folder}/{name} cannot be written: {done.stderr.strip()}")

    def reaches(self, folder: Path) -> bool:
        """Whether this user can enter folder by its path."""
        return self.run("test", "-x", str(folder)).returncode == 0

    def give(self, folder: Path, mode: int) -> None:
        """Hand over a directory that we have just made."""
        folder.chmod(mode)
        if self.uid != os.geteuid():
            os.chown(folder, self.uid, os.getegid())


def environment() -> dict[str, str]:
    """All that PostgreSQL's programs get to see: a PGPORT or PGDATA of the caller must not reach them."""
    return {"PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}


def current_name() -> str:
    """The name of the user we run as. PostgreSQL needs one, for its own start and to recognise us on its socket."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise Misconfigured(
            "no_user_name",
            f"the user id {os.geteuid()} has no name on this system, and the bundled PostgreSQL needs one; add it to"
            " /etc/passwd, run as a named user, or give --database URL",
        ) from None


def choose(cluster: Path) -> ServiceUser:
    """The user that runs this cluster: its owner where it exists, else ourselves, else (for root) `tabellion`."""
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise Misconfigured(
                "data_of_other_user",
                f"{cluster} belongs to {_owner(owner).name}, and we run as {current_name()}; run as its owner or as"
                " root, or name another directory with --data",
            )
        return ServiceUser(current_name(), os.geteuid(), os.getegid())
    return _owner(owner) if owner else _own()


def _owner(uid: int) -> ServiceUser:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        # A volume from another machine: its user has no name here, and the server needs none.
        return ServiceUser(f"user id {uid}", uid, uid)
    return ServiceUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _own() -> ServiceUser:
    problem = "" if _find(NAME) else _create()
    entry = _find(NAME)
    if entry is None:
        raise Misconfigured(
            "no_service_user",
            f"PostgreSQL does not run as root, and its system user '{NAME}' could not be made ({problem}); make it"
            f" (useradd --system --user-group {NAME}), run as an ordinary user, or give --database URL",
        )
    return ServiceUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _create() -> str:
    """What went wrong, if anything; another process may be making the same user."""
    program = shutil.which("useradd", path=environment()["PATH"])
    if program is None:
        return "there is no useradd"
    command = [program, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    done = subprocess.run(  # noqa: S603
        [*command, "--shell", "/usr/sbin/nologin", NAME], capture_output=True, text=True, check=False
    )
    return done.stderr.strip()
