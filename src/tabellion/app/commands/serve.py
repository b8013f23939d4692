"""The commands that run until they are told to stop."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tabellion.app.options import HERE, Where, wait
from tabellion.app.roles import run
from tabellion.app.serving import announce, simulate_until_stopped
from tabellion.core.config import Role


def up(
    *,
    where: Where = HERE,
    listen: Annotated[str | None, Parameter(help="HOST:PORT (TABELLION_LISTEN).")] = None,
    roles: Annotated[str | None, Parameter(help="api, worker, followers (TABELLION_ROLES).")] = None,
    witness_policy: Annotated[Path | None, Parameter(help="Which witnesses must cosign (C2SP tlog-policy).")] = None,
    witness_dir: Annotated[Path | None, Parameter(help="The folder of a witness to serve at /witness.")] = None,
    behind_proxy: Annotated[str | None, Parameter(help="CIDRs of proxies in front.")] = None,
    test_key: Annotated[bool, Parameter(negative="", help="Make a test key for a day and show a first call.")] = False,
) -> None:
    """Run the hub: one process, all roles, on the bundled PostgreSQL unless told otherwise."""
    settings = where.config(
        listen=listen, roles=roles, behind_proxy=behind_proxy, witness_policy=witness_policy, witness_dir=witness_dir
    ).settings
    wait(run(settings, announce(with_test_key=test_key, serves=Role.API in settings.roles)))


def simulate(
    *,
    listen: Annotated[str, Parameter(help="HOST:PORT for the HTTP vendors.")] = "127.0.0.1:8090",
    smtp_port: Annotated[int, Parameter(help="The mail server's port; 0 is any.")] = 0,
) -> None:
    """Run all vendor simulators: /sim/{provider}/…, and a mail server."""
    wait(simulate_until_stopped(HERE.config(listen=listen).settings.address, smtp_port))
