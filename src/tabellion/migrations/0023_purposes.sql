-- Brands, purposes and the consent settings of a side.

create table brands (
    workspace_id   uuid not null,
    key            text not null check (key ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    name           text not null check (length(name) between 1 and 100),
    contact        text check (length(contact) between 1 and 200),
    url            text check (length(url) between 1 and 1000),
    postal_address text check (length(postal_address) between 1 and 500),
    is_default     boolean not null,
    created_at     timestamptz not null,
    updated_at     timestamptz not null,
    primary key (workspace_id, key)
);
comment on table brands is 'a side without a row that is the default has the brand named after the workspace';
comment on column brands.contact is 'what HELP answers';
create unique index brands_one_default on brands (workspace_id) where is_default;

create table purposes (
    workspace_id uuid not null,
    key          text not null check (length(key) between 1 and 64 and key ~ '^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*$'),
    settings     jsonb not null,
    used_at      timestamptz,
    archived_at  timestamptz,
    created_at   timestamptz not null,
    updated_at   timestamptz not null,
    primary key (workspace_id, key)
);
comment on table purposes is 'beside the built-in ones; a row with the key of one of these is laid over it';
comment on column purposes.settings is 'all that a purpose says, as the API writes it';
comment on column purposes.used_at is 'when something was first decided, or asked to be sent, for it';
comment on column purposes.archived_at is 'nothing new is sent for it; what was refused for it stays refused';

create table consent_settings (
    workspace_id uuid primary key,
    settings     jsonb not null,
    updated_at   timestamptz not null
);
comment on table consent_settings is 'a side without a row has the default';
