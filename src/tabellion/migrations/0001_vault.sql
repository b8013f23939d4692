-- The installation, and wrapped keys. Owned by core/vault and app.

create table installation (
    one boolean primary key default true check (one),
    install_id uuid not null,
    created_at timestamptz not null
);

create table workspace_keys (
    workspace_id uuid not null,
    use text not null,
    epoch text not null,
    wrapped bytea not null,
    created_at timestamptz not null,
    primary key (workspace_id, use)
);

create table subject_keys (
    workspace_id uuid not null,
    subject_id uuid not null,
    epoch text not null,
    wrapped bytea,
    created_at timestamptz not null,
    destroyed_at timestamptz,
    primary key (workspace_id, subject_id),
    check ((wrapped is null) = (destroyed_at is not null))
);
