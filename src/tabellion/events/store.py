"""All SQL of the event log: appending, reading, eras, days, followers."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from asyncpg import LockNotAvailableError

from tabellion.core.db import Row, Tx
from tabellion.core.errors import Unavailable
from tabellion.core.ids import WorkspaceId
from tabellion.events.types import Blocker, Cursor, Event, Horizon, Place, Recorded, Wanted

ERA_LOCK = 0x7461_6265_6572_6131
"""The advisory lock under which an era is opened and days are made."""
TELLING = ("recipient", "merged", "split", "merge_id")
"""What an event says of who somebody is."""
SLACK = timedelta(days=1)
"""By how much clocks may differ between the processes of a hub, the length of a transaction included."""
_EVER = datetime(1, 1, 1, tzinfo=UTC)


async def insert(tx: Tx, era: int, events: Sequence[Event]) -> None:
    """Append in order, as one JSON document: the driver encodes one value instead of seven an event.

    The era is read here, so a process that opened the log earlier goes on in the new era.
    """
    await tx.execute(
        """
        insert into events (era, workspace_id, id, type, occurred_at, recorded_at, recipient_id, message_id, data)
        select greatest($1, (select max(era) from event_eras)),
               (event ->> 0)::uuid, (event ->> 1)::uuid, event ->> 2,
               coalesce((event ->> 3)::timestamptz, $2), $2,
               (event ->> 4)::uuid, (event ->> 5)::uuid, event -> 6
          from jsonb_array_elements($3::jsonb) as event
        """,
        era, tx.now,
        [(e.workspace_id, e.id, e.type, e.occurred_at, e.recipient_id, e.message_id, e.data) for e in events],
    )  # fmt: skip


_EVENT = """
    e.era, e.txid, e.position, e.workspace_id, e.id, e.type, e.occurred_at, e.recorded_at, e.recipient_id,
    e.message_id, e.data
"""
_COLUMNS = _EVENT.replace("e.", "")
_HORIZON = "(select max(era) from event_eras), pg_snapshot_xmin(pg_current_snapshot())"
"""Below it in the present era, every transaction has ended and nothing new appears. Older eras lie below it whole."""


async def page(
    tx: Tx, workspace_id: WorkspaceId, after: Cursor, through: Cursor, wanted: Wanted, limit: int
) -> list[Recorded]:
    """In log order, up to and with `through`. Only what no transaction still open can come before."""
    exact, prefix = _type(wanted.type)
    rows = await tx.rows(
        f"""
        select {_EVENT}
          from events e
         where e.workspace_id = $1
           and (e.era, e.txid, e.position) > ($2, $3::xid8, $4)
           and (e.era, e.txid, e.position) <= ($5, $6::xid8, $7)
           and (e.era, e.txid) < ({_HORIZON})
           and ($8::text is null or e.type = $8)
           and ($9::text is null or starts_with(e.type, $9))
           and ($10::uuid[] is null or e.recipient_id = any($10))
         order by e.era, e.txid, e.position
         limit $11
        """,
        workspace_id, *after, *through, exact, prefix, wanted.recipients, limit,
    )  # fmt: skip
    return [event(row) for row in rows]


async def nth_after(tx: Tx, workspace_id: WorkspaceId, after: Cursor, count: int) -> Cursor | None:
    """The place of the count-th readable event after a cursor, if there are as many."""
    row = await tx.row(
        f"""
        select e.era, e.txid, e.position
          from events e
         where e.workspace_id = $1
           and (e.era, e.txid, e.position) > ($2, $3::xid8, $4)
           and (e.era, e.txid) < ({_HORIZON})
         order by e.era, e.txid, e.position
        offset $5
         limit 1
        """,
        workspace_id, *after, count - 1,
    )  # fmt: skip
    return Cursor(*row) if row else None


async def page_of_message(
    tx: Tx, workspace_id: WorkspaceId, after: Cursor, wanted: Wanted, limit: int
) -> list[Recorded]:
    """Like `page`, by the index on messages."""
    exact, prefix = _type(wanted.type)
    rows = await tx.rows(
        f"""
        select {_EVENT}
          from events e
         where e.workspace_id = $1 and e.message_id = $2
           and (e.era, e.txid, e.position) > ($3, $4::xid8, $5)
           and (e.era, e.txid) < ({_HORIZON})
           and ($6::text is null or e.type = $6)
           and ($7::text is null or starts_with(e.type, $7))
           and ($8::uuid[] is null or e.recipient_id = any($8))
         order by e.era, e.txid, e.position
         limit $9
        """,
        workspace_id, wanted.message_id, *after, exact, prefix, wanted.recipients, limit,
    )  # fmt: skip
    return [event(row) for row in rows]


async def of_message(tx: Tx, workspace_id: WorkspaceId, message_id: UUID) -> list[Recorded]:
    """All events of one message in log order, those of this moment too."""
    rows = await tx.rows(
        f"""
        select {_EVENT}
          from events e
         where e.workspace_id = $1 and e.message_id = $2
         order by e.era, e.txid, e.position
        """,
        workspace_id, message_id,
    )  # fmt: skip
    return [event(row) for row in rows]


async def unlink(tx: Tx, workspace_id: UUID, recipient_ids: Sequence[UUID], after: Cursor, upto: Cursor) -> int:
    """Cut the events between two places off from the people they are about; how many there were."""
    done = await tx.execute(
        """
        update events e
           set recipient_id = null,
               data = case when e.data ? 'message'
                      then jsonb_set(e.data - $8::text[], '{message}',
                                     (e.data -> 'message') || '{"metadata": null, "tags": []}')
                      else e.data - $8::text[] end
         where e.workspace_id = $1 and e.recipient_id = any($9::uuid[])
           and (e.era, e.txid, e.position) > ($2, $3::xid8, $4)
           and (e.era, e.txid, e.position) <= ($5, $6::xid8, $7)
        """,
        workspace_id, *after, *upto, list(TELLING), recipient_ids,
    )  # fmt: skip
    return int(done.rpartition(" ")[2])


def event(row: Row) -> Recorded:
    return Recorded(
        cursor=Cursor(row["era"], row["txid"], row["position"]),
        workspace_id=WorkspaceId(row["workspace_id"]),
        id=row["id"],
        type=row["type"],
        occurred_at=row["occurred_at"],
        recorded_at=row["recorded_at"],
        recipient_id=row["recipient_id"],
        message_id=row["message_id"],
        data=row["data"],
    )


def _type(wanted: str | None) -> tuple[str | None, str | None]:
    """A type as an equality or a prefix."""
    if wanted is None or not wanted.endswith("*"):
        return wanted, None
    return None, wanted.removesuffix("*")


# Eras


async def lock_eras(tx: Tx) -> None:
    await tx.execute("select pg_advisory_xact_lock($1)", ERA_LOCK)


async def current_era(tx: Tx) -> tuple[int, bool]:
    """The latest era, and whether it can go on: same cluster, every event and cursor of it in the cluster's past."""
    row = await tx.row(
        """
        select o.era,
               o.system_identifier = (select system_identifier from pg_control_system())
               and not exists (
                   select from events e
                    where e.era = o.era and e.txid >= pg_snapshot_xmax(pg_current_snapshot())
               )
               and not exists (
                   select from followers f
                    where f.era = o.era and f.txid >= pg_snapshot_xmax(pg_current_snapshot())
               ) as sound
          from event_eras o
         order by o.era desc
         limit 1
        """
    )
    assert row is not None
    return row["era"], row["sound"]


