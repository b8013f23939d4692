-- Messages and their attempts. Owned by messages.

create table messages (
    workspace_id uuid not null,
    id uuid not null,
    recipient_id uuid not null,
    purpose text not null,
    status text not null,
    final boolean not null,
    reason text,
    step smallint not null,
    lane smallint not null,
    guarantee text not null,
    send_at timestamptz not null,
    expires_at timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    plan jsonb not null,
    decisions jsonb not null,
    tags text[] not null,
    metadata jsonb,
    content bytea not null,
    primary key (workspace_id, id)
) with (fillfactor = 80);

create index messages_by_recipient on messages (workspace_id, recipient_id, id);

create table attempts (
    workspace_id uuid not null,
    id uuid not null,
    message_id uuid not null,
    recipient_id uuid not null,
    step smallint not null,
    purpose text not null,
    channel text not null,
    identifier bytea not null,
    account_id uuid not null,
    provider text not null,
    state text not null,
    reason text,
    permanent boolean not null default false,
    provider_message_id text,
    provider_code text,
    detail text,
    decision jsonb not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    primary key (workspace_id, id),
    foreign key (workspace_id, message_id) references messages (workspace_id, id)
) with (fillfactor = 80);

create index attempts_by_message on attempts (workspace_id, message_id);
create index attempts_by_vendor_id on attempts (workspace_id, provider_message_id, account_id)
    where provider_message_id is not null;
-- What a restriction must name as in flight: the few attempts that started and have no outcome yet.
create index attempts_in_flight on attempts (workspace_id, recipient_id) where state = 'started';
create index attempts_in_flight_by_address on attempts (workspace_id, identifier) where state = 'started';
