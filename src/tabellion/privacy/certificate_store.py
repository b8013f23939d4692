"""All SQL of `signing_keys`."""

from dataclasses import dataclass, field

from tabellion.core.db import Row, Tx


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    public_key: bytes
    sealed: bytes = field(repr=False)


async def current(tx: Tx) -> SigningKey | None:
    row = await tx.row("select kid, public_key, sealed from signing_keys where retired_at is null")
    return _key(row) if row else None


async def all_keys(tx: Tx) -> list[SigningKey]:
    """Every key there ever was, the oldest first."""
    return [_key(row) for row in await tx.rows("select kid, public_key, sealed from signing_keys order by created_at")]


async def insert(tx: Tx, key: SigningKey) -> None:
    """Make a key the current one, unless there is one."""
    await tx.execute(
        """
        insert into signing_keys (kid, public_key, sealed, created_at)
        values ($1, $2, $3, $4)
        on conflict do nothing
        """,
        key.kid, key.public_key, key.sealed, tx.now,
    )  # fmt: skip


def _key(row: Row) -> SigningKey:
    return SigningKey(row["kid"], row["public_key"], row["sealed"])
