"""All SQL of `messages` and `attempts`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from tabellion.core import ids
from tabellion.core.db import Row, Tx, columns
from tabellion.jobs.types import Lane
from tabellion.messages.types import Attempt, Guarantee, Message, Place, Plan, Status
from tabellion.providers.base import Channel, Reason, State

Pair = tuple[UUID, UUID]
"""(workspace_id, id)."""


async def insert_messages(tx: Tx, workspace_id: UUID, messages: Sequence[Message], contents: Sequence[bytes]) -> None:
    """Store messages, each with its sealed content.

    As one JSON document: the driver looks at every value of an array on its own.
    """
    await tx.execute(
        """
        insert into messages (
            workspace_id, id, recipient_id, purpose, status, final, reason, step, lane, guarantee, send_at, expires_at,
            created_at, updated_at, plan, decisions, tags, metadata, content
        )
        select $1, (m ->> 0)::uuid, (m ->> 1)::uuid, m ->> 2, m ->> 3, (m ->> 4)::boolean, m ->> 5,
               (m ->> 6)::smallint, (m ->> 7)::smallint, m ->> 8, (m ->> 9)::timestamptz, (m ->> 10)::timestamptz,
               $2, $2, m -> 11, m -> 12, array(select jsonb_array_elements_text(m -> 13)), nullif(m -> 14, 'null'),
               content
          from rows from (jsonb_array_elements($3::jsonb), unnest($4::bytea[])) as new (m, content)
        """,
        workspace_id, tx.now, [_row(one) for one in messages], contents,
    )  # fmt: skip


def _row(m: Message) -> tuple[object, ...]:
    return (
        m.id, m.recipient_id, m.purpose, m.status, m.final, m.reason, m.step, m.lane, m.guarantee, m.send_at,
        m.expires_at, m.plan, m.decisions, m.tags, m.metadata,
    )  # fmt: skip


_MESSAGE = """
    m.workspace_id, m.id, m.recipient_id, m.purpose, m.status, m.final, m.reason, m.step, m.lane, m.guarantee,
    m.send_at, m.expires_at, m.created_at, m.updated_at, m.plan, m.decisions, m.tags, m.metadata
