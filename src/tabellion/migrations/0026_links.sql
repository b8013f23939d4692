-- Links that people get: the keys of their tokens, what waits for a confirmation, codes, how pages behave. Owned by consent.

create table link_keys (
    id bytea primary key check (length(id) = 8),
    workspace_id uuid not null,
    month text not null check (month ~ '^\d{4}-\d{2}$'),
    wrapped bytea not null,
    created_at timestamptz not null,
    unique (workspace_id, month)
);

comment on table link_keys is
    'sealed by the outer key itself, like signing keys: no epoch whose end would end the links in mail long sent';
comment on column link_keys.id is 'random, and the first bytes of every token made with it';

create table confirmations (
    workspace_id uuid not null,
    entry_id uuid not null,
    recipient_id uuid not null,
    identifier_hash bytea not null check (length(identifier_hash) = 32),
    channel text not null,
    purpose text not null,
    asked_at timestamptz not null,
    expires_at timestamptz not null check (expires_at > asked_at),
    message_id uuid,
    confirmed_at timestamptz,
    primary key (workspace_id, entry_id)
);

comment on table confirmations is 'pending entries until they are confirmed or their time is over';
comment on column confirmations.message_id is 'what asked the person; null: nothing was sent';

create index confirmations_of_address on confirmations (workspace_id, identifier_hash);
create index confirmations_of_person on confirmations (workspace_id, recipient_id);
create index confirmations_due on confirmations (expires_at);

create table link_codes (
    workspace_id uuid not null,
    recipient_id uuid not null,
    identifier_hash bytea not null check (length(identifier_hash) = 32),
    channel text not null,
    salt bytea not null check (length(salt) = 16),
    sent_at timestamptz not null,
    expires_at timestamptz not null,
    tries smallint not null check (tries >= 0),
    day_at timestamptz not null,
    day_sent smallint not null check (day_sent > 0),
    message_id uuid,
    primary key (workspace_id, recipient_id, identifier_hash, channel)
);

comment on column link_codes.salt is 'the code is derived from it under a key of the side: whoever reads the row has no code';
comment on column link_codes.day_at is 'since when day_sent is counted';
comment on column link_codes.message_id is 'what carries it; null: nothing yet';

create index link_codes_of_address on link_codes (workspace_id, identifier_hash);
create index link_codes_due on link_codes (day_at);

create table page_settings (
    workspace_id uuid primary key,
    settings jsonb not null,
    updated_at timestamptz not null
);
