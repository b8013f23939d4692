-- For how long a workspace side keeps what. Owned by privacy.

create table retention (
    workspace_id uuid primary key,
    callbacks_days integer check (callbacks_days > 0),
    content_days integer check (content_days > 0),
    updated_at timestamptz not null
);

comment on table retention is 'a side without a row has the default; a null is for ever';

-- How far a side's messages are emptied: all up to this id. So a round looks only at what is left to do, and messages
-- need no index for it.
create table retention_marks (
    workspace_id uuid primary key,
    messages_to uuid not null
);
