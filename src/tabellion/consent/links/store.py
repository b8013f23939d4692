"""All SQL for `link_keys`, `confirmations` and `link_codes`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from tabellion.core.db import Tx


@dataclass(frozen=True, slots=True)
class LinkKey:
    """A key as it is kept."""

    id: bytes
    workspace_id: UUID
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A pending entry that waits for the person."""

    workspace_id: UUID
    entry_id: UUID
    recipient_id: UUID
    identifier_hash: bytes
    channel: str
    purpose: str
    asked_at: datetime
    expires_at: datetime
    message_id: UUID | None = None
    confirmed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """The last code for an address of a person on a channel."""

    recipient_id: UUID
    identifier_hash: bytes
    channel: str
    salt: bytes
    sent_at: datetime
    expires_at: datetime
    tries: int
    day_at: datetime
    day_sent: int


# keys


async def keys(tx: Tx, key_ids: Collection[bytes]) -> list[LinkKey]:
    """The keys of these ids, of whichever sides: the id in a token is all that says whose it is."""
    rows = await tx.rows("select id, workspace_id, wrapped from link_keys where id = any($1::bytea[])", list(key_ids))
    return [LinkKey(*row) for row in rows]


async def key_of(tx: Tx, workspace_id: UUID, month: str) -> LinkKey | None:
    """The key that a side's tokens of a month are made with."""
    row = await tx.row(
        "select id, workspace_id, wrapped from link_keys where workspace_id = $1 and month = $2", workspace_id, month
    )
    return LinkKey(*row) if row else None


async def add_key(tx: Tx, workspace_id: UUID, month: str, key_id: bytes, wrapped: bytes) -> None:
    """Keep a new key, unless the month has one."""
    await tx.execute(
        """
        insert into link_keys (id, workspace_id, month, wrapped, created_at)
        values ($3, $1, $2, $4, $5)
        on conflict (workspace_id, month) do nothing
        """,
        workspace_id, month, key_id, wrapped, tx.now,
    )  # fmt: skip


# confirmations


async def add_confirmation(tx: Tx, workspace_id: UUID, one: Confirmation) -> bool:
    """Let an entry wait; whether it did not already."""
    row = await tx.row(
        """
        insert into confirmations
            (workspace_id, entry_id, recipient_id, identifier_hash, channel, purpose, asked_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (workspace_id, entry_id) do nothing
        returning entry_id
        """,
        workspace_id, one.entry_id, one.recipient_id, one.identifier_hash, one.channel, one.purpose, one.asked_at,
        one.expires_at,
    )  # fmt: skip
    return row is not None


async def set_message(tx: Tx, workspace_id: UUID, entry_id: UUID, message_id: UUID) -> None:
    """Note what asked the person, and when: a follower may come to it long after the grant."""
    await tx.execute(
        "update confirmations set message_id = $3, asked_at = $4 where workspace_id = $1 and entry_id = $2",
        workspace_id, entry_id, message_id, tx.now,
    )  # fmt: skip


async def asked_since(tx: Tx, workspace_id: UUID, identifier_hash: bytes, since: datetime) -> bool:
    """Whether an address was sent a confirmation since a time."""
    found: bool = await tx.value(
        """
        select exists (select from confirmations
                        where workspace_id = $1 and identifier_hash = $2 and message_id is not null and asked_at > $3)
        """,
        workspace_id, identifier_hash, since,
    )  # fmt: skip
    return found


async def confirmation(tx: Tx, workspace_id: UUID, entry_id: UUID) -> Confirmation | None:
    row = await tx.row(
        """
        select workspace_id, entry_id, recipient_id, identifier_hash, channel, purpose, asked_at, expires_at,
               message_id, confirmed_at
          from confirmations
         where workspace_id = $1 and entry_id = $2
        """,
        workspace_id, entry_id,
    )  # fmt: skip
    return Confirmation(*row) if row else None


async def waiting(tx: Tx, workspace_id: UUID, hashes: Sequence[bytes]) -> list[Confirmation]:
    """What waits for a confirmation at addresses."""
    rows = await tx.rows(
        """
        select workspace_id, entry_id, recipient_id, identifier_hash, channel, purpose, asked_at, expires_at,
               message_id, confirmed_at
          from confirmations
         where workspace_id = $1 and identifier_hash = any($2::bytea[]) and confirmed_at is null and expires_at > $3
        """,
        workspace_id, hashes, tx.now,
    )  # fmt: skip
    return [Confirmation(*row) for row in rows]


async def confirm(tx: Tx, workspace_id: UUID, entry_id: UUID) -> bool:
    """Note that the person confirmed, in time; whether they had not already."""
    row = await tx.row(
        """
        update confirmations
           set confirmed_at = $3
         where workspace_id = $1 and entry_id = $2 and confirmed_at is null and expires_at > $3
        returning entry_id
        """,
        workspace_id, entry_id, tx.now,
    )  # fmt: skip
    return row is not None


