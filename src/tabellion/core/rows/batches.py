"""What every import does alike: one row read, and many made durable."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from tabellion.core.errors import Invalid, Overloaded
from tabellion.core.rows.types import Reason, Row

Unit = TypeVar("Unit")
Answer = TypeVar("Answer")


def read(row: Row, unit: Callable[[Mapping[str, Any]], Unit]) -> Unit | Reason:
    """What a row states, or why it is refused."""
    if row.flaw is not None:
        return row.flaw
    try:
        return unit(row.values)
    except Invalid as refusal:
        return Reason.of(refusal)


async def durable(
    store: Callable[[Sequence[Unit]], Awaitable[Sequence[Answer]]], units: Sequence[Unit]
) -> Sequence[Answer]:
    """The answers to units; half of them at a time where all take too long. Raises `Overloaded` where one does."""
    if not units:
        return []
    try:
        return await store(units)
    except Overloaded:
        if len(units) == 1:
            raise
    middle = len(units) // 2
    return [*await durable(store, units[:middle]), *await durable(store, units[middle:])]
