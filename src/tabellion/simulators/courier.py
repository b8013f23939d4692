"""Posts a simulator's callbacks over real sockets, in order for one message, with a few tries each."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tabellion.core.http import HttpClient, HttpRequest, Lost, NotSent

TRIES: Final = 4
AT_ONCE: Final = 64
WAITING: Final = 20_000


@dataclass(frozen=True, slots=True)
class Callback:
    """A request, and how many seconds after the one before it goes out."""

    request: HttpRequest
    after: float = 0.0


class Courier:
    """Callbacks under way. Above `WAITING` messages new ones are dropped and counted: a simulator does not grow."""

    def __init__(self, http: HttpClient, pause: float = 0.5) -> None:
        """`pause`: seconds before the second try, doubled each time."""
        self._http = http
        self._pause = pause
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self.delivered = 0
        self.failed = 0
        self.dropped = 0

    def dispatch(self, callbacks: Sequence[Callback]) -> None:
        """Send these one after the other, in the background."""
        if not callbacks:
            return
        if len(self._tasks) >= WAITING:
            self.dropped += len(callbacks)
            return
        task = asyncio.create_task(self._run(callbacks))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def send(self, request: HttpRequest) -> int | None:
        """The status of the first try answered below 500 and not 429, else of the last; None without an answer."""
        status = None
        for turn in range(TRIES):
            if turn:
                await asyncio.sleep(self._pause * 2 ** (turn - 1))
            status = await self._try(request)
            if status is not None and status < 500 and status != 429:
                break
        if status is not None and 200 <= status < 300:
            self.delivered += 1
        else:
            self.failed += 1
        return status

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, callbacks: Sequence[Callback]) -> None:
        for callback in callbacks:
            if callback.after:
                await asyncio.sleep(callback.after)
            await self.send(callback.request)

    async def _try(self, request: HttpRequest) -> int | None:
        async with self._slots:
            try:
                return (await self._http.send(request)).status
            except (NotSent, Lost):
                return None
