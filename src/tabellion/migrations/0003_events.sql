-- The event log, its eras and its followers. Owned by events/.

create table event_eras (
    era integer primary key check (era between 1 and 65535),
    system_identifier bigint not null,
    opened_at timestamptz not null default now()
);

insert into event_eras (era, system_identifier)
select 1, system_identifier from pg_control_system();

create sequence event_positions;

create table events (
    era integer not null,
    position bigint not null default nextval('event_positions'),
    txid xid8 not null default pg_current_xact_id(),
    workspace_id uuid not null,
    id uuid not null,
    type text not null,
    occurred_at timestamptz not null,
    recorded_at timestamptz not null,
    recipient_id uuid,
    message_id uuid,
    data jsonb not null
) partition by range (recorded_at);

-- Followers read the whole log in this order. Every insert lands on the last page.
create index events_in_order on events (era, txid, position);

-- A workspace reads its own part in the same order.
create index events_by_workspace on events (workspace_id, era, txid, position);

-- One message's timeline.
create index events_by_message on events (workspace_id, message_id) where message_id is not null;

-- Days are made ahead of time; a day nobody made lands here, so an insert never fails for want of a partition.
create table events_default partition of events default;

create table followers (
    name text primary key,
    era integer not null,
    txid xid8 not null,
    position bigint not null,
    -- Nothing after the cursor was recorded more than a day before this day; null: the log's whole past lies ahead.
    day date,
    updated_at timestamptz not null
) with (fillfactor = 50);

create table event_counts (
    type text primary key,
    count bigint not null
) with (fillfactor = 50);
