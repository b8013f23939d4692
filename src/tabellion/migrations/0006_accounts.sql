-- Configured vendor accounts, and how fast they may be used. Owned by accounts.

create table accounts (
    workspace_id uuid not null,
    id uuid not null unique,
    provider text not null,
    name text not null check (length(name) between 1 and 200),
    settings jsonb not null,
    host text not null,
    secrets bytea,
    weight integer not null check (weight between 1 and 1000),
    simulated boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    disabled_at timestamptz,
    primary key (workspace_id, id),
    check (not simulated or secrets is null)
);

comment on column accounts.id is 'unique alone: a callback names the account and nothing else';
comment on column accounts.settings is 'without secrets';
comment on column accounts.host is 'scheme://host:port that the secrets are sealed for';
comment on column accounts.simulated is 'made by the hub for a test side; its settings are made up at each use';

create unique index accounts_one_simulated on accounts (workspace_id, provider) where simulated;

-- A row exists only where a limit was set, or since the vendor first said "too many": an account without one goes
-- as fast as it can.
create table account_pacing (
    workspace_id uuid not null,
    account_id uuid not null,
    rate double precision not null check (rate > 0),
    ceiling double precision check (ceiling > 0),
    next_at timestamptz not null,
    paused_until timestamptz not null,
    shrunk_at timestamptz not null,
    grown_at timestamptz not null,
    primary key (workspace_id, account_id),
    foreign key (workspace_id, account_id) references accounts (workspace_id, id)
) with (fillfactor = 50);

comment on column account_pacing.next_at is 'the earliest departure not yet reserved';
comment on column account_pacing.ceiling is 'the limit that was set; null: none';