async def end_confirmations(tx: Tx, most: int, asked_before: datetime) -> list[Confirmation]:
    """Forget confirmations, of all sides, whose time is over, and who was not asked lately; what they were."""
    rows = await tx.rows(
        """
        delete from confirmations
         where (workspace_id, entry_id) in (select workspace_id, entry_id
                                              from confirmations
                                             where expires_at <= $1 and (message_id is null or asked_at <= $3)
                                             order by expires_at
                                             limit $2
                                               for update skip locked)
        returning workspace_id, entry_id, recipient_id, identifier_hash, channel, purpose, asked_at, expires_at,
                  message_id, confirmed_at
        """,
        tx.now, most, asked_before,
    )  # fmt: skip
    return [Confirmation(*row) for row in rows]


# codes


async def code(tx: Tx, workspace_id: UUID, recipient_id: UUID, identifier_hash: bytes, channel: str) -> Code | None:
    """The last code for an address of a person on a channel. The caller holds the person's row."""
    row = await tx.row(
        """
        select recipient_id, identifier_hash, channel, salt, sent_at, expires_at, tries, day_at, day_sent
          from link_codes
         where workspace_id = $1 and recipient_id = $2 and identifier_hash = $3 and channel = $4
        """,
        workspace_id, recipient_id, identifier_hash, channel,
    )  # fmt: skip
    return Code(*row) if row else None


async def unsent(tx: Tx, workspace_id: UUID, recipient_id: UUID) -> list[Code]:
    """The codes for a person that no message carries yet and that are still good for something."""
    rows = await tx.rows(
        """
        select recipient_id, identifier_hash, channel, salt, sent_at, expires_at, tries, day_at, day_sent
          from link_codes
         where workspace_id = $1 and recipient_id = $2 and message_id is null and expires_at > $3
        """,
        workspace_id, recipient_id, tx.now,
    )  # fmt: skip
    return [Code(*row) for row in rows]


async def set_code(tx: Tx, workspace_id: UUID, one: Code) -> None:
    """Put a code in the place of the last one, for a new message to carry."""
    await tx.execute(
        """
        insert into link_codes
            (workspace_id, recipient_id, identifier_hash, channel, salt, sent_at, expires_at, tries, day_at, day_sent)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (workspace_id, recipient_id, identifier_hash, channel)
        do update set salt = excluded.salt, sent_at = excluded.sent_at, expires_at = excluded.expires_at,
                      tries = excluded.tries, day_at = excluded.day_at, day_sent = excluded.day_sent,
                      message_id = null
        """,
        workspace_id, one.recipient_id, one.identifier_hash, one.channel, one.salt, one.sent_at, one.expires_at,
        one.tries, one.day_at, one.day_sent,
    )  # fmt: skip


async def set_carrier(tx: Tx, workspace_id: UUID, one: Code, message_id: UUID) -> None:
    """Note which message carries a code."""
    await tx.execute(
        """
        update link_codes
           set message_id = $5
         where workspace_id = $1 and recipient_id = $2 and identifier_hash = $3 and channel = $4
        """,
        workspace_id, one.recipient_id, one.identifier_hash, one.channel, message_id,
    )  # fmt: skip


async def count_try(tx: Tx, workspace_id: UUID, one: Code) -> None:
    """Note that somebody tried a code."""
    await tx.execute(
        """
        update link_codes
           set tries = tries + 1
         where workspace_id = $1 and recipient_id = $2 and identifier_hash = $3 and channel = $4
        """,
        workspace_id, one.recipient_id, one.identifier_hash, one.channel,
    )  # fmt: skip


async def use_code(tx: Tx, workspace_id: UUID, one: Code) -> None:
    """Let a code be good for nothing more."""
    await tx.execute(
        """
        update link_codes
           set expires_at = $5
         where workspace_id = $1 and recipient_id = $2 and identifier_hash = $3 and channel = $4
        """,
        workspace_id, one.recipient_id, one.identifier_hash, one.channel, tx.now,
    )  # fmt: skip


async def sent_since(tx: Tx, workspace_id: UUID, identifier_hash: bytes, since: datetime) -> int:
    """How many codes an address was sent since a time, for whomever."""
    found: int = await tx.value(
        """
        select coalesce(sum(day_sent), 0)
          from link_codes
         where workspace_id = $1 and identifier_hash = $2 and day_at > $3
        """,
        workspace_id, identifier_hash, since,
    )  # fmt: skip
    return found


async def end_codes(tx: Tx, age: timedelta) -> None:
    """Forget the codes, of all sides, that count for nothing any more."""
    await tx.execute("delete from link_codes where day_at <= $1 and expires_at <= $2", tx.now - age, tx.now)


# erasure


async def forget_confirmations(
    tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], hashes: Sequence[bytes]
) -> None:
    """Forget what waits for people, or at their addresses."""
    await tx.execute(
        """
        delete from confirmations
         where workspace_id = $1 and (recipient_id = any($2::uuid[]) or identifier_hash = any($3::bytea[]))
        """,
        workspace_id, recipient_ids, hashes,
    )  # fmt: skip


async def forget_codes(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], hashes: Sequence[bytes]) -> None:
    """Forget the codes of people, and those sent to their addresses."""
    await tx.execute(
        """
        delete from link_codes
         where workspace_id = $1 and (recipient_id = any($2::uuid[]) or identifier_hash = any($3::bytea[]))
        """,
        workspace_id, recipient_ids, hashes,
    )  # fmt: skip
