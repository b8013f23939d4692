"""The witnesses of an installation: those it must ask, and the one it is."""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uvicorn

from tabellion.app.output import print_text
from tabellion.app.protocol import BoundedProtocol
from tabellion.core.clock import Clock, SystemClock
from tabellion.core.config import Settings
from tabellion.core.errors import HubError, Invalid, Misconfigured
from tabellion.ledger import note
from tabellion.ledger.witness import policy
from tabellion.ledger.witness.asgi import WitnessApp
from tabellion.ledger.witness.folder import Folder
from tabellion.ledger.witness.policy import Policy
from tabellion.ledger.witness.watch import Watch

PREFIX: Final = "/witness"
"""Where a hub answers as a witness."""


def read_policy(settings: Settings) -> Policy | None:
    """The policy of the installation, if it has one. Raises `Misconfigured` for one that nothing could satisfy."""
    file = settings.witness_policy
    if file is None:
        return None
    try:
        found = policy.parse(file.read_bytes())
        _require_reachable(found)
    except OSError as error:
        raise _invalid(file, error.strerror or type(error).__name__) from None
    except ValueError as problem:
        raise _invalid(file, str(problem)) from None
    return found


def named_folder(settings: Settings) -> Folder:
    """The witness's folder. Raises `Misconfigured` where none is named."""
    if settings.witness_dir is None:
        raise Misconfigured("witness_dir_required", "name the witness's folder: --dir or TABELLION_WITNESS_DIR")
    return Folder(settings.witness_dir)


def open_witness(folder: Path, clock: Clock, prefix: str = PREFIX, name: str | None = None) -> WitnessApp:
    """The witness in this folder, made where there is none yet, as an application."""
    found = Folder(folder)
    cosigner = found.prepare(name or f"tabellion.witness/{secrets.token_hex(8)}")
    return WitnessApp(Watch(found, cosigner, clock), prefix)


def snippet(witness: note.Witness, url: str) -> str:
    """The lines of a policy that asks for this one witness."""
    return f"witness {witness.name} {witness.line()} {url}\nquorum {witness.name}"


def trust(folder: Folder, lines: Iterable[str]) -> list[str]:
    """Have the witness watch the logs with these verifier keys too; the names of those that are new."""
    folder.cosigner()
    try:
        logs = [note.parse_verifier(line) for line in lines if line.strip()]
    except ValueError as problem:
        raise Invalid("verifier_key_invalid", f"{problem}; `tabellion ledger keys` shows a hub's") from None
    return [one.name for one in folder.trust(logs)]


async def serve_witness(address: tuple[str, int], folder: Path, name: str | None) -> None:
    """Run the witness of this folder on this host and port until SIGINT or SIGTERM."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    app = open_witness(folder, SystemClock(), prefix="", name=name)
    listener = _listen(*address)
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    url = f"http://{shown}:{listener.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
    )
    # Not `serve`: it would take the signals.
    serving = asyncio.create_task(server._serve([listener]))
    print_text(snippet(Folder(folder).cosigner().witness, url))
    print_text(f"ready {url}")
    await asyncio.wait([serving, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise HubError("address_in_use", f"{host}:{port} cannot be listened on ({why}); choose another") from None


def _require_reachable(found: Policy) -> None:
    asked = [one for one in found.witnesses if one.url]
    for one in asked:
        parts = urlsplit(one.url or "")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"the address of witness {one.name} is not like https://witness.example/prefix")
    if not found.satisfied({one.key for one in asked}):
        raise ValueError("the witnesses that have an address are too few for the quorum; add the others' addresses")


def _invalid(file: Path, problem: str) -> Misconfigured:
    return Misconfigured("witness_policy_invalid", f"the witness policy {file} cannot be used: {problem}")
