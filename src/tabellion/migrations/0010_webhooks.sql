-- Vendor callbacks as they arrived. Owned by webhooks.

create table callbacks (
    workspace_id uuid not null,
    id uuid not null,
    account_id uuid not null,
    provider text not null,
    received_at timestamptz not null,
    -- What makes two callbacks the same one: account, URL and body.
    digest bytea not null,
    state text not null check (state in ('received', 'normalised', 'unmatched', 'erased')),
    -- The request, sealed with the key of the person it is about; while that is not known, or where it is about several,
    -- with the workspace side's `callbacks` key. Empty where the person was erased before it could be sealed.
    raw bytea not null,
    recipient_id uuid,
    primary key (workspace_id, id),
    unique (workspace_id, digest)
);

comment on column callbacks.recipient_id is 'whose key seals raw; null: the key of the workspace side';