"""


async def lock_messages(tx: Tx, pairs: Sequence[Pair], *, content: bool) -> dict[Pair, Message]:
    """The messages, locked against every other change until the transaction ends."""
    rows = await tx.rows(
        f"""
        select {_MESSAGE}, case when $3 then m.content end as content
          from messages m
          join unnest($1::uuid[], $2::uuid[]) as wanted (workspace_id, id)
            on wanted.workspace_id = m.workspace_id and wanted.id = m.id
         order by m.workspace_id, m.id
           for no key update of m
        """,
        *columns(sorted(set(pairs)), 2), content,
    )  # fmt: skip
    return {(row["workspace_id"], row["id"]): _message(row, row["content"]) for row in rows}


async def read_message(tx: Tx, workspace_id: UUID, message_id: UUID) -> Message | None:
    row = await tx.row(
        f"select {_MESSAGE} from messages m where m.workspace_id = $1 and m.id = $2", workspace_id, message_id
    )
    return _message(row) if row else None


@dataclass(frozen=True, slots=True)
class Filter:
    """What to list; None is no condition."""

    recipient_id: UUID | None = None
    recipient_ids: Sequence[UUID] | None = None
    """The ids of one person who has several, after a merge."""
    address: str | None = None
    """Hex of the keyed hash of an address that a step of the plan means."""
    status: str | None = None
    purpose: str | None = None
    channel: str | None = None
    provider_message_id: str | None = None
    tag: str | None = None


_CONDITION: Mapping[str, str] = {
    "recipient_id": "m.recipient_id = $%d",
    "recipient_ids": "m.recipient_id = any($%d::uuid[])",
    "address": "m.plan -> 'steps' @> jsonb_build_array(jsonb_build_object('identifier', $%d::text))",
    "status": "m.status = $%d",
    "purpose": "m.purpose = $%d",
    "tag": "$%d = any(m.tags)",
    "channel": """
        exists (select from attempts a where a.workspace_id = $1 and a.message_id = m.id and a.channel = $%d)""",
    "provider_message_id": """
        m.id in (select a.message_id from attempts a where a.workspace_id = $1 and a.provider_message_id = $%d)""",
}


async def list_messages(
    tx: Tx, workspace_id: UUID, wanted: Filter, *, before: UUID | None, limit: int
) -> list[Message]:
    """Newest first, those older than `before`.

    The statement has the conditions that are wanted and no others: one plan for "recipient, or any" reads them all.
    """
    given = {name: value for name in _CONDITION if (value := getattr(wanted, name)) is not None}
    conditions = [_CONDITION[name] % place for place, name in enumerate(given, 4)]
    rows = await tx.rows(
        f"""
        select {_MESSAGE}
          from messages m
         where {" and ".join(["m.workspace_id = $1", "($2::uuid is null or m.id < $2)", *conditions])}
         order by m.id desc
         limit $3
        """,
        workspace_id, before, limit, *given.values(),
    )  # fmt: skip
    return [_message(row) for row in rows]


async def of_people(
    tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], after: UUID | None, limit: int
) -> list[Message]:
    """The messages to people with their content, oldest first, those made after one."""
    rows = await tx.rows(
        f"""
        select {_MESSAGE}, m.content
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select {_MESSAGE}, m.content
                 from messages m
                where m.workspace_id = $1 and m.recipient_id = wanted.id and m.id > $3
                order by m.id
                limit $4) m
         order by m.id
         limit $4
        """,
        workspace_id, recipient_ids, after or ids.FIRST, limit,
    )  # fmt: skip
    return [_message(row, row["content"]) for row in rows]


async def update_messages(tx: Tx, messages: Sequence[Message]) -> None:
    """Store what moves: status, final, reason, step, decisions. The rows must be locked."""
    rows = [(m.workspace_id, m.id, m.status, m.final, m.reason, m.step, _json(m.decisions)) for m in messages]
    await tx.execute(
        """
        update messages m
           set status = new.status, final = new.final, reason = new.reason, step = new.step,
               decisions = new.decisions::jsonb, updated_at = $1
          from unnest(
                   $2::uuid[], $3::uuid[], $4::text[], $5::boolean[], $6::text[], $7::smallint[], $8::text[]
               ) as new (workspace_id, id, status, final, reason, step, decisions)
         where m.workspace_id = new.workspace_id and m.id = new.id
        """,
        tx.now, *columns(rows, 7),
    )  # fmt: skip


async def finals(
    tx: Tx, workspace_id: UUID, after: UUID | None, before: UUID, spared: Sequence[UUID], most: int
) -> list[tuple[UUID, bool]]:
    """Ids of messages between the two, in order, each with whether it is final, and to none of the people spared."""
    rows = await tx.rows(
        """
        select id, final and recipient_id <> all($4::uuid[]) as final
          from messages
         where workspace_id = $1 and ($2::uuid is null or id > $2) and id < $3
         order by id
         limit $5
        """,
        workspace_id, after, before, spared, most,
    )  # fmt: skip
    return [(row["id"], row["final"]) for row in rows]


async def unfinished(tx: Tx, workspace_id: UUID, message_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the messages that are not final."""
    rows = await tx.rows(
        "select id from messages where workspace_id = $1 and id = any($2::uuid[]) and not final",
        workspace_id, message_ids,
    )  # fmt: skip
    return {row["id"] for row in rows}


async def written_to(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], since: datetime) -> set[UUID]:
    """Those to whom a message is not final, or changed since a time."""
    rows = await tx.rows(
        """
        select wanted.id
          from unnest($2::uuid[]) as wanted (id)
         cross join lateral (
               select recipient_id
                 from messages
                where workspace_id = $1 and recipient_id = wanted.id and (not final or updated_at >= $3)
                limit 1) m
        """,
        workspace_id, recipient_ids, since,
    )  # fmt: skip
    return {row["id"] for row in rows}


async def empty(tx: Tx, workspace_id: UUID, message_ids: Sequence[UUID]) -> int:
    """Store that these messages say nothing any more; how many of them did."""
    done = await tx.execute(
        """
        update messages
           set content = ''
         where workspace_id = $1 and id = any($2::uuid[]) and octet_length(content) > 0
        """,
        workspace_id, message_ids,
    )  # fmt: skip
    return int(done.rpartition(" ")[2])


async def open_of(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], most: int) -> list[UUID]:
    """Messages to people that are not final, oldest first."""
    rows = await tx.rows(
        """
        select id
          from messages
         where workspace_id = $1 and recipient_id = any($2::uuid[]) and not final
         order by id
         limit $3
        """,
        workspace_id, recipient_ids, most,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def page_of(
    tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], after: UUID | None, most: int
) -> list[UUID]:
    """Messages to people in the order of their ids."""
    rows = await tx.rows(
        """
        select id
          from messages
         where workspace_id = $1 and recipient_id = any($2::uuid[]) and ($3::uuid is null or id > $3)
         order by id
         limit $4
        """,
        workspace_id, recipient_ids, after, most,
    )  # fmt: skip
    return [row["id"] for row in rows]


