"""The lock between whoever relies on a side's policies and whoever changes them: purposes, brands, settings.

Those who rely on them hold it together, those who change them alone, so that a change waits for every gate that read
what it changes, and every gate after it reads it. Taken in a statement of its own, before what it guards is read, and
before any other lock.

What restricts an address that nobody has takes it alone, too: there is no row of a person to lock.
"""

from collections.abc import Iterable
from uuid import UUID

from tabellion.core.db import Tx


async def hold(tx: Tx, sides: Iterable[UUID]) -> None:
    """Let the policies of sides stay as they are until the transaction ends."""
    numbers = sorted({_number(side) for side in sides})
    await tx.execute(
        "select pg_advisory_xact_lock_shared(number) from unnest($1::bigint[]) with ordinality as asked (number, place)"
        " order by place",
        numbers,
    )


async def change(tx: Tx, side: UUID) -> None:
    """Return when nobody relies on the policies of a side, and nobody will before the transaction ends."""
    await tx.execute("select pg_advisory_xact_lock($1)", _number(side))


def _number(side: UUID) -> int:
    """The random half of the id."""
    return int.from_bytes(side.bytes[8:], "big", signed=True)
