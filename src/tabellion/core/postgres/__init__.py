"""The bundled PostgreSQL: a child process of ours on a unix socket, one owner per data directory.

    DIR/owner.lock    held (flock) by the process that runs the server, with its pid inside
    DIR/database.url  where the server answers, while it runs
    DIR/postgres.log  what the server says; the last 16 MiB of it, and in postgres.log.1 the 16 before
    DIR/pg/           the cluster; it alone belongs to the user that PostgreSQL runs as
    DIR/run/          the socket, unless DIR is too long for one or closed to that user

Only the user who runs the hub gets in: the socket's directory is closed to others, and `peer` asks the kernel who
connects. There is no password to lose and no TCP port. Settings: `cluster.HUB_CONF`, then `DIR/pg/local.conf`.
"""

from tabellion.core.postgres.ownership import running_url
from tabellion.core.postgres.server import Postgres

__all__ = ["Postgres", "running_url"]
