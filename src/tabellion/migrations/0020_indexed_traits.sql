-- The values of declared traits, plain, so that recipients are found by them. Owned by recipients.

create table recipient_traits (
    workspace_id uuid not null,
    recipient_id uuid not null,
    name text not null check (length(name) <= 64),
    value text not null check (length(value) <= 256),
    primary key (workspace_id, recipient_id, name)
);

comment on table recipient_traits is 'of declared traits alone; deleted when a trait is declared no longer, and with the person';

create index recipient_traits_value on recipient_traits (workspace_id, name, value, recipient_id);

create table trait_indexes (
    workspace_id uuid not null,
    name text not null check (length(name) <= 64),
    state text not null check (state in ('building', 'ready', 'removing')),
    declared_at timestamptz not null,
    done_to uuid,
    primary key (workspace_id, name)
);

comment on column trait_indexes.declared_at is 'when it was declared, or no longer';
comment on column trait_indexes.done_to is 'the last recipient that building has looked at';

create index trait_indexes_waiting on trait_indexes (declared_at) where state <> 'ready';
