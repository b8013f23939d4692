"""All simulators in one process: HTTP ones on one port under `/sim/{provider}/…`, and a mail server."""

import asyncio
import contextlib
import socket
from typing import Final

import uvicorn

from tabellion.core.addresses import AddressPolicy
from tabellion.core.clock import Clock
from tabellion.core.outbound import HttpPool
from tabellion.core.simulation import SimulatorAddress
from tabellion.simulators.asgi import Answer, HangUp, Receive, Scope, Send, Simulator, hang_up, read, respond
from tabellion.simulators.courier import Courier
from tabellion.simulators.fake import Fake
from tabellion.simulators.smtp import Mailbox, MailServer
from tabellion.simulators.tls import self_signed
from tabellion.simulators.twilio import Twilio

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


class Simulators:
    """Started and stopped in a running event loop."""

    def __init__(self, clock: Clock, *, callbacks: AddressPolicy | None = None, pace: float = 0.05) -> None:
        """`callbacks`: where they may go, by default loopback and public hosts; `pace`: seconds between statuses."""
        self._http = HttpPool(clock, callbacks or AddressPolicy.of(LOOPBACK))
        self.courier = Courier(self._http)
        self.certificate = self_signed(clock)
        mailbox = Mailbox(clock)
        self._mail = MailServer(mailbox, self.certificate.server)
        self._vendors: dict[str, Simulator] = {
            "twilio": Twilio(clock, self.courier, pace=pace),
            "fake": Fake(clock, self.courier, pace=pace),
            "smtp": mailbox,
        }
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0, smtp_port: int = 0) -> SimulatorAddress:
        """Listen (port 0: any free one) and say where."""
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        config = uvicorn.Config(
            self.app,
            interface="asgi3",
            lifespan="off",
            proxy_headers=False,
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        self._server = _Quiet(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        mail_port = await self._mail.start(host, smtp_port)
        shown = f"[{host}]" if ":" in host else host
        return SimulatorAddress(f"http://{shown}:{listener.getsockname()[1]}", host, mail_port)

    async def stop(self) -> None:
        """Stop listening, give up callbacks under way, close every connection."""
        await self.courier.close()
        await self._mail.stop()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        await self._http.close()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        path: str = scope["path"]
        name, _, rest = path.removeprefix("/sim/").partition("/")
        vendor = self._vendors.get(name) if path.startswith("/sim/") else None
        if vendor is None:
            await respond(send, Answer.json(404, {"error": "not_found", "known": sorted(self._vendors)}))
            return
        try:
            request = await read(scope, receive, f"/{rest}")
            await respond(send, await vendor.answer(request))
        except HangUp as bad:
            await hang_up(send, bad.half)


class _Quiet(uvicorn.Server):
    """A server inside somebody else's process: signals are theirs."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def] # uvicorn's own is not typed either
        yield
