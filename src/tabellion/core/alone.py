"""Work of which there is one at a time among all processes on a database."""

import asyncio
import contextlib

import asyncpg

from tabellion.core.db import Row


class Alone:
    """A lock of the database that this process holds for as long as it runs: on a connection of its own, which says
    nothing else and so can be waited with across network calls.
    """

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._number = number
        self._connection: asyncpg.Connection[Row] | None = None
        self._taken = False

    async def mine(self) -> bool:
        """Whether the lock is held here, taken now where it is free. False without a database."""
        lost = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
        try:
            return await self._take()
        except lost:
            self.end()
            return False

    def end(self) -> None:
        """Let others have it."""
        connection, self._connection, self._taken = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(OSError, asyncpg.InterfaceError):
                connection.terminate()

    async def _take(self) -> bool:
        if self._connection is None or self._connection.is_closed():
            self._taken = False
            settings = {"application_name": "tabellion alone"}
            self._connection = await asyncpg.connect(self._url, server_settings=settings)
        async with asyncio.timeout(5.0):
            # Asked also while it is held: a server that ended without a word holds nothing for us.
            asked = "select true" if self._taken else f"select pg_try_advisory_lock({self._number})"
            self._taken = bool(await self._connection.fetchval(asked))
        return self._taken
