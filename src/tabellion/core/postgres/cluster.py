"""The cluster on disk: made whole or not at all, and configured anew at every start."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tabellion.core.errors import Misconfigured
from tabellion.core.postgres.programs import major
from tabellion.core.postgres.user import ServiceUser, current_name

ROLE = "tabellion"
"""The hub's role and database. No superuser: an external database would not give us one either."""
ADMIN = "postgres"
HERE = Path("/proc/self/cwd")
SOCKET_ROOM = 103
"""The longest path of a socket, in bytes, on every system (Linux has 107)."""

HUB_CONF = """\
# Written at every start. Your own settings belong into local.conf beside this file: they win, and are never touched.
listen_addresses = ''                           # the socket is the only door
port = 5432
max_connections = 200
shared_buffers = 256MB                          # taken as it is used
work_mem = 16MB
maintenance_work_mem = 128MB
effective_cache_size = 2GB
max_wal_size = 4GB                              # fewer checkpoints under load, at the cost of disk
checkpoint_timeout = 15min
random_page_cost = 1.1                          # solid-state disks
jit = off                                       # our statements are short: compiling costs more than it saves
max_parallel_workers_per_gather = 0             # needs more /dev/shm than containers have
autovacuum_naptime = 15s                        # queue tables turn over quickly
autovacuum_vacuum_cost_delay = 0
idle_in_transaction_session_timeout = 15s       # an open transaction holds back vacuum and every follower of the log
max_prepared_transactions = 0                   # a forgotten one would hold the log back for ever
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
log_error_verbosity = terse                    # the details of an error quote the row it is about
log_lock_waits = on
cluster_name = 'tabellion'
"""
LOCAL_CONF = "# Your own settings of PostgreSQL. They win over hub.conf.\n"


def create(cluster: Path, user: ServiceUser, bin: Path, *, durable: bool) -> None:
    """Make the cluster aside and rename it when it is whole."""
    for half in cluster.parent.glob("pg.new-*"):
        shutil.rmtree(half)
    made = Path(tempfile.mkdtemp(prefix="pg.new-", dir=cluster.parent))
    user.give(made, 0o700)
    options = ["--locale=C", "--encoding=UTF8", f"--username={ADMIN}", "--auth-local=peer", "--auth-host=reject"]
    if not durable:
        options.append("--no-sync")
    done = user.run(str(bin / "initdb"), "-D", directory(made, user, bin), *options, cwd=made)
    if done.returncode:
        raise Misconfigured("postgres_failed", f"{bin}/initdb failed: {done.stderr.strip()}")
    user.write(made, "postgresql.conf", "include_if_exists = 'hub.conf'\n", append=True)
    user.write(made, "local.conf", LOCAL_CONF)
    made.rename(cluster)


def require_version(cluster: Path, user: ServiceUser, bin: Path) -> None:
    """Refuse programs of another major version than the one that made the cluster."""
    if not (cluster / "PG_VERSION").exists():
        raise Misconfigured("data_unusable", f"{cluster} is there and no cluster; move it away, or use another --data")
    ours, theirs = major(user, bin), int((cluster / "PG_VERSION").read_text())
    if ours != theirs:
        raise Misconfigured(
            "postgres_version",
            f"{cluster} was made by PostgreSQL {theirs}, and {bin} has {ours}; name a bin directory of PostgreSQL"
            f" {theirs} with TABELLION_POSTGRES_BIN, or move the data with pg_dump",
        )


def configure(cluster: Path, user: ServiceUser, sockets: Path, settings: Mapping[str, str]) -> None:
    """Write our settings and who may connect: we and the service user, as the kernel tells them."""
    ours = {"unix_socket_directories": str(sockets), **settings}
    names = sorted({current_name(), user.name})
    user.write(
        cluster,
        "hub.conf",
        HUB_CONF + "include_if_exists = 'local.conf'\n" + "".join(f"{name} = '{ours[name]}'\n" for name in ours),
    )
    user.write(cluster, "pg_hba.conf", "# Written at every start.\nlocal all all peer map=hub\n")
    user.write(
        cluster,
        "pg_ident.conf",
        "# Written at every start.\n" + "".join(f'hub "{name}" {role}\n' for name in names for role in (ADMIN, ROLE)),
    )


def directory(folder: Path, user: ServiceUser, bin: Path) -> str:
    """What `-D` gets, for a program of bin that is started in folder.

    A user who cannot walk to folder (below root's closed home) is put into it before it loses our rights, and the
    kernel's link to the current directory leads there without the walk. No directory of yours is opened for it.
    """
    if user.reaches(folder):
        return str(folder)
    # Before 16 the programs leave the current directory to look for themselves.
    if HERE.exists() and major(user, bin) >= 16:
        return str(HERE)
    raise Misconfigured(
        "data_unreachable",
        f"the system user '{user.name}', who runs PostgreSQL for root, cannot enter {folder}; with --data name a"
        " directory that others may pass through, such as /var/lib/tabellion/data, or run as an ordinary user",
    )


def socket_folder(wanted: Path, user: ServiceUser) -> Path:
    """A directory for the socket: short enough, plain enough for a setting, entered by user and us alone."""
    room = len(os.fsencode(wanted / ".s.PGSQL.5432.lock")) <= SOCKET_ROOM
    plain = not set(str(wanted)) & set("',\"\\")
    if room and plain and user.reaches(wanted.parent):
        wanted.mkdir(exist_ok=True)
    else:
        # Made anew at each start: a name known beforehand could be taken by somebody else.
        wanted = Path(tempfile.mkdtemp(prefix="tabellion-", dir="/tmp"))
    user.give(wanted, 0o750)
    return wanted


def clear_sockets(folder: Path) -> None:
    """Remove a socket directory of ours that no server uses any more."""
    for name in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
