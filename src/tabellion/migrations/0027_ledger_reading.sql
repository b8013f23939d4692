-- Keys of a log in turn, and logs that anybody may read.

alter table ledger_keys
    drop constraint ledger_keys_pkey,
    add primary key (workspace_id, log, generation, public_key),
    alter column sealed drop not null,
    add column retired_at timestamptz,
    add check ((to_size is null) = (retired_at is null)),
    add check ((to_size is null) = (sealed is not null));
comment on column ledger_keys.to_size is 'the last tree size it signed; null: it signs now';
comment on column ledger_keys.sealed is 'gone with the key''s retirement: it signs nothing more';

create table published_logs (
    log_id bytea primary key check (octet_length(log_id) = 16),
    workspace_id uuid not null,
    log text not null,
    published_at timestamptz not null,
    unique (workspace_id, log)
);
comment on column published_logs.log_id is 'as it stands in the origin, whatever the generation';
