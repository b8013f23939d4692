"""PostgreSQL: the pool, and transactions that are opened, retried and committed at the edge only.

Every transaction is READ COMMITTED, explicitly: under REPEATABLE READ a gate that waited for a lock would still read
the state from before it. Inner code takes a `Tx` and never commits; what has to come last in every transaction, it
leaves to be done before the commit.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

import asyncpg
import msgspec

from tabellion.core.clock import Clock
from tabellion.core.errors import Misconfigured, Overloaded, Unavailable

Row = asyncpg.Record
T = TypeVar("T")

WRITE_LIMIT = 5.0
"""Seconds a writing transaction may last before the watchdog rolls it back."""
TRIES = 3
_RETRIABLE = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_AWAY = (
    TimeoutError,
    ConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    # What asyncpg says when the server ends between two messages of one statement (0.32).
    asyncpg.InternalClientError,
)
ROLLBACK_LIMIT = 2.0


class Tx:
    """One open transaction. `now` is read once: everything in it happens at that moment."""

    __slots__ = ("_closing", "_committed", "_connection", "_held", "_provided", "now")

    def __init__(
        self,
        connection: "asyncpg.pool.PoolConnectionProxy[Row]",
        now: datetime,
        provided: Mapping[type[Any], Any] = MappingProxyType({}),
    ) -> None:
        self._connection = connection
        self._provided = provided
        self._closing: dict[Callable[[Tx, list[Any]], Awaitable[None]], list[Any]] = {}
        self._committed: list[Callable[[], None]] = []
        self._held: dict[str, list[Any]] = {}
        self.now = now

    async def rows(self, sql: str, *args: Any) -> list[Row]:
        return await self._connection.fetch(sql, *args)

    async def row(self, sql: str, *args: Any) -> Row | None:
        return await self._connection.fetchrow(sql, *args)

    async def value(self, sql: str, *args: Any) -> Any:
        return await self._connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        """The command tag, as `UPDATE 3`."""
        return await self._connection.execute(sql, *args)

    def after_commit(self, call: Callable[[], None]) -> None:
        """Run call once the transaction is durable, and not at all if it is not. Used for wake-ups only."""
        self._committed.append(call)

    def before_commit(self, call: "Callable[[Tx, list[T]], Awaitable[None]]", item: T) -> None:
        """Have `call` run once, last in the transaction, with every item it was given in it, in their order.

        Several run in the order of their first items. Within the time limit; a raise rolls everything back, and what
        is tried again as a whole gathers its items anew.
        """
        self._closing.setdefault(call, []).append(item)

    def provided(self, kind: type[T]) -> T:
        """What `Database.provide` was given of this kind."""
        if kind not in self._provided:
            raise LookupError(f"this database was opened without a {kind.__name__}: give it one with `provide`")
        found: T = self._provided[kind]
        return found

    def locks(self, kind: str, place: Any) -> None:
        """Note that a lock is taken now. Raises where one of its kind that comes behind it is held already.

        Two transactions that lock in different orders wait for each other. That is a mistake in the program, and
        shows here every time, not only when the two meet.
        """
        held = self._held.setdefault(kind, [])
        if place in held:
            return
        if held and place < held[-1]:
            raise AssertionError(f"locks out of order: {kind} {place} after {held[-1]}")
        held.append(place)

    async def _close(self) -> None:
        while self._closing:
            call = next(iter(self._closing))
            await call(self, self._closing.pop(call))

    def _announce(self) -> None:
        for call in self._committed:
            call()


class Database:
    def __init__(self, pool: "asyncpg.Pool[Row]", clock: Clock) -> None:
        self._pool = pool
        self._provided: dict[type[Any], Any] = {}
        self.clock = clock

    def provide(self, service: object) -> None:
        """Let every transaction from now on find this service by its class: for what all code may ask of it."""
        self._provided[type(service)] = service

    @asynccontextmanager
    async def transaction(self, limit: float = WRITE_LIMIT) -> AsyncIterator[Tx]:
        """One transaction: committed when the block ends well, rolled back when it raises or takes `limit` seconds.

        Raises `Overloaded` when the time runs out, waiting for a connection included; `Unavailable` without a database.
        """
        connection = None
        try:
            async with asyncio.timeout(limit):
                connection = await self._acquire()
                await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                tx = Tx(connection, self.clock.now(), self._provided)
                yield tx
                await tx._close()
                await connection.execute("COMMIT")
        except TimeoutError as error:
            busy = "the hub is busy, and nothing was done; slow down and repeat"
            raise Overloaded(busy, code="timed_out") from error
        except _AWAY as error:
            raise _away() from error
        except asyncpg.InterfaceError as error:
            # The word for a wrong call, and also for a connection that was lost.
            if connection is not None and _lost(connection):
                raise _away() from error
            raise
        finally:
            if connection is not None:
                await self._release(connection)
        tx._announce()

    async def run(self, work: Callable[[Tx], Awaitable[T]], limit: float = WRITE_LIMIT) -> T:
        """The result of work, done in one transaction; tried again whole after a deadlock, up to 3 times."""
        for turn in range(1, TRIES + 1):
            try:
                async with self.transaction(limit) as tx:
                    return await work(tx)
            except _RETRIABLE:
                if turn == TRIES:
                    raise
                await asyncio.sleep(random.uniform(0, 0.01 * 2**turn))  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable")

    async def _acquire(self) -> "asyncpg.pool.PoolConnectionProxy[Row]":
        try:
            return await self._pool.acquire()
        except (OSError, asyncpg.InterfaceError) as error:
            raise _away() from error

    async def _release(self, connection: "asyncpg.pool.PoolConnectionProxy[Row]") -> None:
        """Give the connection back, rolled back if its transaction is still open; thrown away if it cannot be."""
        try:
            async with asyncio.timeout(ROLLBACK_LIMIT):
                if not _lost(connection) and connection.is_in_transaction():
                    await connection.execute("ROLLBACK")
        except (*_AWAY, asyncpg.InterfaceError):
            if not _lost(connection):
                connection.terminate()
        finally:
            await self._pool.release(connection)

    async def close(self) -> None:
        await self._pool.close()


async def connect(url: str, clock: Clock, *, size: int = 10) -> Database:
    """A pool of up to `size` connections to the PostgreSQL at url (`postgresql://user@/db?host=/socket/dir` works)."""
    with connecting():
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            init=_prepare,
            reset=_reset,
            server_settings={
                "application_name": "tabellion",
                "timezone": "UTC",
                "idle_in_transaction_session_timeout": "15000",
                # Our statements are all index probes. A generic plan made while a table is young would read it whole,
                # and stay that way for as long as the connection lives.
                "enable_seqscan": "off",
            },
        )
    return Database(pool, clock)


@contextmanager
def connecting() -> Iterator[None]:
    """Say what the operator can do about a database that cannot be reached or does not let us in."""
    try:
        yield
    except (OSError, *_AWAY) as error:
        raise Unavailable("database_away", f"the database does not answer ({error}); check that it runs") from error
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError, ValueError) as error:
        raise Misconfigured("database_refused", f"the database cannot be used ({error}); check its URL") from None


async def _prepare(connection: "asyncpg.Connection[Row]") -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=_encode, decoder=msgspec.json.decode, schema="pg_catalog")


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


async def _reset(_: "asyncpg.Connection[Row]") -> None:
    """Nothing to undo on release: saves asyncpg's round trip for session state we never set."""


def _lost(connection: "asyncpg.pool.PoolConnectionProxy[Row]") -> bool:
    """Whether the connection ended. Asking one that ended by itself is an error, to asyncpg."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


def _away() -> Unavailable:
    return Unavailable("database_away", "the database does not answer; try again")


def columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows turned into one list a column, the shape that `unnest($1::…[], $2::…[])` takes."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