async def open_era(tx: Tx, era: int) -> None:
    """Begin an era once nobody is appending to the last one, so that nothing is added behind those who read on."""
    await tx.execute("lock table events in share row exclusive mode")
    await tx.execute(
        """
        insert into event_eras (era, system_identifier, opened_at)
        select $1, system_identifier, $2 from pg_control_system()
        """,
        era, tx.now,
    )  # fmt: skip


# Days


async def partitions(tx: Tx) -> list[date]:
    """The days that have a partition of their own, oldest first."""
    rows = await tx.rows(
        """
        select c.relname
          from pg_inherits i
          join pg_class c on c.oid = i.inhrelid
         where i.inhparent = 'events'::regclass and c.relname like 'events\\_2%'
         order by c.relname
        """
    )
    return [datetime.strptime(row["relname"], "events_%Y%m%d").date() for row in rows]  # noqa: DTZ007


async def create_partition(tx: Tx, day: date) -> None:
    """Make the day's partition, with what the default partition holds of it.

    Made aside and attached: that keeps neither readers nor writers of other days waiting. Raises Unavailable when
    somebody reads for longer than we may wait: those who come after us would wait as well.
    """
    name, (begin, end) = f"events_{day:%Y%m%d}", _bounds(day)
    try:
        await tx.execute("set local lock_timeout = '500ms'")
        await tx.execute("lock table events_default in access exclusive mode")
        await tx.execute(f"create table {name} (like events including defaults)")
        await tx.execute(
            f"""
            with moved as (
                delete from events_default
                 where recorded_at >= $1 and recorded_at < $2
                returning {_COLUMNS}
            )
            insert into {name} ({_COLUMNS}) select {_COLUMNS} from moved
            """,
            begin, end,
        )  # fmt: skip
        await tx.execute(f"alter table events attach partition {name} for values from ('{begin}') to ('{end}')")
    except LockNotAvailableError as error:
        raise Unavailable("partition_blocked", f"the log is being read; {name} is made at the next attempt") from error


