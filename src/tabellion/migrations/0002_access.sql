-- Workspaces, API keys, the audit table, idempotency keys. Owned by access.

create table workspaces (
    id uuid primary key,
    name text not null unique check (length(name) between 1 and 200),
    created_at timestamptz not null
);

-- Each workspace has two, and nothing else is shared between them. `workspace_id` everywhere means a side.
create table workspace_sides (
    workspace_id uuid primary key,
    workspace uuid not null references workspaces (id),
    mode text not null check (mode in ('live', 'test')),
    unique (workspace, mode)
);

-- The secret is not here: `hash` is the SHA-256 of the key as it was shown once.
create table api_keys (
    workspace_id uuid not null references workspace_sides (workspace_id),
    id uuid not null unique,
    hash bytea not null check (length(hash) = 32),
    role text not null
        check (role in ('owner', 'admin', 'developer', 'operator', 'compliance', 'ingest', 'readonly')),
    scopes text[] not null,
    name text check (length(name) <= 200),
    networks cidr[] not null default '{}',
    rate_limit integer check (rate_limit > 0),
    api_version text not null,
    created_at timestamptz not null,
    created_by text not null,
    expires_at timestamptz,
    retires_at timestamptz,
    replaced_by uuid,
    revoked_at timestamptz,
    primary key (workspace_id, id),
    check ((replaced_by is null) = (retires_at is null))
);

-- How often a key was used, and when last, per hour. Written in batches, some seconds late.
create table api_key_usage (
    workspace_id uuid not null,
    key_id uuid not null,
    hour timestamptz not null,
    uses bigint not null check (uses > 0),
    last_used_at timestamptz not null,
    primary key (workspace_id, key_id, hour),
    foreign key (workspace_id, key_id) references api_keys (workspace_id, id)
) with (fillfactor = 70);

create table audit (
    workspace_id uuid not null,
    id uuid not null,
    at timestamptz not null,
    actor text not null,
    action text not null,
    target text not null,
    detail jsonb not null,
    primary key (workspace_id, id)
);

-- A row without `answer` is a claim in flight, or one whose transaction chose not to keep its answer.
create table idempotency (
    workspace_id uuid not null,
    scope bytea not null check (length(scope) = 32),
    body bytea not null check (length(body) = 32),
    status smallint,
    answer bytea,
    expires_at timestamptz not null,
    primary key (workspace_id, scope),
    check ((status is null) = (answer is null))
) with (fillfactor = 60);

create index idempotency_expiry on idempotency (expires_at);