async def erase_messages(tx: Tx, workspace_id: UUID, message_ids: Sequence[UUID]) -> None:
    """Leave of messages what was done, when and how it ended: nothing of what they said, and no address."""
    await tx.execute(
        """
        update messages
           set content = '', metadata = null, tags = '{}',
               plan = jsonb_set(plan, '{steps}', coalesce((
                   select jsonb_agg(one - 'identifier'::text)
                     from jsonb_array_elements(plan -> 'steps') as one), '[]'))
         where workspace_id = $1 and id = any($2::uuid[])
        """,
        workspace_id, message_ids,
    )  # fmt: skip


async def erase_attempts(tx: Tx, workspace_id: UUID, message_ids: Sequence[UUID]) -> None:
    """Take from attempts the address, and what the vendor wrote about it."""
    await tx.execute(
        """
        update attempts
           set identifier = '', detail = null
         where workspace_id = $1 and message_id = any($2::uuid[])
        """,
        workspace_id, message_ids,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Relied:
    """A consent that messages for a purpose rested on."""

    entry: str
    purpose: str
    last_at: datetime


async def relied_on(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> list[Relied]:
    """The consent entries that attempts to people rested on, by purpose, and when the last one started."""
    rows = await tx.rows(
        """
        select a.decision ->> 'entry' as entry, a.purpose, max(a.started_at) as last_at
          from messages m
          join attempts a on a.workspace_id = $1 and a.message_id = m.id
         where m.workspace_id = $1 and m.recipient_id = any($2::uuid[]) and a.decision ->> 'entry' is not null
         group by a.decision ->> 'entry', a.purpose
         order by entry, purpose
        """,
        workspace_id, recipient_ids,
    )  # fmt: skip
    return [Relied(row["entry"], row["purpose"], row["last_at"]) for row in rows]


@dataclass(frozen=True, slots=True)
class Reached:
    """A vendor account through which people were reached."""

    account_id: UUID
    provider: str
    attempts: int
    first_at: datetime
    last_at: datetime


async def reached_through(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID]) -> list[Reached]:
    """The accounts that were handed anything for people."""
    rows = await tx.rows(
        """
        select a.account_id, a.provider, count(*) as attempts, min(a.started_at) as first_at,
               max(a.started_at) as last_at
          from messages m
          join attempts a on a.workspace_id = $1 and a.message_id = m.id
         where m.workspace_id = $1 and m.recipient_id = any($2::uuid[]) and a.state <> 'aborted'
         group by a.account_id, a.provider
         order by first_at, a.account_id
        """,
        workspace_id, recipient_ids,
    )  # fmt: skip
    return [Reached(*row) for row in rows]


async def insert_attempts(tx: Tx, attempts: Sequence[Attempt]) -> None:
    """Store attempts as they start, as one JSON document."""
    rows = [
        (
            a.workspace_id, a.id, a.message_id, a.recipient_id, a.step, a.purpose, a.channel, a.identifier,
            a.account_id, a.provider, a.state, a.decision, a.started_at,
        )
        for a in attempts
    ]  # fmt: skip
    await tx.execute(
        """
        insert into attempts (
            workspace_id, id, message_id, recipient_id, step, purpose, channel, identifier, account_id, provider,
            state, decision, started_at
        )
        select (a ->> 0)::uuid, (a ->> 1)::uuid, (a ->> 2)::uuid, (a ->> 3)::uuid, (a ->> 4)::smallint, a ->> 5,
               a ->> 6, decode(a ->> 7, 'base64'), (a ->> 8)::uuid, a ->> 9, a ->> 10, a -> 11, (a ->> 12)::timestamptz
          from jsonb_array_elements($1::jsonb) as a
        """,
        rows,
    )


_ATTEMPT = """
    a.workspace_id, a.id, a.message_id, a.recipient_id, a.step, a.purpose, a.channel, a.identifier, a.account_id,
    a.provider, a.state, a.reason, a.permanent, a.provider_message_id, a.provider_code, a.detail, a.decision,
    a.started_at, a.ended_at
"""


async def attempts_of(tx: Tx, pairs: Sequence[Pair]) -> dict[Pair, list[Attempt]]:
    """The attempts of each message, oldest first."""
    rows = await tx.rows(
        f"""
        select {_ATTEMPT}
          from attempts a
          join unnest($1::uuid[], $2::uuid[]) as wanted (workspace_id, message_id)
            on wanted.workspace_id = a.workspace_id and wanted.message_id = a.message_id
         order by a.id
        """,
        *columns(sorted(set(pairs)), 2),
    )
    found: dict[Pair, list[Attempt]] = {pair: [] for pair in pairs}
    for row in rows:
        found[row["workspace_id"], row["message_id"]].append(_attempt(row))
    return found


async def attempts_by_id(tx: Tx, pairs: Sequence[Pair]) -> dict[Pair, Attempt]:
    """Those that exist of the (workspace_id, id) wanted."""
    rows = await tx.rows(
        f"""
        select {_ATTEMPT}
          from attempts a
          join unnest($1::uuid[], $2::uuid[]) as wanted (workspace_id, id)
            on wanted.workspace_id = a.workspace_id and wanted.id = a.id
        """,
        *columns(sorted(set(pairs)), 2),
    )
    return {(row["workspace_id"], row["id"]): _attempt(row) for row in rows}


async def attempts_by_vendor_id(tx: Tx, wanted: Sequence[tuple[UUID, UUID, str]]) -> dict[tuple[UUID, str], Place]:
    """Attempts by (account_id, provider_message_id), for (workspace_id, account_id, provider_message_id) wanted."""
    rows = await tx.rows(
        """
        select a.account_id, a.provider_message_id, a.workspace_id, a.message_id, a.id, a.recipient_id, a.identifier
          from attempts a
          join unnest($1::uuid[], $2::uuid[], $3::text[]) as wanted (workspace_id, account_id, provider_message_id)
            on wanted.workspace_id = a.workspace_id
           and wanted.account_id = a.account_id
           and wanted.provider_message_id = a.provider_message_id
        """,
        *columns(sorted(set(wanted)), 3),
    )
    return {(row[0], row[1]): Place(*row[2:]) for row in rows}


async def update_attempts(tx: Tx, attempts: Sequence[Attempt]) -> None:
    """Store the outcomes. The rows' messages must be locked."""
    rows = [
        (
            a.workspace_id, a.id, a.state, a.reason, a.permanent, a.provider_message_id, a.provider_code, a.detail,
            a.ended_at,
        )
        for a in attempts
    ]  # fmt: skip
    await tx.execute(
        """
        update attempts a
           set state = new.state, reason = new.reason, permanent = new.permanent,
               provider_message_id = new.provider_message_id, provider_code = new.provider_code, detail = new.detail,
               ended_at = new.ended_at
          from unnest(
                   $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::text[], $8::text[],
                   $9::timestamptz[]
               ) as new (
                   workspace_id, id, state, reason, permanent, provider_message_id, provider_code, detail, ended_at
               )
         where a.workspace_id = new.workspace_id and a.id = new.id
        """,
        *columns(rows, 9),
    )


async def in_flight(
    tx: Tx, workspace_id: UUID, recipients: Sequence[UUID], identifiers: Sequence[bytes]
) -> list[Attempt]:
    """The attempts to these people or addresses that started and have no outcome yet."""
    rows = await tx.rows(
        f"""
        select {_ATTEMPT}
          from attempts a
         where a.workspace_id = $1 and a.state = 'started' and a.recipient_id = any($2::uuid[])
        union
        select {_ATTEMPT}
          from attempts a
         where a.workspace_id = $1 and a.state = 'started' and a.identifier = any($3::bytea[])
        """,
        workspace_id, recipients, identifiers,
    )  # fmt: skip
    return [_attempt(row) for row in rows]


def _message(row: Row, content: bytes | None = None) -> Message:
    return Message(
        workspace_id=row["workspace_id"],
        id=row["id"],
        recipient_id=row["recipient_id"],
        purpose=row["purpose"],
        status=Status(row["status"]),
        final=row["final"],
        reason=row["reason"],
        step=row["step"],
        lane=Lane(row["lane"]),
        guarantee=Guarantee(row["guarantee"]),
        send_at=row["send_at"],
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        plan=msgspec.convert(row["plan"], Plan),
        decisions=row["decisions"],
        tags=tuple(row["tags"]),
        metadata=row["metadata"],
        content=content or b"",
    )


def _attempt(row: Row) -> Attempt:
    return Attempt(
        workspace_id=row["workspace_id"],
        id=row["id"],
        message_id=row["message_id"],
        recipient_id=row["recipient_id"],
        step=row["step"],
        purpose=row["purpose"],
        channel=Channel(row["channel"]),
        identifier=row["identifier"],
        account_id=row["account_id"],
        provider=row["provider"],
        state=State(row["state"]),
        reason=Reason(row["reason"]) if row["reason"] else None,
        permanent=row["permanent"],
        provider_message_id=row["provider_message_id"],
        provider_code=row["provider_code"],
        detail=row["detail"],
        decision=row["decision"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )


def _json(decisions: Sequence[Mapping[str, Any]]) -> str:
    """JSON as text: a list of lists would be taken for an array of two dimensions."""
    return msgspec.json.encode(decisions).decode()