def _bounds(day: date) -> tuple[datetime, datetime]:
    begin = datetime.fromisoformat(f"{day.isoformat()}T00:00:00+00:00")
    return begin, begin + timedelta(days=1)


# Followers


async def register(tx: Tx, name: str, *, from_start: bool) -> None:
    """Put a new follower before the first event, or behind all that can be read now. A known one stays where it is."""
    await tx.execute(
        f"""
        insert into followers (name, era, txid, position, day, updated_at)
        select $1, h.era, h.txid, 0, case when not $2 then least($3, now())::date end, $3
          from (select 0, '0'::xid8 where $2
                union all
                select {_HORIZON} where not $2) as h (era, txid)
        on conflict (name) do nothing
        """,
        name, from_start, tx.now,
    )  # fmt: skip


async def place(tx: Tx, name: str) -> Place | None:
    row = await tx.row("select era, txid, position, day from followers where name = $1", name)
    return _place(row) if row else None


async def own(tx: Tx, name: str) -> Place | None:
    """The follower's place, and the follower ours until tx ends; None when another process has it."""
    row = await tx.row(
        "select era, txid, position, day from followers where name = $1 for no key update skip locked", name
    )
    return _place(row) if row else None


async def places(tx: Tx) -> dict[str, Place]:
    rows = await tx.rows("select era, txid, position, day, name from followers order by name")
    return {row["name"]: _place(row) for row in rows}


async def next_after(tx: Tx, place: Place) -> tuple[datetime, bool] | None:
    """When the next event was recorded, and whether it may be read yet."""
    row = await tx.row(
        f"""
        select e.recorded_at, (e.era, e.txid) < ({_HORIZON})
          from events e
         where e.recorded_at >= $1
           and (e.era, e.txid, e.position) > ($2, $3::xid8, $4)
         order by e.era, e.txid, e.position
         limit 1
        """,
        _since(place), *place.cursor,
    )  # fmt: skip
    return (row[0], row[1]) if row else None


async def read(tx: Tx, place: Place, most: int) -> list[Recorded]:
    """The next events of the whole log that nothing can come before any more."""
    rows = await tx.rows(
        f"""
        select {_EVENT}
          from events e
         where e.recorded_at >= $1
           and (e.era, e.txid, e.position) > ($2, $3::xid8, $4)
           and (e.era, e.txid) < ({_HORIZON})
         order by e.era, e.txid, e.position
         limit $5
        """,
        _since(place), *place.cursor, most,
    )  # fmt: skip
    return [event(row) for row in rows]


async def advance(tx: Tx, name: str, last: Recorded) -> None:
    """Move the follower behind an event.

    Its day is the server's own where that is earlier: an event from a process whose clock is ahead must not hide those
    that the others append after it.
    """
    await tx.execute(
        """
        update followers
           set era = $2, txid = $3, position = $4, day = least($5, (now() at time zone 'UTC')::date), updated_at = $6
         where name = $1
        """,
        name, *last.cursor, last.day, tx.now,
    )  # fmt: skip


async def last_position(tx: Tx) -> int:
    last: int = await tx.value("select last_value from event_positions")
    return last


async def horizon(tx: Tx) -> Horizon:
    """The oldest open transaction that has written, in any database, as far as our role may see it."""
    row = await tx.row(
        """
        select extract(epoch from clock_timestamp() - begun)::float8, pid, database, application, state, prepared
          from (select backend_xid, xact_start, pid, datname, application_name, state, null
                  from pg_stat_activity
                 where backend_xid is not null and xact_start is not null and pid <> pg_backend_pid()
                union all
                select transaction, prepared, null, database, '', 'prepared', gid
                  from pg_prepared_xacts) as open (xid, begun, pid, database, application, state, prepared)
         order by age(xid) desc
         limit 1
        """
    )
    return Horizon(row[0], Blocker(*row[1:])) if row else Horizon(0.0, None)


async def count(tx: Tx, types: Mapping[str, int]) -> None:
    """Add to the number of events of each type."""
    await tx.execute(
        """
        insert into event_counts (type, count)
        select key, value::bigint from jsonb_each_text($1::jsonb) order by key
        on conflict (type) do update set count = event_counts.count + excluded.count
        """,
        types,
    )


async def counts(tx: Tx) -> dict[str, int]:
    rows = await tx.rows("select type, count from event_counts order by type")
    return {row[0]: row[1] for row in rows}


def _place(row: Row) -> Place:
    return Place(Cursor(row["era"], row["txid"], row["position"]), row["day"])


def _since(place: Place) -> datetime:
    """The earliest time anything behind the place was recorded: lets the planner leave out the days before."""
    return _bounds(place.day - SLACK)[0] if place.day else _EVER
