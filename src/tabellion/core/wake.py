"""Wake-ups: whoever waits on a topic is woken when somebody, in this process or another, has committed work for it.

No NOTIFY inside a writing transaction: it takes a lock of the whole database until the commit is on disk and so lets
commits through one by one. A `Bell` is rung after the commit: at once for this process, and by one connection, every
20 ms at most, for the others. A wake-up may be lost, so every waiter polls as well, slowly.
"""

import asyncio
import contextlib

import asyncpg

CHANNEL = "tabellion_wake"
EVERY = 0.02
AGAIN = 1.0
"""Seconds before a lost connection is made anew."""


class Bell:
    """The topics of one process. Ring only from `Tx.after_commit`, or the woken will find nothing."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._rung: set[str] = set()
        self._news = asyncio.Event()

    def ring(self, *topics: str) -> None:
        """Wake this process now and the others shortly."""
        self.wake(*topics)
        self._rung.update(topics)
        self._news.set()

    def wake(self, *topics: str) -> None:
        """Wake this process only."""
        for topic in topics:
            for waiting in self._waiting.get(topic, ()):
                waiting.set()

    def listen(self, *topics: str) -> asyncio.Event:
        """An event set by each ring of any of the topics; the listener clears it before it looks for work."""
        event = asyncio.Event()
        for topic in topics:
            self._waiting.setdefault(topic, set()).add(event)
        return event

    def forget(self, event: asyncio.Event) -> None:
        """Undo a listen."""
        for waiting in self._waiting.values():
            waiting.discard(event)

    async def rung(self) -> frozenset[str]:
        """The topics rung since the last call; waits until there is one, or somebody interrupts."""
        await self._news.wait()
        self._news.clear()
        topics, self._rung = frozenset(self._rung), set()
        return topics

    def interrupt(self) -> None:
        """Have `rung` return at once."""
        self._news.set()


async def waken(event: asyncio.Event, within: float) -> bool:
    """Wait for event, at most `within` seconds, and clear it: True when it was set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
    was_set = event.is_set()
    event.clear()
    return was_set


async def carry(bell: Bell, url: str) -> None:
    """Carry rings between this process and the others on the database at url, until cancelled."""
    # An InternalClientError is what asyncpg says when the server ends between two messages of one statement (0.32).
    lost = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    while True:
        with contextlib.suppress(*lost):
            await _carry(bell, url)
        await asyncio.sleep(AGAIN)


async def _carry(bell: Bell, url: str) -> None:
    connection = await asyncpg.connect(url, server_settings={"application_name": "tabellion wake"})
    try:
        mine = connection.get_server_pid()

        def heard(_connection: object, pid: int, _channel: str, payload: object) -> None:
            if pid != mine:
                bell.wake(*str(payload).split(" "))

        await connection.add_listener(CHANNEL, heard)
        # Who only listens would never notice that the connection is gone.
        connection.add_termination_listener(lambda _: bell.interrupt())
        while True:
            topics = await bell.rung()
            if connection.is_closed():
                return
            await connection.execute("select pg_notify($1, $2)", CHANNEL, " ".join(sorted(topics)))
            await asyncio.sleep(EVERY)
    finally:
        connection.terminate()
