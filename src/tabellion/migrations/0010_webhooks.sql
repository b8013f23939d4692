-- Vendor callbacks as they arrived. Owned by webhooks.

create table callbacks (
    workspace_id uuid not null,
    id uuid not null,
    account_id uuid not null,
    provider text not null,
    received_at timestamptz not null,
    -- What makes two callbacks the same one: account, URL and body.
    digest bytea not null,
    state text not null check (state in ('received', 'normalised', 'unmatched')),
    -- The request, sealed with the workspace side's `callbacks` key.
    raw bytea not null,
    primary key (workspace_id, id),
    unique (workspace_id, digest)
);
