-- How a workspace side reads, resolves and keeps its recipients.

create table recipient_settings (
    workspace_id uuid primary key,
    settings     jsonb not null,
    updated_at   timestamptz not null
);
comment on table recipient_settings is 'a side without a row has the default';

-- Every process asks each second what was set since it last asked.
create index recipient_settings_by_time on recipient_settings (updated_at);
